"""PURE: who comes next, when more is due than the limit allows: every kind of work has a share, every stream its part.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): each kind is charged for the pages that it asked for, divided by
its weight; who was charged least comes next. What is idle gathers no credit, and what nobody else wants is free: a
history that is alone gets everything.

The edge is not queued: new records come first. But it is charged too, and where it was given more than its share while
others wait, as with a period of a second, it waits for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# Of nearly four hundred requests, where everything is due at once. Which of the looks gives way first, when they do not
# all fit, follows from it: the one that brings least, the look at 15 min. What is read once more is for an idle limit,
# and never quite forgotten.
WEIGHTS: Final = {
    "edge": 300,
    "unread": 40,
    "look 15 min": 8,
    "look 2 h": 9,
    "look 24 h": 11,
    "again": 0.03,
    "troubled": 3,
    "round": 1,
}
# A poll's first page counts so many times: with a period of some seconds most of them bring nothing, while history
# waits; where there is much that is new, polls have many pages.
FIRST_PAGE_OF_A_POLL: Final = 4.0
# So many pages may the edge be ahead of its share before it waits: a burst is read at once.
EDGE_AHEAD_PAGES: Final = 16

Key = tuple[str, str]


class Shares:
    """Charges kinds of work, and within each the streams."""

    def __init__(self) -> None:
        self._kind: dict[str, float] = {}
        self._stream: dict[Key, float] = {}
        self._now = 0.0
        self._kind_now: dict[str, float] = {}

    def charge(self, kind: str, stream: str, pages: float = 1.0) -> None:
        """A page was asked for, that counts for so many."""
        self._kind[kind] = max(self._kind.get(kind, 0.0), self._now) + pages / WEIGHTS[kind]
        before = max(self._stream.get((kind, stream), 0.0), self._kind_now.get(kind, 0.0))
        self._stream[kind, stream] = before + 1.0

    def first(self, due: Iterable[Key]) -> Key:
        """Of these (kind, stream), at least one, which comes next."""
        waiting = list(due)
        kind = min((kind for kind, _ in waiting), key=self._tag)
        self._now = max(self._now, self._tag(kind))
        chosen = min((key for key in waiting if key[0] == kind), key=self._stream_tag)
        self._kind_now[kind] = max(self._kind_now.get(kind, 0.0), self._stream_tag(chosen))
        return chosen

    def edge_must_wait(self, others: Iterable[str]) -> bool:
        """Whether the edge was given more than its share while these kinds are due."""
        tags = [self._tag(kind) for kind in others]
        return bool(tags) and self._tag("edge") > min(tags) + EDGE_AHEAD_PAGES / WEIGHTS["edge"]

    def _tag(self, kind: str) -> float:
        return max(self._kind.get(kind, 0.0), self._now)

    def _stream_tag(self, key: Key) -> float:
        return max(self._stream.get(key, 0.0), self._kind_now.get(key[0], 0.0))
