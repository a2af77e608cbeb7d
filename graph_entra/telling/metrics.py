"""Figures for Prometheus, on the SDK's port, under names of our own. They are told plain numbers, from any thread.

The SDK's four (``symphony_module_common_*``) are set beside them by the connector: declared again here, they would
silently be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Final, Literal

from prometheus_client import Counter, Gauge

from graph_entra.clock import Clock
from graph_entra.records import Taken
from graph_entra.streams import LOOK_AGES, LookAge

_STREAM: Final = ("stream",)
# Every value of a label is there from the start, so that the first event is an increase and an alert has a 0.
PROBLEM_KINDS: Final = (
    "certificate",
    "graph",
    "intake",
    "login",
    "proxy",
    "storage",
    "throttled",
    "troubled",
    "unexpected",
)
PushFault = Literal["passes", "content", "person"]
_PUSH_FAULTS: Final[tuple[PushFault, ...]] = ("passes", "content", "person")
Credential = Literal["secret", "certificate"]

DELIVERED: Final = Counter("graph_entra_records_delivered", "Records acknowledged by the intake", _STREAM)
LATE: Final = Counter("graph_entra_records_late", "Delivered records that Graph had shown late", _STREAM)
UPDATED: Final = Counter("graph_entra_records_updated", "Records pushed again because Graph changed them", _STREAM)
CUT: Final = Counter("graph_entra_records_cut", "Records over 250,000 characters, delivered in part", _STREAM)
REFUSED: Final = Counter("graph_entra_records_refused", "Records the intake refused, kept in refused.jsonl", _STREAM)
REQUESTS: Final = Counter("graph_entra_requests", "Requests to Graph by status; 0 is no answer", ("stream", "status"))
THROTTLED: Final = Counter("graph_entra_throttled", "Answers of 429", _STREAM)
PUSHES_FAILED: Final = Counter(
    "graph_entra_pushes_failed", "Pushes the intake did not acknowledge, by what mends them", ("kind",)
)
LAG: Final = Gauge(
    "graph_entra_lag_seconds", "Age of the newest record when it came; what cannot be read or pushed grows", _STREAM
)
EDGE: Final = Gauge("graph_entra_edge_position_seconds", "Up to where all new records came, Unix time", _STREAM)
LAST_SUCCESS: Final = Gauge(
    "graph_entra_last_success_seconds", "End of the last poll that brought all, Unix time", _STREAM
)
LOOK_BACK: Final = Gauge("graph_entra_look_back_seconds", "How far a poll reaches back", _STREAM)
UNREAD: Final = Gauge("graph_entra_unread_seconds", "Stream time never read: history, and gaps of outages", _STREAM)
LOOK_LATE: Final = Gauge(
    "graph_entra_look_overdue_seconds", "How late the oldest second look of an age is", ("stream", "age")
)
TROUBLED: Final = Gauge("graph_entra_troubled_stretches", "Stretches that cannot be read at present", _STREAM)
TROUBLED_S: Final = Gauge("graph_entra_troubled_seconds", "Stream time that cannot be read at present", _STREAM)
PROBLEMS: Final = Gauge("graph_entra_problems_open", "Problems that are not over, by kind", ("kind",))
CLOCK: Final = Gauge("graph_entra_clock_difference_seconds", "This machine's clock minus Graph's")
CREDENTIAL_END: Final = Gauge(
    "graph_entra_credential_end_seconds", "When it ends, Unix time, if known", ("credential",)
)
SPACING: Final = Gauge("graph_entra_request_spacing_seconds", "Least time between two requests to Graph")
WINDOWS: Final = Gauge("graph_entra_windows_in_flight", "Windows that are being read")


@dataclass(slots=True)
class _Flow:
    """What is known of one stream's edge, by the monotonic clock."""

    reached_s: float
    behind_s: float = 0.0
    came_s: float = float("-inf")
    age_s: float = 0.0


class Lag:
    """How long a record that is created now would have to wait, by the worst stream. Thread-safe.

    While polls succeed, that is the age of the newest record when it came (Microsoft's delay and ours), and 0 on a
    quiet tenant. From the moment at which a poll is overdue, it is the time since all that was new had been read and
    delivered: it grows, whether Graph, the login or the intake is the reason.

    Args:
        period_s: seconds between two polls.
        clock: the time; only its monotonic side is read.
    """

    def __init__(self, period_s: float, clock: Clock) -> None:
        # Two polls, and the time that they take.
        self._patience_s = 2.0 * period_s + 60.0
        self._clock = clock
        self._lock = Lock()
        self._flows: dict[str, _Flow] = {}

    def begin(self, stream: str, behind_s: float = 0.0) -> None:
        """A stream will be read, and lacks the last ``behind_s`` seconds."""
        with self._lock:
            self._flows[stream] = _Flow(self._clock.monotonic(), behind_s)

    def reached(self, stream: str, behind_s: float = 0.0) -> None:
        """All new records have come but those of the last ``behind_s`` seconds, by Graph's clock."""
        with self._lock:
            flow = self._flows.setdefault(stream, _Flow(0.0))
            flow.reached_s, flow.behind_s = self._clock.monotonic(), max(0.0, behind_s)

    def came(self, stream: str, age_s: float) -> None:
        """New records came; of those that came together, the newest was so old, by Graph's clock."""
        with self._lock:
            flow = self._flows.setdefault(stream, _Flow(self._clock.monotonic()))
            flow.came_s, flow.age_s = self._clock.monotonic(), max(0.0, age_s)

    def value_s(self) -> float:
        """The connector's, which is that of the worst stream. Sets every stream's gauge."""
        with self._lock:
            values = {stream: self._of(flow) for stream, flow in self._flows.items()}
        for stream, value_s in values.items():
            LAG.labels(stream).set(value_s)
        return max(values.values(), default=0.0)

    def _of(self, flow: _Flow) -> float:
        now_s = self._clock.monotonic()
        behind_s = flow.behind_s + now_s - flow.reached_s
        if behind_s > self._patience_s:
            return behind_s
        return flow.age_s if now_s - flow.came_s <= self._patience_s else 0.0


def begin(stream: str) -> None:
    """Show a stream's figures from the start."""
    for counter in (DELIVERED, LATE, UPDATED, CUT, REFUSED, THROTTLED):
        counter.labels(stream)
    for gauge in (LAG, UNREAD, TROUBLED, TROUBLED_S):
        gauge.labels(stream).set(0.0)
    for age in LOOK_AGES:
        look_overdue(stream, age, 0.0)
    for fault in _PUSH_FAULTS:
        PUSHES_FAILED.labels(fault)
    problems({})


def count(taken: Taken) -> None:
    """Records were delivered, or refused."""
    DELIVERED.labels(taken.stream).inc(taken.new + taken.updated)
    LATE.labels(taken.stream).inc(taken.late)
    UPDATED.labels(taken.stream).inc(taken.updated)
    CUT.labels(taken.stream).inc(len(taken.cut))
    REFUSED.labels(taken.stream).inc(len(taken.refused))


def answered(stream: str, status: int) -> None:
    """Graph answered, or did not (0)."""
    REQUESTS.labels(stream, str(status)).inc()
    if status == 429:
        THROTTLED.labels(stream).inc()


def push_failed(kind: PushFault) -> None:
    """The intake did not acknowledge a push: it passes by itself, is about the content, or a person must act."""
    PUSHES_FAILED.labels(kind).inc()


def polled(stream: str, now_s: float, position_s: float, look_back_s: float) -> None:
    """A poll brought all that is new.

    Args:
        stream: its key.
        now_s: the time, seconds since 1970.
        position_s: up to which creation time everything came.
        look_back_s: how far it reached back.
    """
    LAST_SUCCESS.labels(stream).set(now_s)
    EDGE.labels(stream).set(position_s)
    LOOK_BACK.labels(stream).set(look_back_s)


def unread(stream: str, seconds: float) -> None:
    """So much stream time was never read."""
    UNREAD.labels(stream).set(seconds)


def look_overdue(stream: str, age: LookAge, late_s: float) -> None:
    """The oldest second look of an age that is due is so late; 0 if none is due."""
    LOOK_LATE.labels(stream, age).set(max(0.0, late_s))


def troubled(stream: str, stretches: int, seconds: float) -> None:
    """So many stretches of a stream, so long in all, cannot be read at present."""
    TROUBLED.labels(stream).set(stretches)
    TROUBLED_S.labels(stream).set(seconds)


def problems(open_by_kind: Mapping[str, int]) -> None:
    """The problems that are open, as ``ProblemLog.open`` counts them."""
    for kind in (*PROBLEM_KINDS, *(open_by_kind.keys() - set(PROBLEM_KINDS))):
        PROBLEMS.labels(kind).set(open_by_kind.get(kind, 0))


def credential_end(credential: Credential, end_s: float) -> None:
    """When the secret or the certificate in use ends, in seconds since 1970."""
    CREDENTIAL_END.labels(credential).set(end_s)
