"""The seconds of a minute in which another process asks, remembered so that room is left for it.

A process that only polls asks for a few pages and is then silent for a minute. Without a memory each of its polls costs
two or three 429s, for ever; with one, the first few minutes do. Pure: it is told what happened and when.

Polls come every 60 s unless a person changed ``frequency``. A period that divides a minute shows in it as well; one
that does not is never recognised and goes on costing what it did.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_MINUTE_S: Final = 60
# A 429 a minute after another, to within this, is the same poll: its requests wander with the answers before them.
_SAME_POLL_S: Final = 2.5
# In cycles (10 s). The other's request came up to a spacing before the 429 that we got for it, and we skip a turn
# before that; it counts for 10 s.
# Measured, as in rate_limit: from 0.35 cycles before, polls that start up to 2 s late cost 2.0 % of 429s and not 1.1 %.
_BEFORE_CYCLES: Final = 0.45
_AFTER_CYCLES: Final = 0.9
# As many are left at most: one that only polls has a share of two beside one that always asks. With 3, up to 4.3 % of
# 429s beside one that asks five times a minute, not 4.0 %.
_MOST_LEFT: Final = 2
# How long the memory is trusted before one less is left for once, to see whether the other still comes; and how soon
# again where that went well. Trusted for 6 min: 1.8 % of 429s beside one request a minute, not 1.1 %.
_TRUSTED_S: Final = 15 * _MINUTE_S
_TRIED_AGAIN_S: Final = 2 * _MINUTE_S


class PollMemory:
    """How many requests to leave to others, by the second of the minute.

    Args:
        cycle_s: the seconds for which a request counts.
    """

    def __init__(self, cycle_s: float) -> None:
        self._before_s = _BEFORE_CYCLES * cycle_s
        self._after_s = _AFTER_CYCLES * cycle_s
        self._throttled: deque[float] = deque(maxlen=40)
        self._left = [0] * _MINUTE_S
        self._until_s = [0.0] * _MINUTE_S
        # What was left before the last trial, and when that was.
        self._before_trial = [0] * _MINUTE_S
        self._trial_s = [float("-inf")] * _MINUTE_S

    def left(self, now_s: float) -> int:
        """How many requests of a cycle are to be left to others now; 0 if nobody is known to poll."""
        second = int(now_s % _MINUTE_S)
        if self._left[second] and now_s > self._until_s[second]:
            self._before_trial[second] = self._left[second]
            self._left[second] -= 1
            self._trial_s[second] = now_s
            self._until_s[second] = now_s + _TRIED_AGAIN_S
        return self._left[second]

    def throttled(self, now_s: float) -> bool:
        """A 429 came out of the quiet: remember it.

        Returns:
            Whether it was a known poll, so that nothing else is to be concluded from it.
        """
        left = self.left(now_s)
        known = left > 0 or any(abs(now_s - _MINUTE_S - at_s) <= _SAME_POLL_S for at_s in self._throttled)
        self._throttled.append(now_s)
        known = known or self._on_trial(now_s, now_s)
        if known:
            # The 429 of a trial was wanted: it says that what was left before was right.
            if not (self._on_trial(now_s, now_s) or self._on_trial(now_s - 2, now_s)):
                self._leave(min(left + 1, _MOST_LEFT), now_s)
            self._confirm(now_s)
        return known

    def _leave(self, count: int, now_s: float) -> None:
        for at_s in range(int(now_s - self._before_s), int(now_s + self._after_s) + 1):
            second = at_s % _MINUTE_S
            self._left[second] = max(self._left[second], count)

    def _confirm(self, now_s: float) -> None:
        """Trust the whole of what is left around now for as long as something new, and end a trial of it."""
        for step in (-1, 1):
            for distance in range(_MINUTE_S - 1):
                at_s = now_s + step * distance
                second = int(at_s % _MINUTE_S)
                if self._on_trial(at_s, now_s):
                    self._left[second] = self._before_trial[second]
                elif not self._left[second]:
                    break
                self._until_s[second] = now_s + _TRUSTED_S

    def _on_trial(self, at_s: float, now_s: float) -> bool:
        second = int(at_s % _MINUTE_S)
        recently = now_s - self._trial_s[second] < _MINUTE_S + 2
        return recently and self._before_trial[second] > self._left[second]
