"""Which window comes next: each kind of work against a map of a few rows."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph_entra.reading import coverage as coverage_rules
from graph_entra.reading import plan
from graph_entra.reading.coverage import LOOKS, Coverage, Row, Trouble
from graph_entra.streams import DAY_S, HOUR_S, Stretch, Window

NOW = 1_795_000_000
M15, H2, H24 = LOOKS


def trouble(again_in_s: int = 0, **more: int | bool) -> Trouble:
    """A place that Graph does not serve."""
    return Trouble(3, NOW + again_in_s, "Graph answered 500", **more)  # type: ignore[arg-type]


def ago(*rows: tuple[int, int, int | None] | tuple[int, int, int | None, bool | Trouble]) -> Coverage:
    """A map: seconds ago from, seconds ago to, looked at, and whether that brought something, or what is wrong."""
    made = []
    for start, end, looked_s, *rest in rows:
        what = rest[0] if rest else False
        made.append(
            Row(NOW - start, NOW - end, looked_s, what is True, what if isinstance(what, Trouble) else None),
        )
    return Coverage(tuple(made))


def far(_start_s: int, latest_s: int) -> int:
    """Windows as wide as may be."""
    return latest_s


def hourly(start_s: int, latest_s: int) -> int:
    """Windows of an hour."""
    return min(latest_s, start_s + HOUR_S)


def bounds(window: Window | None) -> Stretch | None:
    """Seconds ago, from and to."""
    return None if window is None else (NOW - window.start_s, NOW - window.end_s)


@pytest.mark.parametrize(
    ("coverage", "reach_s", "expected"),
    [
        (ago((H24, 60, H2)), 300, (300, 0)),
        (ago((H24, 60, H2)), 10, (61, 0)),  # from the edge on at least, and the second in which it stands
        (ago((H24, 900, H2)), 300, (901, 0)),  # what was missed since
        (ago((100, 60, 0)), 300, (100, 0)),  # nothing older than was asked for
        (ago((H24, 200, None), (200, 60, 0)), 300, (200, 0)),  # history has its own turn
        (ago((H24, 300, 0), (300, 299, 0, trouble()), (299, 60, 0)), 600, (299, 0)),  # nor across a bad second
        (ago((H24, 60, 0), (60, 0, None, trouble())), 300, None),  # which is all that there is
        (ago((H24, 0, 0)), 300, (300, 0)),
        (ago((H24, -5, 0)), 0, None),  # no second has passed
    ],
)
def test_edge(coverage: Coverage, reach_s: int, expected: Stretch | None) -> None:
    """From as far back as is reached, or the edge if that is further, up to now."""
    window = plan.edge_window(coverage, NOW, reach_s)
    assert bounds(window) == expected
    assert window is None or window.work == "edge"


@pytest.mark.parametrize(
    ("coverage", "in_flight", "expected"),
    [
        (ago((H24, 0, 0)), [], None),
        (ago((H24, H2, None), (H2, 0, 0)), [], (H24, H24 - HOUR_S)),
        (ago((H24, H2, H2), (H2, M15, None), (M15, 0, 0)), [], (H2, H2 - HOUR_S)),
        # What is in flight is left out; the next window begins where it ends.
        (ago((H24, H2, None), (H2, 0, 0)), [(H24, H24 - 600)], (H24 - 600, H24 - 600 - HOUR_S)),
        (ago((H24, H2, None), (H2, 0, 0)), [(H24, H2)], None),
        # Trouble is left out, and nothing waits for it.
        (ago((H24, H24 - 60, None, trouble()), (H24 - 60, H2, None), (H2, 0, 0)), [], (H24 - 60, H24 - 60 - HOUR_S)),
    ],
)
def test_unread(coverage: Coverage, in_flight: Sequence[Stretch], expected: Stretch | None) -> None:
    """The oldest that was never read."""
    flying = [(NOW - start, NOW - end) for start, end in in_flight]
    assert bounds(plan.unread_window(coverage, flying, hourly)) == expected


@pytest.mark.parametrize(
    ("coverage", "age_s", "expected"),
    [
        # Up to the present less the age; of what was not looked at at this age, and at every younger one.
        (ago((H24, 0, 0)), M15, (H24, M15)),
        (ago((H24, 0, 0)), H2, None),
        (ago((H24, M15, M15), (M15, 0, 0)), H2, (H24, H2)),
        (ago((2 * H24, H2, H2), (H2, 0, 0)), H24, (2 * H24, H24)),
        # Not before it is worth a request: five minutes of it, half an hour, an hour.
        (ago((H24, M15 + 299, M15), (M15 + 299, 0, 0)), M15, None),
        (ago((H24, M15 + 300, M15), (M15 + 300, 0, 0)), M15, (M15 + 300, M15)),
        (ago((H24, H2 + 1799, H2), (H2 + 1799, 0, M15)), H2, None),
        (ago((H24, H2 + 1800, H2), (H2 + 1800, 0, M15)), H2, (H2 + 1800, H2)),
        (ago((3 * H24, H24 + 3599, H24), (H24 + 3599, 0, H2)), H24, None),
        (ago((3 * H24, H24 + 3600, H24), (H24 + 3600, 0, H2)), H24, (H24 + 3600, H24)),
        # A short stretch alone is asked for when it has waited for as long.
        (ago((H24, M15 + 301, M15), (M15 + 301, M15 + 290, 0), (M15 + 290, 0, M15)), M15, (M15 + 301, M15 + 290)),
        # Rows that differ only in what their last look brought are one window.
        (ago((2 * H24, 25 * HOUR_S, H2, True), (25 * HOUR_S, H2, H2), (H2, 0, 0)), H24, (2 * H24, H24)),
        # Never across trouble.
        (ago((H24, H2, 0), (H2, H2 - 1, 0, trouble()), (H2 - 1, 0, 0)), M15, (H24, H2)),
        # What is settled is not looked at again.
        (ago((3 * H24, 0, H24)), H24, None),
    ],
)
def test_look(coverage: Coverage, age_s: int, expected: Stretch | None) -> None:
    """What has come to an age, oldest first, once it is worth a request."""
    assert bounds(plan.look_window(coverage, age_s, NOW, [], far)) == expected


def test_a_full_window_of_a_look_does_not_wait() -> None:
    """A busy stream's five minutes hold several windows: each is asked for as soon as it is full."""
    coverage = ago((H24, M15 + 100, M15), (M15 + 100, 0, 0))
    assert bounds(plan.look_window(coverage, M15, NOW, [], lambda start_s, _: start_s + 20)) == (M15 + 100, M15 + 80)


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [
        (ago((3 * H24, 2 * H24, H24), (2 * H24, 0, 0)), None),
        (ago((3 * H24, 2 * H24, H24, True), (2 * H24, 0, 0)), (3 * H24, 3 * H24 - HOUR_S)),
        (ago((3 * H24, 2 * H24, H2, True), (2 * H24, 0, 0)), None),  # its look at 24 h is still to come
        (ago((3 * H24, 3 * H24 - 60, H24, trouble()), (3 * H24 - 60, 0, H24)), None),
    ],
)
def test_again(coverage: Coverage, expected: Stretch | None) -> None:
    """History whose last reading brought something is read until one brings nothing."""
    assert bounds(plan.again_window(coverage, [], hourly)) == expected


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [
        (ago((H24, 0, M15)), (2 * HOUR_S, HOUR_S)),
        (ago((H24, 5000, M15), (5000, 4000, None), (4000, 0, M15)), (2 * HOUR_S, 5000)),
        (ago((H24, 5000, M15), (5000, 4000, 0, trouble()), (4000, 0, M15)), (2 * HOUR_S, 5000)),
        (ago((3 * H24, 0, H24)), None),
    ],
)
def test_round(coverage: Coverage, expected: Stretch | None) -> None:
    """A round through the last hours reads what was read and is not settled, and only that."""
    window = plan.round_window(coverage, (NOW - 2 * HOUR_S, NOW), [], hourly)
    assert bounds(window) == expected
    assert window is None or window.work == "again"


@pytest.mark.parametrize(
    ("rows", "in_flight", "expected"),
    [
        ([(10, 9, 1)], [], None),  # its pause has not ended
        ([(10, 9, 0)], [], (10, 9)),
        ([(50, 40, -5), (20, 10, -90)], [], (20, 10)),  # whose pause ended first
        ([(50, 40, -5), (20, 10, -5)], [], (50, 40)),  # of two, the older
        ([(50, 40, -5), (20, 10, -90)], [(30, 15)], (50, 40)),  # one that is being read is not read twice
        ([(50, 40, -5)], [(40, 0)], (50, 40)),  # a neighbour only touches it
    ],
)
def test_troubled(rows: list[tuple[int, int, int]], in_flight: Sequence[Stretch], expected: Stretch | None) -> None:
    """The place whose pause ended first."""
    at = {0: H24}
    made: list[tuple[int, int, int | None, bool | Trouble]] = []
    last = at[0]
    for start, end, again_in_s in rows:
        made += [(last, start, 0, False), (start, end, None, trouble(again_in_s))]
        last = end
    coverage = ago(*made, (last, 0, 0))
    flying = [(NOW - start, NOW - end) for start, end in in_flight]
    assert bounds(plan.troubled_window(coverage, NOW, flying)) == expected


def test_a_troubled_place_says_how_it_is_asked() -> None:
    """In smaller pages, or from the other end."""
    coverage = ago((10, 9, None, trouble(page_records=10, newest_first=True)), (9, 0, 0))
    assert plan.troubled_window(coverage, NOW, []) == Window("troubled", NOW - 10, NOW - 9, 10, newest_first=True)


STRETCHES = st.lists(
    st.tuples(st.integers(0, 3 * DAY_S), st.integers(1, DAY_S)).map(lambda at: (NOW - at[0] - at[1], NOW - at[0])),
    max_size=6,
)


@given(STRETCHES, STRETCHES, STRETCHES)
def test_no_window_overlaps_what_is_in_flight_or_in_trouble(
    read: list[Stretch], bad: list[Stretch], in_flight: list[Stretch]
) -> None:
    """Whatever the map is, and whatever is in flight: two windows never read the same second inside."""
    coverage = coverage_rules.begin(NOW, 3 * DAY_S)
    for stretch in read:
        coverage = coverage_rules.read(coverage, stretch, NOW, [stretch[0]])
    for stretch in bad:
        coverage, _ = coverage_rules.failed(coverage, stretch, NOW, "500", served_elsewhere=True)
    windows = [plan.unread_window(coverage, in_flight, hourly), plan.again_window(coverage, in_flight, hourly)]
    windows += [plan.look_window(coverage, age_s, NOW, in_flight, hourly) for age_s in LOOKS]
    windows.append(plan.round_window(coverage, (NOW - DAY_S, NOW), in_flight, hourly))
    taken = [*in_flight, *((row.start_s, row.end_s) for row in coverage.troubled)]
    for window in filter(None, windows):
        assert window.start_s < window.end_s
        assert not [one for one in taken if one[0] < window.end_s and window.start_s < one[1]]
    troubled = plan.troubled_window(coverage, NOW + 10, in_flight)
    assert troubled is None or not [one for one in in_flight if one[0] < troubled.end_s and troubled.start_s < one[1]]


def test_overdue_looks() -> None:
    """By its age, how late the oldest stretch of each look is, beyond the step that it may wait."""
    m15, h2, h24 = LOOKS
    coverage = Coverage((Row(NOW - 18_000, NOW - 10_800, m15), Row(NOW - 10_800, NOW, 0)))
    assert plan.overdue_s(coverage, NOW) == {m15: 10_800 - m15 - 300, h2: 18_000 - h2 - 1800, h24: 0}
