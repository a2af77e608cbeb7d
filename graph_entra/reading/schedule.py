"""When each lane of a stream reads: live on its period, everything else in between.

Each stream has two tasks, so that a live pass never waits behind backlog: they share the request budget, which serves
live first, and take turns at delivery. Every wait is a sleep that a stop cancels.
"""

from __future__ import annotations

from typing import Final

from graph_entra.clock import Clock
from graph_entra.errors import GraphRefused, PassesByItself, PersonMustAct, WindowTooWide
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import lanes
from graph_entra.reading.collector import Collector
from graph_entra.records import Taken
from graph_entra.streams import DAY_S, HOUR_S, LookAge, Stretch, Window, Work
from graph_entra.telling import metrics
from graph_entra.telling.backlog_progress import BacklogProgress
from graph_entra.telling.problem_log import Log, ProblemLog

# The longest window to ask for, and how far a slow answer shrinks it.
WIDEST_S: Final = 7 * DAY_S
FIRST_SPAN_S: Final = DAY_S
NARROWEST_S: Final = 60
# A lane that has not moved for so long beyond its own waits is stuck.
STUCK_S: Final = 900.0
# The smallest retention there is: 7 days without a licence.
LEAST_RETENTION_S: Final = 7 * DAY_S
_REFUSED_STEP_S: Final = 6 * HOUR_S
_IDLE_S: Final = 15.0
_LATE_EVERY_S: Final = 3600.0
_BAD_REQUEST: Final = 400


class Backoff:
    """How long to wait before the next try: as long as the other side asked for, or twice as long each time."""

    def __init__(self) -> None:
        self.tries = 0

    def wait_s(self, error: Exception) -> float:
        """Seconds to wait after one more failed try."""
        self.tries += 1
        asked_s = error.retry_after_s if isinstance(error, PassesByItself) else None
        if asked_s is not None and self.tries < 3:
            return asked_s
        first_s, most_s = (15.0, 300.0) if isinstance(error, PersonMustAct) else (1.0, 60.0)
        return max(asked_s or 0.0, min(most_s, first_s * 2.0 ** min(self.tries - 1, 10)))


class StreamSchedule:
    """Drives the lanes of one stream.

    Args:
        collector: reads and delivers.
        period_s: seconds between two live passes.
        budget: asked how long Graph wants to be left alone.
        problems: told of what fails and what recovers.
        log: writes a line.
        clock: the time.
        lag: told of each poll.
    """

    def __init__(
        self,
        collector: Collector,
        *,
        period_s: int,
        budget: RateLimiter,
        problems: ProblemLog,
        log: Log,
        clock: Clock,
        lag: metrics.Lag | None = None,
    ) -> None:
        self.collector = collector
        self._lag = lag
        self._key = collector.stream.key
        self._period_s = period_s
        self._budget = budget
        self._problems = problems
        self._log = log
        self._clock = clock
        self._overlap_s = lanes.OVERLAP_S
        self._live_span_s = WIDEST_S
        self._span_s = FIRST_SPAN_S
        self._due_s = self._clock.monotonic()
        self._progress = BacklogProgress(clock)
        self._late_told_s = float("-inf")
        self._live_works = False
        self._gap: Stretch | None = None

    @property
    def stuck(self) -> bool:
        """True if the live lane has not moved for :data:`STUCK_S` beyond its own waits and those that Graph asks."""
        return self._clock.monotonic() > max(self._due_s, self._budget.not_before_s) + STUCK_S

    def alive(self) -> None:
        """The lane moves, or waits for something that answers, such as an intake that is down."""
        self._due_s = max(self._due_s, self._clock.monotonic())

    def took(self, taken: Taken) -> None:
        """A page of this stream was delivered. From any thread."""
        if taken.lane == lanes.LIVE:
            self.alive()
        elif taken.lane == lanes.BACKLOG:
            line = self._progress.page(taken.read, lanes.backlog_s(self.collector.state))
            if line is not None:
                self._log(f"{self._key}: {line}", "info")

    async def live(self) -> None:
        """Read what is new, every period, for ever."""
        backoff = Backoff()
        while True:
            started_s = self._clock.time()
            try:
                caught_up = await self._live_pass(int(started_s))
            except Exception as error:  # noqa: BLE001 - the outermost loop: a lane never dies
                self._live_works = False
                wait_s = self._trouble("edge", error, backoff)
                if isinstance(error, WindowTooWide):
                    self._live_span_s = max(NARROWEST_S, min(self._live_span_s, HOUR_S) // 2)
            else:
                backoff.tries = 0
                self._live_works = True
                self._problems.served(self._key, "edge")
                self._problems.stored()
                # No longer than a period, even if the clock was set back meanwhile.
                left_s = min(self._period_s, max(0.0, started_s + self._period_s - self._clock.time()))
                wait_s = left_s if caught_up else 0.0
            self._due_s = self._clock.monotonic() + wait_s
            await self._clock.sleep(wait_s)

    async def rest(self) -> None:
        """Read backlog and settle lanes, whenever there is something to read."""
        backoff = Backoff()
        while True:
            now_s = int(self._clock.time())
            window = lanes.rest_window(self.collector.state, now_s, self._span_s)
            if window is None:
                await self._clock.sleep(min(_IDLE_S, max(1, lanes.next_rest_s(self.collector.state, now_s) - now_s)))
                continue
            try:
                await self.collector.read(window)
            except Exception as error:  # noqa: BLE001 - the outermost loop: a lane never dies
                if isinstance(error, WindowTooWide):
                    self._span_s = max(NARROWEST_S, min(self._span_s, window.end_s - window.start_s) // 2)
                if isinstance(error, GraphRefused) and await self._beyond_retention(error, window, now_s):
                    continue
                await self._clock.sleep(self._trouble(_work(window), error, backoff))
            else:
                backoff.tries = 0
                self._problems.served(self._key, _work(window))
                self._span_s = min(WIDEST_S, self._span_s * 2)
                self._after_rest(window)

    async def _live_pass(self, now_s: int) -> bool:
        """One live pass; False if there is more to read at once."""
        resumed = await self.collector.resume(self._period_s)
        self._tell(resumed)
        overlap_s = min(self._overlap_s, self._live_span_s // 2)
        window = lanes.live_window(self.collector.state, now_s, overlap_s, self._live_span_s)
        pages = await self.collector.read(window)
        self._tell_gap()
        self._adapt_overlap(pages)
        self._live_span_s = min(WIDEST_S, self._live_span_s * 2)
        self._tell_late(now_s)
        self._show()
        metrics.polled(self._key, self._clock.time(), self.collector.state.live_s, self._overlap_s)
        if self._lag is not None:
            self._lag.reached(self._key, max(0.0, now_s - window.end_s))
        return window.end_s >= now_s

    def _adapt_overlap(self, pages: int) -> None:
        """Re-read less where the streams' live passes would take more than a third of the budget.

        The settle lanes make up for it. A page of overlap is cheap; at 100 records a second, 5 minutes of it are 30
        pages, the whole budget.
        """
        affordable = max(1.0, self._period_s / self._budget.spacing_s / 3 / self._budget.streams)
        if pages > affordable and self._overlap_s > 0:
            if self._overlap_s == lanes.OVERLAP_S:
                self._log(
                    f"{self._key}: {pages} pages in a live pass: it reaches back less than {lanes.OVERLAP_S} s, for "
                    "lack of request budget; records shown late are left to the settle lanes.",
                    "info",
                )
            self._overlap_s //= 2
        elif pages <= affordable / 2 and self._overlap_s < lanes.OVERLAP_S:
            self._overlap_s = min(lanes.OVERLAP_S, self._overlap_s * 2 + 15)

    async def _beyond_retention(self, error: GraphRefused, window: Window, now_s: int) -> bool:
        """Whether the refusal is about a lower bound older than Graph keeps: then move on, and say what is lost.

        It is, if the same question about the present is answered: a stream that is refused altogether keeps its
        backlog.
        """
        old = window.start_s < now_s - LEAST_RETENTION_S + HOUR_S
        if error.status != _BAD_REQUEST or not old or not self._live_works:
            return False
        lost = await self.collector.give_up(min(window.start_s + _REFUSED_STEP_S, now_s - LEAST_RETENTION_S + HOUR_S))
        for stretch in lost:
            self._problems.refused_stretch(self._key, stretch)
        return True

    def _tell(self, resumed: lanes.Resumed) -> None:
        if resumed.clock_stepped:
            self._log(
                f"{self._key}: the clock was set back: what was read last lies in the future. "
                "The last 24 h are read again; records may be repeated, none is lost.",
                "error",
            )
        if resumed.gap is not None:
            # While an outage lasts, each try finds the gap a little longer.
            self._gap = (min(resumed.gap[0], self._gap[0] if self._gap else resumed.gap[0]), resumed.gap[1])
        for stretch in resumed.lost:
            self._problems.lost(self._key, stretch, "Graph no longer keeps them")

    def _tell_gap(self) -> None:
        if self._gap is not None:
            gap, self._gap = self._gap, None
            self._problems.gap(self._key, gap)

    def _tell_late(self, now_s: int) -> None:
        late_s, lane = lanes.late_s(self.collector.state, now_s)
        if late_s < HOUR_S or self._clock.monotonic() - self._late_told_s < _LATE_EVERY_S:
            return
        self._late_told_s = self._clock.monotonic()
        why = "backlog is read first" if self.collector.state.gaps else "the request budget does not suffice"
        self._log(
            f"{self._key}: {lane} is {late_s / HOUR_S:.1f} h late, because {why}: what Graph shows late or "
            "changes arrives so much later. Live records are not affected.",
            "info",
        )

    def _trouble(self, work: Work, error: Exception, backoff: Backoff) -> float:
        wait_s = max(backoff.wait_s(error), self._budget.paused_s)
        self._problems.failed(error, self._key, work, wait_s)
        return wait_s

    def _after_rest(self, window: Window) -> None:
        self._show()
        if window.lane == lanes.BACKLOG and not self.collector.state.gaps:
            self._log(f"{self._key}: {self._progress.done()}", "info")

    def _show(self) -> None:
        state, now_s = self.collector.state, int(self._clock.time())
        metrics.unread(self._key, lanes.backlog_s(state))
        for lane in lanes.SETTLE_LANES:
            metrics.look_overdue(
                self._key, _AGES[lane.name], now_s - lane.age_s - lane.step_s - state.settle_s[lane.name]
            )


_AGES: Final[dict[str, LookAge]] = {"settle_15m": "15 min", "settle_2h": "2 h", "settle_24h": "24 h"}


def _work(window: Window) -> Work:
    return "unread" if window.lane == lanes.BACKLOG else "look"
