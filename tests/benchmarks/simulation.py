"""Days of collecting in seconds: the real schedule, plan, shares and rate limiter on a clock that jumps, and a model.

`ModelCollector` stands in for a Collector with Graph, ledger and intake behind it. It holds a sample of the records, of
which each stands for `weight` real ones, so that any rate can be simulated: pages are counted by what they would hold.
"""

import asyncio
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from graph_entra.errors import GraphEntraError
from graph_entra.microsoft.graph import Answer
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import coverage as coverage_rules
from graph_entra.reading import plan
from graph_entra.reading.collector import MOST_PAGES, Reading
from graph_entra.reading.coverage import LOOKS, Clipped, Row
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.reading.schedule import Schedule
from graph_entra.streams import DAY_S, HOUR_S, SIGN_IN_TYPES, Stream, Stretch, Window, sign_in_stream
from tests.clocks import START_S, LoopClock
from tests.virtual import jumping

PERIOD_S = 60
PAGE_RECORDS = 1000
# What Graph takes to answer; an assumption, the emulator's is shorter.
ANSWER_S = 0.5
# How a tenant's sign-ins are shared among the four types; an assumption.
SHARES = dict(zip(SIGN_IN_TYPES, (0.15, 0.6, 0.2, 0.05), strict=True))
# Records of the sample a second, at most: four streams for some hours in seconds of ours.
_SAMPLE_PER_S = 0.5

# How long after its creation Graph shows a record, in seconds.
Lateness = Callable[[random.Random], float]


def at_once(_dice: random.Random) -> float:
    """Every record is shown when it is created."""
    return 0.0


def minutes_late(dice: random.Random) -> float:
    """1 to 5 minutes."""
    return dice.uniform(60, 300)


def hours_late(dice: random.Random) -> float:
    """82 % after 1 to 5 minutes, 15 % after 5 to 60 minutes, 3 % after 1 to 24 hours."""
    kind = dice.random()
    if kind < 0.82:
        return dice.uniform(60, 300)
    return dice.uniform(300, HOUR_S) if kind < 0.97 else dice.uniform(HOUR_S, DAY_S)


@dataclass
class Tenant:
    """What Graph is like.

    Attributes:
        rates: records a second of each sign-in type.
        lateness: when a record is shown.
        answer_s: how long an answer takes.
        left_out: the probability with which an answer leaves a record out, anew in each answer.
        history_s: of records before the start, and of the first reading.
        history_per_s: records a second before the start, in each stream; None for the stream's own rate.
        fault: asked before each page; may return an error.
    """

    rates: dict[str, float]
    lateness: Lateness = at_once
    answer_s: float = ANSWER_S
    left_out: float = 0.0
    history_s: int = 0
    history_per_s: float | None = None
    fault: Callable[[float], GraphEntraError | None] = lambda _now_s: None


@dataclass
class Outcome:
    """What was seen while it was counted.

    Attributes:
        seconds: for how long.
        requests: by kind of work.
        delays_s: of each record of the sample that was shown meanwhile: seconds until it was delivered.
        delays_within_2_h_s: the same, of those that were shown within two hours of their creation.
        history_requests: those for what is older than a day at the start.
        missing: records of the sample that were shown in good time and never delivered.
        records: of the sample, created after the start of the history.
        read_first: real records that were delivered for the first time, by the kind of work that did.
        overdue_s: by how much each look is late at the end, the worst stream's.
    """

    seconds: float = 0.0
    requests: Counter[str] = field(default_factory=Counter)
    delays_s: list[float] = field(default_factory=list)
    delays_within_2_h_s: list[float] = field(default_factory=list)
    history_requests: int = 0
    missing: int = 0
    records: int = 0
    read_first: Counter[str] = field(default_factory=Counter)
    overdue_s: dict[int, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def per_minute(self) -> dict[str, float]:
        """Requests a minute, by kind of work."""
        return {work: count / self.seconds * 60 for work, count in self.requests.items()}

    @property
    def per_s(self) -> float:
        """Records a second that were delivered, polls' included."""
        return self.read_first.total() / self.seconds


def quantile(delays_s: list[float], share: float) -> float:
    """The delay that so large a share of the records does not exceed."""
    ordered = sorted(delays_s)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class ModelCollector:
    """In the place of a Collector: a sample of records, each shown late and delivered once."""

    def __init__(self, stream: Stream, tenant: Tenant, limiter: RateLimiter, clock: LoopClock, seed: int) -> None:
        self.stream = stream
        self.schedule: Schedule | None = None
        self.outcome = Outcome()
        self.counting_since_s = clock.time()
        self.coverage = coverage_rules.begin(int(clock.time()), tenant.history_s)
        self._tenant = tenant
        self._limiter = limiter
        self._clock = clock
        self._dice = random.Random(seed)
        per_s = tenant.rates[stream.key]
        before_per_s = per_s if tenant.history_per_s is None else tenant.history_per_s
        self.weight = max(1.0, max(per_s, before_per_s) / _SAMPLE_PER_S)
        self._begun_s = clock.time()
        self._sample_per_s = (before_per_s / self.weight, per_s / self.weight)
        self._created: list[float] = []
        self._shown: list[float] = []
        self.delivered: list[float | None] = []
        self._next_s = clock.time() - tenant.history_s

    async def catch_up(self, period_s: int) -> tuple[Stretch | None, Clipped]:
        """As Collector."""
        now_s = int(self._clock.time())
        caught_up, gap = coverage_rules.caught_up(self.coverage, now_s, period_s)
        clipped = coverage_rules.clip(caught_up, now_s)
        self.coverage = clipped.coverage
        return gap, clipped

    async def fail(self, stretch: Stretch, why: str, *, served_elsewhere: bool) -> tuple[Row, ...]:
        """As Collector."""
        self.coverage, aside = coverage_rules.failed(
            self.coverage, stretch, int(self._clock.time()), why, served_elsewhere=served_elsewhere
        )
        return aside

    async def read(self, window: Window) -> Reading:
        """As Collector."""
        reading = Reading(window, int(self._clock.time()), window.start_s)
        begun = False
        listed: list[int] = []
        at = 0
        while True:
            await self._limiter.turn(window.work, goes_on=begun)
            assert self.schedule is not None
            self.schedule.asks(self.stream.key, window)
            self.outcome.requests[window.work] += 1
            self.outcome.history_requests += window.end_s <= self._begun_s - DAY_S
            error = self._tenant.fault(self._clock.time())
            await self._clock.sleep(self._tenant.answer_s)
            self.schedule.answered(Answer(self.stream.key, 0 if error else 200, self._tenant.answer_s))
            if error is not None:
                reading.error = error
                return reading
            self._limiter.answered()
            if not begun:
                listed = self._listed(window)
                begun = True
            page_size = max(1, round(PAGE_RECORDS / self.weight))
            page = listed[at : at + page_size]
            at += page_size
            is_last = at >= len(listed)
            reached_s = window.end_s if is_last else int(self._created[page[-1]])
            new = [index for index in page if self.delivered[index] is None]
            self._deliver(new, window)
            stretch = (reading.reached_s, reached_s)
            new_at_s = [int(self._created[index]) for index in new]
            self.coverage = coverage_rules.read(self.coverage, stretch, reading.asked_s, new_at_s)
            reading.reached_s, reading.pages = reached_s, reading.pages + 1
            reading.records += round(len(page) * self.weight)
            reading.new += len(new)
            reading.size_bytes += round(len(page) * self.weight) * 2000
            if window.work in ("edge", "look", "again") and new:
                self.schedule.saw_new(self.stream.key, new_at_s)
            if is_last or reading.pages >= MOST_PAGES:
                return reading

    def finish(self) -> None:
        """Count what never came, of what was shown a day ago or more."""
        for created_s, shown_s, delivered_s in zip(self._created, self._shown, self.delivered, strict=True):
            self.outcome.records += 1
            if delivered_s is None and created_s + 1.2 * DAY_S < self._clock.time() and shown_s <= created_s + DAY_S:
                self.outcome.missing += 1

    def _deliver(self, new: Sequence[int], window: Window) -> None:
        now_s = self._clock.time()
        self.outcome.read_first[window.work] += round(len(new) * self.weight)
        for index in new:
            self.delivered[index] = now_s
            if self._shown[index] >= self.counting_since_s:
                delay_s = now_s - self._shown[index]
                self.outcome.delays_s.append(delay_s)
                if self._shown[index] - self._created[index] <= 2 * HOUR_S:
                    self.outcome.delays_within_2_h_s.append(delay_s)

    def _listed(self, window: Window) -> list[int]:
        """The records of a window that Graph shows now, oldest first."""
        now_s = self._clock.time()
        while self._next_s <= now_s:
            self._created.append(self._next_s)
            self._shown.append(self._next_s + self._tenant.lateness(self._dice))
            self.delivered.append(None)
            self._next_s += self._dice.expovariate(self._sample_per_s[self._next_s >= self._begun_s])
        low, high = bisect_left(self._created, window.start_s), bisect_right(self._created, window.end_s)
        keep = 1.0 - self._tenant.left_out
        return [
            index
            for index in range(low, high)
            if self._shown[index] <= now_s and (keep == 1.0 or self._dice.random() < keep)
        ]


class Silent:
    """In the place of a ProblemLog."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_named: None


async def _simulate(tenant: Tenant, warm_s: float, counted_s: float) -> Outcome:
    clock = LoopClock(START_S)
    limiter = RateLimiter(clock)
    collectors = [
        ModelCollector(sign_in_stream(kind, beta_only=False), tenant, limiter, clock, seed)  # type: ignore[arg-type]
        for seed, kind in enumerate(tenant.rates)
    ]
    lines: list[str] = []
    schedule = Schedule(
        collectors,  # type: ignore[arg-type]
        period_s=PERIOD_S,
        limiter=limiter,
        graph_clock=GraphClock(clock),
        clock=clock,
        problems=Silent(),  # type: ignore[arg-type]
        log=lambda line, level: lines.append(f"{clock.time() - START_S:.0f} {level}: {line}"),
    )
    for collector in collectors:
        collector.schedule = schedule
    task = asyncio.create_task(schedule.run())
    await asyncio.wait([task], timeout=warm_s)
    for collector in collectors:
        collector.outcome = Outcome()
        collector.counting_since_s = clock.time()
    await asyncio.wait([task], timeout=counted_s)
    if task.done():
        task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    total = Outcome(seconds=counted_s, lines=lines)
    for collector in collectors:
        collector.finish()
        total.requests += collector.outcome.requests
        total.delays_s += collector.outcome.delays_s
        total.delays_within_2_h_s += collector.outcome.delays_within_2_h_s
        total.history_requests += collector.outcome.history_requests
        total.missing += collector.outcome.missing
        total.records += collector.outcome.records
        total.read_first += collector.outcome.read_first
        late = plan.overdue_s(collector.coverage, int(clock.time()))
        for age_s in LOOKS:
            total.overdue_s[age_s] = max(total.overdue_s.get(age_s, 0), late[age_s])
    return total


def shared(per_s: float) -> dict[str, float]:
    """A tenant's rate, divided among the four types."""
    return {kind: per_s * share for kind, share in SHARES.items()}


def simulate(tenant: Tenant, *, warm_s: float, counted_s: float) -> Outcome:
    """Collects for `warm_s`, then counts for `counted_s`."""
    return jumping.run(_simulate(tenant, warm_s, counted_s))
