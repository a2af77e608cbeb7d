"""When each lane reads, in virtual time: hours of a connector's life, to the second, with a collector that is told."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from graph_entra.errors import (
    CredentialRejected,
    GraphRefused,
    GraphUnavailable,
    IntakeRefused,
    PagingBroken,
    StorageFailed,
    Throttled,
    WindowTooWide,
)
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import lanes, schedule
from graph_entra.reading.collector import Collector
from graph_entra.reading.lanes import Resumed, StreamState
from graph_entra.reading.schedule import NARROWEST_S, STUCK_S, Backoff, StreamSchedule
from graph_entra.records import Taken
from graph_entra.streams import AUDITS, DAY_S, HOUR_S, Stretch, Window
from graph_entra.telling.diagnosis import advise
from graph_entra.telling.problem_log import Level, ProblemLog
from tests.unit.virtual_time import run

T = 1_795_420_800
PERIOD_S = 60
BAD_REQUEST = GraphRefused(400, "BadRequest", "no")
# What reading a window comes to: its pages, or an error.
Answer = Callable[[Window], int | Exception]


class World:
    """One stream, its schedule, and a clock that stands still while nobody waits."""

    def __init__(self, answer: Answer, history_s: int, *, period_s: int = PERIOD_S, takes_s: float = 1.0) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun_s = self.loop.time()
        self.set_back_s = 0.0
        self.answer = answer
        self.takes_s = takes_s
        self.stream = AUDITS
        self.state = lanes.begin(T, history_s)
        self.reads: list[tuple[float, Window, bool]] = []
        self.lines: list[tuple[str, Level]] = []
        self.budget = RateLimiter(clock=self.loop.time)
        self.problems = ProblemLog(self.log, self.loop.time)
        self.schedule = StreamSchedule(
            cast("Collector", self),
            period_s=period_s,
            budget=self.budget,
            problems=self.problems,
            log=self.log,
            clock=self.clock,
        )

    # What the schedule sees

    def log(self, text: str, level: Level) -> None:
        self.lines.append((text, level))

    def clock(self) -> float:
        return T + self.now() - self.set_back_s

    async def resume(self, period_s: int) -> Resumed:
        resumed = lanes.resume(self.state, int(self.clock()), period_s)
        self.state = resumed.state
        return resumed

    async def give_up(self, before_s: int) -> tuple[Stretch, ...]:
        self.state, lost = lanes.give_up(self.state, before_s)
        return lost

    async def read(self, window: Window) -> int:
        asked_s, began_s = int(self.clock()), self.now()
        await asyncio.sleep(self.takes_s)
        outcome = self.answer(window)
        self.reads.append((began_s, window, not isinstance(outcome, Exception)))
        if isinstance(outcome, Exception):
            raise outcome
        self.state = lanes.after_page(self.state, window, window.end_s, asked_s)
        return outcome

    # What a test asks

    def now(self) -> float:
        """Seconds since the beginning."""
        return self.loop.time() - self.begun_s

    def began(self, *names: str) -> list[float]:
        """When these lanes' windows were asked for."""
        return [at for at, window, _ in self.reads if window.lane in names]

    def windows(self, *names: str, read: bool | None = None) -> list[Window]:
        """These lanes' windows: all, those that were read, or those that failed."""
        return [w for _, w, went_well in self.reads if w.lane in names and read in (None, went_well)]

    def said(self, part: str) -> list[str]:
        """The lines that hold a part."""
        return [line for line, _ in self.lines if part in line]


Live = Callable[..., World]


@pytest.fixture
def live_for(monkeypatch: pytest.MonkeyPatch) -> Live:
    """Let lanes run for some time, and show the world afterwards."""

    def play(
        duration_s: float,
        answer: Answer = lambda _: 1,
        *,
        history_s: int = 0,
        which: str = "live rest",
        meanwhile: Callable[[World], Coroutine[Any, Any, None]] | None = None,
        **settings: Any,
    ) -> World:
        async def all_of_it() -> World:
            monkeypatch.setattr(
                schedule, "time", SimpleNamespace(monotonic=asyncio.get_running_loop().time, time=time.time)
            )
            world = World(answer, history_s, **settings)
            tasks = [asyncio.create_task(getattr(world.schedule, name)()) for name in which.split()]
            if meanwhile is not None:
                await meanwhile(world)
            await asyncio.sleep(duration_s - world.now())
            assert not any(task.done() for task in tasks), "a lane died"
            for task in tasks:
                task.cancel()
            return world

        return run(all_of_it())

    return play


# Backoff


@pytest.mark.parametrize(
    ("errors", "waits"),
    [
        ([GraphUnavailable("x")] * 8, [1, 2, 4, 8, 16, 32, 60, 60]),
        ([ValueError()] * 3, [1, 2, 4]),
        ([StorageFailed("x")] * 3, [1, 2, 4]),
        ([BAD_REQUEST] * 7, [15, 30, 60, 120, 240, 300, 300]),
        ([CredentialRejected(7000215)] * 2, [15, 30]),
        ([IntakeRefused(401)] * 2, [15, 30]),
        # What the other side asked for, to the fraction; more only if it goes on, and never less.
        ([Throttled("x", 2.128)] * 4, [2.128, 2.128, 4, 8]),
        ([Throttled("x", 200)] * 9, [200] * 9),
        ([GraphUnavailable("x", 0)] * 4, [0, 0, 4, 8]),
        ([PagingBroken("x", 0)] * 7, [0, 0, 4, 8, 16, 32, 60]),
        ([GraphUnavailable("x")] * 2000, [1, 2, 4, 8, 16, 32, *[60] * 1994]),
    ],
    ids=lambda value: type(value[0]).__name__,
)
def test_backoff(errors: list[Exception], waits: list[float]) -> None:
    """Twice as long each time, up to a bound; a person's fault is tried less often."""
    backoff = Backoff()
    assert [backoff.wait_s(error) for error in errors] == waits


# Live


def test_live_reads_every_period(live_for: Live) -> None:
    """From begin to begin: a pass of a second does not make the next one late."""
    world = live_for(302, which="live")
    assert world.began("live") == pytest.approx([0, 60, 120, 180, 240, 300], abs=0.01)
    starts = [(window.start_s - T, window.end_s - T) for window in world.windows("live")]
    assert starts[:5] == [(0, 0), (0, 60), (0, 120), (0, 180), (0, 240)]


def test_a_slow_pass_is_followed_at_once(live_for: Live) -> None:
    """Longer than the period: live goes on without a pause, and does not catch up with bursts."""
    world = live_for(1000, which="live", takes_s=100)
    assert world.began("live") == pytest.approx([100 * n for n in range(len(world.reads))], abs=0.01)
    assert len(world.reads) in (9, 10)


@pytest.mark.parametrize("step_s", [1, 3600, 30 * DAY_S])
def test_a_clock_set_back_in_a_pass_prolongs_no_wait(live_for: Live, step_s: float) -> None:
    """The next pass comes a period later, not an hour or a month."""

    async def meanwhile(world: World) -> None:
        await asyncio.sleep(60.5)
        world.set_back_s = step_s

    world = live_for(400, which="live", meanwhile=meanwhile)
    assert all(later - earlier <= PERIOD_S + 2 for earlier, later in pairwise(world.began("live")))
    assert len(world.reads) >= 6


ERRORS = [
    GraphUnavailable("x"),
    WindowTooWide("x"),
    Throttled("x", 3.5),
    PagingBroken("x", 0),
    GraphRefused(403, "x", ""),
    BAD_REQUEST,
    CredentialRejected(7000215),
    IntakeRefused(401),
    StorageFailed("x"),
    ValueError("x"),
    KeyError("x"),
    ZeroDivisionError(),
    RecursionError(),
    MemoryError(),
    AssertionError(),
    TimeoutError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_exception_ends_a_lane(live_for: Live, error: Exception) -> None:
    """Known or not: it is told, waited for, tried again; and the lane reads on when it is over."""
    over_s = 1000

    async def meanwhile(world: World) -> None:
        world.answer = lambda _: error if world.now() < over_s else 1
        await asyncio.sleep(over_s)
        assert 3 < len(world.reads) < 400, "neither silent nor in a hot loop"

    world = live_for(2000, history_s=HOUR_S, meanwhile=meanwhile)
    assert world.windows("live", read=True)[-1].end_s >= T + 2000 - 2 * PERIOD_S
    assert world.state.gaps == ()
    assert len(world.said(advise(error).cause)) >= 1


def test_a_pause_that_graph_asked_for_is_kept_by_the_lane(live_for: Live) -> None:
    """Also where the error itself says less."""

    async def meanwhile(world: World) -> None:
        world.answer = lambda _: Throttled("x", 200)
        world.budget.throttled(500)
        await asyncio.sleep(2)
        world.answer = lambda _: 1

    world = live_for(600, which="live", meanwhile=meanwhile)
    assert world.began("live")[1] >= 500


def test_a_live_window_shrinks_until_graph_answers_and_grows_back(live_for: Live) -> None:
    """After ten minutes of silence, Graph answers two minutes at a time: nothing is skipped."""

    async def meanwhile(world: World) -> None:
        await asyncio.sleep(130)
        world.answer = lambda window: 1 if window.end_s - window.start_s <= 120 else WindowTooWide("504")
        await asyncio.sleep(1500)
        narrow = world.windows("live", read=True)
        assert narrow[-1].end_s >= T + world.now() - 2 * PERIOD_S - 40, "it keeps up in small steps"
        world.answer = lambda _: 1

    world = live_for(3000, which="live", meanwhile=meanwhile)
    failed = [window.end_s - window.start_s for window in world.windows("live", read=False)]
    assert failed
    done = world.windows("live", read=True)
    assert all(later.start_s <= earlier.end_s for earlier, later in pairwise(done))
    last = done[-1]
    assert last.end_s - last.start_s >= lanes.OVERLAP_S, "the overlap is back"


def test_the_overlap_shrinks_where_it_costs_too_much_and_comes_back(live_for: Live) -> None:
    """More than a third of the budget for one pass: reach back less, say so once; the settle lanes make up for it."""

    async def meanwhile(world: World) -> None:
        world.answer = lambda _: 15
        await asyncio.sleep(600)
        reach = [later.start_s - earlier.end_s for earlier, later in pairwise(world.windows("live"))]
        assert reach[-1] == 0, "live reads only what is new"
        assert sorted(reach) == reach
        world.answer = lambda _: 1

    world = live_for(1800, which="live", history_s=HOUR_S, meanwhile=meanwhile)
    earlier, later = world.windows("live")[-2:]
    assert earlier.end_s - later.start_s == lanes.OVERLAP_S
    assert len(world.said("reaches back less")) == 1


def test_a_few_pages_leave_the_overlap_alone(live_for: Live) -> None:
    """A third of a minute's 30 requests is 10 pages."""
    world = live_for(600, lambda _: 9, which="live", history_s=HOUR_S)
    earlier, later = world.windows("live")[-2:]
    assert earlier.end_s - later.start_s == lanes.OVERLAP_S
    assert world.lines == []


def test_an_outage_is_told_and_read_as_backlog(live_for: Live) -> None:
    """The live lane is back at once; the gap's bounds stand in the log."""

    async def meanwhile(world: World) -> None:
        world.answer = lambda _: GraphUnavailable("down")
        await asyncio.sleep(5 * HOUR_S)
        world.answer = lambda _: 1

    world = live_for(6 * HOUR_S, meanwhile=meanwhile)
    assert world.said("is read as backlog")
    backlog = world.windows("backlog", read=True)
    assert backlog
    assert min(window.start_s for window in backlog) <= T
    assert world.state.gaps == ()
    assert world.said("the backlog is read")


def test_a_clock_set_back_is_told(live_for: Live) -> None:
    """Repeats have a reason, and it stands in the log."""

    async def meanwhile(world: World) -> None:
        await asyncio.sleep(61)
        world.set_back_s = HOUR_S

    world = live_for(300, which="live", meanwhile=meanwhile)
    assert len(world.said("clock was set back")) == 1


# Rest


def test_backlog_is_read_in_bounded_windows_oldest_first(live_for: Live) -> None:
    """The first window is a day, each that goes well doubles the next, up to a week."""
    world = live_for(300, which="rest", history_s=29 * DAY_S)
    lengths = [window.end_s - window.start_s for window in world.windows("backlog")]
    assert [length // DAY_S for length in lengths[:4]] == [1, 2, 4, 7]
    assert max(lengths) == 7 * DAY_S
    assert world.state.gaps == ()
    assert all(a.end_s == b.start_s for a, b in pairwise(world.windows("backlog")))


def test_a_backlog_window_shrinks_until_graph_answers(live_for: Live) -> None:
    """504 for more than an hour at a time: halved until it is answered, and nothing is skipped."""
    world = live_for(
        4 * HOUR_S,
        lambda window: 1 if window.end_s - window.start_s <= HOUR_S else WindowTooWide("504"),
        which="rest",
        history_s=2 * DAY_S,
    )
    done = world.windows("backlog", read=True)
    assert all(a.end_s == b.start_s for a, b in pairwise(done))
    assert world.state.gaps == ()
    tried = world.windows("backlog", read=False)
    assert len(tried) <= len(done) + 8, "no more than one vain try for each that goes well"


def test_a_window_never_shrinks_below_a_minute(live_for: Live) -> None:
    """A stretch that is not answered at all stays in the backlog."""
    world = live_for(3 * HOUR_S, lambda _: WindowTooWide("504"), which="rest", history_s=DAY_S)
    assert min(w.end_s - w.start_s for w in world.windows("backlog")) == NARROWEST_S
    assert world.state.gaps == ((T - DAY_S, T - lanes.OVERLAP_S),)


def test_settle_lanes_read_when_they_are_due(live_for: Live) -> None:
    """A quiet day: each lane on its own step, and no request between."""
    world = live_for(26 * HOUR_S, takes_s=0.5)
    for lane in lanes.SETTLE_LANES:
        began = world.began(lane.name)
        assert began
        assert all(later - earlier >= lane.step_s - 1 for earlier, later in pairwise(began))
        assert all(later - earlier <= lane.step_s + PERIOD_S + 20 for earlier, later in pairwise(began))
    assert world.lines == []


# Retention


@pytest.mark.parametrize(
    ("gaps", "why"), [((), "budget does not suffice"), (((T - DAY_S, T),), "backlog is read first")]
)
def test_settle_lanes_that_fall_behind_are_told_hourly(live_for: Live, gaps: tuple, why: str) -> None:
    """Never silent: which lane, by how much, and why; once an hour, and not while everything is on time."""

    async def meanwhile(world: World) -> None:
        behind = {**world.state.settle_s, "settle_2h": T - 5 * HOUR_S}
        world.answer = lambda window: 1 if window.lane == lanes.LIVE else GraphUnavailable("x")
        world.state = replace(world.state, gaps=gaps, settle_s=behind)

    world = live_for(HOUR_S + 600, meanwhile=meanwhile)
    told = world.said("late, because")
    assert len(told) == 2
    assert "settle_2h is 2.5 h late" in told[0]
    assert why in told[0]
    assert not live_for(HOUR_S).said("late, because")


def keeps_seven_days(world_now: Callable[[], float]) -> Answer:
    """A tenant without a licence: an older lower bound is a 400."""
    return lambda window: BAD_REQUEST if window.start_s < world_now() - 7 * DAY_S else 1


def test_what_graph_no_longer_keeps_is_given_up_and_told(live_for: Live) -> None:
    """30 days were asked for, 7 are there: the rest is named to the second, and the 7 days are read."""

    async def meanwhile(world: World) -> None:
        world.answer = keeps_seven_days(world.clock)

    world = live_for(HOUR_S, history_s=30 * DAY_S, meanwhile=meanwhile)
    assert world.state.gaps == ()
    first = world.windows("backlog", read=True)[0]
    assert first.start_s < T - 7 * DAY_S + 2 * HOUR_S, "at most an hour more than Graph refuses is given up"
    lost = world.said("are lost")
    assert lost
    assert "2026-10-24T09:00:00Z" in lost[0], "from the origin: 30 days less an hour"


def refuses(status: int, lane: str | None = None) -> Answer:
    """Every question is refused, or those of one lane."""
    return lambda window: GraphRefused(status, "x", "") if lane in (None, window.lane) else 1


@pytest.mark.parametrize(
    ("answer", "history_s"),
    [
        # A stream that is refused altogether: the type is gone from beta, or the filter is not understood.
        (refuses(400), 20 * DAY_S),
        # Another refusal than of the bound.
        (refuses(403, "backlog"), 20 * DAY_S),
        (refuses(404, "backlog"), 20 * DAY_S),
        # Not older than any tenant's retention: it cannot be the bound.
        (refuses(400, "backlog"), 6 * DAY_S),
        # A fault of the moment.
        (lambda window: GraphUnavailable("x") if window.lane == "backlog" else 1, 20 * DAY_S),
    ],
    ids=["all refused", "403", "404", "recent", "503"],
)
def test_nothing_is_given_up_for_another_reason(live_for: Live, answer: Answer, history_s: int) -> None:
    """The backlog waits, whole, for a person or for better times."""
    world = live_for(6 * HOUR_S, answer, history_s=history_s)
    [(start_s, end_s)] = lanes.begin(T, history_s).gaps
    # Where live is refused too, its own outage becomes a part of the same gap.
    assert world.state.gaps[0][0] == start_s
    assert world.state.gaps[0][1] >= end_s
    assert not world.said("are lost")


def test_settle_lanes_refused_for_their_age_move_on(live_for: Live) -> None:
    """A lane that was behind for more than a week reads on at what Graph still keeps."""

    async def meanwhile(world: World) -> None:
        world.answer = keeps_seven_days(world.clock)
        world.state = StreamState(T - 20 * DAY_S, T, (), dict.fromkeys(world.state.settle_s, T - 10 * DAY_S))

    world = live_for(HOUR_S, meanwhile=meanwhile)
    assert min(world.state.settle_s.values()) >= T - 7 * DAY_S
    assert world.windows("settle_15m", read=True)[0].start_s < T - 7 * DAY_S + 2 * HOUR_S


# Stuck


def test_a_lane_that_hangs_is_stuck(live_for: Live) -> None:
    """A quarter of an hour without an end of a pass: the liveness page may fall."""

    async def meanwhile(world: World) -> None:
        await asyncio.sleep(65)
        world.takes_s = 10**6
        await asyncio.sleep(60 + STUCK_S - 10)
        assert not world.schedule.stuck
        await asyncio.sleep(20)
        assert world.schedule.stuck

    live_for(2000, which="live", meanwhile=meanwhile)


@pytest.mark.parametrize("lane", ["live", "backlog", "settle_2h"])
def test_pages_that_arrive_show_that_live_moves(live_for: Live, lane: str) -> None:
    """A long live pass is no stuck one; another lane's pages say nothing of live."""

    async def meanwhile(world: World) -> None:
        world.takes_s = 10**6
        for _ in range(10):
            await asyncio.sleep(300)
            world.schedule.took(Taken(AUDITS.key, lane, read=1000))
        assert world.schedule.stuck is (lane != "live")

    live_for(4000, which="live", meanwhile=meanwhile)


def test_an_intake_that_is_down_is_not_a_stuck_lane(live_for: Live) -> None:
    """Each try that fails is a sign of life."""

    async def meanwhile(world: World) -> None:
        world.takes_s = 10**6
        for _ in range(200):
            await asyncio.sleep(20)
            world.schedule.alive()
            assert not world.schedule.stuck

    live_for(5000, which="live", meanwhile=meanwhile)


def test_a_long_pause_is_not_a_stuck_lane(live_for: Live) -> None:
    """Graph asked to be left alone for an hour; a lane that backs off waits on purpose."""

    async def meanwhile(world: World) -> None:
        world.answer = lambda _: Throttled("x", HOUR_S)
        world.budget.throttled(HOUR_S)
        for _ in range(60):
            await asyncio.sleep(59)
            assert not world.schedule.stuck

    live_for(HOUR_S, which="live", meanwhile=meanwhile)


def test_down_for_a_day_is_not_stuck(live_for: Live) -> None:
    """Failing is moving: the connector is not restarted for what is not its fault."""

    async def meanwhile(world: World) -> None:
        world.answer = lambda _: GraphUnavailable("down")
        for _ in range(24 * 6):
            await asyncio.sleep(600)
            assert not world.schedule.stuck

    live_for(DAY_S + 60, meanwhile=meanwhile)
