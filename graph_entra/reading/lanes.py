"""PURE: which stretch of time to read next, and what reading it settles.

All times are whole seconds since 1970, UTC. A lane's cursor is the end of what was *read*, never a record's own time,
so that a record dated 2099 moves nothing. ``now`` comes in as a value; nothing here does I/O.

| lane | reads | why |
|---|---|---|
| live | [cursor - overlap, now], every period | freshness; the overlap catches Graph's usual delay of 2 to 5 min |
| backlog | history, and the gap after an outage, oldest first | live records must not wait behind days of backlog |
| settle_15m, settle_2h, settle_24h | everything again at that age | records shown late, records changed |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from graph_entra.streams import DAY_S, HOUR_S, Stretch, Window, graph_time

OVERLAP_S: Final = 300
# The live lane's lateness from which the gap is read as backlog instead, on top of the period.
OUTAGE_S: Final = 600
# A cursor further ahead of the clock than this was written under another clock.
CLOCK_STEP_S: Final = 600
# Graph keeps 30 days (https://learn.microsoft.com/entra/identity/monitoring-health/reference-reports-data-retention);
# a lower bound beyond it is refused, so keep clear of the edge while it moves.
RETENTION_S: Final = 30 * DAY_S
RETENTION_MARGIN_S: Final = 600
LIVE: Final = "live"
BACKLOG: Final = "backlog"


@dataclass(frozen=True, slots=True)
class SettleLane:
    """Reads everything once more when it is ``age_s`` old, in steps of at least ``step_s`` (a request each)."""

    name: str
    age_s: int
    step_s: int


# Steps trade requests for delay: 5 streams x (12 + 2 + 1) an hour stay under a twentieth of Graph's 1,800.
SETTLE_LANES: Final = (
    SettleLane("settle_15m", 15 * 60, 5 * 60),
    SettleLane("settle_2h", 2 * HOUR_S, HOUR_S // 2),
    SettleLane("settle_24h", DAY_S, HOUR_S),
)
RANK: Final[Mapping[str, int]] = MappingProxyType(
    {name: rank for rank, name in enumerate((LIVE, BACKLOG, *(lane.name for lane in SETTLE_LANES)))}
)


@dataclass(frozen=True, slots=True)
class StreamState:
    """How far each lane of one stream has read.

    Attributes:
        origin_s: the start of the history that was asked for; nothing older is read.
        live_s: the live lane's cursor.
        gaps: what the backlog still has to read, oldest first.
        settle_s: each settle lane's cursor.
    """

    origin_s: int
    live_s: int
    gaps: tuple[Stretch, ...] = ()
    settle_s: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The form kept in ``context.json``: instants as Graph writes them, so that a person can read them."""
        return {
            "origin": graph_time(self.origin_s),
            "live": graph_time(self.live_s),
            "backlog": [[graph_time(start), graph_time(end)] for start, end in self.gaps],
            "settle": {name: graph_time(cursor) for name, cursor in self.settle_s.items()},
        }

    @classmethod
    def from_json(cls, data: Any) -> StreamState:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: it is not of that form.
        """
        try:
            return cls(
                origin_s=_second(data["origin"]),
                live_s=_second(data["live"]),
                gaps=tuple((_second(start), _second(end)) for start, end in data["backlog"]),
                settle_s={lane.name: _second(data["settle"][lane.name]) for lane in SETTLE_LANES},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the state of a stream: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Resumed:
    """What :func:`resume` found.

    Attributes:
        state: the state to go on with.
        gap: what will be read as backlog after an outage.
        lost: what Graph no longer keeps, a stretch for each gap: gone, whatever we do.
        clock_stepped: the cursor lay in the future; the last 24 h are read again, after what was still to be read.
    """

    state: StreamState
    gap: Stretch | None = None
    lost: tuple[Stretch, ...] = ()
    clock_stepped: bool = False


def begin(now_s: int, history_s: int) -> StreamState:
    """The state of a stream that has never been read: ``history_s`` of backlog, live from now."""
    origin = now_s - min(history_s, RETENTION_S - HOUR_S)
    live = max(origin, now_s - OVERLAP_S)
    return StreamState(
        origin_s=origin,
        live_s=live,
        gaps=((origin, live),) if origin < live else (),
        settle_s={lane.name: max(origin, now_s - lane.age_s) for lane in SETTLE_LANES},
    )


def resume(state: StreamState, now_s: int, period_s: int) -> Resumed:
    """Before a live pass: turn an outage into backlog, and drop what Graph no longer keeps.

    Args:
        state: how far the lanes have read.
        now_s: the clock.
        period_s: seconds between two live passes.
    """
    if state.live_s > now_s + CLOCK_STEP_S:
        return Resumed(_set_back(state, now_s), clock_stepped=True)
    gap = None
    if now_s - state.live_s > period_s + OUTAGE_S:
        # From the youngest settle lane's cursor on, so that the same reading carries that lane over the gap.
        gap = (max(state.origin_s, min(state.live_s - OVERLAP_S, state.settle_s["settle_15m"])), now_s - OVERLAP_S)
        gaps = (*state.gaps, gap)
        if state.gaps and state.gaps[-1][1] == state.live_s:
            # Live has read nothing since the last gap was made: it is the same outage, and one gap.
            gaps = (*state.gaps[:-1], (state.gaps[-1][0], gap[1]))
        state = replace(state, live_s=now_s - OVERLAP_S, gaps=gaps)
    state, lost = _clip(state, now_s - RETENTION_S + RETENTION_MARGIN_S)
    return Resumed(state, gap, lost)


def give_up(state: StreamState, before_s: int) -> tuple[StreamState, tuple[Stretch, ...]]:
    """Drop the backlog before ``before_s``, which Graph refuses to read.

    Returns:
        The new state, and the bounds of each stretch that is lost.
    """
    return _clip(state, before_s)


def live_window(state: StreamState, now_s: int, overlap_s: int = OVERLAP_S, span_s: int = DAY_S) -> Window:
    """What the live lane reads now.

    Args:
        state: how far the lanes have read.
        now_s: the clock.
        overlap_s: how far to reach back behind the cursor; less than ``span_s``.
        span_s: the longest window to ask for.
    """
    start = min(max(state.origin_s, min(state.live_s, now_s) - overlap_s), now_s)
    return Window(LIVE, start, min(now_s, start + span_s))


def rest_window(state: StreamState, now_s: int, span_s: int) -> Window | None:
    """What to read when live is not due: backlog first, then settle lanes, youngest first; None if nothing is due.

    Args:
        state: how far the lanes have read.
        now_s: the clock.
        span_s: the longest window to ask for.
    """
    if state.gaps:
        start, end = state.gaps[0]
        return Window(BACKLOG, start, min(end, start + span_s))
    for lane in SETTLE_LANES:
        cursor = state.settle_s[lane.name]
        end = min(now_s - lane.age_s, state.live_s)
        if end - cursor >= lane.step_s:
            return Window(lane.name, cursor, min(end, cursor + span_s))
    return None


def next_rest_s(state: StreamState, now_s: int) -> int:
    """The second at which :func:`rest_window` will have something, if live keeps up."""
    if state.gaps:
        return now_s
    return min(state.settle_s[lane.name] + lane.age_s + lane.step_s for lane in SETTLE_LANES)


def after_page(state: StreamState, window: Window, reached_s: int, asked_s: int) -> StreamState:
    """What has been read once ``window`` is delivered up to ``reached_s``.

    Args:
        state: how far the lanes had read.
        window: what was asked for.
        reached_s: every record up to here has been delivered; the window's end after its last page.
        asked_s: when the window's first page was asked for. Whatever was ``age_s`` old by then is settled for the
            lane of that age too, whichever lane read it: this is how backlog spares the settle lanes their work.
    """
    settle = dict(state.settle_s)
    for lane in SETTLE_LANES:
        cursor = settle[lane.name]
        if window.start_s <= cursor:
            settle[lane.name] = max(cursor, min(reached_s, asked_s - lane.age_s))
    if window.lane == LIVE:
        return replace(state, live_s=max(state.live_s, reached_s), settle_s=settle)
    if window.lane == BACKLOG and state.gaps:
        (start, end), *later = state.gaps
        if not window.start_s <= start:
            # The gaps were replaced while the window was read (the clock was set back): this one was not read.
            return replace(state, settle_s=settle)
        rest = [(max(start, reached_s), end)] if reached_s < end else []
        return replace(state, gaps=(*rest, *later), settle_s=settle)
    return replace(state, settle_s=settle)


def floor_s(state: StreamState) -> int:
    """No lane will read before this: the ledger's older hours can go."""
    starts = [start for start, _ in state.gaps]
    return min(state.live_s - OVERLAP_S, *state.settle_s.values(), *starts)


def late_s(state: StreamState, now_s: int) -> tuple[int, str]:
    """By how much the settle lane that is furthest behind is late, and its name."""
    return max((now_s - lane.age_s - lane.step_s - state.settle_s[lane.name], lane.name) for lane in SETTLE_LANES)


def backlog_s(state: StreamState) -> int:
    """Seconds of stream time that the backlog still has to read."""
    return sum(end - start for start, end in state.gaps)


def _set_back(state: StreamState, now_s: int) -> StreamState:
    """The last 24 h again, and before them whatever had not been read yet."""
    fresh = begin(now_s, DAY_S)
    unread = [(start, min(end, fresh.origin_s)) for start, end in state.gaps if start < fresh.origin_s]
    return replace(
        fresh,
        origin_s=min(state.origin_s, fresh.origin_s),
        gaps=(*unread, *fresh.gaps),
        settle_s={name: min(cursor, state.settle_s[name]) for name, cursor in fresh.settle_s.items()},
    )


def _clip(state: StreamState, oldest_s: int) -> tuple[StreamState, tuple[Stretch, ...]]:
    gone = tuple((start, min(end, oldest_s)) for start, end in state.gaps if start < oldest_s)
    if not gone and min(state.settle_s.values()) >= oldest_s:
        return state, ()
    clipped = replace(
        state,
        gaps=tuple((max(start, oldest_s), end) for start, end in state.gaps if end > oldest_s),
        settle_s={name: max(cursor, oldest_s) for name, cursor in state.settle_s.items()},
    )
    return clipped, gone


def _second(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
