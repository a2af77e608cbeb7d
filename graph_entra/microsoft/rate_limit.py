"""The rate limit: Microsoft answers 5 requests in 10 s for an app and a tenant, sign-ins and audits together.

Source: https://learn.microsoft.com/graph/throttling-limits (identity and access reports). A failed call counts.
Requests are spaced evenly, because a bucket that starts full lets twice as many into its first 10 s. The other
connector of the same app has the same limit and cannot be seen, so 429s widen the spacing and every answer narrows
it a little: two processes end up sharing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from aiolimiter import AsyncLimiter

from graph_entra.clock import Clock

# 5 in any 10 s, and a hair more, for requests that travel at different speeds.
SPACING_S: Final = 2.02
SLOWEST_SPACING_S: Final = 16.0
# A single 429 is answered by its pause; another one so soon after means that somebody else asks too.
_AGAIN_WITHIN_S: Final = 60.0
_WIDEN: Final = 1.5
# Measured (tests.benchmarks shared_limit): narrowing by a fiftieth instead costs two connectors a sixth of their
# records and doubles their 429s.
_NARROW_S: Final = 0.04
_PAUSE_WITHOUT_ANSWER_S: Final = 10.0
# Live goes first, but however short its period is, after so many live polls a turn is the backlog's, which are new
# records too, or with no backlog a settle lane's, which mostly reads what is known. Only first pages count: where live
# has so many records that its windows have further pages, these go before everything.
_POLLS_BEFORE_BACKLOG: Final = 2
_POLLS_BEFORE_SETTLE: Final = 8
_RANK: Final = {"live": 0, "backlog": 1}


@dataclass(order=True, slots=True)
class _Waiting:
    rank: int
    served_s: float
    order: int
    stream: str = field(compare=False)
    goes_on: bool = field(compare=False)
    turn: asyncio.Future[None] = field(compare=False)


class RateLimiter:
    """Gives out turns to ask Graph: the most urgent first, the stream served longest ago first among equals.

    Args:
        spacing_s: seconds between two requests when Graph is content.
        clock: the time.
    """

    def __init__(self, clock: Clock, spacing_s: float = SPACING_S) -> None:
        self._least_s = spacing_s
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._order = count()
        self._served: dict[str, float] = {}
        self._polls_in_a_row = 0
        self._not_before = clock.monotonic()
        self._throttled_s = float("-inf")
        self._limiter = AsyncLimiter(1, spacing_s)
        self._dispatcher: asyncio.Task[None] | None = None
        self.spacing_s = spacing_s

    async def turn(self, lane: str, stream: str, *, goes_on: bool = False) -> None:
        """Wait for a turn.

        Args:
            lane: whose window it is for.
            stream: whose turn it is.
            goes_on: it is for a further page of a window.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        rank = _RANK.get(lane, 2)
        self._waiting.append(_Waiting(rank, self._served.get(stream, 0.0), next(self._order), stream, goes_on, turn))
        if self._dispatcher is None or self._dispatcher.done():
            self._dispatcher = asyncio.create_task(self._dispatch())
        await turn

    def throttled(self, retry_after_s: float | None) -> None:
        """Graph answered 429: nobody asks before the time it named is over, and if it happens again, all ask less."""
        now_s = self._clock.monotonic()
        self._not_before = max(self._not_before, now_s + (retry_after_s or _PAUSE_WITHOUT_ANSWER_S))
        if now_s - self._throttled_s < _AGAIN_WITHIN_S:
            self._space(min(self.spacing_s * _WIDEN, SLOWEST_SPACING_S))
        self._throttled_s = now_s

    def answered(self) -> None:
        """Graph answered: ask a little more often again."""
        if self.spacing_s > self._least_s:
            self._space(max(self._least_s, self.spacing_s - _NARROW_S))

    @property
    def streams(self) -> int:
        """How many streams share it."""
        return max(1, len(self._served))

    @property
    def not_before_s(self) -> float:
        """When Graph may be asked again, by the clock; in the past if it may be now."""
        return self._not_before

    @property
    def paused_s(self) -> float:
        """Seconds until Graph may be asked again; 0 if it may be now."""
        return max(0.0, self._not_before - self._clock.monotonic())

    def _space(self, spacing_s: float) -> None:
        # A new limiter knows of no request: what the old one still held back is kept as a pause.
        if not self._limiter.has_capacity():
            self._not_before = max(self._not_before, self._clock.monotonic() + spacing_s)
        self.spacing_s = spacing_s
        self._limiter = AsyncLimiter(1, spacing_s)

    async def _dispatch(self) -> None:
        while self._waiting:
            while (pause_s := self.paused_s) > 0:
                await self._clock.sleep(pause_s)
            limiter = self._limiter
            await limiter.acquire()
            # A 429 arrived while we waited, or the spacing changed: the new limiter has not counted this turn.
            if self.paused_s > 0 or limiter is not self._limiter:
                continue
            # Chosen only now: whoever became urgent meanwhile goes first.
            self._waiting = [waiting for waiting in self._waiting if not waiting.turn.done()]
            if self._waiting:
                chosen = self._choose()
                self._waiting.remove(chosen)
                self._served[chosen.stream] = self._clock.monotonic()
                chosen.turn.set_result(None)

    def _choose(self) -> _Waiting:
        chosen = min(self._waiting)
        if chosen.rank == 0 and not chosen.goes_on:
            patient = min((waiting for waiting in self._waiting if waiting.rank > 0), default=None)
            if patient is not None:
                most = _POLLS_BEFORE_BACKLOG if patient.rank == 1 else _POLLS_BEFORE_SETTLE
                if self._polls_in_a_row >= most:
                    chosen = patient
        if chosen.rank > 0:
            self._polls_in_a_row = 0
        elif not chosen.goes_on:
            self._polls_in_a_row += 1
        return chosen
