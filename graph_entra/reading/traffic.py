"""PURE: what a stream's readings teach: how many records a second there are, and how late Graph shows them.

Both only decide how far a window reaches. A wrong guess costs a request or some minutes, never a record.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Final

from graph_entra.streams import DAY_S, HOUR_S

# The longest window to ask for, and the first one, when nothing is known.
WIDEST_S: Final = 7 * DAY_S
FIRST_SPAN_S: Final = HOUR_S
# As far as a poll ever looks back.
LONGEST_REACH_S: Final = 2 * HOUR_S
SHORTEST_REACH_S: Final = 30
# Until enough is known: Microsoft once published that 99 % of sign-ins are shown within 5 minutes.
USUAL_REACH_S: Final = 300
_REACHES_S: Final[tuple[int, ...]] = (
    *range(30, 600, 30),
    *range(600, 1800, 60),
    *range(1800, LONGEST_REACH_S + 1, 300),
)
# A poll looks back as far as all but so many of a stream's records need it.
LATER_SHARE: Final = 0.02
_ENOUGH_RECORDS: Final = 50
# What was learned counts half after so long.
_HALF_LIFE_S: Final = 2 * HOUR_S
_HEAVY: Final = 1000.0
_PLACE_S: Final = 600
_PLACES_KNOWN: Final = 31 * DAY_S // _PLACE_S


class Density:
    """Records a second, by ten minutes of their creation."""

    def __init__(self) -> None:
        self._per_s: dict[int, float] = {}
        self._known: list[int] = []

    def learn(self, start_s: int, end_s: int, records: int) -> None:
        """So many records were created in this stretch."""
        per_s = records / max(1, end_s - start_s)
        for place in range(start_s // _PLACE_S, (end_s - 1) // _PLACE_S + 1):
            before = self._per_s.get(place)
            if before is None:
                insort(self._known, place)
                self._per_s[place] = per_s
                continue
            # A stretch that holds little of these ten minutes says little of them.
            part = (min(end_s, (place + 1) * _PLACE_S) - max(start_s, place * _PLACE_S)) / _PLACE_S
            self._per_s[place] = before + (per_s - before) * max(0.2, min(1.0, part))
        while len(self._known) > _PLACES_KNOWN:
            del self._per_s[self._known.pop(0)]

    def at(self, second_s: int) -> float | None:
        """Records a second around then, by what is known nearest to it; None if nothing is known."""
        place = second_s // _PLACE_S
        if place in self._per_s or not self._known:
            return self._per_s.get(place)
        index = bisect_left(self._known, place)
        around = self._known[max(0, index - 1) : index + 1]
        return self._per_s[min(around, key=lambda known: abs(known - place))]

    def expected(self, start_s: int, end_s: int) -> float:
        """How many records to expect in a stretch; 0 if nothing is known."""
        return (self.at((start_s + end_s) // 2) or 0.0) * (end_s - start_s)

    def end_s(self, start_s: int, latest_s: int, records: int) -> int:
        """Where a window from ``start_s`` ends that holds about so many records; ``latest_s`` at the latest."""
        if self.at(start_s) is None:
            return min(latest_s, start_s + FIRST_SPAN_S)
        latest_s = min(latest_s, start_s + WIDEST_S)
        held, at_s = 0.0, start_s
        while at_s < latest_s:
            until_s = min(latest_s, (at_s // _PLACE_S + 1) * _PLACE_S)
            per_s = self.at(at_s) or 0.0
            if held + per_s * (until_s - at_s) > records:
                return max(start_s + 1, int(at_s + (records - held) / per_s))
            held += per_s * (until_s - at_s)
            at_s = until_s
        return latest_s

    def start_s(self, end_s: int, earliest_s: int, records: int) -> int:
        """Where a window to ``end_s`` begins that holds at most so many records; ``earliest_s`` at the earliest."""
        held, at_s = 0.0, end_s
        while at_s > earliest_s:
            since_s = max(earliest_s, (at_s - 1) // _PLACE_S * _PLACE_S)
            per_s = self.at(since_s) or 0.0
            if held + per_s * (at_s - since_s) > records:
                return min(end_s, int(at_s - (records - held) / per_s) + 1)
            held += per_s * (at_s - since_s)
            at_s = since_s
        return earliest_s


class Lateness:
    """How late Graph shows records: how far a poll has to look back."""

    def __init__(self) -> None:
        self._seen = [0.0] * len(_REACHES_S)
        self._since_s: float | None = None

    def note(self, late_s: Iterable[float], now_s: float) -> None:
        """Records were shown so late, or a little later; those above two hours are left to the looks."""
        if self._since_s is None:
            self._since_s = now_s
        # Instead of letting everything old fade, what is new weighs more.
        weight = 2.0 ** ((now_s - self._since_s) / _HALF_LIFE_S)
        if weight > _HEAVY:
            self._seen = [seen / weight for seen in self._seen]
            self._since_s, weight = now_s, 1.0
        for each_s in late_s:
            place = bisect_left(_REACHES_S, each_s)
            if place < len(_REACHES_S):
                self._seen[place] += weight

    def reach_s(self, later_share: float = LATER_SHARE) -> int:
        """So late at most are the records shown, but for this share of them."""
        total = sum(self._seen)
        if total < _ENOUGH_RECORDS:
            return USUAL_REACH_S
        later = 0.0
        for place in reversed(range(len(_REACHES_S))):
            later += self._seen[place]
            if later > total * later_share:
                return max(SHORTEST_REACH_S, _REACHES_S[place])
        return SHORTEST_REACH_S
