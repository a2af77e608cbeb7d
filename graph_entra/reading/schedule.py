"""What is read when: polls on their period, everything else in whatever the rate limit leaves, by shares.

One loop serves all streams of a connector. A poll begins as soon as it is due. For the rest the loop waits until the
limiter would give a turn at once, and only then chooses, so that the choice is never older than the turn: whatever is
due by then (plan.py), the kind of work that has had least of its share (shares.py). A window then runs by itself, page
after page. So there are as many windows in flight as the answers are slow: while one waits for its answer, the next
turn is another's. Nothing is retried in place: what failed is still due by the coverage, or in trouble there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from graph_entra.clock import Clock
from graph_entra.errors import (
    GraphRefused,
    GraphUnavailable,
    PagingBroken,
    PassesByItself,
    PersonMustAct,
    Throttled,
    TokenRefused,
    WindowTooWide,
)
from graph_entra.microsoft.graph import Answer
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import plan
from graph_entra.reading.collector import Collector, Reading
from graph_entra.reading.coverage import LOOKS, Clipped, Coverage, Row, overdue_s
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.reading.shares import Key, Shares
from graph_entra.reading.traffic import LONGEST_REACH_S, SHORTEST_REACH_S, USUAL_REACH_S, Density, Lateness
from graph_entra.streams import DAY_S, HOUR_S, PAGE_RECORDS, Stretch, Window, graph_time
from graph_entra.telling.backlog_progress import BacklogProgress
from graph_entra.telling.problem_log import Log, ProblemLog

# How many records a window shall hold: more than the pages that are followed, so that these are full. Fewer after a
# chain that broke or an answer that did not come; growing back.
MOST_RECORDS: Final = 20_000
FEWEST_RECORDS: Final = 100
_GROWS: Final = 1.3
# What the pages in flight may hold; a page is held twice while it is parsed.
MOST_BYTES_IN_FLIGHT: Final = 40 * 1024 * 1024
MOST_IN_FLIGHT: Final = 64
_USUAL_PAGE_BYTES: Final = 2 * 1024 * 1024
# Of the limit, what polls that look back further than one page may take: while other work is due, and while none is.
_REACH_SHARE: Final = 0.75
_REACH_SHARE_IDLE: Final = 0.85
# What may have been shown since the last one adds to how far it looks back.
_LEAST_BETWEEN_S: Final = 60
_MOST_BETWEEN_S: Final = 600
# So full may the one page of a poll be that looks back for nothing.
_FREE_PAGE_RECORDS: Final = 850
# Another round through the last day begins so long after the one before, and takes half of an idle limit at most.
ROUND_EVERY_S: Final = 300.0
_IDLE_SPACINGS: Final = 2.0
# A stream that failed so often in a row is asked by its polls only, until it is served again.
_DOWN_AFTER: Final = 3
# A poll that failed so often asks for the last second only: is it the stream, or something in the window?
_PROBE_AFTER: Final = 2
_MOST_POLLS_IN_FLIGHT: Final = 8
# A stream that has not polled for so long beyond its own waits is stuck.
STUCK_S: Final = 900.0
_NOTHING_DUE_S: Final = 5.0
_LATE_TOLD_EVERY_S: Final = 3600.0
_OK: Final = 200
_ANSWER_SMOOTHING: Final = 0.2
# Refusals that are about the application, not about what was asked.
_NO_PLACE: Final = frozenset({401, 403})


class Backoff:
    """How long to wait before the next try: as long as the other side asked for, or twice as long each time."""

    def __init__(self) -> None:
        self.tries = 0
        self._problem: object = None

    def wait_s(self, error: Exception) -> float:
        """Seconds to wait after one more failed try; another problem than the last begins anew."""
        problem = (type(error), getattr(error, "code", None), getattr(error, "status", None))
        self.tries = self.tries + 1 if problem == self._problem else 1
        self._problem = problem
        asked_s = error.retry_after_s if isinstance(error, PassesByItself) else None
        if asked_s is not None and self.tries < 3:
            return asked_s
        first_s, most_s = (15.0, 300.0) if isinstance(error, PersonMustAct) else (1.0, 60.0)
        return max(asked_s or 0.0, min(most_s, first_s * 2.0 ** min(self.tries - 1, 10)))

    def over(self) -> None:
        """It worked."""
        self.tries, self._problem = 0, None


@dataclass(eq=False, slots=True)
class _Flight:
    """A window that is being read."""

    window: Window
    kind: str
    task: asyncio.Task[None] | None = None
    asked: bool = False

    @property
    def stretch(self) -> Stretch:
        return self.window.start_s, self.window.end_s


@dataclass(frozen=True, slots=True)
class _Polled:
    """What a poll read, and when it was asked."""

    start_s: int
    until_s: int
    asked_s: int


@dataclass(eq=False, slots=True)
class _Reader:
    """One stream, and what was learned of it. Nothing of this is kept: a restart learns it again."""

    collector: Collector
    progress: BacklogProgress
    density: Density = field(default_factory=Density)
    lateness: Lateness = field(default_factory=Lateness)
    flights: list[_Flight] = field(default_factory=list)
    backoff: Backoff = field(default_factory=Backoff)
    poll_due_s: float = 0.0
    reach_due_s: float = 0.0
    round_due_s: float = 0.0
    round_at_s: int = 0
    paused_until_s: float = 0.0
    served_s: float = float("-inf")
    place_failed_s: float = float("-inf")
    alive_s: float = 0.0
    polls_failed: int = 0
    failed_poll: tuple[Stretch, str] | None = None
    polls: int = 0
    target_records: float = MOST_RECORDS
    page_bytes: float = _USUAL_PAGE_BYTES
    edge_per_s: float = 0.0
    # The last poll, and the last one that looked back as far as it should.
    last_poll: _Polled = field(default_factory=lambda: _Polled(0, 0, 0))
    last_reach: _Polled = field(default_factory=lambda: _Polled(0, 0, 0))
    gap: Stretch | None = None
    late_told_s: float = float("-inf")
    reading_history: bool = False

    @property
    def key(self) -> str:
        return self.collector.stream.key

    @property
    def coverage(self) -> Coverage:
        return self.collector.coverage

    @property
    def down(self) -> bool:
        return self.backoff.tries >= _DOWN_AFTER

    def hidden_s(self, created_s: int) -> int:
        """How old a record was when a poll last asked for its time in vain: at least so late Graph shows it.

        Its age when it was found would not do: that is longer, the less often is asked, and would ask for more.
        """
        polls = (self.last_poll, self.last_reach)
        asked_s = [poll.asked_s for poll in polls if poll.start_s <= created_s <= poll.until_s]
        older = created_s < min(poll.start_s for poll in polls)
        return max(0, max(asked_s, default=self.last_poll.asked_s if older else created_s) - created_s)

    def in_flight(self) -> list[Stretch]:
        return [flight.stretch for flight in self.flights]

    def end_of(self, start_s: int, latest_s: int) -> int:
        return self.density.end_s(start_s, latest_s, int(self.target_records))

    def reach_pages(self) -> float:
        """Pages of a poll that looks back as far as the stream's lateness asks."""
        return self.edge_per_s * (self.lateness.reach_s() + _LEAST_BETWEEN_S) / PAGE_RECORDS + 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one stream is, for the metrics.

    Attributes:
        stream: its key.
        coverage: its map.
        reach_s: how far its polls look back, in seconds.
        overdue_s: by how many seconds each look is late, by its age.
        in_flight: windows in flight.
    """

    stream: str
    coverage: Coverage
    reach_s: int
    overdue_s: Mapping[int, int]
    in_flight: int


class Schedule:
    """Reads all streams of a connector, for ever.

    Args:
        collectors: one for each stream.
        period_s: seconds between two polls.
        limiter: Graph's limit.
        graph_clock: Graph's clock.
        clock: the time, for everything that waits.
        problems: told of what fails and what works again.
        log: writes a line.
        on_progress: told how far a stream is, after each window.
    """

    def __init__(
        self,
        collectors: Sequence[Collector],
        *,
        period_s: int,
        limiter: RateLimiter,
        graph_clock: GraphClock,
        clock: Clock,
        problems: ProblemLog,
        log: Log,
        on_progress: Callable[[Progress], None] = lambda _progress: None,
    ) -> None:
        self._readers = [_Reader(collector, BacklogProgress(clock)) for collector in collectors]
        self._by_key = {reader.key: reader for reader in self._readers}
        self._period_s = period_s
        self._limiter = limiter
        self._graph_clock = graph_clock
        self._clock = clock
        self._problems = problems
        self._log = log
        self._on_progress = on_progress
        self._shares = Shares()
        self._wake = asyncio.Event()
        self._asked_s = float("-inf")
        self._answer_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._began_s = now_s = clock.monotonic()
        for reader in self._readers:
            reader.poll_due_s = reader.reach_due_s = reader.round_due_s = reader.alive_s = now_s

    # What others tell

    @property
    def stuck(self) -> bool:
        """True if a stream has not polled for :data:`STUCK_S` beyond its own waits and those that Graph asks."""
        now_s = self._clock.monotonic()
        paused_s = self._limiter.not_before_s
        return any(now_s > max(reader.poll_due_s, reader.alive_s, paused_s) + STUCK_S for reader in self._readers)

    def alive(self) -> None:
        """Something that a stream waits for answers, such as an intake that is down. From any thread."""
        now_s = self._clock.monotonic()
        for reader in self._readers:
            reader.alive_s = now_s

    def asks(self, stream: str, window: Window | None) -> None:
        """A page is being asked for: its kind of work is charged."""
        self._asked_s = self._clock.monotonic()
        reader = self._by_key.get(stream)
        if reader is None or window is None:
            return
        for flight in reader.flights:
            if flight.window == window:
                flight.asked = True
                self._shares.charge(flight.kind, stream)
                self._wake.set()
                return

    def answered(self, answer: Answer) -> None:
        """Graph answered, or did not."""
        if answer.status == _OK:
            self._answer_s += (answer.took_s - self._answer_s) * _ANSWER_SMOOTHING
            if answer.stream in self._by_key:
                self._by_key[answer.stream].served_s = self._clock.monotonic()

    def saw_new(self, stream: str, created_s: Sequence[int]) -> None:
        """Records that were created at these seconds were seen for the first time. From any thread."""
        reader = self._by_key[stream]
        reader.lateness.note(map(reader.hidden_s, created_s), self._clock.monotonic())

    def page_read(self, stream: str, records: int) -> None:
        """A page of history was delivered. From any thread."""
        reader = self._by_key[stream]
        line = reader.progress.page(records, reader.coverage.unread_s)
        if line is not None:
            self._log(f"{stream}: {line}", "info")

    # The loop

    async def run(self) -> None:
        """Read, for ever.

        Raises:
            Exception: only what this module does not expect.
        """
        try:
            while True:
                due = self._due()
                self._begin_polls(due)
                if due and self._limiter.has_turn and self._may_begin():
                    self._begin(self._shares.first(due), due)
                else:
                    await self._pause(bool(due) and self._may_begin())
                for task in [task for task in self._tasks if task.done()]:
                    self._tasks.discard(task)
                    task.result()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pause(self, wants_turn: bool) -> None:
        now_s = self._clock.monotonic()
        # A poll that is overdue waits for its share, or for the one before: what it waits for wakes the loop.
        polls = (max(reader.poll_due_s, reader.paused_until_s) - now_s for reader in self._readers)
        waits = [
            self._wake.wait(),
            self._clock.sleep(min([_NOTHING_DUE_S, *(left_s for left_s in polls if left_s > 0)])),
        ]
        if wants_turn:
            waits.append(self._limiter.ready())
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._wake.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _may_begin(self) -> bool:
        """Whether another window may be in flight: each that was begun has asked, and memory allows one more."""
        flights = [(reader, flight) for reader in self._readers for flight in reader.flights]
        if any(not flight.asked for _, flight in flights):
            return False
        held = sum(reader.page_bytes for reader, _ in flights)
        largest = max((reader.page_bytes for reader in self._readers), default=0.0)
        return not flights or (len(flights) < MOST_IN_FLIGHT and held + largest <= MOST_BYTES_IN_FLIGHT)

    def _due(self) -> dict[Key, Window]:
        """Everything but polls that is due now, by kind of work and stream."""
        due: dict[Key, Window] = {}
        now_s, graph_now_s = self._clock.monotonic(), int(self._graph_clock.now_s())
        for reader in self._readers:
            if reader.down or now_s < reader.paused_until_s:
                continue
            due |= {(kind, reader.key): window for kind, window in self._due_of(reader, graph_now_s)}
        if not due and now_s - self._asked_s >= _IDLE_SPACINGS * self._limiter.spacing_s:
            due = self._rounds(graph_now_s)
        return due

    def _due_of(self, reader: _Reader, graph_now_s: int) -> Iterable[tuple[str, Window]]:
        coverage, in_flight = reader.coverage, reader.in_flight()
        found = [("unread", plan.unread_window(coverage, in_flight, reader.end_of))]
        found += [
            (kind, plan.look_window(coverage, age_s, graph_now_s, in_flight, reader.end_of))
            for kind, age_s in zip(("look 15 min", "look 2 h", "look 24 h"), LOOKS, strict=True)
        ]
        found.append(("troubled", plan.troubled_window(coverage, graph_now_s, in_flight)))
        found.append(("again", plan.again_window(coverage, in_flight, reader.end_of)))
        return [(kind, window) for kind, window in found if window is not None]

    def _rounds(self, graph_now_s: int) -> dict[Key, Window]:
        """What the next round through the last day reads, of each stream: only while nothing at all is due."""
        found: dict[Key, Window] = {}
        for reader in self._readers:
            if reader.down or not (reader.round_at_s or self._clock.monotonic() >= reader.round_due_s):
                continue
            until_s = reader.coverage.edge_s - max(reader.lateness.reach_s(), USUAL_REACH_S)
            since_s = max(graph_now_s - DAY_S, reader.round_at_s)
            window = plan.round_window(reader.coverage, (since_s, until_s), reader.in_flight(), reader.end_of)
            if window is None:
                reader.round_at_s = 0
                reader.round_due_s = self._clock.monotonic() + ROUND_EVERY_S
            else:
                found["round", reader.key] = window
        return found

    def _begin(self, key: Key, due: Mapping[Key, Window]) -> None:
        kind, stream = key
        reader, window = self._by_key[stream], due[key]
        if kind == "round":
            reader.round_at_s = window.end_s
        if kind == "unread":
            reader.reading_history = True
        self._start(reader, _Flight(window, kind))

    def _start(self, reader: _Reader, flight: _Flight) -> None:
        reader.flights.append(flight)
        flight.task = asyncio.create_task(self._fly(reader, flight))
        self._tasks.add(flight.task)

    async def _fly(self, reader: _Reader, flight: _Flight) -> None:
        reading = await self._read(reader, flight)
        await self._ended(reader, flight, reading)
        self._wake.set()

    async def _read(self, reader: _Reader, flight: _Flight) -> Reading:
        window = flight.window
        try:
            return await reader.collector.read(window)
        except Exception as error:  # noqa: BLE001 - the outermost loop: a stream never dies
            return Reading(window, int(self._graph_clock.now_s()), window.start_s, error=error)
        finally:
            with suppress(ValueError):
                reader.flights.remove(flight)

    # Polls

    def _begin_polls(self, due: Mapping[Key, Window]) -> None:
        now_s = self._clock.monotonic()
        others = {kind for kind, _ in due}
        for reader in sorted(self._readers, key=lambda reader: reader.poll_due_s):
            if now_s < max(reader.poll_due_s, reader.paused_until_s) or reader.polls >= self._polls_allowed():
                continue
            if self._shares.edge_must_wait(others):
                return
            reader.poll_due_s = self._next_poll_s(reader, now_s)
            reader.polls += 1
            task = asyncio.create_task(self._poll(reader, bool(others)))
            self._tasks.add(task)

    def _next_poll_s(self, reader: _Reader, now_s: float) -> float:
        """A period from now, or a little less: the streams take turns, so that none waits for all the others' pages."""
        phase_s = self._period_s * self._readers.index(reader) / len(self._readers)
        return now_s + self._period_s - (now_s - self._began_s - phase_s) % self._period_s

    def _polls_allowed(self) -> int:
        """One at a time, unless answers take longer than a period."""
        return min(_MOST_POLLS_IN_FLIGHT, 1 + int(self._answer_s / self._period_s))

    async def _poll(self, reader: _Reader, others_wait: bool) -> None:
        try:
            readings = await asyncio.gather(*await self._poll_windows(reader, others_wait))
            if readings and all(reading.error is None for reading in readings):
                await self._poll_worked(reader, readings)
        finally:
            reader.polls -= 1
            self._wake.set()

    async def _poll_windows(self, reader: _Reader, others_wait: bool) -> list[Coroutine[object, object, Reading]]:
        gap, clipped = await reader.collector.catch_up(self._period_s)
        self._tell_clipped(reader, gap, clipped)
        now_s = int(self._graph_clock.now_s())
        window = plan.edge_window(reader.coverage, now_s, self._reach_s(reader, others_wait))
        if window is None:
            return []
        if reader.polls_failed >= _PROBE_AFTER:
            window = Window("edge", now_s - 1, now_s)
        polled_s = max((flight.window.end_s for flight in reader.flights if flight.kind == "edge"), default=0)
        if polled_s > window.start_s:
            # The poll before has not been answered yet; no need to ask for all of it twice.
            window = Window("edge", max(window.start_s, min(polled_s, now_s - 1) - USUAL_REACH_S), now_s)
        windows = self._divided(reader, window)
        flights = [_Flight(part, "edge", asked=True) for part in windows]
        reader.flights += flights
        return [self._poll_part(reader, flight) for flight in flights]

    async def _poll_part(self, reader: _Reader, flight: _Flight) -> Reading:
        reading = await self._read(reader, flight)
        await self._ended(reader, flight, reading)
        return reading

    def _divided(self, reader: _Reader, window: Window) -> list[Window]:
        """One window, or several at once where one would hold too much to be answered, or for too long."""
        expected = reader.edge_per_s * (window.end_s - window.start_s)
        most = min(
            reader.target_records, 3 * PAGE_RECORDS if self._answer_s > self._limiter.spacing_s else MOST_RECORDS
        )
        count = min(ceil(expected / most) or 1, window.end_s - window.start_s)
        step_s = (window.end_s - window.start_s) / count
        places = [window.start_s + int(step_s * index) for index in range(count)] + [window.end_s]
        return [Window("edge", start_s, end_s) for start_s, end_s in zip(places, places[1:], strict=False)]

    def _reach_s(self, reader: _Reader, others_wait: bool) -> int:
        """How far a poll looks back: as far as its one page holds anyway; and as far as lateness asks, as often as
        the limit, shared with what else is waiting, allows."""
        if not reader.last_poll.asked_s:
            return USUAL_REACH_S  # nothing is known yet
        now_s, graph_now_s = self._clock.monotonic(), int(self._graph_clock.now_s())
        free_s = graph_now_s - reader.density.start_s(graph_now_s, graph_now_s - LONGEST_REACH_S, _FREE_PAGE_RECORDS)
        free_s = int(max(SHORTEST_REACH_S, min(free_s, _FREE_PAGE_RECORDS / max(reader.edge_per_s, 0.01))))
        if now_s < reader.reach_due_s:
            return free_s
        pages = sum(other.reach_pages() for other in self._readers)
        share = _REACH_SHARE if others_wait else _REACH_SHARE_IDLE
        reader.reach_due_s = now_s + max(self._period_s - 1.0, pages * self._limiter.spacing_s / share - 1.0)
        since_s = graph_now_s - reader.last_reach.asked_s if reader.last_reach.asked_s else 0
        return max(free_s, reader.lateness.reach_s() + min(since_s, _MOST_BETWEEN_S))

    async def _poll_worked(self, reader: _Reader, readings: Sequence[Reading]) -> None:
        if reader.failed_poll is not None:
            # The last second is served: it is something in what the failed polls asked for, and only that waits now.
            stretch, why = reader.failed_poll
            await reader.collector.fail(stretch, why, served_elsewhere=False)
        reader.polls_failed, reader.failed_poll = 0, None
        start_s, end_s = readings[0].window.start_s, readings[-1].window.end_s
        per_s = sum(reading.records for reading in readings) / max(1, end_s - start_s)
        reader.edge_per_s = per_s if reader.edge_per_s == 0.0 else (reader.edge_per_s + per_s) / 2
        until_s = next((reading.reached_s for reading in readings if reading.reached_s < reading.window.end_s), end_s)
        if until_s < end_s:
            reader.poll_due_s = self._clock.monotonic()
        reader.last_poll = _Polled(start_s, until_s, readings[0].asked_s)
        if end_s - start_s >= reader.lateness.reach_s():
            reader.last_reach = reader.last_poll
        self._tell_gap(reader)
        self._tell_late(reader)

    # What became of a window

    async def _ended(self, reader: _Reader, flight: _Flight, reading: Reading) -> None:
        window = reading.window
        if reading.pages:
            reader.page_bytes = max(reading.size_bytes / reading.pages, 0.8 * reader.page_bytes)
            if reading.reached_s > window.start_s:
                reader.density.learn(window.start_s, reading.reached_s, reading.records)
        for row in reading.aside:
            self._tell_aside(reader, row)
        if reading.error is None:
            self._worked(reader, reading)
        else:
            await self._failed(reader, reading, reading.error)
        self._tell_history(reader)
        self._on_progress(self._progress(reader))

    def _worked(self, reader: _Reader, reading: Reading) -> None:
        if reader.backoff.tries:
            # What was mended here may be mended for all: the others need not wait for their next try.
            for other in self._readers:
                other.paused_until_s = 0.0
                if other.backoff.tries:
                    other.poll_due_s = self._clock.monotonic()
        reader.backoff.over()
        if reading.records >= reader.target_records / 2:
            reader.target_records = min(MOST_RECORDS, reader.target_records * _GROWS)
        self._problems.served(reader.key, reading.window.work)
        self._problems.stored()
        if reading.window.work == "troubled" and not reading.aside:
            self._problems.readable(reader.key, (reading.window.start_s, reading.reached_s))

    async def _failed(self, reader: _Reader, reading: Reading, error: Exception) -> None:
        now_s = self._clock.monotonic()
        work = reading.window.work
        if isinstance(error, (WindowTooWide, PagingBroken)):
            held = max(reading.records, reader.density.expected(*reading.rest))
            reader.target_records = max(FEWEST_RECORDS, min(reader.target_records, held or MOST_RECORDS) / 2)
        if isinstance(error, (Throttled, TokenRefused)) or (
            isinstance(error, PagingBroken) and reading.reached_s > reading.window.start_s
        ):
            # Nothing is wrong with the window: it is due as before.
            wait_s = self._limiter.paused_s if isinstance(error, Throttled) else (error.retry_after_s or 0.0)
            reader.poll_due_s = min(reader.poll_due_s, now_s + wait_s) if work == "edge" else reader.poll_due_s
            self._problems.failed(error, reader.key, work, wait_s)
            return
        place = isinstance(error, (GraphUnavailable, PagingBroken)) or (
            isinstance(error, GraphRefused) and error.status not in _NO_PLACE
        )
        if place and work != "edge":
            await self._place_failed(reader, reading, error, now_s)
            return
        wait_s = max(reader.backoff.wait_s(error), self._limiter.paused_s)
        reader.paused_until_s = now_s + wait_s
        if work == "edge":
            self._poll_failed(reader, reading, error, place=place)
            reader.poll_due_s = now_s + wait_s
        self._problems.failed(error, reader.key, work, wait_s)

    def _poll_failed(self, reader: _Reader, reading: Reading, error: Exception, *, place: bool) -> None:
        if not place:
            reader.polls_failed, reader.failed_poll = 0, None
            return
        reader.polls_failed += 1
        if reader.polls_failed <= _PROBE_AFTER:
            before = reader.failed_poll[0][0] if reader.failed_poll else reading.reached_s
            reader.failed_poll = (min(before, reading.reached_s), reading.window.end_s), str(error)

    async def _place_failed(self, reader: _Reader, reading: Reading, error: Exception, now_s: float) -> None:
        served_elsewhere = reader.served_s > reader.place_failed_s
        reader.place_failed_s = now_s
        aside = await reader.collector.fail(reading.rest, str(error), served_elsewhere=served_elsewhere)
        for row in aside:
            self._tell_aside(reader, row)
        if not served_elsewhere:
            # Is it the place, or the stream? A poll tells.
            reader.poll_due_s = min(reader.poll_due_s, now_s)
            self._problems.failed(error, reader.key, reading.window.work, reader.backoff.wait_s(error))

    # What is told

    def _progress(self, reader: _Reader) -> Progress:
        return Progress(
            reader.key,
            reader.coverage,
            reader.lateness.reach_s(),
            overdue_s(reader.coverage, int(self._graph_clock.now_s())),
            sum(len(other.flights) for other in self._readers),
        )

    def _tell_aside(self, reader: _Reader, row: Row) -> None:
        if row.trouble is not None:
            again_s = row.trouble.again_s - self._graph_clock.now_s()
            self._problems.troubled(reader.key, (row.start_s, row.end_s), row.trouble.why, again_s)

    def _tell_clipped(self, reader: _Reader, gap: Stretch | None, clipped: Clipped) -> None:
        if gap is not None:
            # While an outage lasts, each try finds the gap a little longer.
            reader.gap = (min(gap[0], reader.gap[0] if reader.gap else gap[0]), gap[1])
        for stretch in clipped.lost:
            self._problems.lost(reader.key, stretch, "Graph no longer keeps them")
        for start_s, end_s in clipped.unlooked:
            self._log(
                f"{reader.key}: what was created from {graph_time(start_s)} to {graph_time(end_s)} was read, but not "
                "looked at again before Graph dropped it: a record that was shown late may be missing.",
                "warning",
            )

    def _tell_gap(self, reader: _Reader) -> None:
        if reader.gap is None:
            return
        start, end = map(graph_time, reader.gap)
        reader.gap, reader.reading_history = None, True
        self._log(
            f"{reader.key}: nothing was read since {start}. New records flow again; {start} to {end} is read as history.",
            "warning",
        )

    def _tell_late(self, reader: _Reader) -> None:
        late = overdue_s(reader.coverage, int(self._graph_clock.now_s()))
        age_s = max(late, key=lambda age_s: late[age_s])
        now_s = self._clock.monotonic()
        if late[age_s] < HOUR_S + plan.STEP_S[age_s] or now_s - reader.late_told_s < _LATE_TOLD_EVERY_S:
            return
        reader.late_told_s = now_s
        self._log(
            f"{reader.key}: the look at {_age(age_s)} is {late[age_s] / HOUR_S:.1f} h late, because the rate limit does "
            "not suffice: what Graph shows late or changes arrives so much later. New records are not affected.",
            "info",
        )

    def _tell_history(self, reader: _Reader) -> None:
        if reader.reading_history and reader.coverage.unread_s == 0 and reader.polls == 0:
            reader.reading_history = False
            self._log(f"{reader.key}: {reader.progress.done()}", "info")


def _age(age_s: int) -> str:
    return f"{age_s // 60} min" if age_s < HOUR_S else f"{age_s // HOUR_S} h"
