"""A model of Graph, of the intake and of the disk, on one injected clock, all of which a kill may interrupt."""

from __future__ import annotations

import asyncio
import json
import random
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import IO, Any, Final, Literal

import orjson
from graph_entra.reading.lanes import RETENTION_S

from graph_entra.errors import GraphRefused, GraphUnavailable, IntakeUnavailable
from graph_entra.microsoft.pages import read_page
from graph_entra.records import Page
from graph_entra.streams import DAY_S, Stream, Window, graph_time

Order = Literal["ascending", "newest first", "shuffled"]
VISIBLE_WITHIN_S: Final = DAY_S
ORDERS: Final[tuple[Order, ...]] = ("ascending", "newest first", "shuffled")


class Crash(BaseException):
    """``kill -9``: nothing that stands behind it may have an effect any more."""


class Clock:
    """The time, in seconds since 1970; it moves when the model says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Tripwire:
    """Counts side effects and kills the process at the one that was chosen; a dead process has no further effect."""

    def __init__(self) -> None:
        self._left: int | None = None
        self.dead_at: str | None = None
        self.crashes: Counter[str] = Counter()

    def arm(self, after: int) -> None:
        """Crash when ``after`` more side effects have happened."""
        self._left = after

    def disarm(self) -> None:
        """A new process; it lives until the wire is armed again."""
        self._left = None
        self.dead_at = None

    def __call__(self, where: str) -> None:
        if self.dead_at is None:
            if self._left is None:
                return
            self._left -= 1
            if self._left >= 0:
                return
            self.dead_at = where
            self.crashes[where] += 1
        raise Crash(self.dead_at)


def wired_path(folder: str, wire: Tripwire) -> Path:
    """A real folder, on which each effect of the real ``Files`` passes the tripwire before, amid and after."""

    class WiredPath(type(Path())):  # type: ignore[misc]
        def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if "b" not in mode or mode == "rb":
                return super().open(mode, *args, **kwargs)
            wire(f"before open {_kind(self)}")
            return _WiredFile(super().open(mode, *args, **kwargs), wire, _kind(self))

        def replace(self, target: Any) -> Any:
            wire(f"before replace {_kind(target)}")
            done = super().replace(target)
            wire(f"after replace {_kind(target)}")
            return done

        def unlink(self, missing_ok: bool = False) -> None:
            wire(f"before delete {_kind(self)}")
            super().unlink(missing_ok)
            wire(f"after delete {_kind(self)}")

    return WiredPath(folder)


def _kind(path: Path) -> str:
    if "context.json" in path.name:
        return path.name if path.name in ("context.json", "context.json.new") else "context set aside"
    return "ledger" if path.name.endswith(".bin") else "ledger set aside"


class _WiredFile:
    """A file being written, which a kill may leave half written."""

    def __init__(self, file: IO[bytes], wire: Tripwire, kind: str) -> None:
        self._file = file
        self._wire = wire
        self._kind = kind

    def __enter__(self) -> _WiredFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: bytes) -> int:
        half = len(content) // 2
        self._file.write(content[:half])
        self._file.flush()
        self._wire(f"half written {self._kind}")
        self._file.write(content[half:])
        self._file.flush()
        self._wire(f"written {self._kind}")
        return len(content)


@dataclass(slots=True, eq=False)
class Shown:
    """One record, as Graph shows it over time.

    Attributes:
        number: who it is, whatever its other members say; it is a member of the record.
        created: when it was created, by which Graph filters and orders.
        visible: from when on Graph shows it.
        versions: since when, which material version, and the text; oldest first.
        dated: False if it does not state its creation.
        twice: Graph lists it twice in one answer.
    """

    number: int
    created: float
    visible: float
    versions: list[tuple[float, int, bytes]]
    dated: bool = True
    twice: bool = False

    def at(self, now: float) -> tuple[float, int, bytes]:
        """The version that Graph shows at ``now``."""
        return next(version for version in reversed(self.versions) if version[0] <= now or version is self.versions[0])


class GraphModel:
    """A ``PageSource`` over records that appear late, change, tie, lack a time, or come in the wrong order.

    Args:
        clock: the time.
        wire: passed before each page.
        page_records: the most records on a page.
    """

    def __init__(self, clock: Clock, wire: Tripwire, page_records: int = 1000) -> None:
        self._clock = clock
        self._wire = wire
        self.page_records = page_records
        self.order: Order = "ascending"
        self.latency_s = 0.0
        self.fail_after: int | None = None
        self.requests = 0
        self.records: list[Shown] = []
        self._by_time: list[Shown] = []

    def add(
        self, created: float, visible: float, *, dated: bool = True, twice: bool = False, big: bool = False
    ) -> Shown:
        """A new record; ``big`` gives it a number that no 64 bits hold."""
        record = Shown(len(self.records), created, visible, [], dated, twice)
        self.records.append(record)
        insort(self._by_time, record, key=attrgetter("created"))
        record.versions.append((visible, 0, _text(record, 0, "first", big)))
        return record

    def change(self, record: Shown, at: float, *, material: bool) -> None:
        """Graph shows another version of a record from ``at`` on."""
        version = record.versions[-1][1] + material
        big = b"123456789012345678901234" in record.versions[0][2]
        record.versions.append((at, version, _text(record, version, f"changed at {at}", big)))

    def heal(self) -> None:
        """Answer quickly and without faults from now on."""
        self.latency_s = 0.0
        self.fail_after = None

    def listed(self, start: float, end: float) -> list[Shown]:
        """The records created from ``start`` to ``end`` that Graph shows now, oldest first."""
        low = bisect_left(self._by_time, start, key=attrgetter("created"))
        high = bisect_right(self._by_time, end, key=attrgetter("created"))
        now = self._clock.now
        return [record for record in self._by_time[low:high] if record.visible <= now]

    async def pages(self, stream: Stream, window: Window) -> AsyncGenerator[tuple[Page, bool]]:
        """Answer one window, as of the moment at which it was asked for."""
        listed = self._ordered(self.listed(window.start_s, window.end_s))
        if window.start_s < self._clock.now - RETENTION_S:
            raise GraphRefused(400, "BadRequest", "older than the retention")
        chunks = [listed[at : at + self.page_records] for at in range(0, len(listed), self.page_records)] or [[]]
        for index, chunk in enumerate(chunks):
            self._wire("before a page")
            self.requests += 1
            if self.fail_after is not None:
                self.fail_after -= 1
                if self.fail_after < 0:
                    self.fail_after = None
                    raise GraphUnavailable("the model was told to fail")
            self._clock.now += self.latency_s
            is_last = index == len(chunks) - 1
            texts = [record.at(self._clock.now)[2] for record in chunk]
            link = b"" if is_last else b'"@odata.nextLink":"https://graph.microsoft.com/next",'
            yield read_page(stream, b"{" + link + b'"value":[' + b",".join(texts) + b"]}"), is_last
            await asyncio.sleep(0)

    def _ordered(self, listed: list[Shown]) -> list[Shown]:
        dice = random.Random(self.requests)
        if len({record.created for record in listed}) < len(listed):
            # Ties come in another order each time.
            listed = sorted(listed, key=lambda record: (record.created, dice.random()))
        if any(record.twice for record in listed):
            listed = [same for record in listed for same in ([record] * (1 + record.twice))]
        if self.order == "newest first":
            listed.reverse()
        elif self.order == "shuffled" and listed:
            # The newest first: on a page of three, luck would otherwise look like order every sixth time.
            newest = listed.pop()
            dice.shuffle(listed)
            listed = [newest, *listed]
        return listed


def _text(record: Shown, version: int, note: str, big: bool) -> bytes:
    content = {
        "id": f"id-{record.number}",
        "createdDateTime": graph_time(int(record.created))[:-1] + f".{record.created % 1:.3f}0000Z"[2:],
        "number": record.number,
        "version": version,
        "status": {"errorCode": version, "failureReason": None},
        "riskState": "unknownFutureValue",
        "userDisplayName": note,
        "é": [1.0, -0.0, 12345678901, True, None, {"nested": []}],
    }
    if not record.dated:
        content["createdDateTime"] = (None, "yesterday", 7)[record.number % 3]
    text = orjson.dumps(content)
    return text[:-1] + b',"big":123456789012345678901234}' if big else text


def canonical(text: str | bytes) -> str:
    """A form in which two JSON texts are equal if they say the same; 1 and 1.0 do not."""
    return json.dumps(json.loads(text), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Pushed:
    """One record that the intake has stored."""

    at: float
    number: int
    version: int
    text: str


@dataclass(slots=True)
class IntakeModel:
    """The ``push`` of an intake that stores what it is sent, and may fail before, after, or in part.

    Attributes:
        fault: what the next push meets: nothing is stored; all is stored and the answer is lost; or all but the
            last is stored and named.
        allowed: how often each version may be repeated: once for every push of it that ended in a kill or a fault.
    """

    clock: Clock
    wire: Tripwire
    fault: Literal["refused", "no answer", "short"] | None = None
    pushed: list[Pushed] = field(default_factory=list)
    allowed: Counter[tuple[int, int]] = field(default_factory=Counter)
    in_flight: list[tuple[int, int]] = field(default_factory=list)

    def push(self, events: Sequence[str]) -> Sequence[str]:
        """Store the events and name them."""
        fault, self.fault = self.fault, None
        self.wire("before push")
        if fault == "refused":
            raise IntakeUnavailable("the model was told to fail")
        self.in_flight = []
        stored = events[:-1] if fault == "short" else events
        for text in stored:
            value = orjson.loads(text)
            self.in_flight.append((value["number"], value["version"]))
            self.pushed.append(Pushed(self.clock.now, value["number"], value["version"], text))
        self.wire("after push")
        if fault is not None:
            self.allowed.update(self.in_flight)
        if fault == "no answer":
            raise IntakeUnavailable("the model was told to lose its answer")
        return ["event-id"] * len(stored)

    def noted(self) -> None:
        """The batch in flight is noted in the ledger: it has no right to be repeated any more."""
        if self.wire.dead_at is None:
            self.in_flight = []

    def crashed(self) -> None:
        """The process was killed: the batch in flight may be repeated, once."""
        self.allowed.update(self.in_flight)
        self.in_flight = []


class Stopping:
    """The stop event of a connector that is never stopped; waiting for it takes the model's time, not ours."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float = 0.0) -> bool:
        self._clock.now += timeout
        return False
