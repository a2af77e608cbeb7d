"""What a poll asks for: what is new, and as far back as is free, or as Graph's lateness asks and the limit allows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Final

from graph_entra.clock import Clock
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import plan
from graph_entra.reading.collector import MOST_PAGES, Reading
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.reading.outcomes import PROBE_AFTER
from graph_entra.reading.reader import Polled, Reader
from graph_entra.reading.reports import Reports
from graph_entra.reading.traffic import LATER_SHARE, LONGEST_REACH_S, SHORTEST_REACH_S, USUAL_REACH_S
from graph_entra.streams import PAGE_RECORDS, Window

# Of the limit, what polls that look back further than one page may take: while other work is due, and while none is.
_REACH_SHARE: Final = 0.75
_REACH_SHARE_IDLE: Final = 0.85
# So many of the records may be shown later than a near poll looks back; and of that share, what near polls may take.
_NEAR_LATER_SHARE: Final = 0.2
_NEAR_PART: Final = 0.65
# What may have been shown since the last one adds to how far it looks back.
_MOST_BETWEEN_S: Final = 600
# So full may the one page of a poll be that looks back for nothing.
_FREE_PAGE_RECORDS: Final = 850
# Where answers are slower than turns, a poll of more pages than this asks for several parts of them at once.
_PART_PAGES: Final = 3
# A longer chain of pages is left before its end, and the poll would not have been whole.
_LONGEST_PART_PAGES: Final = MOST_PAGES - 3


class Polls:
    """Sizes polls, and learns from them.

    Args:
        readers: all streams.
        period_s: seconds between two polls of a stream.
        limiter: Graph's limit.
        graph_clock: Graph's clock.
        clock: the time.
        reports: tells.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        *,
        period_s: int,
        limiter: RateLimiter,
        graph_clock: GraphClock,
        clock: Clock,
        reports: Reports,
    ) -> None:
        self._readers = readers
        self._period_s = period_s
        self._limiter = limiter
        self._graph_clock = graph_clock
        self._clock = clock
        self._reports = reports

    async def windows(self, reader: Reader, others_wait: bool, answer_s: float) -> list[Window]:
        """What a poll asks for; nothing if there is nothing to read up to now (plan.py).

        Args:
            reader: the stream.
            others_wait: other work is due.
            answer_s: how long answers take at present.
        """
        gap, clipped = await reader.collector.catch_up(self._period_s)
        self._reports.clipped(reader, gap, clipped)
        now_s = int(self._graph_clock.now_s())
        window = plan.edge_window(reader.coverage, now_s, self._reach_s(reader, others_wait))
        if window is None:
            return []
        if reader.polls_failed >= PROBE_AFTER:
            window = Window("edge", now_s - 1, now_s)
        polled_s = max((flight.window.end_s for flight in reader.flights if flight.kind == "edge"), default=0)
        if polled_s > window.start_s:
            # The poll before has not been answered yet; no need to ask for all of it twice.
            window = Window("edge", max(window.start_s, min(polled_s, now_s - 1) - USUAL_REACH_S), now_s)
        return self._divided(reader, window, answer_s)

    async def worked(self, reader: Reader, readings: Sequence[Reading]) -> None:
        """Every window of a poll was read and delivered."""
        if reader.failed_poll is not None:
            # The last second is served: it is something in what the failed polls asked for, and only that waits now.
            stretch, why = reader.failed_poll
            await reader.collector.fail(stretch, why, served_elsewhere=False)
        reader.polls_failed, reader.failed_poll = 0, None
        start_s, end_s = readings[0].window.start_s, readings[-1].window.end_s
        far = end_s - start_s >= reader.lateness.reach_s()
        if far or reader.edge_per_s == 0.0:
            # Not by a poll of the last seconds only: Graph has shown little of these yet.
            per_s = sum(reading.records for reading in readings) / max(1, end_s - start_s)
            reader.edge_per_s = per_s if reader.edge_per_s == 0.0 else (reader.edge_per_s + per_s) / 2
        until_s = next((reading.reached_s for reading in readings if reading.reached_s < reading.window.end_s), end_s)
        reader.left_at_s = until_s if until_s < end_s else 0
        if reader.left_at_s:
            reader.poll_due_s = self._clock.monotonic()
        reader.polled(Polled(start_s, until_s, readings[0].asked_s), far=far)
        self._reports.gap(reader)
        self._reports.late(reader)

    def _divided(self, reader: Reader, window: Window, answer_s: float) -> list[Window]:
        """One window, or several at once where one would hold too much to be answered, or for too long."""
        expected = reader.edge_per_s * (window.end_s - window.start_s)
        pages = _PART_PAGES if answer_s > self._limiter.spacing_s else _LONGEST_PART_PAGES
        most = min(reader.target_records, pages * PAGE_RECORDS)
        count = min(ceil(expected / most) or 1, window.end_s - window.start_s)
        step_s = (window.end_s - window.start_s) / count
        places = [window.start_s + int(step_s * index) for index in range(count)] + [window.end_s]
        return [Window("edge", start_s, end_s) for start_s, end_s in pairwise(places)]

    def _reach_s(self, reader: Reader, others_wait: bool) -> int:
        """How far a poll looks back: as far as its one page holds anyway; and as far as lateness asks, as often as
        the limit, shared with what else is waiting, allows."""
        if not reader.last_poll.asked_s:
            return USUAL_REACH_S  # nothing is known yet
        now_s, graph_now_s = self._clock.monotonic(), int(self._graph_clock.now_s())
        if reader.left_at_s:
            # Its pages held fewer records than are asked for: from the same beginning it would never see the present.
            return graph_now_s - reader.left_at_s
        free_s = graph_now_s - reader.density.start_s(graph_now_s, graph_now_s - LONGEST_REACH_S, _FREE_PAGE_RECORDS)
        free_s = int(max(SHORTEST_REACH_S, min(free_s, _FREE_PAGE_RECORDS / max(reader.edge_per_s, 0.01))))
        share = _REACH_SHARE if others_wait else _REACH_SHARE_IDLE
        far_s = self._share_of(LATER_SHARE) * self._period_s / share
        near_share = self._share_of(_NEAR_LATER_SHARE)
        # Where far polls cannot come every period, those between them look back as far as most records need, if that
        # leaves something to the far ones.
        near = far_s > 1.5 * self._period_s and near_share <= share * _NEAR_PART
        if near:
            far_s = self._share_of(LATER_SHARE) * self._period_s / (share - near_share)
        if now_s < reader.reach_due_s:
            return max(free_s, reader.lateness.reach_s(_NEAR_LATER_SHARE) + self._period_s) if near else free_s
        reader.reach_due_s = now_s + max(self._period_s, far_s) - 1.0
        since_s = graph_now_s - reader.last_reach.asked_s if reader.last_reach.asked_s else 0
        return max(free_s, reader.lateness.reach_s() + min(since_s, _MOST_BETWEEN_S))

    def _share_of(self, later_share: float) -> float:
        """Of the limit, what it takes that every stream's poll of every period looks back so far."""
        pages = sum(other.reach_pages(later_share) for other in self._readers)
        return pages * self._limiter.spacing_s / self._period_s
