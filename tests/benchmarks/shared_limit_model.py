"""Processes that share one limit and cannot see each other, in virtual time: real RateLimiters, the emulator's limit.

Requests travel for 10 to 80 ms; Graph counts them when they arrive and answers after a while, a 429 at once.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from graph_entra.microsoft.rate_limit import RateLimiter
from tests.clocks import LoopClock
from tests.emulator.throttle import SlidingWindow
from tests.virtual import jumping

LIMIT = (5, 10.0)
ALLOWED_PER_S = LIMIT[0] / LIMIT[1]
MINUTE_S = 60
HOUR_S = 3600.0
POLL_S = 60.0
ANSWERS_S = (0.1, 2.0)
_TRAVEL_S = (0.01, 0.08)
_REFUSED_AFTER_S = (0.05, 0.2)
_STORM_RETRY_AFTER_S = 5.0

MakeLimiter = Callable[[LoopClock, random.Random], Any]
Process = Callable[["World"], Coroutine[Any, Any, None]]


def limiter(clock: LoopClock, chance: random.Random) -> RateLimiter:
    """The real one, its chance seeded."""
    made = RateLimiter(clock)
    made._chance = random.Random(chance.random())
    return made


@dataclass(frozen=True)
class Storm:
    """Seconds in which Graph answers 429 to everything."""

    start_s: float
    end_s: float
    names_retry_after: bool


@dataclass(frozen=True)
class Share:
    """What a stretch of time brought.

    Attributes:
        used: of what the limit allows, by requests that succeeded.
        throttled: of all answers.
        least: the smallest process's part of what succeeded.
    """

    used: float
    throttled: float
    least: float


@dataclass
class World:
    """Graph, its clock and everything that it was asked."""

    chance: random.Random
    make: MakeLimiter
    storm: Storm | None = None
    clock: LoopClock = field(default_factory=LoopClock)
    asked: list[tuple[float, str, bool]] = field(default_factory=list)
    polls_took_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._begun_s = self.clock.monotonic()
        self._window = SlidingWindow(self.clock.monotonic)

    def now_s(self) -> float:
        """Seconds since the beginning."""
        return self.clock.monotonic() - self._begun_s

    async def ask(self, who: str, rate_limiter: Any, answers_s: tuple[float, float]) -> bool:
        """One request; True if Graph answered it."""
        await rate_limiter.turn("unread")
        await self.clock.sleep(self.chance.uniform(*_TRAVEL_S))
        retry_after_s: float | None = self._window.wait_s("app and tenant", LIMIT)
        if self.storm is not None and self.storm.start_s <= self.now_s() < self.storm.end_s:
            retry_after_s = (retry_after_s or _STORM_RETRY_AFTER_S) if self.storm.names_retry_after else None
        answered = retry_after_s == 0
        self.asked.append((self.now_s(), who, answered))
        await self.clock.sleep(self.chance.uniform(*(answers_s if answered else _REFUSED_AFTER_S)))
        if answered:
            rate_limiter.answered()
        else:
            rate_limiter.throttled(retry_after_s)
        return answered

    def share(self, from_s: float, to_s: float) -> Share:
        """What was reached in this stretch of time."""
        all_of_it = [one for one in self.asked if from_s <= one[0] < to_s]
        answered = Counter(who for _, who, answered in all_of_it if answered)
        total = answered.total()
        return Share(
            used=total / (to_s - from_s) / ALLOWED_PER_S,
            throttled=(len(all_of_it) - total) / max(1, len(all_of_it)),
            least=min(answered.values(), default=0) / max(1, total),
        )


def with_backlog(
    who: str,
    *,
    start_s: float = 0.0,
    end_s: float = float("inf"),
    answers_s: tuple[float, float] = ANSWERS_S,
    in_flight: int = 4,
) -> Process:
    """A process that always has something to ask, several windows in flight."""

    async def process(world: World) -> None:
        await world.clock.sleep(start_s)
        rate_limiter = world.make(world.clock, world.chance)

        async def window() -> None:
            while world.now_s() < end_s:
                await world.ask(who, rate_limiter, answers_s)

        await asyncio.gather(*(window() for _ in range(in_flight)))

    return process


def quiet(who: str, requests: int, *, start_s: float = 7.3, late_s: float = 0.3) -> Process:
    """A process that only polls: so many requests every 60 s, up to so much late; what is refused it asks again."""

    async def process(world: World) -> None:
        await world.clock.sleep(start_s)
        rate_limiter = world.make(world.clock, world.chance)

        async def request() -> None:
            while not await world.ask(who, rate_limiter, ANSWERS_S):
                pass

        due_s = world.now_s()
        while True:
            begun_s = world.now_s()
            await asyncio.gather(*(request() for _ in range(requests)))
            world.polls_took_s.append(world.now_s() - begun_s)
            due_s += POLL_S
            await world.clock.sleep(max(0.0, due_s - world.now_s() + world.chance.uniform(0, late_s)))

    return process


def simulate(
    seed: int, *processes: Process, seconds: float = HOUR_S, storm: Storm | None = None, make: MakeLimiter = limiter
) -> World:
    """Lets the processes ask for so long."""

    async def play() -> World:
        world = World(random.Random(seed), make, storm)
        tasks = [asyncio.create_task(process(world)) for process in processes]
        await world.clock.sleep(seconds)
        for task in tasks:
            task.cancel()
        _raise(await asyncio.gather(*tasks, return_exceptions=True))
        return world

    run: Awaitable[World] = play()
    return jumping.run(run)  # type: ignore[arg-type]


def _raise(results: list[Any]) -> None:
    for result in results:
        if isinstance(result, Exception):
            raise result
