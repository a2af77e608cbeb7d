"""The rate limit in virtual time: Microsoft's limit kept to the second, new records first, shared with the unseen."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graph_entra.microsoft.poll_memory import PollMemory
from graph_entra.microsoft.rate_limit import SPACING_S, RateLimiter, is_of_whole_app
from tests.benchmarks.shared_limit_model import HOUR_S, MINUTE_S, Share, Storm, World, quiet, simulate, with_backlog
from tests.clocks import LoopClock, ManualClock
from tests.virtual.jumping import run

CYCLE_S = 5 * SPACING_S


class Clocked:
    """A limiter on the loop's own virtual clock, and who was served when."""

    def __init__(self, seed: int = 1) -> None:
        self.clock = LoopClock()
        self.begun_s = self.clock.monotonic()
        self.limiter = RateLimiter(self.clock)
        self.limiter._chance = random.Random(seed)
        self.served: list[tuple[float, str]] = []

    def now_s(self) -> float:
        """Seconds since the beginning."""
        return self.clock.monotonic() - self.begun_s

    async def turn(self, name: str, work: str = "unread", *, goes_on: bool = False) -> None:
        """Wait for a turn and note it."""
        await self.limiter.turn(work, goes_on=goes_on)
        self.served.append((self.now_s(), name))

    async def turns(self, count: int) -> None:
        """So many turns, all asked for at once."""
        await asyncio.gather(*(self.turn("some") for _ in range(count)))

    def times(self) -> list[float]:
        """When somebody was served."""
        return [at for at, _ in self.served]

    def names(self) -> list[str]:
        """Who was served, in order."""
        return [name for _, name in self.served]


def clocked(scenario: Callable[[Clocked], Awaitable[None]]) -> Clocked:
    """Play a scenario to its end."""

    async def play() -> Clocked:
        clock = Clocked()
        async with asyncio.timeout(100_000):
            await scenario(clock)
        return clock

    return run(play())


def most_in_ten_seconds(times: list[float]) -> int:
    """The most requests in any 10 s."""
    return max((sum(start <= at < start + 10 for at in times) for start in times), default=0)


# One process


def test_at_most_five_in_any_ten_seconds_and_hardly_fewer() -> None:
    """Under full load, to the limit and not beyond it, from the first request on: 98 % of what Microsoft allows."""

    async def hundred(clock: Clocked) -> None:
        await clock.turns(100)

    times = clocked(hundred).times()
    assert len(times) == 100
    assert most_in_ten_seconds(times) == 5
    assert times[-1] <= 99 * 2 / 0.98
    assert times[0] == 0


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 30, allow_nan=False),
        st.sampled_from(["turn", "turn", "turn", "burst", "ready", "throttled", "whole app", "answered", "cancelled"]),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(EVENTS)
@example([(0, "throttled"), (1, "throttled"), (0, "burst"), *[(0.5, "answered")] * 30, (0, "burst")])
@example([(0, "burst"), (9, "answered"), (2, "throttled"), (0, "burst"), (0, "cancelled"), (11, "throttled")])
def test_never_more_than_five_in_ten_seconds(events: list[tuple[float, str]]) -> None:
    """However requests arrive, whatever Graph answers, whoever gives up waiting; never before a pause is over."""

    async def play(clock: Clocked) -> None:
        tasks = []
        pauses = []
        for wait_s, name in events:
            await asyncio.sleep(wait_s)
            if name in ("throttled", "whole app"):
                clock.limiter.throttled(3.5, whole_app=name == "whole app")
                pauses.append(clock.now_s())
            elif name == "answered":
                clock.limiter.answered()
            elif name == "ready":
                tasks.append(asyncio.create_task(clock.limiter.ready()))
            else:
                tasks += [asyncio.create_task(clock.turn(f"s{n}")) for n in range({"burst": 7}.get(name, 1))]
                if name == "cancelled":
                    tasks.pop().cancel()
        await asyncio.gather(*tasks)
        assert not [at for at in clock.times() for pause in pauses if pause < at < pause + 3.5]

    clock = clocked(play)
    assert most_in_ten_seconds(clock.times()) <= 5
    assert all(later - earlier >= SPACING_S - 1e-6 for earlier, later in pairwise(clock.times()))
    assert clock.limiter._waiting == []
    assert 1 <= clock.limiter._share <= 5


def test_a_first_request_waits_for_nobody() -> None:
    """An idle limiter lets through at once."""

    async def play(clock: Clocked) -> None:
        await clock.turn("a")
        await asyncio.sleep(100)
        await clock.turn("a")

    assert clocked(play).times() == pytest.approx([0, 100])


def test_new_records_then_chains_then_the_rest_in_order() -> None:
    """Edge first, also before who has waited longer; then further pages; among equals, first come first served."""

    async def play(clock: Clocked) -> None:
        async def late_edge() -> None:
            await asyncio.sleep(1)
            await clock.turn("edge", "edge")

        await asyncio.gather(
            clock.turn("first"),
            clock.turn("look", "look"),
            clock.turn("unread"),
            clock.turn("chain", "again", goes_on=True),
            clock.turn("edge chain", "edge", goes_on=True),
            late_edge(),
        )

    # Those who ask in the same moment are sorted too: nobody has a turn before all have asked.
    assert clocked(play).names() == ["edge chain", "edge", "chain", "first", "look", "unread"]


def test_a_waiter_that_gives_up_blocks_nobody() -> None:
    """Cancelled while it waits, while it is next, or during a pause: the others get its turn."""

    async def play(clock: Clocked) -> None:
        tasks = [asyncio.create_task(clock.turn(f"gone{n}", "edge")) for n in range(5)]
        tasks.append(asyncio.create_task(clock.turn("stays")))
        clock.limiter.throttled(20)
        await asyncio.sleep(1)
        for task in tasks[:5]:
            task.cancel()
        await tasks[5]
        assert 20 <= clock.now_s() <= 20.6
        only = asyncio.create_task(clock.turn("alone and gone", "edge"))
        await asyncio.sleep(0.5)
        only.cancel()
        await asyncio.sleep(30)
        begun_s = clock.now_s()
        await clock.turn("after", "edge")
        assert clock.now_s() == pytest.approx(begun_s, abs=0.01)

    assert clocked(play).names() == ["stays", "after"]


async def test_a_turn_given_to_one_that_is_cancelled_in_the_same_moment_is_not_lost() -> None:
    """The turn was given, but nobody used it: the next one has it at once and does not wait for a spacing."""
    clock = ManualClock()
    limiter = RateLimiter(clock)
    first = asyncio.create_task(limiter.turn("edge"))
    # It asks; it is given the turn, and has not yet heard of it.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert limiter._turns[-1] == clock.passed_s
    assert not first.done()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert limiter.has_turn
    await limiter.turn("edge")
    assert clock.passed_s == 0


def test_ready_is_true_when_a_turn_would_be_given_at_once() -> None:
    """Whoever chooses only when it may ask waits no longer than one that asked before, and takes nobody's turn."""

    async def play(clock: Clocked) -> None:
        assert clock.limiter.has_turn
        await clock.limiter.ready()
        assert clock.now_s() == 0
        for _ in range(20):
            await clock.limiter.ready()
            assert clock.limiter.has_turn
            ready_s = clock.now_s()
            await clock.turn("chosen")
            assert clock.now_s() == ready_s
            assert not clock.limiter.has_turn
        waiting = asyncio.create_task(clock.turn("asked before"))
        await clock.limiter.ready()
        assert waiting.done()
        clock.limiter.throttled(30)
        assert not clock.limiter.has_turn

    times = clocked(play).times()
    assert times[19] <= 19 * 2 / 0.98 + SPACING_S
    assert most_in_ten_seconds(times) == 5


# 429


@pytest.mark.parametrize(("asked_s", "pause_s"), [(2.128, 2.128), (200.0, 200.0), (None, 10.0), (0.0, 10.0)])
@pytest.mark.parametrize("whole_app", [False, True])
def test_a_pause_is_kept_to_its_end(asked_s: float | None, pause_s: float, whole_app: bool) -> None:
    """Nobody asks before Retry-After is over, be it a fraction or minutes; ten seconds if Graph names none."""

    async def play(clock: Clocked) -> None:
        await clock.turn("a")
        after = asyncio.create_task(clock.turn("b"))
        await asyncio.sleep(1)
        clock.limiter.throttled(asked_s, whole_app=whole_app)
        assert pause_s <= clock.limiter.paused_s <= pause_s + 0.5
        assert clock.limiter.not_before_s == pytest.approx(clock.clock.monotonic() + clock.limiter.paused_s)
        await after
        assert clock.limiter.paused_s == 0

    times = clocked(play).times()
    # Not before, and no later than the next turn after that.
    assert 1 + pause_s <= times[1] <= 1 + pause_s + CYCLE_S / 2


def test_a_pause_may_grow_and_never_shrinks() -> None:
    """A second, shorter Retry-After does not end the first; a longer one prolongs it."""

    async def play(clock: Clocked) -> None:
        clock.limiter.throttled(50)
        waiting = asyncio.create_task(clock.turn("a"))
        await asyncio.sleep(20)
        clock.limiter.throttled(5)
        assert 30 <= clock.limiter.paused_s <= 30.5
        clock.limiter.throttled(80)
        await waiting

    assert 100 <= clocked(play).times()[0] <= 100.6


def test_the_limit_of_the_whole_app_takes_nothing_from_this_tenants_share() -> None:
    """The 122 of all tenants are exceeded: a pause, and then the five as before."""

    async def play(clock: Clocked) -> None:
        await clock.turns(20)
        for _ in range(5):
            clock.limiter.throttled(4, whole_app=True)
            assert clock.limiter.spacing_s == pytest.approx(SPACING_S)

    clocked(play)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("Application/ReadWrite/9a3d526c/0785ef7c", True),
        ("Tenant_Application/ReadWrite/9a3d526c/0785ef7c", False),
        ("Tenant/Read/9a3d526c/0785ef7c", False),
        ("", False),
        (None, False),
    ],
)
def test_which_limit_a_429_is_of(scope: str | None, expected: bool) -> None:
    """Told from the one header that Microsoft documents for it; without it, it is the five."""
    assert is_of_whole_app({} if scope is None else {"x-ms-throttle-scope": scope}) is expected


def test_a_lasting_storm_is_met_with_one_request_in_a_cycle() -> None:
    """Graph answers nobody: ask as little as possible, and say so."""

    async def play(clock: Clocked) -> None:
        await clock.turns(20)
        for _ in range(8):
            clock.limiter.throttled(1)
            await asyncio.sleep(15)
        assert clock.limiter.spacing_s == pytest.approx(CYCLE_S)

    clocked(play)


def test_one_that_asks_seldom_forgets_what_it_met_half_an_hour_ago() -> None:
    """Both connectors are quiet: a collision when they started does not slow down their polls for good."""

    async def poll_of_five_took_s(clock: Clocked) -> float:
        begun_s = clock.now_s()
        await clock.turns(5)
        clock.limiter.answered()
        return clock.now_s() - begun_s

    async def play(clock: Clocked) -> None:
        assert clock.limiter.spacing_s == SPACING_S
        assert await poll_of_five_took_s(clock) <= CYCLE_S
        await asyncio.sleep(60)
        for _ in range(3):
            clock.limiter.throttled(1)
        assert clock.limiter.spacing_s > SPACING_S
        for _ in range(20):
            await asyncio.sleep(60)
            assert await poll_of_five_took_s(clock) > CYCLE_S
        for _ in range(10):
            await asyncio.sleep(60)
            await poll_of_five_took_s(clock)
        await asyncio.sleep(60)
        assert await poll_of_five_took_s(clock) <= CYCLE_S
        assert clock.limiter.spacing_s == SPACING_S

    assert most_in_ten_seconds(clocked(play).times()) <= 5


# What others take


def test_polls_are_remembered_by_the_second_of_the_minute() -> None:
    """Once is chance; a minute later it is a poll: room for one is left around that second, and nowhere else."""
    memory = PollMemory(CYCLE_S)
    assert not memory.throttled(1000.0)
    assert [memory.left(1060.0 + s) for s in (-6, 0, 9, 14)] == [0, 0, 0, 0]
    assert memory.throttled(1061.0)
    assert [memory.left(1120.0 + s) for s in (-6, 0, 9, 14)] == [0, 1, 1, 0]
    # One does not suffice: two from now on.
    assert memory.throttled(1121.0)
    assert [memory.left(1180.0 + s) for s in (-6, 0, 9, 14)] == [0, 2, 2, 0]
    assert not memory.throttled(1180.0 + 30)


def test_polls_that_ended_are_forgotten_and_those_that_go_on_are_not() -> None:
    """After a quarter of an hour the room is taken for once: a 429 brings it back, silence ends it."""
    memory = PollMemory(CYCLE_S)
    for at_s in (1000.0, 1060.0):
        memory.throttled(at_s)
    assert memory.left(1060.0 + 15 * 60) == 1
    trial_s = 1060.0 + 16 * 60
    assert memory.left(trial_s) == 0
    assert memory.throttled(trial_s + 1)
    assert memory.left(trial_s + 1) == 1
    assert memory.left(trial_s + 60) == 1
    assert memory.left(trial_s + 16 * 60) == 0
    assert memory.left(trial_s + 40 * 60) == 0


# Processes that cannot see each other. The bounds are wide: tests.benchmarks shared_limit states what is reached. The
# limiter of version 1.0.0 reached 67 % beside one that polls, and 70 % with a share of 20 % beside one with backlog.

SEEDS = range(3)


def _later(*processes: Callable[[World], Awaitable[None]]) -> list[Share]:
    return [simulate(seed, *processes).share(MINUTE_S, HOUR_S) for seed in SEEDS]  # type: ignore[arg-type]


def test_alone_there_is_no_429() -> None:
    """One process with backlog has the whole limit, with answers that take 0.1 to 2 s."""
    for seed in SEEDS:
        share = simulate(seed, with_backlog("a")).share(0, HOUR_S)
        assert share.throttled == 0
        assert share.used >= 0.97


def test_beside_one_that_polls_hardly_anything_is_lost() -> None:
    """One request a minute by the other connector costs a few percent of the limit and few 429s."""
    shares = _later(with_backlog("a"), quiet("b", 1))
    assert min(share.used for share in shares) >= 0.88, shares
    assert max(share.throttled for share in shares) <= 0.03, shares


def test_two_with_backlog_share_evenly() -> None:
    """Neither starves, and both together use nearly all, however long Graph takes to answer one of them."""
    shares = _later(with_backlog("a"), with_backlog("b", start_s=0.4))
    shares += _later(with_backlog("a"), with_backlog("b", start_s=0.4, answers_s=(1, 8), in_flight=8))
    assert min(share.used for share in shares) >= 0.86, shares
    assert max(share.throttled for share in shares) <= 0.06, shares
    assert min(share.least for share in shares) >= 0.35, shares


def test_the_larger_share_changes_hands() -> None:
    """Five do not halve: each of two with backlog has three of them for some of the time."""
    for seed in SEEDS:
        world = simulate(seed, with_backlog("a"), with_backlog("b", start_s=0.4), seconds=3 * HOUR_S)
        ahead = set()
        for begin_s in range(MINUTE_S, int(3 * HOUR_S), 300):
            slice_ = [who for at_s, who, answered in world.asked if answered and begin_s <= at_s < begin_s + 300]
            ahead |= {who for who in "ab" if slice_.count(who) > 0.55 * len(slice_)}
        assert ahead == {"a", "b"}


def test_one_that_starts_later_gets_its_share() -> None:
    """The first has had the whole limit for an hour: the second has its part within minutes."""
    for seed in SEEDS:
        world = simulate(seed, with_backlog("a"), with_backlog("b", start_s=HOUR_S), seconds=1.5 * HOUR_S)
        share = world.share(HOUR_S + 60, 1.5 * HOUR_S)
        assert share.used >= 0.86, share
        assert share.least >= 0.35, share


def test_what_another_left_is_taken() -> None:
    """One of two ends: the other has the whole limit minutes later."""
    for seed in SEEDS:
        world = simulate(seed, with_backlog("a"), with_backlog("b", end_s=HOUR_S), seconds=HOUR_S + 900)
        assert world.share(HOUR_S + 480, HOUR_S + 900).used >= 0.95


@pytest.mark.parametrize("names_retry_after", [True, False])
def test_minutes_after_a_storm_all_is_as_before(names_retry_after: bool) -> None:
    """Three minutes of nothing but 429: within three more, nine tenths of the limit are used again."""
    for seed in SEEDS:
        storm = Storm(600, 780, names_retry_after=names_retry_after)
        world = simulate(seed, with_backlog("a"), seconds=1500, storm=storm)
        assert sum(storm.start_s <= at < storm.end_s for at, _, _ in world.asked) <= 30
        assert world.share(storm.end_s + 120, storm.end_s + 180).used >= 0.9
        assert world.share(storm.end_s + 180, storm.end_s + 720).used >= 0.95


def test_two_that_start_together_begin_without_a_burst_of_429s() -> None:
    """`make run` and a restart of the platform start both connectors in the same second: five polls in all."""
    refused = []
    for seed in range(6):
        world = simulate(seed, quiet("a", 4, start_s=0), quiet("b", 1, start_s=0), seconds=MINUTE_S)
        refused.append(sum(not answered for _, _, answered in world.asked))
    assert mean(refused) <= 1, refused
