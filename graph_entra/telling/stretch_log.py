"""What is told of stretches of creation time: troubled, readable again, refused, lost; always with exact bounds.

    troubled   cannot be read at present, is asked for again hourly   error, once; told when it is over
    refused    Graph refuses it for hours while it serves the present  error, hourly while it grows; never called lost
    lost       Graph no longer keeps it                                error, hourly while it grows

Of one stream, at most one line an hour of each: what comes in between is told with the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from graph_entra.clock import Clock
from graph_entra.streams import Stretch, graph_time

REPEAT_S: Final = 3600.0
# So many stretches are named one by one; of more, the first ones and how many there are.
MOST_NAMED: Final = 5
# After a loss or a refusal: where else the records may be.
_ELSEWHERE: Final = "If they matter, export them from the tenant's own storage or Event Hub, if one was set up."


@dataclass(slots=True)
class _Trouble:
    stretch: Stretch
    why: str
    since_s: float
    told: bool = False


@dataclass(slots=True)
class _Growing:
    """A stretch that may grow from call to call, as the beginning of a long outage is forgotten by Graph."""

    start_s: int
    end_s: int
    why: str
    last_s: float
    told_s: float | None = None
    told_end_s: int = 0

    @property
    def stretch(self) -> Stretch:
        return self.start_s, self.end_s


@dataclass(slots=True)
class _OfStream:
    troubled: list[_Trouble] = field(default_factory=list)
    # Troubled ones that were read, and are still to be told.
    read: list[_Trouble] = field(default_factory=list)
    told_s: float = float("-inf")
    lost: _Growing | None = None
    refused: _Growing | None = None


class StretchLog:
    """The stretches of one connector. Not thread-safe: its owner holds a lock.

    Args:
        log: writes a line.
        clock: the time.
    """

    def __init__(self, log: Callable[[str, Literal["error", "info"]], None], clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._streams: dict[str, _OfStream] = {}

    @property
    def count(self) -> int:
        """How many stretches are troubled."""
        return sum(len(of.troubled) for of in self._streams.values())

    def troubled(self, stream: str, stretch: Stretch, why: str, again_s: float) -> None:
        """A stretch cannot be read at present. Called at each failed try of it; told once.

        Args:
            stream: its key.
            stretch: the bounds of the records' creation.
            why: Graph's own words.
            again_s: seconds until it is asked for again.
        """
        of, now_s = self._streams.setdefault(stream, _OfStream()), self._clock.monotonic()
        before = [one for one in of.troubled if _overlap(one.stretch, stretch)]
        known = [one for one in before if _within(stretch, one.stretch)]
        of.troubled = [one for one in of.troubled if one not in before]
        since_s = min((one.since_s for one in before), default=now_s)
        of.troubled.append(_Trouble(stretch, why.rstrip("."), since_s, any(one.told for one in known)))
        new = [one for one in of.troubled if not one.told]
        if not new or now_s - of.told_s < REPEAT_S:
            return
        of.told_s = now_s
        for one in new:
            one.told = True
        self._log(
            f"{stream}: records created {_bounds(one.stretch for one in new)} cannot be read at present: "
            f"{new[-1].why}. Everything around them is read. They are asked for again in {again_s / 60:.0f} min and "
            "hourly, for as long as Graph keeps them; a line says when they are read.",
            "error",
        )

    def readable(self, stream: str, stretch: Stretch, left: Sequence[Stretch]) -> None:
        """A stretch that was troubled or refused was read.

        Args:
            stream: its key.
            stretch: the bounds of the records' creation.
            left: what is still troubled: it may have been told of as part of a larger stretch, which is not over then.
        """
        of, now_s = self._streams.setdefault(stream, _OfStream()), self._clock.monotonic()
        over = [one for one in of.troubled if _overlap(one.stretch, stretch) and not _overlaps(one.stretch, left)]
        of.troubled = [one for one in of.troubled if one not in over]
        of.read += [one for one in over if one.told]
        refused = of.refused
        if refused is not None and _within(refused.stretch, stretch) and not _overlaps(refused.stretch, left):
            self._log(
                f"{stream}: records created {_bounds([refused.stretch])}, which Graph refused, are read now.", "info"
            )
            of.refused = None
        if not of.read or (of.troubled and now_s - of.told_s < REPEAT_S):
            return
        lasted_s = now_s - min(one.since_s for one in of.read)
        rest = f" {len(of.troubled)} such stretches are left." if of.troubled else ""
        of.told_s = now_s if of.troubled else of.told_s
        self._log(
            f"{stream}: records created {_bounds(one.stretch for one in of.read)}, which could not be read for "
            f"{lasted_s / 60:.0f} min, are read now.{rest}",
            "info",
        )
        of.read = []

    def refused(self, stream: str, stretch: Stretch) -> None:
        """Graph refuses a stretch for hours, while it serves the present."""
        of = self._streams.setdefault(stream, _OfStream())
        of.refused = self._grown(of.refused, stretch, "")
        of.troubled = [one for one in of.troubled if not _within(one.stretch, stretch)]
        self._tell(stream, of.refused, "are refused by Graph, again and again, while it serves what is newer", "")

    def lost(self, stream: str, stretch: Stretch, why: str) -> None:
        """Graph no longer keeps a stretch, and it was not read."""
        of = self._streams.setdefault(stream, _OfStream())
        of.lost = self._grown(of.lost, stretch, why.rstrip("."))
        of.troubled = [one for one in of.troubled if not _within(one.stretch, stretch)]
        self._tell(stream, of.lost, "were not read in time and are lost", of.lost.why)

    def since(self, since_s: float, streams: Collection[str] | None) -> str:
        """What became of the records of some streams since then, or of all: a clause for the end of a problem."""
        said: list[str] = []
        for stream, of in self._streams.items():
            if streams is not None and stream not in streams:
                continue
            if of.lost is not None and of.lost.last_s >= since_s:
                self._finish(stream, of.lost)
                said.append(f"lost: {stream} records created {_bounds([of.lost.stretch])}, which Graph no longer keeps")
            if of.refused is not None:
                said.append(f"Graph refuses {stream} records created {_bounds([of.refused.stretch])}")
            if of.troubled:
                bounds = _bounds(one.stretch for one in of.troubled)
                said.append(f"{stream} records created {bounds} cannot be read at present")
        return "; ".join(said) or "nothing was lost"

    def _grown(self, known: _Growing | None, stretch: Stretch, why: str) -> _Growing:
        now_s = self._clock.monotonic()
        if known is None or stretch[0] > known.end_s or stretch[1] < known.start_s:
            known = _Growing(*stretch, why, now_s)
        known.start_s, known.end_s = min(known.start_s, stretch[0]), max(known.end_s, stretch[1])
        known.why, known.last_s = why, now_s
        return known

    def _tell(self, stream: str, what: _Growing, became: str, why: str) -> None:
        """Tell it, if it has grown and an hour has passed."""
        now_s = self._clock.monotonic()
        if what.told_end_s == what.end_s or (what.told_s is not None and now_s - what.told_s < REPEAT_S):
            return
        what.told_s, what.told_end_s = now_s, what.end_s
        clause = f": {why}" if why else ""
        self._log(f"{stream}: records created {_bounds([what.stretch])} {became}{clause}. {_ELSEWHERE}", "error")

    def _finish(self, stream: str, lost: _Growing) -> None:
        """Tell all of a loss at the end of the problem that caused it, whatever the hour."""
        lost.told_s = None
        self._tell(stream, lost, "were not read in time and are lost", lost.why)


def _bounds(stretches: Iterable[Stretch]) -> str:
    known = sorted(stretches)
    named = ", ".join(f"from {graph_time(start_s)} to {graph_time(end_s)}" for start_s, end_s in known[:MOST_NAMED])
    if len(known) <= MOST_NAMED:
        return named
    return f"in {len(known)} stretches, of which the first are {named}"


def _overlap(one: Stretch, other: Stretch) -> bool:
    """Whether two stretches share more than an end."""
    return one == other or (one[0] < other[1] and other[0] < one[1])


def _overlaps(one: Stretch, others: Iterable[Stretch]) -> bool:
    return any(_overlap(one, other) for other in others)


def _within(inner: Stretch, outer: Stretch) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]
