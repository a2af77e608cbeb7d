"""The one clock of a process: made where a connector is assembled and passed to whatever waits or dates something.

Nothing else in this package reads a clock, so that a test can hand in one whose hours take milliseconds.
"""

from __future__ import annotations

import asyncio
import time
from threading import Event
from typing import Protocol


class Clock(Protocol):
    """Time as a connector sees it."""

    def time(self) -> float:
        """This machine's wall clock: seconds since 1970. It may be wrong, and may step."""

    def monotonic(self) -> float:
        """Seconds since some moment; never steps."""

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""

    def wait(self, event: Event, seconds: float) -> bool:
        """Wait on a thread until the event is set, at most so long; True if it is set."""


class SystemClock:
    """The machine's own."""

    def time(self) -> float:
        """See :class:`Clock`."""
        return time.time()

    def monotonic(self) -> float:
        """See :class:`Clock`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See :class:`Clock`."""
        await asyncio.sleep(seconds)

    def wait(self, event: Event, seconds: float) -> bool:
        """See :class:`Clock`."""
        return event.wait(seconds)
