"""What the end of a window changes: what is due again and when, what was learned, and who is told.

An error is about the application, the network or the limit, and then the stream waits; or it is about the place that
was asked for, and then that place waits by itself (coverage.py) and the stream goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from graph_entra.clock import Clock
from graph_entra.errors import (
    GraphRefused,
    GraphUnavailable,
    PagingBroken,
    Throttled,
    WindowTooWide,
)
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading.collector import MOST_PAGES, Reading
from graph_entra.reading.coverage import stretches
from graph_entra.reading.reader import MOST_RECORDS, Reader
from graph_entra.reading.reports import Reports
from graph_entra.telling.problem_log import ProblemLog

FEWEST_RECORDS: Final = 100
_GROWS: Final = 1.3
# A poll that failed so often asks for the last second only: is it the stream, or something in the window?
PROBE_AFTER: Final = 2
# A place that is set aside is asked for hourly: refused so often, it is said that Graph refuses it.
REFUSED_TIMES: Final = 6
# Refusals that are about the application, not about what was asked.
_NO_PLACE: Final = frozenset({401, 403})


class Outcomes:
    """Takes note of each window that is over.

    Args:
        readers: all streams.
        limiter: Graph's limit.
        clock: the time.
        problems: told of what fails and what works again.
        reports: tells the rest.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        *,
        limiter: RateLimiter,
        clock: Clock,
        problems: ProblemLog,
        reports: Reports,
    ) -> None:
        self._readers = readers
        self._limiter = limiter
        self._clock = clock
        self._problems = problems
        self._reports = reports

    async def ended(self, reader: Reader, reading: Reading) -> None:
        """A window is over: what it taught, what is due again, and what is told."""
        window = reading.window
        if reading.pages:
            reader.page_bytes = max(reading.size_bytes / reading.pages, 0.8 * reader.page_bytes)
            if reading.reached_s > window.start_s:
                reader.density.learn(window.start_s, reading.reached_s, reading.records)
        for row in reading.aside:
            self._reports.aside(reader, row)
        if reading.error is None:
            self._worked(reader, reading)
        else:
            await self._failed(reader, reading, reading.error)
        self._reports.history(reader)

    def _worked(self, reader: Reader, reading: Reading) -> None:
        if reader.backoff.tries:
            # What was mended here may be mended for all: the others need not wait for their next try.
            for other in self._readers:
                other.paused_until_s = other.asked_until_s
                if other.backoff.tries:
                    other.poll_due_s = self._clock.monotonic()
        reader.backoff.over()
        # By a whole window: a 200 may hold a page that breaks off.
        reader.served_s = self._clock.monotonic()
        if reading.pages >= MOST_PAGES:
            reader.in_order = reading.reached_s < reading.window.end_s
        if reading.records >= reader.target_records / 2:
            reader.target_records = min(MOST_RECORDS, reader.target_records * _GROWS)
        reader.refusals.pop(reading.window.start_s, None)
        self._problems.served(reader.key, reading.window.work)
        self._problems.stored()
        left = list(stretches(reader.coverage.troubled))
        self._problems.readable(reader.key, (reading.window.start_s, reading.reached_s), left)

    async def _failed(self, reader: Reader, reading: Reading, error: Exception) -> None:
        now_s = self._clock.monotonic()
        work = reading.window.work
        if isinstance(error, (WindowTooWide, PagingBroken)):
            reader.in_order = False
            held = max(reading.records, reader.density.expected(*reading.rest))
            reader.target_records = max(FEWEST_RECORDS, min(reader.target_records, held or MOST_RECORDS) / 2)
        if isinstance(error, Throttled) or (
            isinstance(error, PagingBroken) and reading.reached_s > reading.window.start_s
        ):
            # Nothing is wrong with the window: it is due as before.
            wait_s = self._limiter.paused_s if isinstance(error, Throttled) else 0.0
            reader.poll_due_s = min(reader.poll_due_s, now_s + wait_s) if work == "edge" else reader.poll_due_s
            self._problems.failed(error, reader.key, work, wait_s)
            return
        place = isinstance(error, (GraphUnavailable, PagingBroken)) or (
            isinstance(error, GraphRefused) and error.status not in _NO_PLACE
        )
        if isinstance(error, GraphUnavailable) and error.retry_after_s is not None:
            if work == "edge":
                # Whatever it is: nobody asks before that is over.
                reader.paused_until_s = reader.asked_until_s = now_s + error.retry_after_s
            else:
                # It may be the place: it waits. If it is Graph altogether, the poll that comes now is told so too.
                reader.places_until_s = now_s + error.retry_after_s
        if place and work != "edge":
            await self._place_failed(reader, reading, error, now_s)
            return
        wait_s = max(reader.backoff.wait_s(error), self._limiter.paused_s)
        reader.paused_until_s = max(reader.paused_until_s, now_s + wait_s)
        # A look that waits for this is not late by the rate limit.
        reader.late_told_s = now_s
        if work == "edge":
            self._poll_failed(reader, reading, error, place=place)
            reader.poll_due_s = now_s + wait_s
        self._problems.failed(error, reader.key, work, wait_s)

    def _poll_failed(self, reader: Reader, reading: Reading, error: Exception, *, place: bool) -> None:
        if not place:
            reader.polls_failed, reader.failed_poll = 0, None
            return
        reader.polls_failed += 1
        if reader.polls_failed <= PROBE_AFTER:
            before = reader.failed_poll[0][0] if reader.failed_poll else reading.reached_s
            reader.failed_poll = (min(before, reading.reached_s), reading.window.end_s), str(error)

    async def _place_failed(self, reader: Reader, reading: Reading, error: Exception, now_s: float) -> None:
        served_elsewhere = reader.served_s > reader.place_failed_s
        reader.place_failed_s = now_s
        aside = await reader.collector.fail(reading.rest, str(error), served_elsewhere=served_elsewhere)
        for row in aside:
            self._reports.aside(reader, row)
        if isinstance(error, GraphRefused) and served_elsewhere:
            self._refused(reader, reading)
        if not served_elsewhere:
            # Is it the place, or the stream? A poll tells.
            reader.poll_due_s = min(reader.poll_due_s, now_s)
            wait_s = reader.backoff.wait_s(error)
            if reading.window.work != "troubled":  # which is told when it is set aside
                self._problems.failed(error, reader.key, reading.window.work, wait_s)

    def _refused(self, reader: Reader, reading: Reading) -> None:
        """Refused for hours while the present is served: Graph says no, for whatever reason; nothing is called lost."""
        for row in reader.coverage.troubled:
            if row.trouble is None or not row.trouble.told or row.start_s != reading.rest[0]:
                continue
            if row.trouble.in_small_pages:
                continue  # it is asked for in another way at once: this is one refusal of the hour's, not the hour's
            reader.refusals[row.start_s] += 1
            if reader.refusals[row.start_s] >= REFUSED_TIMES:
                self._problems.refused_stretch(reader.key, (row.start_s, row.end_s))
