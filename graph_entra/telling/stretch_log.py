"""What is told of stretches of creation time: troubled, readable again, refused, lost; always with exact bounds.

    troubled   cannot be read at present, is asked for again hourly   error, once; told when it is over
    refused    Graph refuses it for hours while it serves the present  error, hourly while it grows; never called lost
    lost       Graph no longer keeps it                                error, hourly while it grows

Of one stream, at most one line an hour of each: what comes in between is told when the hour is over, with the next
stretch that is read. That a troubled one is read is told at once if no other is left.
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
class _Place:
    """A stretch of which something is told.

    Attributes:
        stretch: the bounds of the records' creation.
        why: Graph's own words, or what tells that it is gone.
        since_s: when it began, by the monotonic clock.
        last_s: when it was met last.
        told: a line told what it is now, in these bounds.
        named: a line told of it at all.
        over_s: when it was read; None if it was not.
        again_s: when it is asked for again.
    """

    stretch: Stretch
    why: str
    since_s: float
    last_s: float
    told: bool = False
    named: bool = False
    over_s: float | None = None
    again_s: float = 0.0


@dataclass(slots=True)
class _OfStream:
    """The stretches of one stream, and when each kind was last told of."""

    troubled: list[_Place] = field(default_factory=list)
    # Troubled or refused ones that were read, and are still to be told.
    read: list[_Place] = field(default_factory=list)
    refused: list[_Place] = field(default_factory=list)
    lost: list[_Place] = field(default_factory=list)
    told_s: dict[str, float] = field(default_factory=dict)

    def rests(self, kind: str, now_s: float) -> bool:
        """Whether a line of this kind has to wait."""
        return now_s - self.told_s.get(kind, float("-inf")) < REPEAT_S


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
        """How many stretches are troubled or refused."""
        return sum(len(of.troubled) + len(of.refused) for of in self._streams.values())

    def troubled(self, stream: str, stretch: Stretch, why: str, again_s: float) -> None:
        """A stretch cannot be read at present. However often it is called for one, it is told once.

        Args:
            stream: its key.
            stretch: the bounds of the records' creation.
            why: Graph's own words.
            again_s: seconds until it is asked for again.
        """
        of, now_s = self._of(stream), self._clock.monotonic()
        if any(_within(stretch, one.stretch) for one in of.refused):
            return  # which says more
        # One that was read, and was not told of yet, is in trouble again.
        before = [one for one in of.troubled + of.read if _overlap(one.stretch, stretch)]
        place = _Place(stretch, why.rstrip("."), now_s, now_s, again_s=now_s + again_s)
        place.since_s = min([now_s, *(one.since_s for one in before)])
        place.told = any(one.told for one in before if _within(stretch, one.stretch))
        place.named = any(one.named for one in before)
        of.troubled, of.read = [*_without(of.troubled, before), place], _without(of.read, before)
        self._tell_troubled(stream)

    def readable(self, stream: str, stretch: Stretch, left: Sequence[Stretch]) -> None:
        """A stretch was read; perhaps one that was troubled or refused. Called for each that is read.

        Args:
            stream: its key.
            stretch: the bounds of the records' creation.
            left: what is still troubled: it may have been told of as part of a larger stretch, which is not over then.
        """
        of, now_s = self._of(stream), self._clock.monotonic()
        # What was read, and cannot be read now, before a line told the first.
        again = [one for one in of.read if _overlaps(one.stretch, left)]
        over = [
            one
            for one in of.troubled + of.refused
            if _overlap(one.stretch, stretch) and not _overlaps(one.stretch, left)
        ]
        for one in over:
            one.over_s = now_s
        of.troubled, of.refused = _without(of.troubled, over) + again, _without(of.refused, over)
        of.read = _without(of.read, again) + [one for one in over if one.named]
        self._tell_over(stream)
        self._tell_troubled(stream)
        self._tell_grown(stream, "refused")
        self._tell_grown(stream, "lost")

    def refused(self, stream: str, stretch: Stretch) -> None:
        """Graph refuses a stretch for hours, while it serves the present."""
        of, now_s = self._of(stream), self._clock.monotonic()
        inside = [one for one in of.troubled if _within(one.stretch, stretch)]
        of.troubled = _without(of.troubled, inside)
        of.refused = _grown(of.refused, _Place(stretch, "", now_s, now_s), inside)
        self._tell_grown(stream, "refused")

    def lost(self, stream: str, stretch: Stretch, why: str) -> None:
        """Graph no longer keeps a stretch, and it was not read."""
        of, now_s = self._of(stream), self._clock.monotonic()
        self.gone(stream, stretch)
        of.lost = _grown(of.lost, _Place(stretch, why.rstrip("."), now_s, now_s), ())
        self._tell_grown(stream, "lost")

    def gone(self, stream: str, stretch: Stretch) -> None:
        """Graph no longer keeps a stretch: it is in no trouble any more."""
        of = self._of(stream)
        of.troubled, of.refused, of.read = (
            [one for one in places if not _within(one.stretch, stretch)]
            for places in (of.troubled, of.refused, of.read)
        )

    def since(self, since_s: float, streams: Collection[str] | None) -> str:
        """What became of the records of some streams since then, or of all: a clause for the end of a problem."""
        said: list[str] = []
        for stream, of in self._streams.items():
            if streams is not None and stream not in streams:
                continue
            if lost := [one for one in of.lost if one.last_s >= since_s]:
                self._tell_grown(stream, "lost", whenever=True)
                bounds = _bounds(one.stretch for one in lost)
                said.append(f"lost: {stream} records created {bounds}, which Graph no longer keeps")
            if of.refused:
                said.append(f"Graph refuses {stream} records created {_bounds(one.stretch for one in of.refused)}")
            if of.troubled:
                bounds = _bounds(one.stretch for one in of.troubled)
                said.append(f"{stream} records created {bounds} cannot be read at present")
        return "; ".join(said) or "nothing was lost"

    def _of(self, stream: str) -> _OfStream:
        return self._streams.setdefault(stream, _OfStream())

    def _tell(self, of: _OfStream, kind: str, places: Sequence[_Place]) -> str:
        """Their bounds, which a line of this kind tells now."""
        of.told_s[kind] = self._clock.monotonic()
        for one in places:
            one.told = one.named = True
        return _bounds(one.stretch for one in places)

    def _tell_troubled(self, stream: str) -> None:
        """Tell what cannot be read and was not told of yet, if the hour is over."""
        of, now_s = self._of(stream), self._clock.monotonic()
        new = [one for one in of.troubled if not one.told]
        if not new or of.rests("troubled", now_s):
            return
        again_s = max(0.0, new[-1].again_s - now_s)
        self._log(
            f"{stream}: records created {self._tell(of, 'troubled', new)} cannot be read at present: {new[-1].why}. "
            f"Everything around them is read. They are asked for again in {again_s / 60:.0f} min and hourly, for as "
            "long as Graph keeps them; a line says when they are read.",
            "error",
        )

    def _tell_over(self, stream: str) -> None:
        """Tell what was read; while others are left, once an hour."""
        of, now_s = self._of(stream), self._clock.monotonic()
        if not of.read or (of.troubled and of.rests("troubled", now_s)):
            return
        lasted_s = max((one.over_s or now_s) - one.since_s for one in of.read)
        rest = f" {len(of.troubled)} such stretches are left." if of.troubled else ""
        self._log(
            f"{stream}: records created {_bounds(one.stretch for one in of.read)}, which could not be read for "
            f"{lasted_s / 60:.0f} min, are read now.{rest}",
            "info",
        )
        of.read = []
        if of.troubled:
            of.told_s["troubled"] = now_s

    def _tell_grown(self, stream: str, kind: Literal["refused", "lost"], *, whenever: bool = False) -> None:
        """Tell what has grown, if the hour is over."""
        of = self._of(stream)
        new = [one for one in (of.refused if kind == "refused" else of.lost) if not one.told]
        if not new or (of.rests(kind, self._clock.monotonic()) and not whenever):
            return
        became = "are refused by Graph, again and again, while it serves what is newer"
        if kind == "lost":
            became = f"were not read in time and are lost: {new[-1].why}"
        self._log(f"{stream}: records created {self._tell(of, kind, new)} {became}. {_ELSEWHERE}", "error")


def _grown(places: Sequence[_Place], met: _Place, from_elsewhere: Sequence[_Place]) -> list[_Place]:
    """These places with one more, which may make one of them larger, as the beginning of an outage is forgotten."""
    touching = [one for one in places if one.stretch[0] <= met.stretch[1] and met.stretch[0] <= one.stretch[1]]
    parts = [met, *touching]
    met.stretch = min(one.stretch[0] for one in parts), max(one.stretch[1] for one in parts)
    met.told = any(one.told and one.stretch == met.stretch for one in touching)
    for one in [*touching, *from_elsewhere]:
        met.since_s, met.named = min(met.since_s, one.since_s), met.named or one.named
    return [*_without(places, touching), met]


def _without(places: Iterable[_Place], others: Collection[_Place]) -> list[_Place]:
    return [one for one in places if one not in others]


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
