"""How reading history gets on, told every five minutes: records read, the stretch left, the time it will take."""

from __future__ import annotations

from typing import Final

from graph_entra.clock import Clock
from graph_entra.streams import HOUR_S, WORDS

EVERY_S: Final = 300.0


class HistoryProgress:
    """Of one stream's history.

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
        passed_s, read_s = now_s - self._told_s, self._told_left_s - left_s
        if passed_s < EVERY_S:
            return None
        self._told_s, self._told_left_s = now_s, left_s
        # A gap that was found meanwhile, or a page without an end: no estimate is better than a wrong one.
        rest = f", about {left_s * passed_s / read_s / 60:.0f} min." if read_s > 0 else "."
        return f"{WORDS['unread']}: {self._records} records read, {left_s / HOUR_S:.1f} h of it left{rest}"

    def done(self) -> str:
        """Nothing is left; what to tell. The next history is counted anew."""
        records, self._records, self._told_left_s = self._records, 0, None
        return f"{WORDS['unread']} is read, {records} records."
