"""How the backlog gets on, told every five minutes: records read, the stretch left, the time it will take."""

from __future__ import annotations

from typing import Final

from graph_entra.clock import Clock
from graph_entra.streams import HOUR_S

EVERY_S: Final = 300.0


class BacklogProgress:
    """Of one stream's backlog.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records = 0
        self._told_s = 0.0
        self._told_left_s: int | None = None

    def page(self, records: int, left_s: int) -> str | None:
        """A page was delivered, and ``left_s`` seconds of stream time are left; what to tell, if it is time."""
        self._records += records
        now_s = self._clock.monotonic()
        if self._told_left_s is None:
            self._told_s, self._told_left_s = now_s, left_s
            return None
        if now_s - self._told_s < EVERY_S:
            return None
        rest_s = left_s * (now_s - self._told_s) / max(1, self._told_left_s - left_s)
        self._told_s, self._told_left_s = now_s, left_s
        left_h = left_s / HOUR_S
        return f"backlog: {self._records} records read, {left_h:.1f} h of history left, about {rest_s / 60:.0f} min."

    def done(self) -> str:
        """Nothing is left; what to tell. The next backlog is counted anew."""
        records, self._records, self._told_left_s = self._records, 0, None
        return f"the backlog is read, {records} records."
