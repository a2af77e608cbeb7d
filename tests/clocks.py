"""Clocks to hand in: one that moves when told to, and one that follows the running loop's own time."""

import asyncio
from threading import Event

START_S = 1_795_000_000.0


class ManualClock:
    """Stands still until it is moved; whoever sleeps or waits by it moves it.

    Attributes:
        now: seconds since 1970; set it to let the wall clock step.
        passed_s: what :meth:`monotonic` says, which never steps.
    """

    def __init__(self, now: float = START_S) -> None:
        self.now = now
        self.passed_s = 0.0

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.now += seconds
        self.passed_s += seconds

    def time(self) -> float:
        """See graph_entra.clock.Clock."""
        return self.now

    def monotonic(self) -> float:
        """See graph_entra.clock.Clock."""
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        """See graph_entra.clock.Clock."""
        self.advance(seconds)
        await asyncio.sleep(0)

    def wait(self, event: Event, seconds: float) -> bool:
        """See graph_entra.clock.Clock."""
        if not event.is_set():
            self.advance(seconds)
        return event.is_set()


class LoopClock:
    """The running event loop's time: virtual on tests.virtual.jumping's loop."""

    def __init__(self, now: float = START_S) -> None:
        self._origin_s = now - asyncio.get_running_loop().time()

    def time(self) -> float:
        """See graph_entra.clock.Clock."""
        return self._origin_s + asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        """See graph_entra.clock.Clock."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """See graph_entra.clock.Clock."""
        await asyncio.sleep(seconds)

    def wait(self, event: Event, seconds: float) -> bool:
        """See graph_entra.clock.Clock; nothing waits on a thread in virtual time."""
        raise NotImplementedError
