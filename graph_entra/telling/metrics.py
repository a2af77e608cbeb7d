"""Figures for Prometheus, on the SDK's port, under names of our own.

The SDK's four (``symphony_module_common_*``) are set beside them by the connector: declared again here, they would
silently be lost.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

from graph_entra.clock import Clock
from graph_entra.reading import lanes
from graph_entra.reading.lanes import StreamState
from graph_entra.records import Taken

_STREAM: Final = ("stream",)

DELIVERED: Final = Counter("graph_entra_records_delivered", "Records acknowledged by the intake", _STREAM)
LATE: Final = Counter("graph_entra_records_late", "Delivered records that Graph had shown late", _STREAM)
UPDATED: Final = Counter("graph_entra_records_updated", "Records pushed again because Graph changed them", _STREAM)
CUT: Final = Counter("graph_entra_records_cut", "Records over 250,000 characters, delivered in part", _STREAM)
REFUSED: Final = Counter("graph_entra_records_refused", "Records the intake refused, kept in refused.jsonl", _STREAM)
REQUESTS: Final = Counter("graph_entra_requests", "Requests to Graph by status; 0 is no answer", ("stream", "status"))
THROTTLED: Final = Counter("graph_entra_throttled", "Answers of 429", _STREAM)
LANE: Final = Gauge("graph_entra_lane_position_seconds", "A lane's cursor, Unix time", ("stream", "lane"))
BACKLOG: Final = Gauge("graph_entra_backlog_seconds", "Stream time that the backlog still has to read", _STREAM)
LAST_SUCCESS: Final = Gauge("graph_entra_last_success_seconds", "End of the last live pass, Unix time", _STREAM)
OVERLAP: Final = Gauge("graph_entra_overlap_seconds", "How far a live pass reaches back", _STREAM)
LAG: Final = Gauge("graph_entra_lag_seconds", "Age of the newest live record when it came; 0 if none comes", _STREAM)
SPACING: Final = Gauge("graph_entra_request_spacing_seconds", "Least time between two requests to Graph")


class Lag:
    """How old the newest live record is when it is delivered, while records flow: a quiet tenant lags behind nothing.

    Args:
        flows_s: seconds after which a stream that brought nothing new is quiet.
        clock: the time.
    """

    def __init__(self, flows_s: float, clock: Clock) -> None:
        self._flows_s = flows_s
        self._clock = clock
        self._came: dict[str, tuple[float, float]] = {}

    def note(self, stream: str, created_s: float) -> None:
        """A live record was delivered; of those that came together, the newest."""
        now_s = self._clock.time()
        lag_s = max(0.0, now_s - created_s)
        self._came[stream] = (now_s, lag_s)
        LAG.labels(stream).set(lag_s)

    def value_s(self) -> float:
        """The connector's: that of the stream whose newest record is the youngest. 0 if all are quiet."""
        now_s = self._clock.time()
        for stream in [of for of, (came_s, _) in list(self._came.items()) if now_s - came_s > self._flows_s]:
            del self._came[stream]
            LAG.labels(stream).set(0.0)
        return min((lag_s for _, lag_s in list(self._came.values())), default=0.0)


def begin(stream: str) -> None:
    """Show a stream's counters from the start, so that the first record is an increase."""
    for counter in (DELIVERED, LATE, UPDATED, CUT, REFUSED, THROTTLED):
        counter.labels(stream)
    LAG.labels(stream).set(0.0)


def count(taken: Taken) -> None:
    """A page was delivered."""
    DELIVERED.labels(taken.stream).inc(taken.new + taken.updated - len(taken.refused))
    LATE.labels(taken.stream).inc(taken.late)
    UPDATED.labels(taken.stream).inc(taken.updated)
    CUT.labels(taken.stream).inc(len(taken.cut))
    REFUSED.labels(taken.stream).inc(len(taken.refused))


def answered(stream: str, status: int) -> None:
    """Graph answered, or did not (0)."""
    REQUESTS.labels(stream, str(status)).inc()
    if status == 429:
        THROTTLED.labels(stream).inc()


def show(stream: str, state: StreamState) -> None:
    """How far the lanes of a stream have read."""
    BACKLOG.labels(stream).set(lanes.backlog_s(state))
    LANE.labels(stream, lanes.LIVE).set(state.live_s)
    for name, cursor_s in state.settle_s.items():
        LANE.labels(stream, name).set(cursor_s)
