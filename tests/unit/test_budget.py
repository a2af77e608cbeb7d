"""The request budget in virtual time: Microsoft's limit kept to the second, live first, nobody starved."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graph_entra.microsoft.rate_limit import SLOWEST_SPACING_S, SPACING_S, RateLimiter
from tests.unit.virtual_time import run

LIVE, BACKLOG, SETTLE = 0, 1, 2


class Clocked:
    """A budget on the loop's own virtual clock, and who was served when."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun_s = self.loop.time()
        self.budget = RateLimiter(clock=self.loop.time)
        self.served: list[tuple[float, str]] = []

    def now(self) -> float:
        """Seconds since the beginning."""
        return self.loop.time() - self.begun_s

    async def turn(self, rank: int, stream: str, *, goes_on: bool = False) -> None:
        """Wait for a turn and note it."""
        await self.budget.turn(rank, stream, goes_on=goes_on)
        self.served.append((self.now(), stream))

    def times(self) -> list[float]:
        """When somebody was served."""
        return [at for at, _ in self.served]

    def streams(self) -> list[str]:
        """Who was served, in order."""
        return [stream for _, stream in self.served]


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


def test_at_most_five_in_any_ten_seconds_and_hardly_fewer() -> None:
    """Under full load, to the limit and not beyond it: at least 95 % of what Microsoft allows."""

    async def hundred(clock: Clocked) -> None:
        await asyncio.gather(*(clock.turn(n % 3, f"s{n % 4}") for n in range(100)))

    times = clocked(hundred).times()
    assert len(times) == 100
    assert most_in_ten_seconds(times) == 5
    assert times[-1] <= 99 * 2 / 0.95
    assert times[0] == 0


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 30, allow_nan=False),
        st.sampled_from(["turn", "turn", "turn", "burst", "throttled", "answered", "cancelled"]),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(EVENTS)
@example([(0, "throttled"), (1, "throttled"), (0, "burst"), *[(0.5, "answered")] * 30, (0, "burst")])
def test_never_more_than_five_in_ten_seconds(events: list[tuple[float, str]]) -> None:
    """However requests arrive, whatever Graph answers, whoever gives up waiting; and nobody waits for ever."""

    async def play(clock: Clocked) -> None:
        tasks = []
        for wait_s, name in events:
            await asyncio.sleep(wait_s)
            if name == "throttled":
                clock.budget.throttled(3.5)
            elif name == "answered":
                clock.budget.answered()
            else:
                tasks += [asyncio.create_task(clock.turn(n % 3, f"s{n}")) for n in range({"burst": 7}.get(name, 1))]
                if name == "cancelled":
                    tasks.pop().cancel()
        await asyncio.gather(*tasks)

    clock = clocked(play)
    assert most_in_ten_seconds(clock.times()) <= 5
    assert all(later - earlier >= SPACING_S - 1e-6 for earlier, later in pairwise(clock.times()))
    assert clock.budget._waiting == []


def test_a_first_request_waits_for_nobody() -> None:
    """An idle budget lets through at once."""

    async def play(clock: Clocked) -> None:
        await clock.turn(SETTLE, "a")
        await asyncio.sleep(100)
        await clock.turn(SETTLE, "a")

    assert clocked(play).times() == pytest.approx([0, 100])


def test_live_goes_first() -> None:
    """Also before those who have waited longer."""

    async def play(clock: Clocked) -> None:
        async def late_live() -> None:
            await asyncio.sleep(1)
            await clock.turn(LIVE, "live")

        await asyncio.gather(clock.turn(BACKLOG, "b1"), clock.turn(BACKLOG, "b2"), clock.turn(SETTLE, "s"), late_live())

    assert clocked(play).streams() == ["b1", "live", "b2", "s"]


def test_every_third_turn_is_somebody_elses() -> None:
    """However short the live period is, backlog gets on, and no lane is starved for it."""

    async def play(clock: Clocked) -> None:
        others = [asyncio.create_task(clock.turn(BACKLOG, "other")) for _ in range(3)]
        live = [asyncio.create_task(clock.turn(LIVE, "live")) for _ in range(8)]
        await asyncio.gather(*others, *live)

    assert clocked(play).streams() == ["live", "live", "other"] * 3 + ["live", "live"]


def test_further_pages_of_live_go_before_everything() -> None:
    """Where live has so many records that one page does not hold them, backlog waits."""

    async def play(clock: Clocked) -> None:
        other = asyncio.create_task(clock.turn(BACKLOG, "other"))
        live = [asyncio.create_task(clock.turn(LIVE, "live", goes_on=page > 0)) for page in range(6)]
        await asyncio.gather(other, *live)

    assert clocked(play).streams() == ["live"] * 6 + ["other"]


def test_equals_take_turns() -> None:
    """The stream that was served longest ago is served first: a busy one cannot push out the others."""

    async def play(clock: Clocked) -> None:
        async def reader(stream: str) -> None:
            for _ in range(4):
                await clock.turn(BACKLOG, stream)

        await asyncio.gather(reader("a"), reader("b"), reader("c"))

    assert clocked(play).streams() == ["a", "b", "c"] * 4


@pytest.mark.parametrize(("asked_s", "pause_s"), [(2.128, 2.128), (200.0, 200.0), (None, 10.0), (0.0, 10.0)])
def test_a_pause_is_kept_to_its_end(asked_s: float | None, pause_s: float) -> None:
    """Nobody asks before Retry-After is over, be it a fraction or minutes; ten seconds if Graph names none."""

    async def play(clock: Clocked) -> None:
        waiting = asyncio.create_task(clock.turn(LIVE, "a"))
        await waiting
        after = asyncio.create_task(clock.turn(LIVE, "b"))
        await asyncio.sleep(1)
        clock.budget.throttled(asked_s)
        assert clock.budget.paused_s == pytest.approx(pause_s)
        await after
        assert clock.budget.paused_s == 0

    times = clocked(play).times()
    # Not before, and no later than the next turn after that.
    assert 1 + pause_s <= times[1] <= 1 + pause_s + SPACING_S


def test_a_pause_may_grow_and_never_shrinks() -> None:
    """A second, shorter Retry-After does not end the first; a longer one prolongs it."""

    async def play(clock: Clocked) -> None:
        clock.budget.throttled(50)
        waiting = asyncio.create_task(clock.turn(LIVE, "a"))
        await asyncio.sleep(20)
        clock.budget.throttled(5)
        assert clock.budget.paused_s == pytest.approx(30)
        clock.budget.throttled(80)
        await waiting

    assert clocked(play).times() == pytest.approx([100], abs=0.01)


def test_one_429_only_pauses() -> None:
    """Somebody else's burst is over when its pause is."""

    async def play(clock: Clocked) -> None:
        clock.budget.throttled(1)
        await asyncio.sleep(61)
        clock.budget.throttled(1)
        assert clock.budget.spacing_s == SPACING_S

    clocked(play)


def test_repeated_429s_widen_the_spacing_up_to_a_bound() -> None:
    """Another process shares the limit and cannot be seen: ask less, but never less than every 16 s."""

    async def play(clock: Clocked) -> None:
        seen = []
        for _ in range(9):
            clock.budget.throttled(1)
            seen.append(clock.budget.spacing_s)
            await asyncio.sleep(30)
        assert seen[:4] == pytest.approx([SPACING_S, SPACING_S * 1.5, SPACING_S * 1.5**2, SPACING_S * 1.5**3])
        assert seen[-1] == SLOWEST_SPACING_S
        await asyncio.gather(*(clock.turn(BACKLOG, "a") for _ in range(4)))
        times = clock.times()
        assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([16.0] * 3, abs=0.01)

    clocked(play)


def test_answers_narrow_the_spacing_back() -> None:
    """Little by little, to the limit's own spacing and not below it."""

    async def play(clock: Clocked) -> None:
        clock.budget.throttled(1)
        clock.budget.throttled(1)
        wide = clock.budget.spacing_s
        clock.budget.answered()
        assert clock.budget.spacing_s == pytest.approx(wide - 0.04)
        for _ in range(1000):
            clock.budget.answered()
        assert clock.budget.spacing_s == SPACING_S
        clock.budget.answered()
        assert clock.budget.spacing_s == SPACING_S

    clocked(play)


@pytest.mark.parametrize("seed", range(4))
def test_two_processes_share_the_limit_without_starving(seed: int) -> None:
    """Two budgets that cannot see each other against one enforced limit: both get on, and 429s are few."""
    chance = random.Random(seed)
    answered, throttled = [0, 0], [0, 0]

    async def play(clock: Clocked) -> None:
        admitted: list[float] = []

        async def process(number: int) -> None:
            await asyncio.sleep(chance.random())
            budget = RateLimiter(clock=clock.loop.time)
            while clock.now() < 3600:
                await budget.turn(BACKLOG, "s")
                await asyncio.sleep(chance.uniform(0.02, 0.3))
                recent = [at for at in admitted[-5:] if at > clock.now() - 10]
                if len(recent) == 5:
                    throttled[number] += 1
                    budget.throttled(10 - (clock.now() - recent[0]))
                else:
                    admitted.append(clock.now())
                    answered[number] += 1
                    await asyncio.sleep(chance.uniform(0.1, 1))
                    budget.answered()

        await asyncio.gather(process(0), process(1))

    clocked(play)
    # 60 an hour are a live lane's: the lesser one has several times as many.
    assert min(answered) > 180, answered
    assert sum(answered) > 0.75 * 1800, answered
    assert sum(throttled) < 0.1 * sum(answered), throttled


def test_a_waiter_that_gives_up_blocks_nobody() -> None:
    """Cancelled while it waits, while it is next, or during a pause: the others get its turn."""

    async def play(clock: Clocked) -> None:
        tasks = [asyncio.create_task(clock.turn(LIVE, f"gone{n}")) for n in range(5)]
        tasks.append(asyncio.create_task(clock.turn(SETTLE, "stays")))
        clock.budget.throttled(20)
        await asyncio.sleep(1)
        for task in tasks[:5]:
            task.cancel()
        await tasks[5]
        assert clock.now() == pytest.approx(20, abs=0.01)
        only = asyncio.create_task(clock.turn(LIVE, "alone and gone"))
        await asyncio.sleep(0.5)
        only.cancel()
        await asyncio.sleep(30)
        await clock.turn(LIVE, "after")
        assert clock.now() == pytest.approx(50.5, abs=0.01)

    assert clocked(play).streams() == ["stays", "after"]
