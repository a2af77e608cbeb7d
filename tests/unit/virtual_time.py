"""An event loop whose time jumps to the next timer: hours of waiting take milliseconds, to the exact second."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sleeps take no time; ``time()`` says how long they would have taken."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 1000.0

    def time(self) -> float:
        """Seconds on the loop's own clock."""
        return self._virtual_s

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[attr-defined]
            due = [handle.when() for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
            if due:
                # A hair more than asked, as on a real clock: a limiter's rounding would never let it pass otherwise.
                self._virtual_s = max(self._virtual_s, min(due) + 1e-9)
        super()._run_once()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
