"""What a schedule has to say: to the problem log, to the log, and to the metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from graph_entra.clock import Clock
from graph_entra.reading import plan
from graph_entra.reading.coverage import Clipped, Coverage, Row
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.reading.reader import Reader
from graph_entra.streams import HOUR_S, LOOK_AGES, Stretch, graph_time
from graph_entra.telling.problem_log import Log, ProblemLog

_LATE_TOLD_EVERY_S: Final = 3600.0
_AGES: Final = {age_s: age for age, age_s in LOOK_AGES.items()}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one stream is, for the metrics.

    Attributes:
        stream: its key.
        coverage: its map.
        reach_s: how far its polls look back, in seconds.
        overdue_s: by how many seconds each look is late, by its age.
        in_flight: windows in flight, of all streams.
        polled: a poll has just brought all that is new.
    """

    stream: str
    coverage: Coverage
    reach_s: int
    overdue_s: Mapping[int, int]
    in_flight: int
    polled: bool


class Reports:
    """Tells what becomes of the streams.

    Args:
        problems: told of stretches that cannot be read, or are lost.
        log: writes a line.
        graph_clock: Graph's clock.
        clock: the time.
        on_progress: told how far a stream is.
    """

    def __init__(
        self,
        problems: ProblemLog,
        log: Log,
        graph_clock: GraphClock,
        clock: Clock,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._problems = problems
        self._log = log
        self._graph_clock = graph_clock
        self._clock = clock
        self._on_progress = on_progress

    def progress(self, reader: Reader, in_flight: int, *, polled: bool = False) -> None:
        """For the metrics."""
        overdue = plan.overdue_s(reader.coverage, int(self._graph_clock.now_s()))
        self._on_progress(
            Progress(reader.key, reader.coverage, reader.lateness.reach_s(), overdue, in_flight, polled=polled)
        )

    def aside(self, reader: Reader, row: Row) -> None:
        """A place was set aside."""
        if row.trouble is not None:
            # After a stop it may have been due for hours.
            again_s = max(0.0, row.trouble.again_s - self._graph_clock.now_s())
            self._problems.troubled(reader.key, (row.start_s, row.end_s), row.trouble.why, again_s)

    def clipped(self, reader: Reader, gap: Stretch | None, clipped: Clipped) -> None:
        """What a poll found before it began: an outage's gap, and what Graph no longer keeps."""
        if gap is not None:
            # While an outage lasts, each try finds the gap a little longer.
            reader.gap = (min(gap[0], reader.gap[0] if reader.gap else gap[0]), gap[1])
        for stretch in clipped.lost:
            self._problems.lost(reader.key, stretch, "Graph no longer keeps them")
        for start_s, end_s in clipped.unlooked:
            self._problems.gone(reader.key, (start_s, end_s))
            since_s, until_s = reader.unlooked or (start_s, end_s)
            reader.unlooked = min(since_s, start_s), max(until_s, end_s)
        now_s = self._clock.monotonic()
        if reader.unlooked is None or now_s - reader.unlooked_told_s < _LATE_TOLD_EVERY_S:
            return
        (start_s, end_s), reader.unlooked, reader.unlooked_told_s = reader.unlooked, None, now_s
        self._log(
            f"{reader.key}: what was created from {graph_time(start_s)} to {graph_time(end_s)} was read, but not "
            "looked at again before Graph dropped it: a record that was shown late may be missing.",
            "warning",
        )

    def gap(self, reader: Reader) -> None:
        """New records flow again after an outage."""
        if reader.gap is None:
            return
        gap, reader.gap, reader.reading_history = reader.gap, None, True
        # What is late by the outage is not late by the rate limit.
        reader.late_told_s = self._clock.monotonic()
        self._problems.gap(reader.key, gap)

    def late(self, reader: Reader) -> None:
        """A look is more than an hour late."""
        late = plan.overdue_s(reader.coverage, int(self._graph_clock.now_s()))
        age_s = max(late, key=lambda age_s: late[age_s])
        now_s = self._clock.monotonic()
        if late[age_s] < HOUR_S or now_s - reader.late_told_s < _LATE_TOLD_EVERY_S:
            return
        reader.late_told_s = now_s
        self._log(
            f"{reader.key}: the look at {_AGES[age_s]} is {late[age_s] / HOUR_S:.1f} h late, because the rate limit "
            "does not suffice: what Graph shows late or changes arrives so much later. New records are not affected.",
            "info",
        )

    def history(self, reader: Reader) -> None:
        """The last of the history was read."""
        if reader.reading_history and reader.coverage.unread_s == 0 and reader.polls == 0:
            reader.reading_history = False
            self._log(f"{reader.key}: {reader.progress.done()}", "info")
