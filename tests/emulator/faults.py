"""Faults on cue: what a server, a proxy or a network does to an answer, and when."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal, Self

import orjson

Kind = Literal["answer", "reset", "stall", "late", "trickle", "truncate", "page", "empty_page", "repeated_link"]
Body = bytes | str | dict[str, Any] | None


def _encoded(body: Body) -> bytes | None:
    if isinstance(body, dict):
        return orjson.dumps(body)
    return body.encode() if isinstance(body, str) else body


@dataclass(frozen=True, slots=True)
class Fault:
    """One way for one answer to go wrong. Make it with the class methods.

    `cut_at` None: the request is not handled at all (nothing is stored); a number: it is handled, and so many
    bytes of the answer's body get through.
    """

    kind: Kind
    code: int = 0
    payload: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cut_at: int | None = None
    rewrite: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    next_link_only: bool = False

    @classmethod
    def status(cls, code: int, *, body: Body = None, headers: Mapping[str, str] | None = None) -> Self:
        """Answers this status; without a body, with the error body that the service would give."""
        return cls("answer", code=code, payload=_encoded(body), headers=headers or {})

    @classmethod
    def html(cls, code: int) -> Self:
        """Answers as a gateway or a proxy on the way does: an HTML page where JSON is expected."""
        page = f"<!DOCTYPE html><html><head><title>{code}</title></head><body><h1>Our services aren't available</h1>"
        return cls("answer", code=code, payload=page.encode(), headers={"Content-Type": "text/html; charset=utf-8"})

    @classmethod
    def reset(cls, after_bytes: int | None = None) -> Self:
        """Resets the connection: before the request is handled, or after it, so many bytes into the body."""
        return cls("reset", cut_at=after_bytes)

    @classmethod
    def lost_answer(cls) -> Self:
        """Handles the request (a push is stored), then resets before a byte of the answer."""
        return cls("reset", cut_at=0)

    @classmethod
    def stall(cls, seconds: float, after_bytes: int = 0) -> Self:
        """Goes silent before the request is handled or inside the body, then goes on if the client is still there."""
        return cls("stall", seconds=seconds, cut_at=after_bytes)

    @classmethod
    def late(cls, seconds: float) -> Self:
        """Handles the request (a push is stored), and answers it whole so many seconds later."""
        return cls("late", seconds=seconds, cut_at=0)

    @classmethod
    def trickle(cls, every_s: float) -> Self:
        """Handles the request (a push is stored), and answers it byte by byte, with a pause after each."""
        return cls("trickle", seconds=every_s, cut_at=0)

    @classmethod
    def truncate(cls, after_bytes: int) -> Self:
        """Answers a whole HTTP response whose JSON is cut short."""
        return cls("truncate", cut_at=after_bytes)

    @classmethod
    def body(cls, body: bytes, *, code: int = 200) -> Self:
        """Answers these bytes instead."""
        return cls("answer", code=code, payload=body)

    @classmethod
    def page(cls, mutate: Callable[[dict[str, Any]], dict[str, Any]]) -> Self:
        """Rewrites the page that would have been answered."""
        return cls("page", rewrite=mutate)

    @classmethod
    def foreign_link(cls, host: str = "graph.evil.example", scheme: str = "https") -> Self:
        """Names another host in the page's nextLink."""

        def mutate(page: dict[str, Any]) -> dict[str, Any]:
            return {**page, "@odata.nextLink": f"{scheme}://{host}/v1.0/auditLogs/signIns?$skiptoken=stolen"}

        return cls.page(mutate)

    @classmethod
    def empty_page(cls) -> Self:
        """Answers an empty page whose nextLink leads to the records that were due now."""
        return cls("empty_page")

    @classmethod
    def repeated_link(cls) -> Self:
        """Answers the page with the nextLink that was just asked."""
        return cls("repeated_link", next_link_only=True)

    @classmethod
    def expired_skip_token(cls) -> Self:
        """Refuses a nextLink (and only a nextLink) whose skip token is too old."""
        error = {"code": "BadRequest", "message": "Invalid Skip Token, skip token has expired", "innerError": {}}
        return cls("answer", code=400, payload=orjson.dumps({"error": error}), next_link_only=True)

    @classmethod
    def early_end(cls) -> Self:
        """Leaves the nextLink out: the chain of pages ends before its end."""
        return cls.page(lambda page: {name: value for name, value in page.items() if name != "@odata.nextLink"})

    @classmethod
    def unsupported_query(cls) -> Self:
        """Refuses a well-formed question, which is answered when it is asked again."""
        error = {"code": "UnknownError", "message": "Unsupported Query.", "innerError": {}}
        return cls.status(400, body={"error": error})

    @classmethod
    def retry_after(cls, status: int = 429, value: str | None = "2.128") -> Self:
        """Asks to wait: a fractional number of seconds, an HTTP date, or nothing."""
        return cls("answer", code=status, headers={} if value is None else {"Retry-After": value})


@dataclass(slots=True)
class _Rule:
    fault: Fault
    times: int | None
    match: Callable[[Any], bool] | None
    after: int

    def fits(self, info: Any) -> bool:
        if self.fault.next_link_only and not getattr(info, "is_next_link", False):
            return False
        return self.match is None or self.match(info)


class Pauses:
    """The pauses that are under way on an event loop, by its time; any thread may end them all."""

    def __init__(self) -> None:
        self._ends: set[Callable[[], object]] = set()

    async def wait(self, seconds: float) -> None:
        """Waits so long, or until `end()`."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            loop.call_soon_threadsafe(over.set)

        self._ends.add(end)
        try:
            async with asyncio.timeout(seconds):
                await over.wait()
        except TimeoutError:
            pass
        finally:
            self._ends.discard(end)

    def end(self) -> None:
        """Ends those that are under way."""
        for end in list(self._ends):
            end()


class FaultBox:
    """The faults that wait for a service's next requests; safe to fill from any thread."""

    def __init__(self) -> None:
        self.used = 0
        self.pauses = Pauses()
        self._rules: list[_Rule] = []
        self._lock = Lock()

    def inject(
        self,
        fault: Fault,
        *,
        times: int | None = 1,
        match: Callable[[Any], bool] | None = None,
        after: int = 0,
    ) -> None:
        """Adds a fault.

        Args:
            fault: what goes wrong.
            times: for how many requests; None: until `clear()`.
            match: which requests; it gets the service's own description of one (a GraphRequest, for example).
            after: how many matching requests pass first.
        """
        with self._lock:
            self._rules.append(_Rule(fault, times, match, after))

    def take(self, info: Any) -> Fault | None:
        """Returns the fault for this request, the oldest first, and uses it up."""
        with self._lock:
            for rule in self._rules:
                if not rule.fits(info):
                    continue
                if rule.after:
                    rule.after -= 1
                    continue
                if rule.times is not None:
                    rule.times -= 1
                    if rule.times <= 0:
                        self._rules.remove(rule)
                self.used += 1
                return rule.fault
        return None

    def clear(self) -> None:
        """Forgets every fault, and ends the stalls that are under way."""
        with self._lock:
            self._rules.clear()
        self.pauses.end()

    @property
    def waiting(self) -> int:
        """How many faults have not been used up."""
        return len(self._rules)
