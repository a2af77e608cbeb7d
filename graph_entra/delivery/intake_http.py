"""One push over HTTP, and what the intake's answers mean.

The SDK's ``push_events_to_intakes`` pushes; what it does for one chunk is replaced here, because it repeats refusals
for an hour and then swallows them.

What is documented of an answer is a success with ``{"event_ids": ["uuid1", "uuid2"]}``, one id an event
(https://docs.sekoia.io/integration/ingestion_methods/https/format, "structured content"). Nothing is documented of
refusals: statuses are read as HTTP means them (RFC 9110, RFC 6585).
"""

# No `from __future__ import annotations` here: the SDK reads the annotations of a connector's class.
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from socket import socket
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import orjson
import requests
from requests.adapters import HTTPAdapter
from sekoia_automation.connector import Connector
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, ReadTimeoutError

from graph_entra.clock import Clock, SystemClock
from graph_entra.errors import IntakeRefused, IntakeTimedOut, IntakeUnavailable

# How long a whole answer may take. After a time-out the next may take twice as long, up to the longest: an intake that
# has stored a push and needs longer than this to say so, however small the push, would be sent it again for ever.
ANSWER_LIMIT_S: Final = 30.0
LONGEST_ANSWER_LIMIT_S: Final = 120.0
# Of that, for connecting and for sending each (urllib3 bounds the sending of a body by the connection's limit).
_CONNECT_SHARE: Final = 1 / 3

# passes: by itself. content: it is about the records, or one of them. person: a person must act.
Meaning = Literal["passes", "content", "person"]
_MEANINGS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        400: "content",  # also what a wrong address answers: then to every record
        408: "passes",
        413: "content",
        422: "content",
        425: "passes",
        429: "passes",
    }
)
# Someone waited for too long: the intake may have stored the push, and may be quick enough with less.
_TIMED_OUT: Final = frozenset({408, 504})


def meaning(status: int) -> Meaning:
    """What a status other than success means, and so who can mend it."""
    return _MEANINGS.get(status, "passes" if status >= 500 else "person")


def as_sent(text: str) -> bytes:
    """An event as it stands in the body of a push: a JSON string, quotes included."""
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        # Half of a surrogate pair: UTF-8 has no bytes for it, but JSON an escape, and this handler writes just that.
        return json.dumps(text, ensure_ascii=False).encode(errors="backslashreplace")


def body(intake_key: str, events: Sequence[str]) -> bytes:
    """The body of a push to ``/batch``. In UTF-8: escaped into ASCII it is larger, and takes seven times as long."""
    try:
        return orjson.dumps({"intake_key": intake_key, "jsons": events})
    except orjson.JSONEncodeError:
        return b'{"intake_key":' + as_sent(intake_key) + b',"jsons":[' + b",".join(map(as_sent, events)) + b"]}"


def event_ids(response: requests.Response, count: int) -> list[str]:
    """The ids that an answer gives to the events of a push.

    Args:
        response: the answer, read to its end.
        count: how many events were pushed. An answer that is plainly a success and names no ids stands for all of
            them; the ids are empty then.

    Raises:
        IntakeRefused: the status is no success and does not pass by itself.
        IntakeUnavailable: it passes by itself; or this is no answer of the intake's.
    """
    status = response.status_code
    if response.history and response.request.method != "POST":
        # The redirect has turned the push into a GET: whatever was answered then, nothing was pushed.
        raise IntakeRefused(response.history[-1].status_code)
    if not 200 <= status < 300:
        raise _fault(status, response.headers.get("Retry-After"))
    content = response.content.strip()
    if not content:
        return [""] * count
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        what = "an HTML page: a proxy or a portal on the way" if content.startswith(b"<") else "something unreadable"
        raise IntakeUnavailable(f"not the intake's answer: {status} with {what}") from None
    ids = answer.get("event_ids") if isinstance(answer, dict) else None
    if isinstance(ids, list):
        return ids
    if isinstance(answer, dict) and not answer.keys() & {"event_ids", "error", "errors"}:
        return [""] * count
    raise IntakeUnavailable(f"the intake answered {status} with JSON that acknowledges nothing")


class IntakeHttp(Connector):
    """The SDK's connector, with a push of one chunk that is tried once and raises."""

    clock: Clock = SystemClock()

    # By what the limit on an answer is multiplied: after time-outs, more than 1.
    _patience: float = 1.0

    def _send_chunk(
        self, batch_api: str, chunk_index: int, chunk: list[Any], collect_ids: dict[int, list[str]]
    ) -> None:
        """Push one chunk, once.

        Raises:
            IntakeRefused: a status that does not pass by itself.
            IntakeTimedOut: the answer did not come, or not whole, within the limit.
            IntakeUnavailable: anything else.
        """
        limit_s = min(LONGEST_ANSWER_LIMIT_S, ANSWER_LIMIT_S * self._patience)
        started_s = self.clock.monotonic()
        try:
            collect_ids[chunk_index] = event_ids(self._post(batch_api, chunk, limit_s), len(chunk))
        except IntakeTimedOut:
            self._patience = min(LONGEST_ANSWER_LIMIT_S / ANSWER_LIMIT_S, self._patience * 2)
            raise
        if self.clock.monotonic() - started_s < limit_s / 4:
            self._patience = max(1.0, self._patience / 2)

    def _post(self, batch_api: str, chunk: list[str], limit_s: float) -> requests.Response:
        try:
            return self._http_session.post(
                batch_api,
                data=body(self.configuration.intake_key, chunk),
                headers={"Content-Type": "application/json"},
                timeout=(limit_s * _CONNECT_SHARE, limit_s),
            )
        except requests.RequestException as error:
            fault = _unanswered(error, _host(batch_api), limit_s)
        # Not within the `except`: the error that was caught holds the request, and so the intake's key.
        raise fault

    @cached_property
    def _http_session(self) -> requests.Session:
        session: requests.Session = super()._http_session
        for scheme in ("http://", "https://"):
            session.mount(scheme, _OneLimit(self.clock))
        return session


def _fault(status: int, retry_after: str | None) -> IntakeRefused | IntakeUnavailable:
    if meaning(status) != "passes":
        return IntakeRefused(status)
    kind = IntakeTimedOut if status in _TIMED_OUT else IntakeUnavailable
    try:
        return kind(f"the intake answered {status}", float(retry_after or ""), status=status)
    except ValueError:  # none, or a date: the usual pauses do
        return kind(f"the intake answered {status}", status=status)


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _unanswered(error: requests.RequestException, host: str | None, limit_s: float) -> IntakeUnavailable:
    if _timed_out(error):
        return IntakeTimedOut(f"the intake at {host} took more than {limit_s:.0f} s for its answer", host=host)
    return IntakeUnavailable(f"the intake at {host} did not answer: {type(error).__name__}", host=host)


def _timed_out(error: BaseException) -> bool:
    """Whether a push may have been stored and was not answered in time, rather than never sent."""
    kinds = list(_chain(error))
    if any(isinstance(one, ConnectTimeoutError) for one in kinds):  # also: refused, no such host
        return False
    return any(isinstance(one, (TimeoutError, ReadTimeoutError)) for one in kinds)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and all that it wraps: requests hands the cause on as an argument, urllib3 as ``reason`` or context."""
    yield error
    wrapped = (*error.args, getattr(error, "reason", None), error.__cause__ or error.__context__)
    for one in wrapped:
        if isinstance(one, BaseException):
            yield from _chain(one)


class _UntilDeadline(RawIOBase):
    """Reads from a socket until its time-out has passed since this was made, not between two reads."""

    def __init__(self, connection: socket, raw: RawIOBase, clock: Clock) -> None:
        limit_s = connection.gettimeout()
        self._connection = connection
        self._raw = raw
        self._clock = clock
        self._deadline_s = None if limit_s is None else clock.monotonic() + limit_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline_s is not None:
            left_s = self._deadline_s - self._clock.monotonic()
            if left_s <= 0:
                raise TimeoutError("the answer was not whole in time")
            self._connection.settimeout(left_s)
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


def _pools(clock: Clock) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's own pools, of connections whose answers have one limit for status, headers and body together."""

    class TimedResponse(HTTPResponse):
        def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self.fp = BufferedReader(_UntilDeadline(sock, self.fp.detach(), clock))

    class Plain(HTTPConnection):
        response_class = TimedResponse

    class Encrypted(HTTPSConnection):
        response_class = TimedResponse

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


class _OneLimit(HTTPAdapter):
    """requests' own transport, over connections that bound the whole answer: it bounds each read alone."""

    def __init__(self, clock: Clock) -> None:
        self._pools = _pools(clock)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager
