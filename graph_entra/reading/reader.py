"""What a schedule keeps of each stream while it runs: its windows in flight, its waits, and what its readings taught.

Nothing of this is kept on the disk: a restart learns it again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from graph_entra.errors import IntakeRefused, PassesByItself, PersonMustAct
from graph_entra.reading.collector import Collector
from graph_entra.reading.coverage import Coverage
from graph_entra.reading.traffic import LATER_SHARE, Density, Lateness
from graph_entra.streams import PAGE_RECORDS, Stretch, Window
from graph_entra.telling.history_progress import HistoryProgress

# How many records a window shall hold: more than the pages that are followed, so that these are full. Fewer after a
# chain that broke or an answer that did not come; growing back.
MOST_RECORDS: Final = 20_000
_HISTORY_WINDOWS: Final = 4
# Until the first pages are seen: so large that few windows are in flight by then.
_FIRST_PAGE_BYTES: Final = 8 * 1024 * 1024
# A stream that failed so often in a row is asked by its polls only, until it is served again.
_DOWN_AFTER: Final = 3
# Polls that looked back as far as they should are remembered so often, and so many of them.
_REACHED_EVERY_S: Final = 30
_MOST_REACHED: Final = 240
_LATER_THAN_POLLS: Final = 1.25
# What may have been shown since the last poll that looked back as far adds to how far the next one does.
_LEAST_BETWEEN_S: Final = 60


class Backoff:
    """How long to wait before the next try: as long as the other side asked for, or twice as long each time."""

    def __init__(self) -> None:
        self.tries = 0
        self.of_intake = False
        self._problem: object = None

    def wait_s(self, error: Exception) -> float:
        """Seconds to wait after one more failed try; another problem than the last begins anew."""
        problem = (type(error), getattr(error, "code", None), getattr(error, "status", None))
        self.tries = self.tries + 1 if problem == self._problem else 1
        self._problem = problem
        self.of_intake = isinstance(error, IntakeRefused)
        asked_s = error.retry_after_s if isinstance(error, PassesByItself) else None
        if asked_s is not None and self.tries < 3:
            return asked_s
        first_s, most_s = (15.0, 300.0) if isinstance(error, PersonMustAct) else (1.0, 60.0)
        return max(asked_s or 0.0, min(most_s, first_s * 2.0 ** min(self.tries - 1, 10)))

    def over(self) -> None:
        """It worked."""
        self.tries, self._problem = 0, None


@dataclass(eq=False, slots=True)
class Flight:
    """A window that is being read."""

    window: Window
    kind: str
    task: asyncio.Task[None] | None = None
    asked: bool = False
    charged: bool = False

    @property
    def stretch(self) -> Stretch:
        return self.window.start_s, self.window.end_s


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll read, and when it was asked."""

    start_s: int
    until_s: int
    asked_s: int


@dataclass(eq=False, slots=True)
class Reader:
    """One stream, and what was learned of it. Nothing of this is kept: a restart learns it again."""

    collector: Collector
    progress: HistoryProgress
    density: Density = field(default_factory=Density)
    lateness: Lateness = field(default_factory=Lateness)
    flights: list[Flight] = field(default_factory=list)
    backoff: Backoff = field(default_factory=Backoff)
    poll_due_s: float = 0.0
    reach_due_s: float = 0.0
    round_due_s: float = 0.0
    round_at_s: int = 0
    paused_until_s: float = 0.0
    # Of these waits, the one that Graph asked for: nothing ends it early.
    asked_until_s: float = 0.0
    # As long as Graph asked when it did not serve a place, places in trouble wait.
    places_until_s: float = 0.0
    served_s: float = float("-inf")
    place_failed_s: float = float("-inf")
    alive_s: float = 0.0
    polls_failed: int = 0
    failed_poll: tuple[Stretch, str] | None = None
    polls: int = 0
    target_records: float = MOST_RECORDS
    # A chain of pages was left before its end, which only pages that come oldest first allow.
    in_order: bool = False
    page_bytes: float = _FIRST_PAGE_BYTES
    edge_per_s: float = 0.0
    # The last poll, the last one that looked back as far as it should, and those of the last hours, oldest first.
    last_poll: Polled = field(default_factory=lambda: Polled(0, 0, 0))
    last_reach: Polled = field(default_factory=lambda: Polled(0, 0, 0))
    reached: tuple[Polled, ...] = ()
    # Where the last poll was left before its end; 0 if it was not.
    left_at_s: int = 0
    # How often in a row Graph refused a place that is set aside, by its first second: once an hour.
    refusals: Counter[int] = field(default_factory=Counter)
    gap: Stretch | None = None
    late_told_s: float = float("-inf")
    # What Graph dropped before it was looked at, and is still to be told; when that was told last.
    unlooked: Stretch | None = None
    unlooked_told_s: float = float("-inf")
    reading_history: bool = False

    @property
    def key(self) -> str:
        return self.collector.stream.key

    @property
    def coverage(self) -> Coverage:
        return self.collector.coverage

    @property
    def down(self) -> bool:
        # Graph serves it all the same where it is the intake that refuses: a look may bring a record that is taken.
        return self.backoff.tries >= _DOWN_AFTER and not self.backoff.of_intake

    def polled(self, poll: Polled, *, far: bool) -> None:
        """A poll was answered and delivered; a far one looked back as far as it should."""
        self.last_poll = poll
        if not far:
            return
        self.last_reach = poll
        if not self.reached or poll.asked_s - self.reached[-1].asked_s >= _REACHED_EVERY_S:
            # Never changed in place: pages are delivered on threads of their own.
            self.reached = (*self.reached[1 - _MOST_REACHED :], poll)

    def hidden_s(self, created_s: int) -> float | None:
        """How late Graph showed a record that is seen for the first time; None if nothing says so.

        It was at least as late as it was old when a poll last asked for its time in vain. Its age when it was found
        would not do: that is longer, the less often is asked, and would ask for more. But what only a look finds, long
        after that poll, is taken to be somewhat later than it, or polls would never learn to reach further.
        """
        for poll in (self.last_poll, self.last_reach, *reversed(self.reached)):
            if poll.start_s <= created_s <= poll.until_s:
                hidden_s = poll.asked_s - created_s
                return hidden_s if created_s >= self.last_reach.start_s else hidden_s * _LATER_THAN_POLLS
        return 0.0 if created_s > self.last_poll.until_s else None

    def in_flight(self) -> list[Stretch]:
        return [flight.stretch for flight in self.flights]

    def end_of(self, start_s: int, latest_s: int) -> int:
        return self.density.end_s(start_s, latest_s, int(self.target_records))

    def history_end_of(self, start_s: int, latest_s: int) -> int:
        """As `end_of`, but further where a chain of pages can be left at any page: what is left is the next window's.

        Several windows are in flight where answers are slow, and each ends with a page that is not full.
        """
        windows = _HISTORY_WINDOWS if self.in_order else 1
        return self.density.end_s(start_s, latest_s, windows * int(self.target_records))

    def reach_pages(self, later_share: float = LATER_SHARE) -> float:
        """Pages of a poll that looks back as far as the stream's lateness asks, but for this share of the records."""
        return self.edge_per_s * (self.lateness.reach_s(later_share) + _LEAST_BETWEEN_S) / PAGE_RECORDS + 0.5
