"""What is read when: polls on their period, everything else in whatever the rate limit leaves, by shares.

One loop serves all streams of a connector. A poll begins as soon as it is due. For the rest the loop waits until the
limiter would give a turn at once, and only then chooses, so that the choice is never older than the turn: whatever is
due by then (plan.py), the kind of work that has had least of its share (shares.py). A window then runs by itself, page
after page. So there are as many windows in flight as the answers are slow: while one waits for its answer, the next
turn is another's. Nothing is retried in place: what failed is still due by the coverage, or in trouble there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from graph_entra.clock import Clock
from graph_entra.microsoft.graph import Answer
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import plan
from graph_entra.reading.collector import Collector, Reading
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.reading.outcomes import Outcomes
from graph_entra.reading.polls import Polls
from graph_entra.reading.reader import Flight, Reader
from graph_entra.reading.reports import Progress, Reports
from graph_entra.reading.shares import FIRST_PAGE_OF_A_POLL, Key, Shares
from graph_entra.reading.traffic import USUAL_REACH_S
from graph_entra.streams import DAY_S, LOOK_AGES, Window
from graph_entra.telling.history_progress import HistoryProgress
from graph_entra.telling.problem_log import Log, ProblemLog

# What the pages in flight may hold; a page is held twice while it is parsed.
MOST_BYTES_IN_FLIGHT: Final = 40 * 1024 * 1024
MOST_IN_FLIGHT: Final = 64
# Another round through the last day begins so long after the one before, and takes half of an idle limit at most.
ROUND_EVERY_S: Final = 300.0
_IDLE_SPACINGS: Final = 2.0
_MOST_POLLS_IN_FLIGHT: Final = 8
# A stream that has not polled for so long beyond its own waits is stuck.
STUCK_S: Final = 900.0
_NOTHING_DUE_S: Final = 5.0
_OK: Final = 200
_ANSWER_SMOOTHING: Final = 0.2


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
        self._readers = [Reader(collector, HistoryProgress(clock)) for collector in collectors]
        self._by_key = {reader.key: reader for reader in self._readers}
        self._period_s = period_s
        self._limiter = limiter
        self._graph_clock = graph_clock
        self._clock = clock
        self._log = log
        self._reports = Reports(problems, log, graph_clock, clock, on_progress)
        self._outcomes = Outcomes(self._readers, limiter=limiter, clock=clock, problems=problems, reports=self._reports)
        self._polls = Polls(
            self._readers,
            period_s=period_s,
            limiter=limiter,
            graph_clock=graph_clock,
            clock=clock,
            reports=self._reports,
        )
        self._shares = Shares()
        self._wake = asyncio.Event()
        self._asked_s = float("-inf")
        self._answer_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._began_s = now_s = clock.monotonic()
        for reader in self._readers:
            reader.poll_due_s = reader.reach_due_s = reader.round_due_s = reader.alive_s = reader.late_told_s = now_s

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
                first = flight.kind == "edge" and not flight.charged
                flight.asked = flight.charged = True
                self._shares.charge(flight.kind, stream, FIRST_PAGE_OF_A_POLL if first else 1.0)
                self._wake.set()
                return

    def answered(self, answer: Answer) -> None:
        """Graph answered, or did not."""
        if answer.status == _OK:
            self._answer_s += (answer.took_s - self._answer_s) * _ANSWER_SMOOTHING
            if answer.stream in self._by_key:
                self._by_key[answer.stream].alive_s = self._clock.monotonic()

    def saw_new(self, stream: str, created_s: Sequence[int]) -> None:
        """Records that were created at these seconds were seen for the first time. From any thread."""
        reader = self._by_key[stream]
        hidden_s = map(reader.hidden_s, created_s)
        reader.lateness.note((late_s for late_s in hidden_s if late_s is not None), self._clock.monotonic())

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
        for reader in self._readers:
            # What an earlier process set aside: or the first end of another problem would say that nothing is missing.
            for row in reader.coverage.troubled:
                if row.trouble is not None and row.trouble.told:
                    self._reports.aside(reader, row)
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

    def _due_of(self, reader: Reader, graph_now_s: int) -> Iterable[tuple[str, Window]]:
        coverage, in_flight = reader.coverage, reader.in_flight()
        found = [("unread", plan.unread_window(coverage, in_flight, reader.history_end_of))]
        found += [
            (f"look {age}", plan.look_window(coverage, age_s, graph_now_s, in_flight, reader.end_of))
            for age, age_s in LOOK_AGES.items()
        ]
        found.append(("troubled", plan.troubled_window(coverage, graph_now_s, in_flight)))
        found.append(("again", plan.again_window(coverage, in_flight, reader.end_of)))
        return [(kind, window) for kind, window in found if window is not None]

    def _rounds(self, graph_now_s: int) -> dict[Key, Window]:
        """What the next round through the last day reads, of each stream: only while nothing at all is due."""
        found: dict[Key, Window] = {}
        now_s = self._clock.monotonic()
        for reader in self._readers:
            if reader.down or now_s < reader.paused_until_s or not (reader.round_at_s or now_s >= reader.round_due_s):
                continue
            until_s = reader.coverage.edge_s - max(reader.lateness.reach_s(), USUAL_REACH_S)
            since_s = max(graph_now_s - DAY_S, reader.round_at_s)
            window = plan.round_window(reader.coverage, (since_s, until_s), reader.in_flight(), reader.end_of)
            if window is None:
                reader.round_at_s = 0
                reader.round_due_s = now_s + ROUND_EVERY_S
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
        self._start(reader, Flight(window, kind))

    def _start(self, reader: Reader, flight: Flight) -> None:
        reader.flights.append(flight)
        flight.task = asyncio.create_task(self._fly(reader, flight))
        self._tasks.add(flight.task)

    async def _fly(self, reader: Reader, flight: Flight) -> None:
        reading = await self._read(reader, flight)
        await self._over(reader, reading)
        self._wake.set()

    async def _read(self, reader: Reader, flight: Flight) -> Reading:
        window = flight.window
        try:
            return await reader.collector.read(window)
        except Exception as error:  # noqa: BLE001 - the outermost loop: a stream never dies
            return Reading(window, int(self._graph_clock.now_s()), window.start_s, error=error)
        finally:
            with suppress(ValueError):
                reader.flights.remove(flight)

    async def _over(self, reader: Reader, reading: Reading) -> None:
        await self._outcomes.ended(reader, reading)
        self._reports.progress(reader, sum(len(other.flights) for other in self._readers))

    # Polls

    def _begin_polls(self, due: Mapping[Key, Window]) -> None:
        now_s = self._clock.monotonic()
        others_wait = bool(due)
        # While a chain of pages is read nothing else has its turn, and that is not the polls' doing.
        served = {flight.kind for reader in self._readers for flight in reader.flights} - {"edge"}
        others = served or {kind for kind, _ in due}
        for reader in sorted(self._readers, key=lambda reader: reader.poll_due_s):
            if now_s < max(reader.poll_due_s, reader.paused_until_s) or reader.polls >= self._polls_allowed():
                continue
            if self._shares.edge_must_wait(others):
                return
            reader.poll_due_s = self._next_poll_s(reader, now_s)
            reader.polls += 1
            task = asyncio.create_task(self._poll(reader, others_wait))
            self._tasks.add(task)

    def _next_poll_s(self, reader: Reader, now_s: float) -> float:
        """A period from now, or a little less: the streams take turns, so that none waits for all the others' pages."""
        phase_s = self._period_s * self._readers.index(reader) / len(self._readers)
        return now_s + self._period_s - (now_s - self._began_s - phase_s) % self._period_s

    def _polls_allowed(self) -> int:
        """One at a time, unless answers take longer than a period."""
        return min(_MOST_POLLS_IN_FLIGHT, 1 + int(self._answer_s / self._period_s))

    async def _poll(self, reader: Reader, others_wait: bool) -> None:
        try:
            windows = await self._polls.windows(reader, others_wait, self._answer_s)
            flights = [Flight(window, "edge", asked=True) for window in windows]
            reader.flights += flights
            readings = await asyncio.gather(*(self._poll_part(reader, flight) for flight in flights))
            if readings and all(reading.error is None for reading in readings):
                await self._polls.worked(reader, readings)
                self._reports.progress(reader, sum(len(other.flights) for other in self._readers), polled=True)
        finally:
            reader.polls -= 1
            self._wake.set()

    async def _poll_part(self, reader: Reader, flight: Flight) -> Reading:
        reading = await self._read(reader, flight)
        await self._over(reader, reading)
        return reading
