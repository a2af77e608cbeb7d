"""PURE: what is known of each stretch of a stream's creation time. Whatever has to be read follows from it.

A cursor that moves forward cannot say "this second could not be read, all around it was". So a stream's state is a map:
creation time, by Graph's clock, from the start of the history that was asked for to the *edge*, up to which new records
were read. It is divided into rows, each with what is known of it:

    never read | read whole when it was so old, and that reading brought something new, or nothing | in trouble

Rows touch: the second in which one ends is the second in which the next begins, because Graph's bounds include both
(the ledger drops the ties). Equal neighbours merge, so the map stays a handful of rows that a person can read in
``context.json``. The rules:

* A reading counts for a row only when it was whole: every page of it was delivered, or the pages came oldest first and
  this part of it was.
* Ages are counted from when a window was asked for. They are kept as classes, new, 15 min, 2 h and 24 h: at which of
  the looks (:data:`LOOKS`) the row was read last.
* A row is *settled* when it was read at 24 h of age or more and that reading brought nothing new. Nothing else is.
* Trouble belongs to a place, never to a stream: the row keeps what was known of it, is left out of every other
  reading, and is asked for again by itself (see :func:`failed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from graph_entra.streams import DAY_S, HOUR_S, LOOK_AGES, PAGE_RECORDS, Stretch, graph_time

# Everything is looked at again at these ages: records are shown late, changed, or left out of an answer.
LOOKS: Final = tuple(LOOK_AGES.values())
SETTLED_S: Final = LOOKS[-1]
_NEXT_LOOK_S: Final[dict[int | None, int | None]] = {None: None, **dict(zip((0, *LOOKS), (*LOOKS, None), strict=True))}
# What counts as new when nothing was ever read; enough for Graph's usual delay.
FIRST_REACH_S: Final = 300
# Graph keeps 30 days (https://learn.microsoft.com/entra/identity/monitoring-health/reference-reports-data-retention);
# a lower bound beyond it may be refused, so keep clear of the edge while it moves.
RETENTION_S: Final = 30 * DAY_S
RETENTION_MARGIN_S: Final = 600
# An edge that has stood still for so long, beyond its period, leaves a gap that is read in the background.
OUTAGE_S: Final = 600
# An edge further ahead of Graph's clock than this was written under a wrong one.
AHEAD_S: Final = 600
# More places that Graph does not serve are not divided further: a history that it refuses altogether must not fall
# into seconds.
MOST_TROUBLED: Final = 48
# Rows beyond this are merged, as if less were known of them.
MOST_ROWS: Final = 400

ASIDE_S: Final = HOUR_S
_FIRST_PAUSE_S: Final = 5
# A poll tells at once whether it is the place or the stream: longer pauses would only delay the next halving. And a
# stream that is not served at all is left alone by reading/schedule.py.
_LONGEST_PAUSE_S: Final = 10
# In one second, ever smaller pages deliver the neighbours of a record that cannot be served, from both ends.
_PAGE_STEP: Final = 10


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a row cannot be read or delivered at present.

    Attributes:
        tries: how often it failed, here or in the larger stretch that this one was divided from.
        again_s: when it is asked for again, by Graph's clock.
        why: Graph's own words, or the intake's.
        told: it was set aside and told as an error.
        page_records: the most records on a page of the next try.
        newest_first: the next try begins at the other end.
        delivery: it was read, and the intake refuses a record of it.
    """

    tries: int
    again_s: int
    why: str
    told: bool = False
    page_records: int = PAGE_RECORDS
    newest_first: bool = False
    delivery: bool = False

    @property
    def in_small_pages(self) -> bool:
        """The next try asks for a part of a page, or for one from the other end."""
        return self.page_records < PAGE_RECORDS or self.newest_first


@dataclass(frozen=True, slots=True)
class Row:
    """One stretch and what is known of it.

    Attributes:
        start_s: its first second.
        end_s: its last second, which is the next row's first.
        looked_s: how old it was at least when it was read last, one of 0 and :data:`LOOKS`; None if it never was.
        brought: that reading brought something new; False until the first look.
        trouble: set while it cannot be read or delivered.
    """

    start_s: int
    end_s: int
    looked_s: int | None = None
    brought: bool = False
    trouble: Trouble | None = None

    @property
    def settled(self) -> bool:
        """Nothing of it has to be read again."""
        return self.looked_s == SETTLED_S and not self.brought and self.trouble is None

    @property
    def next_look_s(self) -> int | None:
        """The age at which it is looked at again; None after the last look."""
        return _NEXT_LOOK_S[self.looked_s]

    def is_like(self, other: Row) -> bool:
        """Whether the same is known of both."""
        return (self.looked_s, self.brought, self.trouble) == (other.looked_s, other.brought, other.trouble)


@dataclass(frozen=True, slots=True)
class Coverage:
    """The map of one stream.

    Attributes:
        rows: oldest first, each beginning where the one before ends; at least one.
    """

    rows: tuple[Row, ...]

    @property
    def origin_s(self) -> int:
        """The start of the history that was asked for; nothing older is read."""
        return self.rows[0].start_s

    @property
    def edge_s(self) -> int:
        """Up to where new records were read."""
        return self.rows[-1].end_s

    @property
    def unread_s(self) -> int:
        """Seconds that were never read."""
        return sum(row.end_s - row.start_s for row in self.rows if row.looked_s is None)

    @property
    def troubled(self) -> tuple[Row, ...]:
        """The rows in trouble."""
        return tuple(row for row in self.rows if row.trouble is not None)

    @property
    def worked(self) -> bool:
        """Something was read once: this configuration has worked."""
        return any(row.looked_s is not None for row in self.rows)

    def read_again(self) -> list[Stretch]:
        """What may be read again: of these stretches, and no others, the ledger has to know the records."""
        return list(stretches(row for row in self.rows if not row.settled))

    def to_json(self) -> dict[str, Any]:
        """The form kept in ``context.json``: instants as Graph writes them, so that a person can read them."""
        return {"coverage": [_row_to_json(row) for row in self.rows]}


def begin(now_s: int, history_s: int) -> Coverage:
    """The map of a stream that was never read: ``history_s`` seconds of history, and what is new from now on."""
    origin_s = now_s - min(history_s, RETENTION_S - HOUR_S)
    edge_s = max(origin_s, now_s - FIRST_REACH_S)
    return Coverage((Row(origin_s, edge_s),))


def from_json(data: Any) -> Coverage:
    """Read what :meth:`Coverage.to_json` wrote, or what version 1.0.0 wrote in its place.

    A look that this version does not have counts as the next younger one that it has: it is looked at once more.

    Raises:
        ValueError: it is neither.
    """
    try:
        if "live" in data:
            return _of_version_1(data)
        rows = tuple(_row_from_json(row) for row in data["coverage"])
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"not the state of a stream: {error!r}") from error
    if not rows or any(row.start_s > row.end_s for row in rows):
        raise ValueError("not the state of a stream: a row ends before it begins")
    if any(before.end_s != after.start_s for before, after in pairwise(rows)):
        raise ValueError("not the state of a stream: its rows do not touch")
    return Coverage(_merged(rows))


def caught_up(coverage: Coverage, now_s: int, period_s: int) -> tuple[Coverage, Stretch | None]:
    """Before the edge is read: what an outage left is read in the background, the newest minutes at once.

    Returns:
        The map, and the gap that was found; None if there is none.
    """
    edge_s = coverage.edge_s
    if edge_s > now_s + AHEAD_S:
        # Written under a clock that was wrong. What it calls read may not have been: the ledger knows what was.
        since_s = max(coverage.origin_s, now_s - DAY_S)
        kept = [row for row in _cut(coverage.rows, (since_s,)) if row.end_s <= since_s]
        return Coverage(_merged([*kept, Row(min(since_s, now_s), now_s)])), (since_s, now_s)
    if now_s - edge_s <= period_s + OUTAGE_S:
        return coverage, None
    until_s = now_s - FIRST_REACH_S
    return Coverage(_merged([*coverage.rows, Row(edge_s, until_s)])), (edge_s, until_s)


def read(coverage: Coverage, stretch: Stretch, asked_s: int, new_at_s: Sequence[int]) -> Coverage:
    """A stretch was read whole, and everything in it delivered.

    Args:
        coverage: what was known.
        stretch: what was read; beyond the edge, it moves the edge.
        asked_s: when it was asked for, by Graph's clock.
        new_at_s: creation of each record that this reading brought; one that has no time counts for all of it
            (give the stretch's start and end).
    """
    start_s, end_s = max(stretch[0], coverage.origin_s), stretch[1]
    rows = list(coverage.rows)
    if end_s > coverage.edge_s:
        rows.append(Row(coverage.edge_s, end_s))
    ages = [asked_s - age_s for age_s in LOOKS]
    return Coverage(
        _merged(
            _read_row(row, asked_s, new_at_s) if start_s <= row.start_s and row.end_s <= end_s else row
            for row in _cut(rows, (start_s, end_s, *ages))
        )
    )


def failed(
    coverage: Coverage, stretch: Stretch, now_s: int, why: str, *, served_elsewhere: bool
) -> tuple[Coverage, tuple[Row, ...]]:
    """A stretch could not be read.

    The first failure is forgiven: it is asked again soon. If it fails again while the same stream is served elsewhere,
    it is the place: it is divided in halves, down to a second; a second is asked in ever smaller pages, from both
    ends, so that only what cannot be served is left; that is set aside, and asked for every hour.

    Args:
        coverage: what was known.
        stretch: what was not delivered.
        now_s: Graph's clock.
        why: Graph's own words.
        served_elsewhere: the stream was served since the failure before.

    Returns:
        The map, and the rows that are set aside by this failure and have to be told.
    """
    start_s, end_s = max(stretch[0], coverage.origin_s), stretch[1]
    rows = list(coverage.rows)
    if end_s > coverage.edge_s:
        rows.append(Row(coverage.edge_s, end_s))
    room = MOST_TROUBLED - sum(row.trouble is not None and not row.trouble.delivery for row in coverage.rows)
    result: list[Row] = []
    aside: list[Row] = []
    for row in _cut(rows, (start_s, end_s)):
        if not (start_s <= row.start_s and row.end_s <= end_s):
            result.append(row)
            continue
        for part in _fail_row(row, now_s, why, served_elsewhere=served_elsewhere, room=room):
            result.append(part)
            if part.trouble is not None and part.trouble.told and not (row.trouble and row.trouble.told):
                aside.append(part)
    return Coverage(_merged(result)), tuple(aside)


def undelivered(
    coverage: Coverage, stretch: Stretch, again_s: int, tries: int, why: str, *, told: bool = False
) -> Coverage:
    """The intake refuses a record of this stretch: read it, and try it, again.

    Args:
        coverage: what was known.
        stretch: what has to be read again to have the record again; it was read before.
        again_s: when to try again.
        tries: how often the intake refused it.
        why: what the intake answered.
        told: it was told as an error.
    """
    end_s = min(max(stretch[1], coverage.origin_s + 1), coverage.edge_s)
    start_s = min(max(stretch[0], coverage.origin_s), end_s - 1)
    trouble = Trouble(tries, again_s, why, told=told, delivery=True)
    return Coverage(
        _merged(
            _undelivered_row(row, trouble) if start_s <= row.start_s and row.end_s <= end_s else row
            for row in _cut(coverage.rows, (start_s, end_s))
        )
    )


def stretches(rows: Iterable[Row]) -> Iterator[Stretch]:
    """The bounds of rows."""
    return ((row.start_s, row.end_s) for row in rows)


def together(bounds: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Stretches in their order, those that touch as one."""
    found: list[Stretch] = []
    for start_s, end_s in bounds:
        if found and found[-1][1] == start_s:
            found[-1] = (found[-1][0], end_s)
        else:
            found.append((start_s, end_s))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Clipped:
    """What :func:`clip` found.

    Attributes:
        coverage: the map without what Graph no longer keeps.
        lost: stretches that were never read and are gone.
        unlooked: stretches that were read, and not looked at since they were 24 h old; or that are in trouble.
    """

    coverage: Coverage
    lost: tuple[Stretch, ...] = ()
    unlooked: tuple[Stretch, ...] = ()


def clip(coverage: Coverage, now_s: int) -> Clipped:
    """Leave out what Graph no longer keeps, by Graph's clock."""
    oldest_s = min(now_s - RETENTION_S + RETENTION_MARGIN_S, coverage.edge_s)
    if coverage.origin_s >= oldest_s:
        return Clipped(coverage)
    rows = _cut(coverage.rows, (oldest_s,))
    gone = [row for row in rows if row.end_s <= oldest_s]
    kept = [row for row in rows if row.end_s > oldest_s] or [replace(rows[-1], start_s=oldest_s, end_s=oldest_s)]
    return Clipped(
        Coverage(_merged(kept)),
        together(stretches(row for row in gone if row.looked_s is None)),
        # A history that is first read when it is older than a day passes here before it is read once more.
        together(
            stretches(row for row in gone if row.looked_s not in (None, SETTLED_S) or (row.looked_s and row.trouble))
        ),
    )


def _read_row(row: Row, asked_s: int, new_at_s: Sequence[int]) -> Row:
    looked_s = max((age_s for age_s in LOOKS if row.end_s <= asked_s - age_s), default=0)
    # Of what is looked at again within minutes anyway it would say nothing, and divide the map.
    brought = looked_s > 0 and any(row.start_s <= at_s <= row.end_s for at_s in new_at_s)
    return Row(row.start_s, row.end_s, looked_s, brought)


def _undelivered_row(row: Row, trouble: Trouble) -> Row:
    """Graph's trouble comes first: what was not read is asked for in ever smaller parts, and this record with them."""
    return row if row.trouble is not None and not row.trouble.delivery else replace(row, trouble=trouble)


def _fail_row(row: Row, now_s: int, why: str, *, served_elsewhere: bool, room: int) -> list[Row]:
    before = row.trouble
    if before is None or before.delivery:
        told = before is not None and before.told
        return [replace(row, trouble=Trouble(1, now_s + _FIRST_PAUSE_S, why, told=told))]
    tries = before.tries + 1
    if not served_elsewhere:
        # It may be Graph altogether: what is known of the place stays as it is.
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(before.tries, 10))
        return [replace(row, trouble=replace(before, tries=tries, again_s=now_s + pause_s, why=why))]
    span_s = row.end_s - row.start_s
    if span_s > 1 and room > 0:
        middle_s = row.start_s + span_s // 2
        trouble = Trouble(tries, now_s, why, told=before.told)
        return [
            replace(row, end_s=middle_s, trouble=trouble),
            # Not equal to its neighbour, or the two would merge again.
            replace(row, start_s=middle_s, trouble=replace(trouble, again_s=now_s + 1)),
        ]
    if span_s > 1 or before.newest_first:
        return [replace(row, trouble=Trouble(tries, now_s + ASIDE_S, why, told=True))]
    # Every hour anew: Graph may show a neighbour late.
    smaller = before.page_records // _PAGE_STEP
    trouble = Trouble(tries, now_s, why, told=before.told, page_records=max(1, smaller), newest_first=smaller == 0)
    return [replace(row, trouble=trouble)]


def _cut(rows: Iterable[Row], at_s: Iterable[int]) -> list[Row]:
    """The same rows, divided where they hold one of these seconds inside."""
    places = sorted(set(at_s))
    parts: list[Row] = []
    for row in rows:
        start_s = row.start_s
        for place_s in places:
            if start_s < place_s < row.end_s:
                parts.append(replace(row, start_s=start_s, end_s=place_s))
                start_s = place_s
        parts.append(row if start_s == row.start_s else replace(row, start_s=start_s))
    return parts


def _merged(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The same map in as few rows as can be."""
    merged = _join(rows)
    if len(merged) > MOST_ROWS:
        # As if every reading of these had brought something: they are read more often, never less.
        cautious = (row if row.trouble or row.looked_s is None else replace(row, brought=True) for row in merged)
        merged = _join(cautious)
    return tuple(merged)


def _join(rows: Iterable[Row]) -> list[Row]:
    merged: list[Row] = []
    for row in rows:
        if merged and row.start_s == row.end_s:
            continue  # nothing lies in it
        if merged and merged[-1].start_s == merged[-1].end_s:
            merged[-1] = replace(row, start_s=merged[-1].start_s)
        elif merged and merged[-1].is_like(row):
            merged[-1] = replace(merged[-1], end_s=row.end_s)
        else:
            merged.append(row)
    return merged


def _row_to_json(row: Row) -> dict[str, Any]:
    data: dict[str, Any] = {"from": graph_time(row.start_s), "to": graph_time(row.end_s)}
    data["looked_at_age_s"] = row.looked_s
    if row.looked_s is not None:
        data["brought_new"] = row.brought
    if row.trouble is not None:
        data["trouble"] = {
            "tries": row.trouble.tries,
            "again": graph_time(row.trouble.again_s),
            "why": row.trouble.why,
            "told": row.trouble.told,
            "page_records": row.trouble.page_records,
            "newest_first": row.trouble.newest_first,
            "delivery": row.trouble.delivery,
        }
    return data


def _row_from_json(data: Any) -> Row:
    looked_s = data["looked_at_age_s"]
    if looked_s is not None:
        looked_s = max(age_s for age_s in (0, *LOOKS) if age_s <= max(0, int(looked_s)))
    trouble = None
    if "trouble" in data:
        said = dict(data["trouble"])
        trouble = Trouble(
            int(said["tries"]),
            _second(said["again"]),
            str(said["why"]),
            told=bool(said.get("told")),
            page_records=int(said.get("page_records", PAGE_RECORDS)),
            newest_first=bool(said.get("newest_first")),
            delivery=bool(said.get("delivery")),
        )
    return Row(_second(data["from"]), _second(data["to"]), looked_s, bool(data.get("brought_new")), trouble)


def _of_version_1(data: Any) -> Coverage:
    """The cursors of version 1.0.0: an edge, what was still to be read, and how far each look had come."""
    origin_s, edge_s = _second(data["origin"]), _second(data["live"])
    origin_s = min(origin_s, edge_s)
    cursors = {"settle_15m": LOOKS[0], "settle_2h": LOOKS[1], "settle_24h": LOOKS[2]}
    looked = [(_second(data["settle"][name]), age_s) for name, age_s in cursors.items()]
    gaps = [(_second(start), _second(end)) for start, end in data["backlog"]]
    places = [place_s for place_s, _ in looked] + [place_s for gap in gaps for place_s in gap]
    rows = []
    for row in _cut([Row(origin_s, edge_s)], places):
        age_s = max((age_s for cursor_s, age_s in looked if row.end_s <= cursor_s), default=0)
        unread = any(start_s <= row.start_s and row.end_s <= end_s for start_s, end_s in gaps)
        rows.append(row if unread else replace(row, looked_s=age_s))
    return Coverage(_merged(rows))


def _second(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
