"""The schedule itself, for hours of virtual time, over a collector that is a map and a script of answers."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from graph_entra.errors import GraphRefused, GraphUnavailable, Throttled, WindowTooWide
from graph_entra.microsoft.graph import Answer
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import coverage as coverage_rules
from graph_entra.reading import plan
from graph_entra.reading.collector import Reading
from graph_entra.reading.coverage import Clipped, Row
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.reading.schedule import MOST_IN_FLIGHT, STUCK_S, Schedule
from graph_entra.streams import DAY_S, HOUR_S, SIGN_IN_TYPES, Stream, Stretch, Window, graph_time, sign_in_stream
from graph_entra.telling.problem_log import ProblemLog
from tests.clocks import START_S, LoopClock
from tests.unit.readers import Desk
from tests.virtual import jumping

NOW = int(START_S)
PERIOD_S = 60

# What Graph answers a window at a time: an error, or None for all its records.
Fault = Callable[[Window, float], Exception | None]


@dataclass
class Graph:
    """What Graph is like for one stream.

    Attributes:
        history_s: so much is unread at the start.
        per_s: records a second.
        answer_s: how long each page takes.
        fault: asked before each page.
    """

    history_s: int = 0
    per_s: float = 0.1
    answer_s: float = 0.5
    fault: Fault = lambda _window, _now_s: None


@dataclass
class Asked:
    """A page that was asked for."""

    at_s: float
    stream: str
    window: Window


class Scripted:
    """In the place of a Collector: it asks for as many pages as its rate makes, and keeps the map."""

    def __init__(self, stream: Stream, graph: Graph, run: "Run") -> None:
        self.stream = stream
        self.graph = graph
        self.coverage = coverage_rules.begin(NOW, graph.history_s)
        self.in_flight = self.delivering = 0
        self._run = run

    async def catch_up(self, period_s: int) -> tuple[Stretch | None, Clipped]:
        """As Collector."""
        now_s = int(self._run.clock.time())
        caught_up, gap = coverage_rules.caught_up(self.coverage, now_s, period_s)
        clipped = coverage_rules.clip(caught_up, now_s)
        self.coverage = clipped.coverage
        return gap, clipped

    async def fail(self, stretch: Stretch, why: str, *, served_elsewhere: bool) -> tuple[Row, ...]:
        """As Collector."""
        self.coverage, aside = coverage_rules.failed(
            self.coverage, stretch, int(self._run.clock.time()), why, served_elsewhere=served_elsewhere
        )
        return aside

    async def read(self, window: Window) -> Reading:
        """As Collector."""
        self.in_flight += 1
        self._run.most_in_flight = max(self._run.most_in_flight, sum(one.in_flight for one in self._run.collectors))
        try:
            return await self._read(window)
        finally:
            self.in_flight -= 1

    async def _read(self, window: Window) -> Reading:
        run = self._run
        reading = Reading(window, int(run.clock.time()), window.start_s)
        per_page_s = max(1, int(1000 / self.graph.per_s))
        while reading.reached_s < window.end_s:
            await run.limiter.turn(window.work, goes_on=reading.pages > 0)
            run.schedule.asks(self.stream.key, window)
            run.asked.append(Asked(run.clock.time() - START_S, self.stream.key, window))
            error = self.graph.fault(window, run.clock.time())
            await run.clock.sleep(self.graph.answer_s)
            run.schedule.answered(Answer(self.stream.key, 0 if error else 200, self.graph.answer_s))
            if error is not None:
                if isinstance(error, Throttled):
                    run.limiter.throttled(error.retry_after_s)
                reading.error = error
                return reading
            run.limiter.answered()
            until_s = min(window.end_s, reading.reached_s + per_page_s)
            self.coverage = coverage_rules.read(self.coverage, (reading.reached_s, until_s), reading.asked_s, [])
            reading.records += int((until_s - reading.reached_s) * self.graph.per_s)
            reading.size_bytes = reading.records * 1000
            reading.reached_s, reading.pages = until_s, reading.pages + 1
        return reading


@dataclass
class Run:
    """A schedule over some streams, in virtual time."""

    graphs: dict[str, Graph]
    period_s: int = PERIOD_S
    asked: list[Asked] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    stuck: list[bool] = field(default_factory=list)
    most_in_flight: int = 0

    async def _start(self) -> asyncio.Task[None]:
        self.clock = LoopClock()
        self.limiter = RateLimiter(self.clock)
        self.collectors = [
            Scripted(sign_in_stream(kind, beta_only=False), graph, self)  # type: ignore[arg-type]
            for kind, graph in self.graphs.items()
        ]

        def log(line: str, level: str) -> None:
            self.lines.append((level, line))

        self.schedule = Schedule(
            self.collectors,  # type: ignore[arg-type]
            period_s=self.period_s,
            limiter=self.limiter,
            graph_clock=GraphClock(self.clock),
            clock=self.clock,
            problems=ProblemLog(log, self.clock),
            log=log,
        )
        return asyncio.create_task(self.schedule.run())

    async def _run(self, seconds: float) -> None:
        task = await self._start()
        end_s = self.clock.time() + seconds
        while self.clock.time() < end_s:
            await asyncio.wait([task], timeout=30)
            if task.done():
                task.result()
            self.stuck.append(self.schedule.stuck)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        left = [task for task in asyncio.all_tasks() if "RateLimiter" not in repr(task)]
        assert len(left) == 1, "nothing is left running"

    def go(self, seconds: float) -> "Run":
        """Runs for so long."""
        work: Coroutine[Any, Any, None] = self._run(seconds)
        jumping.run(work)
        return self

    def requests(self, since_s: float = 0.0) -> Counter[str]:
        """Pages asked for, by kind of work."""
        return Counter(one.window.work for one in self.asked if one.at_s >= since_s)

    def polls(self, stream: str) -> list[float]:
        """When a stream was polled."""
        return [one.at_s for one in self.asked if one.stream == stream and one.window.work == "edge"]

    def said(self, *words: str) -> list[str]:
        """Lines with all of these words."""
        return [line for _, line in self.lines if all(word in line for word in words)]


ONE = "interactiveUser"


def test_a_quiet_stream_is_polled_once_a_period() -> None:
    """And looked at again at its ages; nothing is told but that its history is read."""
    run = Run({ONE: Graph(history_s=DAY_S)}).go(3 * HOUR_S)
    gaps = [after - before for before, after in zip(run.polls(ONE), run.polls(ONE)[1:], strict=False)]
    assert max(gaps) < PERIOD_S + 5
    assert len(gaps) <= 3 * 60 + 1
    assert run.collectors[0].coverage.unread_s == 0
    assert [line for level, line in run.lines if level != "info"] == []
    assert not any(run.stuck)


def test_streams_take_turns_within_a_period() -> None:
    """None waits for all the others' pages: four streams are polled a quarter of a period apart."""
    run = Run({kind: Graph() for kind in SIGN_IN_TYPES}).go(2 * HOUR_S)
    phases = sorted(run.polls(kind)[-1] % PERIOD_S for kind in SIGN_IN_TYPES)
    assert [after - before for before, after in itertools.pairwise(phases)] == pytest.approx([15] * 3, abs=4)


@pytest.mark.parametrize("answer_s", [0.5, 5.0, 20.0, 60.0])
def test_history_uses_the_limit_however_slow_the_answers(answer_s: float) -> None:
    """As many windows are in flight as it takes: 9 of 10 requests that the limit allows are made in the second hour."""
    run = Run({ONE: Graph(history_s=29 * DAY_S, per_s=5.0, answer_s=answer_s)}).go(2 * HOUR_S)
    made = sum(run.requests(HOUR_S).values())
    assert made >= 0.9 * HOUR_S / 2.02
    assert run.most_in_flight <= MOST_IN_FLIGHT + 8
    assert run.most_in_flight >= answer_s / 2.02 - 1


def test_no_two_windows_read_the_same_history() -> None:
    """However many are in flight: every stretch of the history is asked for once while it is unread."""
    run = Run({ONE: Graph(history_s=10 * DAY_S, per_s=5.0, answer_s=10.0)}).go(HOUR_S)
    windows = sorted({(one.window.start_s, one.window.end_s) for one in run.asked if one.window.work == "unread"})
    assert len(windows) > 10
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(windows))


def test_the_edge_goes_first() -> None:
    """With four streams' history waiting, each is polled in time all the same."""
    run = Run({kind: Graph(history_s=20 * DAY_S, per_s=5.0) for kind in SIGN_IN_TYPES}).go(HOUR_S)
    for kind in SIGN_IN_TYPES:
        polls = run.polls(kind)
        assert max(after - before for before, after in itertools.pairwise(polls)) < PERIOD_S + 20


def test_a_period_of_a_second_starves_nothing() -> None:
    """The edge has three quarters of the limit, the history the rest."""
    run = Run({ONE: Graph(history_s=29 * DAY_S, per_s=5.0)}, period_s=1).go(HOUR_S)
    asked = run.requests(600)
    assert asked["unread"] / sum(asked.values()) > 0.08


def test_every_kind_of_work_gets_its_turn() -> None:
    """Beside a history that never ends, looks are on time."""
    run = Run({ONE: Graph(history_s=29 * DAY_S, per_s=20.0)}).go(5 * HOUR_S)
    asked = run.requests(3 * HOUR_S)
    assert asked["look"] > 10
    assert asked["unread"] > 500
    late = plan.overdue_s(run.collectors[0].coverage, int(NOW + 5 * HOUR_S))
    assert late[15 * 60] < 900
    assert late[2 * HOUR_S] < 3600


def test_a_history_that_passes_out_of_reach_while_it_is_read_is_told_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 days at the first start: its beginning is read in time, once, and nobody is alarmed a minute."""
    read = coverage_rules.read

    def brings(coverage: Any, stretch: Stretch, asked_s: int, _new: Any) -> Any:
        return read(coverage, stretch, asked_s, range(stretch[0], stretch[1], 60))

    monkeypatch.setattr(coverage_rules, "read", brings)
    run = Run({ONE: Graph(history_s=30 * DAY_S - HOUR_S, per_s=5.0)}).go(4 * HOUR_S)
    assert run.collectors[0].coverage.origin_s > NOW - 30 * DAY_S + 3 * HOUR_S
    assert run.said("not looked at again before Graph dropped it") == []


def test_what_was_not_looked_at_in_time_is_told_once_an_hour() -> None:
    """With the bounds of all of it."""
    desk = Desk()
    for minute in range(150):
        at_s = minute * 60
        desk.reports.clipped(desk.reader, None, Clipped(desk.reader.coverage, (), ((at_s, at_s + 60),)))
        desk.clock.advance(60)
    told = [line for line in desk.lines if "not looked at again" in line]
    assert len(told) == 3
    assert "from 1970-01-01T00:01:00Z to 1970-01-01T01:01:00Z" in told[1]


def test_a_troubled_stretch_that_graph_no_longer_keeps_is_in_no_trouble() -> None:
    """It was read once, and waited for a record that the intake refuses: its place is gone, and is told as that."""
    desk = Desk()
    desk.reports.clipped(desk.reader, None, Clipped(desk.reader.coverage, (), ((0, 60),)))
    assert desk.problems.of("gone") == [(desk.reader.key, (0, 60))]


def test_one_streams_backlog_does_not_stand_before_anothers() -> None:
    """Two histories get on side by side."""
    kinds = SIGN_IN_TYPES[:2]
    run = Run({kind: Graph(history_s=29 * DAY_S, per_s=5.0) for kind in kinds}).go(HOUR_S)
    pages = Counter(one.stream for one in run.asked if one.window.work == "unread")
    assert min(pages.values()) > 0.45 * pages.total()


def bad_second(at_s: int, until_s: float = float("inf")) -> Fault:
    """A second that holds a record which spoils each page."""

    def fault(window: Window, now_s: float) -> Exception | None:
        holds = window.start_s <= at_s < window.end_s and now_s < until_s
        return GraphUnavailable("Graph answered 500 UnknownError") if holds else None

    return fault


@pytest.mark.parametrize("ago_s", [20 * HOUR_S, 3 * DAY_S, 100])
def test_a_second_that_cannot_be_served_costs_itself(ago_s: int) -> None:
    """All around it is read within the hour; one line tells its bounds in Graph's words; it is asked for hourly."""
    at_s = NOW - ago_s
    run = Run({ONE: Graph(history_s=5 * DAY_S, fault=bad_second(at_s))}).go(4 * HOUR_S)
    coverage = run.collectors[0].coverage
    assert [(row.start_s, row.end_s) for row in coverage.troubled] == [(at_s, at_s + 1)]
    assert coverage.unread_s <= 1
    assert coverage.edge_s > NOW + 4 * HOUR_S - 2 * PERIOD_S
    (line,) = run.said("cannot be read at present")
    assert graph_time(at_s) in line
    assert "500 UnknownError" in line
    tries = [one.at_s for one in run.asked if one.window.start_s == at_s and one.window.work == "troubled"]
    # In the first day also by ever smaller pages, within a minute or two.
    assert 2 <= len({int(one // 1200) for one in tries if one > 1800}) <= 5
    assert not run.said("nothing was lost")


@pytest.mark.parametrize("retry_after_s", [120.0, 3600.0])
def test_a_second_that_asks_to_be_left_alone_costs_itself(retry_after_s: float) -> None:
    """A 503 with a Retry-After, at five places and for ever: polls, looks and the history around them go on."""
    bad = [NOW - (10 + place) * HOUR_S for place in range(5)]

    def fault(window: Window, _now_s: float) -> Exception | None:
        spoilt = any(window.start_s <= at_s <= window.end_s for at_s in bad)
        return GraphUnavailable("503", retry_after_s) if spoilt else None

    run = Run({ONE: Graph(history_s=DAY_S, fault=fault)}).go(3 * HOUR_S)
    assert max(after - before for before, after in itertools.pairwise(run.polls(ONE))) < PERIOD_S + 5
    coverage = run.collectors[0].coverage
    assert all(row.trouble is not None for row in coverage.rows if row.looked_s is None)
    tries = [one.at_s for one in run.asked if any(one.window.start_s <= at_s <= one.window.end_s for at_s in bad)]
    assert len(tries) < 3 * HOUR_S / retry_after_s + 10


def test_an_outage_that_asks_to_be_left_alone_is() -> None:
    """A 503 with a Retry-After to everything: two requests a stream for each time that it names."""

    def fault(_window: Window, now_s: float) -> Exception | None:
        return GraphUnavailable("503", 300.0) if 600 < now_s - START_S < 600 + HOUR_S else None

    run = Run({ONE: Graph(history_s=20 * DAY_S, per_s=5.0, fault=fault)}).go(2 * HOUR_S)
    assert len([one for one in run.asked if 610 < one.at_s < 600 + HOUR_S]) <= 2 * 13
    assert max(run.polls(ONE)[-5:]) > 2 * HOUR_S - 2 * PERIOD_S


def test_a_second_that_is_served_again_is_told_and_read() -> None:
    """Within an hour of its end."""
    at_s = NOW - 3 * DAY_S
    run = Run({ONE: Graph(history_s=5 * DAY_S, fault=bad_second(at_s, NOW + 2 * HOUR_S))}).go(4 * HOUR_S)
    assert run.collectors[0].coverage.troubled == ()
    assert run.collectors[0].coverage.unread_s == 0
    assert len(run.said("are read now")) == 1


def test_a_wrong_400_drops_nothing() -> None:
    """For a minute every question older than a week is refused; all of it is read all the same."""

    def fault(window: Window, now_s: float) -> Exception | None:
        refused = 60 < now_s - START_S < 120 and window.start_s < now_s - 7 * DAY_S
        return GraphRefused(400, "UnknownError", "Unsupported Query.") if refused else None

    run = Run({ONE: Graph(history_s=20 * DAY_S, per_s=2.0, fault=fault)}).go(4 * HOUR_S)
    assert run.collectors[0].coverage.unread_s == 0
    assert run.collectors[0].coverage.troubled == ()
    assert not run.said("lost")


def test_a_window_that_is_too_wide_is_made_smaller() -> None:
    """Graph that answers 504 above 500 s: everything is read."""

    def fault(window: Window, _now_s: float) -> Exception | None:
        too_wide = window.end_s - window.start_s > 500
        return WindowTooWide("Graph answered 504") if too_wide else None

    run = Run({ONE: Graph(history_s=DAY_S, per_s=5.0, fault=fault)}).go(2 * HOUR_S)
    assert run.collectors[0].coverage.unread_s == 0


def test_an_outage_of_graph_costs_its_own_time() -> None:
    """An hour of 500s: few requests meanwhile, no place is blamed, and all is read afterwards."""

    def fault(_window: Window, now_s: float) -> Exception | None:
        return GraphUnavailable("Graph answered 503") if 600 < now_s - START_S < 600 + HOUR_S else None

    run = Run({kind: Graph(history_s=DAY_S, fault=fault) for kind in SIGN_IN_TYPES[:2]}).go(3 * HOUR_S)
    meanwhile = [one for one in run.asked if 900 < one.at_s < 600 + HOUR_S]
    assert len(meanwhile) < 2 * 60 + 30
    assert not run.said("cannot be read at present")
    for collector in run.collectors:
        assert collector.coverage.unread_s == 0
        assert collector.coverage.troubled == ()
    assert len(run.said("recovered")) == 1
    assert not any(run.stuck)


def test_a_stream_that_is_refused_delays_no_other() -> None:
    """A 403 of one type: the others are polled in time, and it is asked seldom."""
    kinds = SIGN_IN_TYPES[:2]
    graphs = {kinds[0]: Graph(history_s=DAY_S, fault=lambda *_: GraphRefused(403, "Some_Code", "")), kinds[1]: Graph()}
    run = Run(graphs).go(2 * HOUR_S)
    polls = run.polls(kinds[1])
    assert max(after - before for before, after in itertools.pairwise(polls)) < PERIOD_S + 5
    assert len([one for one in run.asked if one.stream == kinds[0]]) < 60
    assert not any(run.stuck), "a stream that waits is not stuck"


def test_a_storm_of_429s_is_over_when_it_is_over() -> None:
    """Three minutes of them: nothing is lost or blamed, and the limit is used again within five minutes."""

    def fault(_window: Window, now_s: float) -> Exception | None:
        return Throttled("429", 10.0) if 600 < now_s - START_S < 780 else None

    run = Run({ONE: Graph(history_s=29 * DAY_S, per_s=5.0, fault=fault)}).go(30 * 60)
    assert run.collectors[0].coverage.troubled == ()
    after = len([one for one in run.asked if 1080 <= one.at_s < 1680])
    assert after >= 0.85 * 600 / 2.02


# Being stuck, and ending


def test_a_poll_that_never_ends_is_stuck() -> None:
    """A window that hangs: the heartbeat must end, so that the platform starts the connector anew."""
    run = Run({ONE: Graph(answer_s=10 * HOUR_S)}).go(HOUR_S)
    first = run.stuck.index(True) * 30
    assert STUCK_S <= first <= STUCK_S + 2 * PERIOD_S + 60


async def _stuck(told: Callable[[Schedule], None], *, delivering: int = 0) -> bool:
    """Whether a stream whose poll never ends is ever stuck, while the schedule is told something every 30 s."""
    run = Run({ONE: Graph(answer_s=10 * HOUR_S)})
    task = await run._start()
    run.collectors[0].delivering = delivering
    found = []
    for _ in range(120):
        await asyncio.wait([task], timeout=30)
        told(run.schedule)
        found.append(run.schedule.stuck)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return any(found)


def test_who_waits_for_the_intake_is_not_stuck() -> None:
    """What waits for something else says so, and is alive."""
    assert not jumping.run(_stuck(Schedule.alive))


def test_who_delivers_to_a_slow_intake_is_not_stuck() -> None:
    """A page of 1,000 takes 17 min where one record a second is taken; whoever waits for Graph is none the better."""
    assert not jumping.run(_stuck(Schedule.pushed, delivering=1))
    assert jumping.run(_stuck(Schedule.pushed))


def test_what_nobody_expects_costs_one_window() -> None:
    """A fault of this module in one reading: it is told, and the stream goes on."""
    raised = []

    def fault(window: Window, _now_s: float) -> Exception | None:
        if window.work == "edge" and len(raised) < 3:
            raised.append(window)
            raise ZeroDivisionError
        return None

    run = Run({ONE: Graph(fault=fault)}).go(HOUR_S)
    assert len(raised) == 3
    assert run.collectors[0].coverage.edge_s > NOW + HOUR_S - 2 * PERIOD_S


def test_a_fault_of_the_schedule_itself_is_raised() -> None:
    """A task that dies must not end in silence."""
    run = Run({ONE: Graph()})

    async def broken(_period_s: int) -> tuple[Stretch | None, Clipped]:
        raise ZeroDivisionError

    async def start() -> None:
        task = await run._start()
        run.collectors[0].catch_up = broken  # type: ignore[method-assign]
        await asyncio.wait_for(task, 300)

    with pytest.raises(ZeroDivisionError):
        jumping.run(start())
