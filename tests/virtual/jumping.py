"""An event loop whose time jumps to the next timer: hours of waiting take milliseconds, to the exact second."""

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class JumpingLoop(asyncio.SelectorEventLoop):
    """Sleeps take no time; ``time()`` says how long they would have taken."""

    def __init__(self) -> None:
        super().__init__()
        # What asyncio's loop keeps for itself, and its type hints leave out.
        self._inside: Any = self
        self._virtual_s = 1000.0

    def time(self) -> float:
        """Seconds on the loop's own clock, which every time-out on it goes by."""
        return self._virtual_s

    def _run_once(self) -> None:
        if not self._inside._ready:
            self._jump()
        super()._run_once()  # type: ignore[misc]

    def _jump(self) -> None:
        timers = self._inside._scheduled
        while timers and timers[0].cancelled():  # as the loop takes them off the heap itself
            heapq.heappop(timers)._scheduled = False
            self._inside._timer_cancelled_count -= 1
        if timers:
            # A hair more than asked, as on a real clock: a limiter's rounding would never let it pass otherwise.
            self._virtual_s = max(self._virtual_s, timers[0].when() + 1e-9)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(coroutine)
