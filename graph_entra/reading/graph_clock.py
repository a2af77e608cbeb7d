"""Graph's clock: the ``Date`` of its last answer, or Entra's before the first, carried on by a monotonic clock.

What is planned is planned by it, because Graph dates the records. A wall clock that is wrong, or steps, changes
nothing; by how much it is wrong is known, and told.
"""

from __future__ import annotations

from typing import Final

from graph_entra.clock import Clock

# A Date header has whole seconds.
_HALF_A_SECOND: Final = 0.5
# A smaller difference is of no consequence and is not told.
WORTH_TELLING_S: Final = 60.0


class GraphClock:
    """Seconds since 1970, as Graph counts them.

    Args:
        clock: this machine's; what it says of the time of day counts only until the first answer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_s = 0.0
        self._doubted_s: float | None = None
        self._known = False

    def seen(self, date_s: float, took_s: float = 0.0) -> None:
        """An answer was dated ``date_s``, at some moment of the last ``took_s`` seconds.

        The body of a slow one comes long after its header: what is known stays as it is as far as that allows. A step
        of a minute or more is believed when the next answer says the same.
        """
        now_s = self._clock.monotonic()
        least_s, most_s = date_s - now_s, date_s + 1.0 - (now_s - took_s)
        ahead_s = min(max(self._ahead_s, least_s), most_s) if self._known else least_s + _HALF_A_SECOND
        if self._known and abs(ahead_s - self._ahead_s) > WORTH_TELLING_S:
            confirmed = self._doubted_s is not None and abs(ahead_s - self._doubted_s) <= WORTH_TELLING_S
            self._doubted_s = ahead_s
            if not confirmed:
                return
        self._ahead_s, self._doubted_s, self._known = ahead_s, None, True

    def now_s(self) -> float:
        """The time by Graph's clock."""
        return self._clock.monotonic() + self._ahead_s if self._known else self._clock.time()

    @property
    def difference_s(self) -> float:
        """By how much this machine's wall clock is ahead of Graph's; negative if it is behind, 0 while unknown."""
        return self._clock.time() - self.now_s()
