"""PURE: which window to read next, of everything that a stream's coverage calls due.

| work | reads | why |
|---|---|---|
| edge | [edge - reach, now], every period | what is new, and what Graph showed a little late |
| unread | history, an outage's gap; oldest first, in bounded windows | what was never read |
| look | whatever has come to 15 min, 2 h or 24 h of age | records shown late, changed, or left out of an answer |
| again | old history once more; and, in turn, everything younger than 24 h | as look, while the limit is idle |
| troubled | a place that could not be read, by itself | only that place waits for it |

No window of another kind touches a place in trouble, and no two windows in flight overlap, but for what polls reach
back. Windows are sized by records, not by time, because long chains of pages break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from graph_entra.reading.coverage import LOOKS, SETTLED_S, Coverage, Row, stretches, together
from graph_entra.streams import HOUR_S, Stretch, Window

# What is due for a look waits until it is worth a request: so many seconds of it, or a page.
STEP_S: Final = dict(zip(LOOKS, (5 * 60, HOUR_S // 2, HOUR_S), strict=True))

# Where a window that begins at one second, and may reach to another, ends.
EndOf = Callable[[int, int], int]


def edge_window(coverage: Coverage, now_s: int, reach_s: int) -> Window | None:
    """What a poll reads; None if that is nothing: no second has passed, or trouble reaches to the present.

    Args:
        coverage: what is known.
        now_s: Graph's clock.
        reach_s: how old a record may be that is asked for.
    """
    start_s = max(coverage.origin_s, min(coverage.edge_s - 1, now_s - reach_s))
    # Not into history, which has its own turn, nor across a place in trouble.
    start_s = max([start_s, *(row.end_s for row in coverage.rows if row.looked_s is None or row.trouble is not None)])
    return Window("edge", start_s, now_s) if start_s < now_s else None


def unread_window(coverage: Coverage, in_flight: Sequence[Stretch], end_of: EndOf) -> Window | None:
    """The oldest stretch that was never read; None if there is none."""
    for row in _free((row for row in coverage.rows if row.looked_s is None), in_flight):
        return Window("unread", row.start_s, end_of(row.start_s, row.end_s))
    return None


def look_window(
    coverage: Coverage, age_s: int, now_s: int, in_flight: Sequence[Stretch], end_of: EndOf
) -> Window | None:
    """The oldest stretch that is due for the look at this age; None if none is worth a request yet.

    Args:
        coverage: what is known.
        age_s: one of :data:`~graph_entra.reading.coverage.LOOKS`.
        now_s: Graph's clock.
        in_flight: what is being read.
        end_of: sizes the window.
    """
    due = _due(_free(_due(coverage.rows, age_s, now_s), in_flight), age_s, now_s)
    for start_s, end_s in together((row.start_s, min(row.end_s, now_s - age_s)) for row in due):
        until_s = end_of(start_s, end_s)
        if until_s < end_s or end_s - start_s >= STEP_S[age_s] or now_s - age_s - start_s >= STEP_S[age_s]:
            return Window("look", start_s, until_s)
    return None


def again_window(coverage: Coverage, in_flight: Sequence[Stretch], end_of: EndOf) -> Window | None:
    """Old history that is not settled: its last reading brought something new, so there may be more."""
    unsettled = (row for row in coverage.rows if row.looked_s == SETTLED_S and row.brought)
    for start_s, end_s in together(stretches(_free(unsettled, in_flight))):
        return Window("again", start_s, end_of(start_s, end_s))
    return None


def round_window(coverage: Coverage, stretch: Stretch, in_flight: Sequence[Stretch], end_of: EndOf) -> Window | None:
    """The next window of a round through a stretch that was read already; None if the round is over."""
    known = (row for row in coverage.rows if row.looked_s is not None and not row.settled)
    parts = ((max(row.start_s, stretch[0]), min(row.end_s, stretch[1])) for row in _free(known, in_flight))
    for start_s, end_s in together(part for part in parts if part[0] < part[1]):
        return Window("again", start_s, end_of(start_s, end_s))
    return None


def troubled_window(coverage: Coverage, now_s: int, in_flight: Sequence[Stretch]) -> Window | None:
    """The place in trouble whose pause ended first; None if none has ended."""
    due = [
        row
        for row in coverage.rows
        if row.trouble is not None and row.trouble.again_s <= now_s and not _touches(row, in_flight)
    ]
    if not due:
        return None
    row = min(due, key=lambda row: (row.trouble.again_s if row.trouble else 0, row.start_s))
    trouble = row.trouble
    window = Window("troubled", row.start_s, row.end_s)
    return replace(window, page_records=trouble.page_records, newest_first=trouble.newest_first) if trouble else window


def overdue_s(coverage: Coverage, now_s: int) -> Mapping[int, int]:
    """By how many seconds each look is late, by its age: beyond the step that it may wait; 0 if it is on time."""
    late = dict.fromkeys(LOOKS, 0)
    for row in coverage.rows:
        age_s = row.next_look_s
        if row.trouble is None and age_s is not None:
            late[age_s] = max(late[age_s], now_s - age_s - STEP_S[age_s] - row.start_s)
    return late


def _free(wanted: Iterable[Row], in_flight: Sequence[Stretch]) -> list[Row]:
    """These rows, or the parts of them, that are neither in trouble nor being read."""
    rows = [row for row in wanted if row.trouble is None and row.start_s < row.end_s]
    for start_s, end_s in in_flight:
        if not any(start_s < row.end_s and row.start_s < end_s for row in rows):
            continue
        parts = []
        for row in rows:
            if end_s <= row.start_s or row.end_s <= start_s:
                parts.append(row)
                continue
            if row.start_s < start_s:
                parts.append(replace(row, end_s=start_s))
            if end_s < row.end_s:
                parts.append(replace(row, start_s=end_s))
        rows = parts
    return rows


def _due(rows: Iterable[Row], age_s: int, now_s: int) -> Iterable[Row]:
    """Those of these rows of which something has come to the age and was not looked at since."""
    return (row for row in rows if row.next_look_s == age_s and row.start_s < now_s - age_s)


def _touches(row: Row, in_flight: Sequence[Stretch]) -> bool:
    return any(start_s < row.end_s and row.start_s < end_s for start_s, end_s in in_flight)
