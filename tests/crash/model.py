"""A model of Graph, of the intake and of the disk, in one virtual time, all of which a kill may interrupt."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from threading import Event
from typing import IO, Any, Final, Literal, Protocol

import orjson

from graph_entra.errors import (
    GraphRefused,
    GraphUnavailable,
    IntakeRefused,
    IntakeTimedOut,
    IntakeUnavailable,
    PagingBroken,
    Throttled,
    WindowTooWide,
)
from graph_entra.microsoft.graph import Answer
from graph_entra.microsoft.pages import read_page
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading.coverage import RETENTION_S
from graph_entra.records import Page
from graph_entra.streams import DAY_S, Stream, Window, graph_time
from tests.virtual.jumping import JumpingLoop

Order = Literal["ascending", "newest first", "shuffled"]
# How a record spoils each page that holds it.
Spoils = Literal["500", "400", "half"]
VISIBLE_WITHIN_S: Final = DAY_S
ORDERS: Final[tuple[Order, ...]] = ("ascending", "newest first", "shuffled")
START_S: Final = 1_790_000_000.25
# How long an answer is waited for, at most: Graph's, and the intake's.
_ANSWER_LIMIT_S: Final = 330.0
_INTAKE_LIMIT_S: Final = 30.0


class Crash(BaseException):
    """``kill -9``: nothing that stands behind it may have an effect any more."""


class Loop(JumpingLoop):
    """Virtual time, in which a thread's work is done where it stands and takes no time unless it waits."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        done: asyncio.Future[Any] = self.create_future()
        try:
            done.set_result(func(*args))
        except BaseException as error:  # noqa: BLE001 - as a thread does
            done.set_exception(error)
        return done

    def advance(self, seconds: float) -> None:
        """Time passes, and nothing else happens meanwhile: a thread waits, or the machine sleeps."""
        self._virtual_s += seconds


class Clock:
    """The time. ``now`` is Graph's, seconds since 1970; this machine's wall clock may be ahead of it, and step.

    Attributes:
        ahead_s: by how much.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._origin_s = START_S - loop.time()
        self.ahead_s = 0.0

    @property
    def now(self) -> float:
        return self._origin_s + self._loop.time()

    def time(self) -> float:
        """See graph_entra.clock.Clock."""
        return self.now + self.ahead_s

    def monotonic(self) -> float:
        """See graph_entra.clock.Clock."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """See graph_entra.clock.Clock."""
        await asyncio.sleep(seconds)

    def wait(self, event: Event, seconds: float) -> bool:
        """See graph_entra.clock.Clock; all other work stands still meanwhile."""
        self._loop.advance(seconds)
        return event.is_set()


class Tripwire:
    """Counts side effects and kills the process at the one that was chosen; a dead process has no further effect."""

    def __init__(self) -> None:
        self._left: int | None = None
        self.dead_at: str | None = None
        self.crashes: Counter[str] = Counter()
        self.on_death: Callable[[], None] = lambda: None

    def arm(self, after: int) -> None:
        """Crash when ``after`` more side effects have happened."""
        self._left = after

    def disarm(self) -> None:
        """A new process; it lives until the wire is armed again."""
        self._left = None
        self.dead_at = None

    def kill(self, where: str) -> None:
        """The process is dead from now on."""
        self.dead_at = where
        self.crashes[where] += 1
        self.on_death()

    def __call__(self, where: str) -> None:
        if self.dead_at is None:
            if self._left is None:
                return
            self._left -= 1
            if self._left >= 0:
                return
            self.kill(where)
        raise Crash(self.dead_at)


@dataclass
class Disk:
    """A disk that may be full, on a wire: what of the real ``Files`` reaches the real folder.

    Attributes:
        wire: passed before, amid and after each effect.
        full: nothing more fits; of a write, the first half still does.
        stuck: and a torn part cannot be cut off again either.
    """

    wire: Tripwire
    full: bool = False
    stuck: bool = False
    faults: int = 0

    def folder(self, folder: str) -> Path:
        """The real folder, on which each effect passes the wire."""
        disk, wire = self, self.wire

        class WiredPath(type(Path())):  # type: ignore[misc]
            def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
                if mode not in ("wb", "ab"):
                    return super().open(mode, *args, **kwargs)
                wire(f"before open {_kind(self)}")
                return _WiredFile(super().open(mode, *args, **kwargs), disk, _kind(self))

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

    def written(self, write: Callable[[Any], int], content: Any, kind: str) -> int:
        """One write, which a kill or a full disk may leave half done."""
        half = len(content) // 2
        write(content[:half])
        self.wire(f"half written {kind}")
        if self.full:
            self.faults += 1
            raise OSError(errno.ENOSPC, "the model's disk is full")
        write(content[half:])
        self.wire(f"written {kind}")
        return len(content)

    def cut(self, cut: Callable[[], object]) -> None:
        """One truncation."""
        self.wire("before a cut")
        if self.stuck:
            raise OSError(errno.EIO, "the model's disk is stuck")
        cut()
        self.wire("after a cut")


class WiredOs:
    """In the place of ``os`` in state/files.py, for what does not go through a path."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def truncate(self, path: Path, size: int) -> None:
        self._disk.cut(lambda: os.truncate(path, size))


def _kind(path: Path) -> str:
    if "context.json" in path.name:
        return path.name if path.name in ("context.json", "context.json.new") else "context set aside"
    return "ledger" if path.name.endswith(".bin") else path.name


class _WiredFile:
    """A file being written, which a kill may leave half written."""

    def __init__(self, file: IO[bytes], disk: Disk, kind: str) -> None:
        self._file = file
        self._disk = disk
        self._kind = kind

    def __enter__(self) -> _WiredFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: bytes) -> int:
        return self._disk.written(self._write, content, self._kind)

    def truncate(self, size: int) -> None:
        self._disk.cut(lambda: self._file.truncate(size))

    def _write(self, part: bytes) -> int:
        written = self._file.write(part)
        self._file.flush()
        return written


@dataclass(slots=True, eq=False)
class Shown:
    """One record, as Graph shows it over time.

    Attributes:
        number: who it is, whatever its other members say; it is a member of the record.
        stream: whose record it is.
        created: when it was created, by which Graph filters and orders.
        visible: from when on Graph shows it.
        versions: since when, which material version, and the text; oldest first.
        states: the creation that it states; ``created`` by default.
        twice: Graph lists it twice in one answer.
        spoils: every page that holds it, and how, until ``heals``.
        left_out_at: when an answer last left it out: to whoever asked, it is shown after that.
        left_out_old: an answer left it out when nothing was to be read again for its age.
    """

    number: int
    stream: str
    created: float
    visible: float
    versions: list[tuple[float, int, bytes]]
    states: Any = None
    twice: bool = False
    spoils: Spoils | None = None
    heals: float = float("inf")
    left_out_at: float = float("-inf")
    left_out_old: bool = False

    def at(self, now: float) -> tuple[float, int, bytes]:
        """The version that Graph shows at ``now``."""
        return next(version for version in reversed(self.versions) if version[0] <= now or version is self.versions[0])


class Asked(Protocol):
    """What the process that asks has: made anew with each start."""

    limiter: RateLimiter

    def asks(self, stream: str, window: Window) -> None: ...

    def answered(self, answer: Answer) -> None: ...


@dataclass
class Mood:
    """How Graph answers at present.

    Attributes:
        order: of the records in a window.
        answer_s: how long an answer takes: at least, at most.
        left_out: the probability with which an answer leaves a record out, anew each time.
        ends_early: the probability with which a full page that is not the last has no link.
        link_pages: links of a chain live for so many pages.
        most_records: a window that holds more is answered with 504.
        refused: the probability with which a page is answered 400.
        refused_from_s: only windows that begin so long ago are.
        down: every page is answered 503.
        throttled: every page is answered 429.
        fail_after: after so many pages, one is answered 503.
    """

    order: Order = "ascending"
    answer_s: tuple[float, float] = (0.3, 0.3)
    left_out: float = 0.0
    ends_early: float = 0.0
    link_pages: int | None = None
    most_records: int | None = None
    refused: float = 0.0
    refused_from_s: float = 0.0
    down: bool = False
    throttled: bool = False
    fail_after: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One page that was asked for.

    Attributes:
        at: when.
        window: for which window.
        goes_on: not its first page.
        waited_s: for its turn.
    """

    at: float
    window: Window
    goes_on: bool
    waited_s: float


class GraphModel:
    """A ``PageSource`` over records that appear late, change, tie, lack a time, spoil pages, or come in any order.

    Args:
        clock: the time.
        wire: passed before each page.
        seed: of its dice.
    """

    def __init__(self, clock: Clock, wire: Tripwire, seed: int = 0) -> None:
        self._clock = clock
        self._wire = wire
        self.dice = random.Random(seed)
        self.mood = Mood()
        self.asker: Asked
        self.requests: list[Request] = []
        self.fault_at = float("-inf")
        self.records: list[Shown] = []
        self._by_time: dict[str, list[Shown]] = {}

    def add(
        self,
        created: float,
        visible: float | None = None,
        *,
        stream: str = "interactiveUser",
        states: Any = None,
        twice: bool = False,
        big: bool = False,
        spoils: Spoils | None = None,
        heals: float = float("inf"),
    ) -> Shown:
        """A new record, shown at once unless said otherwise; ``big`` gives it a number that no 64 bits hold."""
        visible = created if visible is None else visible
        record = Shown(len(self.records), stream, created, visible, [], states, twice, spoils, heals)
        self.records.append(record)
        insort(self._by_time.setdefault(stream, []), record, key=attrgetter("created"))
        record.versions.append((visible, 0, _text(record, 0, "first", big)))
        return record

    def change(self, record: Shown, at: float, *, material: bool) -> None:
        """Graph shows another version of a record from ``at`` on."""
        version = record.versions[-1][1] + material
        big = b"123456789012345678901234" in record.versions[0][2]
        record.versions.append((at, version, _text(record, version, f"changed at {at}", big)))

    def heal(self) -> None:
        """Answer quickly and without faults from now on; what spoils pages stays."""
        self.mood = Mood(order=self.mood.order)

    def listed(self, stream: str, start: float, end: float) -> list[Shown]:
        """The records created from ``start`` to ``end`` that Graph shows now, oldest first."""
        by_time = self._by_time.get(stream, [])
        low = bisect_left(by_time, start, key=attrgetter("created"))
        high = bisect_right(by_time, end, key=attrgetter("created"))
        now = self._clock.now
        return [record for record in by_time[low:high] if record.visible <= now]

    def created_before(self, second: float) -> list[Shown]:
        """The records that were created before then."""
        return [record for record in self.records if record.created < second]

    async def pages(self, stream: Stream, window: Window) -> AsyncGenerator[tuple[Page, bool]]:
        """Answer one window, as of the moment at which it was asked for."""
        chunks: list[list[Shown]] | None = None
        index = 0
        while chunks is None or index < len(chunks):
            began = self._clock.now
            await self.asker.limiter.turn(window.work, goes_on=index > 0)
            self._wire("before a page")
            self.asker.asks(stream.key, window)
            asked = self._clock.now
            self.requests.append(Request(asked, window, index > 0, asked - began))
            if chunks is None:
                chunks = self._chunks(stream, window)
            mood = self.mood
            error = self._fault(mood, window, chunks, index)
            took_s = self.dice.uniform(*mood.answer_s)
            if took_s > _ANSWER_LIMIT_S:
                took_s, error = _ANSWER_LIMIT_S, WindowTooWide("Graph did not answer in time")
            await asyncio.sleep(took_s)
            self._wire("before an answer")
            status = 200 if error is None else getattr(error, "status", 429 if isinstance(error, Throttled) else 503)
            self.asker.answered(Answer(stream.key, status, took_s, float(int(self._clock.now))))
            if isinstance(error, Throttled):
                self.asker.limiter.throttled(error.retry_after_s)
            else:
                self.asker.limiter.answered()
            if error is not None:
                self.fault_at = self._clock.now
                raise error
            is_last = index == len(chunks) - 1
            if not is_last and self.dice.random() < mood.ends_early:
                self.fault_at = self._clock.now
                is_last = True
            page = self._page(stream, chunks[index], is_last=is_last)
            if page.broken is not None:
                self.fault_at = self._clock.now
            yield page, is_last and page.broken is None
            if is_last or page.broken is not None:
                return
            index += 1

    def _chunks(self, stream: Stream, window: Window) -> list[list[Shown]]:
        listed = self.listed(stream.key, window.start_s, window.end_s)
        left_out = self.mood.left_out
        if left_out:
            kept = []
            for record in listed:
                if self.dice.random() >= left_out:
                    kept.append(record)
                    continue
                record.left_out_at = self._clock.now
                record.left_out_old |= self._clock.now - record.created > DAY_S
            listed = kept
        listed = self._ordered(listed, newest_first=window.newest_first)
        size = window.page_records
        return [listed[at : at + size] for at in range(0, len(listed), size)] or [[]]

    def _fault(self, mood: Mood, window: Window, chunks: list[list[Shown]], index: int) -> Exception | None:
        now = self._clock.now
        if mood.throttled:
            return Throttled("Graph throttles the application (429)", 10.0)
        if mood.down:
            return GraphUnavailable("Graph answered 503 ServiceUnavailable")
        if mood.fail_after is not None:
            mood.fail_after -= 1
            if mood.fail_after < 0:
                mood.fail_after = None
                return GraphUnavailable("the model was told to fail")
        if window.start_s < now - RETENTION_S:
            return GraphRefused(400, "BadRequest", "older than the retention")
        if window.start_s <= now - mood.refused_from_s and self.dice.random() < mood.refused:
            return GraphRefused(400, "UnknownError", "Unsupported Query.")
        if mood.most_records is not None and sum(map(len, chunks)) > mood.most_records:
            return WindowTooWide("Graph did not answer in time (504)")
        if mood.link_pages is not None and index >= mood.link_pages:
            return PagingBroken("Graph no longer knows the page that it announced", retry_after_s=0)
        for record in chunks[index]:
            if record.spoils in ("400", "500") and now < record.heals:
                if record.spoils == "400":
                    return GraphRefused(400, "UnknownError", "")
                return GraphUnavailable("Graph answered 500 UnknownError")
        return None

    def _page(self, stream: Stream, chunk: list[Shown], *, is_last: bool) -> Page:
        now = self._clock.now
        link = b"" if is_last else b'"@odata.nextLink":"https://graph.microsoft.com/next",'
        body = b"{" + link + b'"value":['
        for index, record in enumerate(chunk):
            text = record.at(now)[2]
            if record.spoils == "half" and now < record.heals:
                glued_on = b'{"error":{"code":"UnknownError","message":"it broke"}}'
                return read_page(stream, body + text[: len(text) // 2] + glued_on)
            body += (b"," if index else b"") + text
        return read_page(stream, body + b"]}")

    def _ordered(self, listed: list[Shown], *, newest_first: bool) -> list[Shown]:
        if len({record.created for record in listed}) < len(listed):
            # Ties come in another order each time.
            listed = sorted(listed, key=lambda record: (record.created, self.dice.random()))
        if any(record.twice for record in listed):
            listed = [same for record in listed for same in ([record] * (1 + record.twice))]
        if (self.mood.order == "newest first") != newest_first:
            listed.reverse()
        if self.mood.order == "shuffled" and listed:
            # The newest first: on a page of three, luck would otherwise look like order every sixth time.
            newest = max(listed, key=attrgetter("created"))
            listed.remove(newest)
            self.dice.shuffle(listed)
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
    if record.states is not None:
        content["createdDateTime"] = record.states
    text = orjson.dumps(content)
    return text[:-1] + b', "big":123456789012345678901234,"tenth":0.10}' if big else text


@dataclass(frozen=True, slots=True)
class Pushed:
    """One record that the intake has stored."""

    at: float
    number: int
    version: int
    text: str


@dataclass
class IntakeModel:
    """The ``push`` of an intake that stores what it is sent, and may refuse, or fail before, after, or in part.

    Attributes:
        fault: what the next push meets: nothing is stored; all is stored and the answer is lost; all but the last is
            stored and acknowledged; or it is refused as if for its content.
        down_until: nothing is stored until then.
        refuses_next: which of the next pushes are refused.
        refuses_all_until: every push is refused until then, with ``status``.
        refuses: numbers of the records that it refuses for their content.
        record_s: how long it takes for each record; beyond the limit it has stored the push, and is not heard.
        allowed: how often each version may be repeated: once for every push of it that ended in a kill or a fault.
    """

    clock: Clock
    loop: Loop
    wire: Tripwire
    fault: Literal["no answer", "not stored", "short", "refused"] | None = None
    down_until: float = 0.0
    refuses_all_until: float = 0.0
    status: int = 400
    refuses_next: list[bool] = field(default_factory=list)
    refuses: set[int] = field(default_factory=set)
    record_s: float = 0.0
    fault_at: float = float("-inf")
    pushed: list[Pushed] = field(default_factory=list)
    allowed: Counter[tuple[int, int]] = field(default_factory=Counter)
    in_flight: list[tuple[int, int]] = field(default_factory=list)
    most_at_once: int = 0
    refused_once: set[int] = field(default_factory=set)

    def push(self, events: Sequence[str]) -> int:
        """Store the events; returns how many were acknowledged."""
        fault, self.fault = self.fault, None
        self.wire("before push")
        numbers = [orjson.loads(text)["number"] for text in events]
        if fault == "not stored" or self.clock.now < self.down_until:
            self.fault_at = self.clock.now
            raise IntakeUnavailable("the model was told to fail")
        if self.refuses_next and self.refuses_next.pop(0):
            fault = "refused"
        if fault == "refused" or self.clock.now < self.refuses_all_until or self.refuses & set(numbers):
            self.fault_at = self.clock.now
            if not fault and self.clock.now >= self.refuses_all_until:
                self.refused_once |= self.refuses & set(numbers)
            raise IntakeRefused(self.status)
        return self._store(events[:-1] if fault == "short" else events, fault)

    def _store(self, events: Sequence[str], fault: str | None) -> int:
        stored = []
        for text in events:
            value = orjson.loads(text)
            stored.append((value["number"], value["version"]))
            self.pushed.append(Pushed(self.clock.now, value["number"], value["version"], text))
        self.in_flight += stored
        self.most_at_once = max(self.most_at_once, len(stored))
        took_s = self.record_s * len(events)
        self.loop.advance(min(took_s, _INTAKE_LIMIT_S))
        self.wire("after push")
        if took_s > _INTAKE_LIMIT_S or fault is not None:
            self.fault_at = self.clock.now
            self.allowed.update(stored)
            for one in stored:
                self.in_flight.remove(one)
        if took_s > _INTAKE_LIMIT_S:
            raise IntakeTimedOut("the model's intake took too long")
        if fault == "no answer":
            raise IntakeUnavailable("the model was told to lose its answer")
        return len(events)

    def noted(self, is_of_ledger: Callable[[int], bool]) -> None:
        """What was pushed of one ledger's records is noted there: it has no right to be repeated any more."""
        if self.wire.dead_at is None:
            self.in_flight = [one for one in self.in_flight if not is_of_ledger(one[0])]

    def crashed(self) -> None:
        """The process was killed: the batch in flight may be repeated, once."""
        self.allowed.update(self.in_flight)
        self.in_flight = []
