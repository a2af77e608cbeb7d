"""The rate limit: Microsoft answers 5 requests in any 10 s for an app and a tenant, sign-ins and audits together.

Source: https://learn.microsoft.com/graph/throttling-limits (identity and access reports). A failed call counts too, a
throttled one among them (https://learn.microsoft.com/graph/throttling).

Another process of the same app, usually the other connector, has the same limit and cannot be seen: only 429s tell of
it. How two of them come to share:

*A share is a whole number of requests in a cycle*, which is a little more than 10 s, and not a distance between two
requests. A process that asks all the time then repeats itself cycle by cycle, and as long as the shares of all
processes add up to five there are five requests in any 10 s, whatever their order: no 429 at all. Two that ask at even
distances would have to find each other's gaps as well.

*Claim.* Now and then a process takes one request more in a cycle. If no 429 comes of it, the share has grown, and the
next claim follows soon; if one comes, it is given back, and the next claim waits four times as long as the last.

*Give up.* A 429 without a claim of ours is somebody else's claim. Who has four or five gives one up; who has three does
so every other time; who has two keeps them. So two processes end at 3 and 2 and change places every few minutes.

*Leave room.* One that only polls is silent for most of a minute, and a share for it would lie idle. The seconds of the
minute in which it asks are remembered (:mod:`poll_memory`), and the share is smaller just then.

Measured in tests.benchmarks `shared_limit`. The figures beside the constants are from its simulation, an hour and 10
to 20 seeds each: the part of the limit that is used in the mean, and the part of the answers that is 429. As it is: two
that read history 94.5 % and 3.1 %; one beside another's one request a minute 94.3 % and 1.1 %, beside five 90.2 % and
2.7 %.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from graph_entra.clock import Clock
from graph_entra.microsoft.poll_memory import PollMemory

# 5 in any 10 s, and a hair more, for requests that travel at different speeds: 99 % of the limit for one process alone.
SPACING_S: Final = 2.02
WHOLE_SHARE: Final = 5
_PAUSE_WITHOUT_ANSWER_S: Final = 10.0
# Two processes that are told to wait for the same moment would meet there. Without it: 88.0 % beside five a minute.
_APART_S: Final = 0.5
# Two processes that start together reach five with one claim: a start with three each begins with 429s.
_FIRST_SHARE: Final = 2
# How likely one of the share is given up for somebody else's claim. At three, 0.5: two that read history 92.3 % and
# 3.6 %; 1.0: 90.6 % and 3.9 %. At two, 0.1: 88.7 % beside five a minute.
_GIVES_UP: Final = {5: 1.0, 4: 1.0, 3: 0.3, 2: 0.0, 1: 0.0}
# In cycles: from one claim to the next where the last succeeded or failed once, what it grows by with each that fails,
# and the most. 3 cycles at first: 86.1 % beside five a minute; 1: 87.8 %. Growing by 2: up to 4.9 % of 429s for two
# that read history. At most 12: 92.2 % and 5.8 % for these; 48: 96.0 % and 1.8 %, but what one leaves is then taken
# up to 14 min later and not 7.
_CLAIM_CYCLES: Final = 1.5
_CLAIM_GROWS: Final = 4
_CLAIM_CYCLES_MOST: Final = 24.0
# In cycles. What is given up is for the one that claimed it. At 4: 85.4 % beside five a minute.
_AFTER_GIVING_UP_CYCLES: Final = 2.0
# A larger share claims later, so that the smaller one gets there first. Without it: 88.5 % beside five a minute.
_EVEN_SHARE: Final = 2.5
# No claim at the second of a minute at which one of the last troubles began: where somebody polls, it would fail and
# say nothing about the rest of the minute. Without it: 86.6 % beside five a minute.
_TROUBLES_AVOIDED: Final = 2
_LATE_POLL_S: Final = 2.0
# A poll of a few pages claims nothing: what asks all the time has adapted itself to what the polls were. Without it:
# 82.3 % and 3.9 % beside five a minute.
_BUSY_BEFORE_CLAIM_CYCLES: Final = 2.5
# What asks seldom begins anew so long after the last 429. Long, because beside one that always asks it costs some 429s.
_FORGETS_AFTER_S: Final = 1800.0
# So long after it a 429 is still the doing of the same claim: each process may get one for it. Answers take a while.
_SAME_CAUSE_CYCLES: Final = 1.2
# What nearly always asks, and has nearly all of the limit, meets polls; what does not, meets another like it, whose
# claims are no polls. From a share of three: up to 4.7 % for two that read history, not 4.1 %.
_MEETS_POLLS_SHARE: Final = 4
_MEETS_POLLS_TURNS: Final = 15
# So many 429s without another answer between them are no process's claim: Graph answers nobody.
_STORM: Final = 3
_READY_RANK: Final = 3


@dataclass(order=True, slots=True)
class _Waiting:
    rank: int
    order: int
    turn: asyncio.Future[None] = field(compare=False)


def _rank(work: str, *, goes_on: bool) -> int:
    """New records first; then chains of pages that have begun, because their links do not live for ever."""
    return 0 if work == "edge" else 1 if goes_on else 2


def is_of_whole_app(headers: Mapping[str, str]) -> bool:
    """Whether a 429 is of an app's limit over all its tenants (122 requests in 10 s), as far as its headers say so.

    Source: https://learn.microsoft.com/graph/throttling-limits, ``x-ms-throttle-scope``, whose first part is then
    ``Application``; ``Tenant_Application`` is the limit of five. It is documented for Entra's directory: a 429 of the
    logs may come without it, and is then taken for the five.
    """
    return headers.get("x-ms-throttle-scope", "").partition("/")[0].strip().lower() == "application"


class RateLimiter:
    """Gives out turns to ask Graph.

    Args:
        clock: the time.
        spacing_s: seconds between two requests when Graph is content and nobody else asks.
    """

    def __init__(self, clock: Clock, spacing_s: float = SPACING_S) -> None:
        self._clock = clock
        self._least_s = spacing_s
        self._cycle_s = WHOLE_SHARE * spacing_s
        # Chance is what tells two processes apart that do the same at the same time.
        self._chance = random.Random()  # noqa: S311 - no secret
        self._waiting: list[_Waiting] = []
        self._order = count()
        self._dispatcher: asyncio.Task[None] | None = None
        self._turns = deque([float("-inf")] * _MEETS_POLLS_TURNS, _MEETS_POLLS_TURNS)
        self._polls = PollMemory(self._cycle_s)
        now_s = clock.monotonic()
        self._not_before = now_s
        self._busy_since_s = now_s
        self._share = _FIRST_SHARE
        self._starting = True
        self._claimed_s: float | None = None
        self._claims_failed = 0
        self._claim_at_s = now_s + self._until_claim_s()
        self._throttled_s = float("-inf")
        self._trouble_s = float("-inf")
        self._troubles_s = deque[float](maxlen=_TROUBLES_AVOIDED)
        self._throttled_in_a_row = 0

    async def turn(self, work: str, *, goes_on: bool = False) -> None:
        """Wait for a turn.

        Args:
            work: what it is for: ``edge`` goes before everything else.
            goes_on: it is for a further page of a window.
        """
        turn = self._queue(_rank(work, goes_on=goes_on))
        try:
            await turn
        except asyncio.CancelledError:
            # Given in the same moment, and not used: the next one has it.
            if turn.done() and not turn.cancelled():
                self._turns.pop()
                self._turns.appendleft(float("-inf"))
            raise

    async def ready(self) -> None:
        """Wait until a turn asked for would be given at once."""
        while not self.has_turn:
            await self._queue(_READY_RANK)

    def throttled(self, retry_after_s: float | None, *, whole_app: bool = False) -> None:
        """Graph answered 429: nobody asks before the time it named is over.

        Args:
            retry_after_s: that time in seconds; None if it named none.
            whole_app: the 429 is of the other limit, 122 requests in 10 s of an app over all its tenants. Then the
                pause is all there is to do: it says nothing about who shares this tenant's five, and a smaller share
                here would leave room to nobody, because 30 tenants are over that limit with four each as well.
        """
        now_s = self._clock.monotonic()
        pause_s = (retry_after_s or _PAUSE_WITHOUT_ANSWER_S) + self._chance.uniform(0, _APART_S)
        self._not_before = max(self._not_before, now_s + pause_s)
        if not whole_app:
            self._adapt(now_s)

    def answered(self) -> None:
        """Graph answered, whatever it answered."""
        self._throttled_in_a_row = 0
        now_s = self._clock.monotonic()
        if self._claimed_s is not None and not self._same_cause(now_s, self._claimed_s):
            self._claimed_s = None
            self._claims_failed = 0
            self._claim_at_s = min(self._claim_at_s, now_s + self._until_claim_s())

    @property
    def spacing_s(self) -> float:
        """Seconds between two requests now, on average, if somebody always asks."""
        return self._least_s if self._starting else self._cycle_s / self._share_at(self._clock.monotonic())

    @property
    def not_before_s(self) -> float:
        """When Graph may be asked again, by the clock's monotonic time; in the past if it may be now."""
        return self._not_before

    @property
    def paused_s(self) -> float:
        """Seconds until Graph may be asked again after a 429; 0 if it may be now."""
        return max(0.0, self._not_before - self._clock.monotonic())

    @property
    def has_turn(self) -> bool:
        """Whether a turn asked for now would be given at once."""
        now_s = self._clock.monotonic()
        return not any(waiting.rank < _READY_RANK for waiting in self._waiting) and self._next_s(now_s) <= now_s

    # Who is next

    def _queue(self, rank: int) -> asyncio.Future[None]:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(rank, next(self._order), turn))
        if self._dispatcher is None or self._dispatcher.done():
            self._dispatcher = asyncio.create_task(self._dispatch())
        return turn

    async def _dispatch(self) -> None:
        while self._waiting:
            now_s = self._clock.monotonic()
            if (next_s := self._next_s(now_s)) > now_s:
                await self._clock.sleep(next_s - now_s)
                continue
            # Chosen only now: whoever became urgent meanwhile goes first.
            self._waiting = [waiting for waiting in self._waiting if not waiting.turn.done()]
            if self._waiting:
                chosen = min(self._waiting)
                self._waiting.remove(chosen)
                if chosen.rank < _READY_RANK:
                    self._give(now_s)
                chosen.turn.set_result(None)

    def _give(self, now_s: float) -> None:
        by_share_s = self._by_share_s(now_s)
        if now_s < by_share_s:
            self._claim(now_s)
        elif now_s - max(by_share_s, self._at_once_s()) > self._least_s:
            # Nobody wanted the turn when it came: there was nothing to ask.
            self._busy_since_s = now_s
            self._forget(now_s)
        self._turns.append(now_s)

    def _forget(self, now_s: float) -> None:
        """What asks seldom never claims: after long without a 429 it begins anew, as if nobody else were there."""
        if not self._starting and now_s - self._throttled_s > _FORGETS_AFTER_S:
            self._starting = True
            self._claim_at_s = now_s + self._until_claim_s()

    # When

    def _next_s(self, now_s: float) -> float:
        """When the next turn is given, if nothing changes; looked at again after a second at most."""
        next_s = max(self._at_once_s(), min(self._by_share_s(now_s), self._by_claim_s(now_s)))
        return min(next_s, max(now_s + 1.0, self._at_once_s()))

    def _at_once_s(self) -> float:
        return max(self._not_before, self._turns[-1] + self._least_s)

    def _by_share_s(self, now_s: float) -> float:
        return self._turns[-self._share_at(now_s)] + self._cycle_s

    def _by_claim_s(self, now_s: float) -> float:
        if self._share == WHOLE_SHARE:
            return float("inf")
        at_s = max(self._claim_at_s, self._throttled_s + self._cycle_s)
        if not self._starting and self._share > 1:
            at_s = max(at_s, self._busy_since_s + _BUSY_BEFORE_CLAIM_CYCLES * self._cycle_s)
        # Not where somebody polls: a claim that fails there says nothing about the rest of the minute.
        return now_s + 1.0 if at_s <= now_s and self._polls_come(now_s) else at_s

    def _polls_come(self, now_s: float) -> bool:
        """Whether trouble came at about this second of a minute lately, or does so before a claim has shown itself."""
        shown_s = _SAME_CAUSE_CYCLES * self._cycle_s
        return any((at_s - now_s + _LATE_POLL_S) % 60 <= _LATE_POLL_S + shown_s for at_s in self._troubles_s)

    def _share_at(self, now_s: float) -> int:
        return max(1, self._share - self._polls.left(now_s))

    # How much

    def _claim(self, now_s: float) -> None:
        self._share += 1
        self._claimed_s = now_s
        least_s = 0.0 if self._starting else (_SAME_CAUSE_CYCLES + 0.1) * self._cycle_s
        self._claim_at_s = now_s + max(least_s, self._until_claim_s())

    def _until_claim_s(self) -> float:
        """As long as no 429 came, a turn is taken as soon as an even spacing of the whole limit has one."""
        if self._starting:
            wait_s = self._least_s
        else:
            cycles = min(_CLAIM_CYCLES * _CLAIM_GROWS ** max(0, self._claims_failed - 1), _CLAIM_CYCLES_MOST)
            wait_s = cycles * self._cycle_s * self._share / _EVEN_SHARE
        return wait_s * self._chance.uniform(0.6, 1.4)

    def _adapt(self, now_s: float) -> None:
        self._throttled_in_a_row += 1
        self._starting = False
        out_of_the_quiet = not self._same_cause(now_s, self._throttled_s)
        new_trouble = not self._same_cause(now_s, self._trouble_s)
        self._throttled_s = now_s
        if out_of_the_quiet:
            self._troubles_s.append(now_s)
        if new_trouble:
            self._trouble_s = now_s
        is_poll = out_of_the_quiet and self._meets_polls(now_s) and self._polls.throttled(now_s)
        if self._claimed_s is not None and self._same_cause(now_s, self._claimed_s):
            self._take_back(now_s)
        elif self._throttled_in_a_row >= _STORM:
            self._weather(now_s)
        elif new_trouble and not is_poll and self._chance.random() < _GIVES_UP[self._share]:
            self._give_up(now_s)

    def _take_back(self, now_s: float) -> None:
        self._share -= 1
        self._claimed_s = None
        self._claims_failed += 1
        self._claim_at_s = now_s + self._until_claim_s()

    def _give_up(self, now_s: float) -> None:
        self._share -= 1
        wait_s = _AFTER_GIVING_UP_CYCLES * self._cycle_s * self._chance.uniform(0.7, 1.3)
        self._claim_at_s = max(self._claim_at_s, now_s + wait_s)

    def _weather(self, now_s: float) -> None:
        """Ask as little as possible, and claim soon when it is over: no claim that failed before says anything now."""
        self._share = max(1, self._share - 1)
        self._claims_failed = 0
        self._claim_at_s = now_s + self._until_claim_s()

    def _meets_polls(self, now_s: float) -> bool:
        share = self._share if self._claimed_s is None else self._share - 1
        return share >= _MEETS_POLLS_SHARE and self._turns[0] > now_s - 60

    def _same_cause(self, now_s: float, cause_s: float) -> bool:
        return now_s - cause_s <= _SAME_CAUSE_CYCLES * self._cycle_s
