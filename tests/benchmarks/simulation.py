"""Days of collecting in seconds: the real lanes, schedule and budget on a clock that jumps, with a model of Graph.

`Model` counts records only, which allows any rate; `ModelGraph` makes them, for the real Collector, Ledger and
ContextStore.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import lanes, schedule
from graph_entra.reading.lanes import RANK
from graph_entra.reading.schedule import StreamSchedule
from graph_entra.records import Page, Record
from graph_entra.streams import SIGN_IN_TYPES, Stream, Stretch, Window, sign_in_stream
from tests.unit import virtual_time

BEGIN_S = 1_795_000_000
PERIOD_S = 60
PAGE_RECORDS = 1000
# What Graph takes to answer; an assumption, the emulator's is shorter.
ANSWER_S = 0.5
# How a tenant's sign-ins are shared among the four types; an assumption.
SHARES = dict(zip(SIGN_IN_TYPES, (0.15, 0.6, 0.2, 0.05), strict=True))
# Combinations of material members; an assumption.
_DIGESTS = tuple((1 << 63) + number for number in range(97))


@dataclass
class Outcome:
    """What was seen between the first and the last counted second."""

    seconds: float = 0.0
    requests: Counter[str] = field(default_factory=Counter)
    delays_s: list[float] = field(default_factory=list)
    live_waits_s: list[float] = field(default_factory=list)
    backlog_read_s: float = 0.0
    overlap_s: dict[str, int] = field(default_factory=dict)
    settle_lag_s: dict[str, float] = field(default_factory=dict)

    @property
    def per_minute(self) -> dict[str, float]:
        return {lane: count / self.seconds * 60 for lane, count in self.requests.items()}


class Clock:
    """The simulated time, of the running loop."""

    def __init__(self) -> None:
        self._origin_s = asyncio.get_running_loop().time()

    def __call__(self) -> float:
        return BEGIN_S + asyncio.get_running_loop().time() - self._origin_s


class Model:
    """In the place of a Collector: so many records a second, all shown at once; counts requests and delays."""

    def __init__(self, stream: Stream, per_s: float, history_s: int, budget: RateLimiter, clock: Clock) -> None:
        self.stream = stream
        self.state = lanes.begin(int(clock()), history_s)
        self.outcome = Outcome()
        self._per_s = per_s
        self._budget = budget
        self._clock = clock
        self._turn = asyncio.Lock()
        self._live_s = clock()

    @property
    def pending(self) -> float:
        """Records that the backlog still has to read."""
        return lanes.backlog_s(self.state) * self._per_s

    async def resume(self, period_s: int) -> lanes.Resumed:
        async with self._turn:
            resumed = lanes.resume(self.state, int(self._clock()), period_s)
            self.state = resumed.state
            return resumed

    async def give_up(self, before_s: int) -> tuple[Stretch, ...]:
        self.state, lost = lanes.give_up(self.state, before_s)
        return lost

    async def read(self, window: Window) -> int:
        asked_s = int(self._clock())
        pages = max(1, -int(-(window.end_s - window.start_s) * self._per_s // PAGE_RECORDS))
        for page in range(1, pages + 1):
            waited_from_s = self._clock()
            await self._budget.turn(RANK[window.lane], self.stream.key, goes_on=page > 1)
            if window.lane == lanes.LIVE:
                self.outcome.live_waits_s.append(self._clock() - waited_from_s)
            await asyncio.sleep(ANSWER_S)
            self.outcome.requests[window.lane] += 1
            reached_s = min(window.end_s, window.start_s + int(page * PAGE_RECORDS / self._per_s))
            if page == pages:
                reached_s = window.end_s
            self._note(window, reached_s)
            async with self._turn:
                self.state = lanes.after_page(self.state, window, reached_s, asked_s)
        return pages

    def _note(self, window: Window, reached_s: int) -> None:
        if window.lane == lanes.LIVE and reached_s > self._live_s:
            self.outcome.delays_s += [self._clock() - self._live_s, self._clock() - reached_s]
            self._live_s = reached_s


async def _simulate(rates: dict[str, float], history_s: int, warm_s: float, counted_s: float, settle: bool) -> Outcome:
    clock = Clock()
    budget = RateLimiter(clock=asyncio.get_running_loop().time)
    models = [
        Model(sign_in_stream(kind, beta_only=False), per_s, history_s, budget, clock)  # type: ignore[arg-type]
        for kind, per_s in rates.items()
    ]
    schedules = [_schedule(model, budget, clock) for model in models]
    tasks = [asyncio.create_task(s.live()) for s in schedules]
    if settle:
        tasks += [asyncio.create_task(s.rest()) for s in schedules]
    await asyncio.sleep(warm_s)
    pending = sum(model.pending for model in models)
    for model in models:
        model.outcome = Outcome()
    await asyncio.sleep(counted_s)
    await _end(tasks)
    total = Outcome(seconds=counted_s)
    # By records: the busiest stream's history is what takes the time.
    total.backlog_read_s = (pending - sum(model.pending for model in models)) / sum(rates.values())
    for model, its_schedule in zip(models, schedules, strict=True):
        total.requests += model.outcome.requests
        total.delays_s += model.outcome.delays_s
        total.live_waits_s += model.outcome.live_waits_s
        total.overlap_s[model.stream.key] = its_schedule._overlap_s
        for lane in lanes.SETTLE_LANES:
            lag_s = clock() - lane.age_s - lane.step_s - model.state.settle_s[lane.name]
            total.settle_lag_s[lane.name] = max(0.0, lag_s, total.settle_lag_s.get(lane.name, 0.0))
    return total


def simulate(
    rates: dict[str, float], *, history_s: int = 0, warm_s: float, counted_s: float, settle: bool = True
) -> Outcome:
    """Collects for `warm_s`, then counts for `counted_s`.

    Args:
        rates: records a second of each sign-in type.
        history_s: of the first start.
        warm_s: seconds that are not counted.
        counted_s: seconds that are.
        settle: False leaves out everything but the live lane.
    """
    with _virtual():
        return virtual_time.run(_simulate(rates, history_s, warm_s, counted_s, settle))


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


def _schedule(collector: Any, budget: RateLimiter, clock: Callable[[], float]) -> StreamSchedule:
    problems = SimpleNamespace(
        report=_fail, recovered=lambda *_args: None, lost=lambda *_args: None, nothing_lost=lambda *_args: None
    )
    return StreamSchedule(
        collector,
        period_s=PERIOD_S,
        budget=budget,
        problems=problems,  # type: ignore[arg-type]
        log=lambda _message, _level: None,
        clock=clock,
    )


def _fail(_where: str, error: Exception, _wait_s: float) -> None:
    raise error


class ModelGraph:
    """A source of pages: record number n is created n/per_s seconds after 1970, its members follow from n."""

    def __init__(self, per_s: float, budget: RateLimiter, clock: Clock) -> None:
        self._per_s = per_s
        self._budget = budget
        self._clock = clock

    async def pages(self, stream: Stream, window: Window) -> AsyncGenerator[tuple[Page, bool]]:
        """As graph.Graph does."""
        await self._budget.turn(RANK[window.lane], stream.key)
        await asyncio.sleep(ANSWER_S)
        first = -int(-window.start_s * self._per_s // 1)
        end = int(min(window.end_s, self._clock()) * self._per_s) + 1
        for start in range(first, max(end, first + 1), PAGE_RECORDS):
            if start > first:
                await self._budget.turn(RANK[window.lane], stream.key, goes_on=True)
                await asyncio.sleep(ANSWER_S)
            records = [self._record(number) for number in range(start, min(end, start + PAGE_RECORDS))]
            times = [datetime.fromtimestamp(r.created_s or 0, UTC) for r in (records[:1] + records[-1:])]
            is_last = start + PAGE_RECORDS >= end
            link = None if is_last else "next"
            yield Page(records, link, times[0] if times else None, times[-1] if times else None, ordered=True), is_last

    def _record(self, number: int) -> Record:
        identity = number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        return Record("{}", identity, _DIGESTS[number % len(_DIGESTS)], int(number / self._per_s), "id")


async def collect(
    collector: Any, budget: RateLimiter, clock: Clock, seconds: float, each_period: Callable[[], None]
) -> None:
    """Runs a real Collector's lanes, and calls back after each period."""
    lanes_ = _schedule(collector, budget, clock)
    tasks = [asyncio.create_task(lanes_.live()), asyncio.create_task(lanes_.rest())]
    for _ in range(int(seconds / PERIOD_S)):
        await asyncio.sleep(PERIOD_S)
        each_period()
    await _end(tasks)


@contextmanager
def _virtual() -> Iterator[None]:
    """Lets nothing in the schedule look at the real clock, nor leave the one thread."""

    async def inline(function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    monotonic = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())
    with patch.object(schedule, "time", monotonic), patch.object(asyncio, "to_thread", inline):
        yield


def run_virtually(job: Any) -> Any:
    """Runs a coroutine in simulated time."""
    with _virtual():
        return virtual_time.run(job)
