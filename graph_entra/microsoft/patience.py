"""How long an answer of Graph's is waited for."""

from __future__ import annotations

from typing import Final

# Slow is not broken: answers after 5 minutes are reported (msgraph-sdk-powershell#3146). But where others come quickly,
# one that says nothing is not waited for so long: so many times the slowest of the last ones, and a minute at least.
LONGEST_ANSWER_S: Final = 330.0
SHORTEST_PATIENCE_S: Final = 60.0
_PATIENCE: Final = 8.0
# The slowest answer counts less with each one after it.
_FADES: Final = 0.9


class Patience:
    """How long to wait for an answer, by how long the last ones took.

    Args:
        longest_s: seconds; never more.
    """

    def __init__(self, longest_s: float = LONGEST_ANSWER_S) -> None:
        self._most_s = longest_s
        self._slowest_s: float | None = None
        # Doubled by every silence, until something is answered.
        self._silences = 0

    @property
    def longest_s(self) -> float:
        """Seconds to wait for the next answer."""
        if self._slowest_s is None:
            return self._most_s
        patience_s = max(SHORTEST_PATIENCE_S, _PATIENCE * self._slowest_s) * 2.0 ** min(self._silences, 10)
        return min(self._most_s, patience_s)

    def waited(self, took_s: float, *, answered: bool) -> None:
        """An answer came, or none did, after so long."""
        if answered:
            self._slowest_s = max(took_s, (self._slowest_s or 0.0) * _FADES)
        elif took_s >= SHORTEST_PATIENCE_S:
            self._silences += 1
            return
        self._silences = 0
