"""graph_entra's clock on a virtual loop."""

import asyncio
from datetime import UTC, datetime
from threading import Event

from tests.clocks import START_S
from tests.virtual.loop import VirtualLoop


class VirtualClock:
    """The time of `loop`. It can be read on every thread; whoever waits by it on a thread waits in the loop's time."""

    def __init__(self, loop: VirtualLoop, now: float = START_S) -> None:
        self.loop = loop
        self._start_s = now - loop.time()
        self._jumped_s = 0.0

    def time(self) -> float:
        """Seconds since 1970."""
        return self._start_s + self.monotonic()

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self.loop.time() + self._jumped_s

    def now(self) -> datetime:
        """The same as an aware datetime, for the emulator."""
        return datetime.fromtimestamp(self.time(), UTC)

    def jump(self, seconds: float) -> None:
        """Lets time pass in which nothing happens: what sleeps goes on sleeping for as long as it would have."""
        self._jumped_s += seconds

    async def sleep(self, seconds: float) -> None:
        """See graph_entra.clock.Clock."""
        await asyncio.sleep(seconds)

    def wait(self, event: Event, seconds: float) -> bool:
        """See graph_entra.clock.Clock."""
        return self.loop.wait_for_event(event, seconds)
