"""A tenant: its application registration, its licence, and every log record that it will ever show."""

import json
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from threading import RLock
from typing import Any

import orjson
from cryptography import x509

from tests.emulator.instants import FAR_FUTURE, parse_ticks, ticks_of

SIGN_IN_TYPES = ("interactiveUser", "nonInteractiveUser", "servicePrincipal", "managedIdentity")
AUDITS = "directoryAudits"
STREAMS = (*SIGN_IN_TYPES, AUDITS)

ALWAYS = -FAR_FUTURE
SERIAL_BITS = 32
_SERIAL_MASK = (1 << SERIAL_BITS) - 1


def time_member(stream: str) -> str:
    """Returns the member that a stream is filtered and sorted by."""
    return "activityDateTime" if stream == AUDITS else "createdDateTime"


def encode(record: dict[str, Any] | bytes) -> bytes:
    """Returns a record's JSON text; bytes are the text already and stay verbatim."""
    if isinstance(record, bytes):
        return record
    try:
        return orjson.dumps(record)
    except TypeError:  # a whole number of more than 64 bits
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


class _Index:
    """The sorted positions of one stream: `creation << 32 | serial`, so that ties have one fixed order."""

    __slots__ = ("keys", "last_visible", "pending")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.pending: list[int] = []
        self.last_visible = ALWAYS

    def settle(self) -> list[int]:
        """Merges what was added since the last reading; appending in order costs nothing."""
        pending, self.pending = self.pending, []
        if not pending:
            return self.keys
        pending.sort()
        if not self.keys or pending[0] > self.keys[-1]:
            self.keys.extend(pending)
        elif len(pending) <= 20:
            for key in pending:
                insort(self.keys, key)
        else:
            self.keys.extend(pending)
            self.keys.sort()  # two sorted runs: timsort merges them in one pass
        return self.keys


@dataclass
class Tenant:
    """What Microsoft knows about one customer. Records may be added while the server reads: one lock guards them.

    `cloud` None accepts every national cloud's authority; a name ties the tenant to that cloud.
    `premium` is the P1/P2 licence. `page_limit` makes pages smaller than the client asks for.
    """

    tenant_id: str = "72f988bf-0000-4a6c-9d1e-2d7cd011db47"
    client_id: str = "11111111-2222-4333-8444-555555555555"
    client_secret: str = "emu8Q~emulated-secret-value-0123456789abc"
    secret_id: str = "99999999-8888-4777-8666-555555555555"
    # The public halves that were uploaded to the app registration.
    certificates: list[x509.Certificate] = field(default_factory=list)
    domain: str = "contoso.onmicrosoft.com"
    cloud: str | None = None
    retention_days: float = 30
    roles: list[str] = field(default_factory=lambda: ["AuditLog.Read.All", "Directory.Read.All"])
    premium: bool = True
    secret_expires: datetime | None = None
    other_credentials: list[dict[str, Any]] = field(default_factory=list)
    page_limit: int = 1000

    def __post_init__(self) -> None:
        self._lock = RLock()
        self._texts: list[bytes] = []
        self._visible_from = array("q")
        self._changes: dict[int, list[tuple[int, bytes]]] = {}
        self._indices = {stream: _Index() for stream in STREAMS}
        self._serial_of: dict[tuple[str, str], int] = {}
        self._ids_known: dict[str, int] = dict.fromkeys(STREAMS, 0)

    def add(
        self,
        stream: str,
        record: dict[str, Any] | bytes,
        *,
        visible_at: datetime | None = None,
        created: datetime | None = None,
    ) -> None:
        """Adds a record.

        Args:
            stream: one of STREAMS.
            record: its members, or its JSON text, which is delivered verbatim.
            visible_at: when Graph begins to show it; None: at once and always.
            created: where it sorts, for a record that does not state its own time (or states another one).
        """
        text = encode(record)
        if created is not None:
            ticks = ticks_of(created)
        else:
            members = orjson.loads(text) if isinstance(record, bytes) else record
            ticks = parse_ticks(members[time_member(stream)])
        self.add_many(stream, [(ticks, text, ALWAYS if visible_at is None else ticks_of(visible_at))])

    def add_many(self, stream: str, records: Iterable[tuple[int, bytes, int]]) -> None:
        """Adds (creation, JSON text, visible from) triples, times in ticks: the quick way for a million of them."""
        with self._lock:
            index = self._indices[stream]
            for ticks, text, visible_from in records:
                index.pending.append(ticks << SERIAL_BITS | len(self._texts))
                self._texts.append(text)
                self._visible_from.append(visible_from)
                index.last_visible = max(index.last_visible, visible_from)

    def change(self, stream: str, record_id: str, new_record: dict[str, Any] | bytes, at: datetime) -> None:
        """Shows a record with other content from `at` on, in its old place; raises KeyError for an unknown id."""
        with self._lock:
            self._learn_ids(stream)
            versions = self._changes.setdefault(self._serial_of[stream, record_id], [])
            insort(versions, (ticks_of(at), encode(new_record)), key=lambda version: version[0])

    def page(
        self,
        streams: Sequence[str],
        low: int,
        high: int,
        *,
        now: int,
        limit: int,
        descending: bool = False,
        after: int | None = None,
    ) -> tuple[list[bytes], int | None]:
        """Returns up to `limit` records created within [low, high] and the position to go on from, or None at the end.

        A position is a key and not a count, so that later pages stay right while records are added.
        """
        with self._lock:
            runs = [self._keys(stream, low, high, now, limit + 1, descending, after) for stream in streams]
            keys = runs[0] if len(runs) == 1 else list(islice(merge(*runs, reverse=descending), limit + 1))
            chosen = keys[:limit]
            texts = [self._text(key & _SERIAL_MASK, now) for key in chosen]
            return texts, chosen[-1] if len(keys) > limit else None

    def visible(
        self, stream: str, start: datetime | None = None, end: datetime | None = None, now: datetime | None = None
    ) -> list[bytes]:
        """Returns what Graph would show of [start, end] at `now` (the real time by default), oldest first."""
        low = ALWAYS if start is None else ticks_of(start)
        high = FAR_FUTURE if end is None else ticks_of(end)
        instant = ticks_of(now or datetime.now(UTC))
        return self.page([stream], low, high, now=instant, limit=FAR_FUTURE)[0]

    def count(self, stream: str, now: datetime | None = None) -> int:
        """Returns how many records a stream holds, or how many of them it shows at `now`."""
        with self._lock:
            if now is not None:
                return len(self.visible(stream, now=now))
            return len(self._indices[stream].settle())

    def all_texts(self, stream: str, now: datetime | None = None) -> list[bytes]:
        """Returns every version of every record that was ever shown (up to `now`): what a verdict compares with."""
        until = FAR_FUTURE if now is None else ticks_of(now)
        texts: list[bytes] = []
        with self._lock:
            for key in self._indices[stream].settle():
                serial = key & _SERIAL_MASK
                shown_from = self._visible_from[serial]
                versions = [(ALWAYS, self._texts[serial]), *self._changes.get(serial, ())]
                ends = [at for at, _ in versions[1:]] + [FAR_FUTURE]
                texts += [
                    text
                    for (at, text), end in zip(versions, ends, strict=True)
                    if end > shown_from and max(at, shown_from) <= until
                ]
        return texts

    def _keys(
        self, stream: str, low: int, high: int, now: int, limit: int, descending: bool, after: int | None
    ) -> list[int]:
        index = self._indices[stream]
        keys = index.settle()
        first = bisect_left(keys, low << SERIAL_BITS)
        last = bisect_left(keys, (high + 1) << SERIAL_BITS)
        if after is not None and descending:
            last = min(last, bisect_left(keys, after))
        elif after is not None:
            first = max(first, bisect_right(keys, after))
        if index.last_visible <= now:
            if descending:
                return keys[max(first, last - limit) : last][::-1]
            return keys[first : min(last, first + limit)]
        shown = self._visible_from
        span = range(last - 1, first - 1, -1) if descending else range(first, last)
        return list(islice((keys[i] for i in span if shown[keys[i] & _SERIAL_MASK] <= now), min(limit, len(keys))))

    def _text(self, serial: int, now: int) -> bytes:
        text = self._texts[serial]
        for at, changed in self._changes.get(serial, ()):
            if at > now:
                break
            text = changed
        return text

    def _learn_ids(self, stream: str) -> None:
        serials = sorted(key & _SERIAL_MASK for key in self._indices[stream].settle())
        for serial in serials[self._ids_known[stream] :]:
            try:
                self._serial_of[stream, orjson.loads(self._texts[serial])["id"]] = serial
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue  # a strange record: it has no id by which to change it
        self._ids_known[stream] = len(serials)
