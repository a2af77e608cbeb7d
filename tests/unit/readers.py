"""Readers whose collector is a map and nothing else, and a problem log that writes down what it is told."""

from typing import Any

from graph_entra.errors import GraphEntraError
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import coverage as coverage_rules
from graph_entra.reading.coverage import Clipped, Coverage, Row
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.reading.outcomes import Outcomes
from graph_entra.reading.polls import Polls
from graph_entra.reading.reader import Reader
from graph_entra.reading.reports import Progress, Reports
from graph_entra.streams import DAY_S, SIGN_IN_TYPES, Stream, Stretch, sign_in_stream
from graph_entra.telling.history_progress import HistoryProgress
from tests.clocks import START_S, ManualClock

NOW = int(START_S)


class Mapped:
    """In the place of a Collector: its map, and what was noted in it."""

    def __init__(self, stream: Stream, clock: ManualClock, coverage: Coverage) -> None:
        self.stream = stream
        self.coverage = coverage
        self.failed: list[tuple[Stretch, str, bool]] = []
        self._clock = clock

    async def catch_up(self, period_s: int) -> tuple[Stretch | None, Clipped]:
        """As Collector."""
        now_s = int(self._clock.time())
        caught_up, gap = coverage_rules.caught_up(self.coverage, now_s, period_s)
        clipped = coverage_rules.clip(caught_up, now_s)
        self.coverage = clipped.coverage
        return gap, clipped

    async def fail(self, stretch: Stretch, why: str, *, served_elsewhere: bool) -> tuple[Row, ...]:
        """As Collector."""
        self.failed.append((stretch, why, served_elsewhere))
        self.coverage, aside = coverage_rules.failed(
            self.coverage, stretch, int(self._clock.time()), why, served_elsewhere=served_elsewhere
        )
        return aside


class Heard:
    """In the place of a ProblemLog: every call of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *given: self.calls.append((name, *given))

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """What one method was told."""
        return [call[1:] for call in self.calls if call[0] == name]

    @property
    def waits(self) -> list[tuple[type[GraphEntraError], float]]:
        """Each failure and how long until the next try."""
        return [(type(error), wait_s) for error, _, _, wait_s in self.of("failed")]


class Desk:
    """Readers, and what decides about them: real outcomes, polls and reports."""

    def __init__(self, streams: int = 1, *, period_s: int = 60) -> None:
        self.clock = ManualClock()
        self.limiter = RateLimiter(self.clock)
        self.graph_clock = GraphClock(self.clock)
        self.problems = Heard()
        self.lines: list[str] = []
        self.progress: list[Progress] = []
        self.collectors = [
            Mapped(
                sign_in_stream(kind, beta_only=False),
                self.clock,
                Coverage((Row(NOW - DAY_S, NOW - 7200, 7200), Row(NOW - 7200, NOW - 60, 0))),
            )
            for kind in SIGN_IN_TYPES[:streams]
        ]
        made: list[Any] = list(self.collectors)
        self.readers = [Reader(collector, HistoryProgress(self.clock)) for collector in made]
        self.reports = Reports(
            self.problems,  # type: ignore[arg-type]
            lambda line, _: self.lines.append(line),
            self.graph_clock,
            self.clock,
            self.progress.append,
        )
        self.outcomes = Outcomes(
            self.readers,
            limiter=self.limiter,
            clock=self.clock,
            problems=self.problems,  # type: ignore[arg-type]
            reports=self.reports,
        )
        self.polls = Polls(
            self.readers,
            period_s=period_s,
            limiter=self.limiter,
            graph_clock=self.graph_clock,
            clock=self.clock,
            reports=self.reports,
        )

    @property
    def reader(self) -> Reader:
        """The only one, or the first."""
        return self.readers[0]
