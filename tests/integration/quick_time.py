"""A clock that runs many times as fast as the wall's, and sleeps that are as much shorter."""

import asyncio
import time
from datetime import UTC, datetime
from threading import Event
from typing import Any


class QuickTime:
    """Stands in for the modules `time` and `asyncio` where the code under test reads the one and sleeps by the other.

    A pause of 200 s that Graph asks for takes 200 / `speed` seconds, and is still a pause in which nobody may ask.

    Args:
        speed: seconds that pass here in a second of the wall's.
    """

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._start_s = time.time()
        self._began_s = time.monotonic()
        self._jumped_s = 0.0

    def time(self) -> float:
        """Seconds since 1970."""
        return self._start_s + self.monotonic()

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return (time.monotonic() - self._began_s) * self.speed + self._jumped_s

    def now(self) -> datetime:
        """The same as an aware datetime, for the emulator."""
        return datetime.fromtimestamp(self.time(), UTC)

    def jump(self, seconds: float) -> None:
        """Lets time pass in which nothing happens."""
        self._jumped_s += seconds

    async def sleep(self, seconds: float) -> None:
        """Stands in for `asyncio.sleep`."""
        await asyncio.sleep(seconds / self.speed)

    def wait(self, event: Event, seconds: float) -> bool:
        """Stands in for `Event.wait`."""
        return event.wait(seconds / self.speed)

    def __getattr__(self, name: str) -> Any:
        """Whatever else is asked of `asyncio`."""
        return getattr(asyncio, name)
