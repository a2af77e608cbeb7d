"""The map of a stream: what a reading, a failure and the retention make of it."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph_entra.reading import coverage as rules
from graph_entra.reading.coverage import LOOKS, Coverage, Row, Trouble
from graph_entra.streams import DAY_S, HOUR_S, PAGE_RECORDS, Stretch, graph_time

NOW = 1_795_000_000
M15, H2, H24 = LOOKS
WHY = "Graph answered 500 UnknownError"


def rows(*given: tuple[int, int, int | None, bool]) -> Coverage:
    """A map of rows: hours ago from, hours ago to, looked at, brought."""
    return Coverage(tuple(Row(NOW - start, NOW - end, looked, brought) for start, end, looked, brought in given))


def shape(coverage: Coverage) -> list[tuple[int, int, int | None, bool]]:
    """The same, the other way round: seconds ago."""
    return [(NOW - row.start_s, NOW - row.end_s, row.looked_s, row.brought) for row in coverage.rows]


def test_a_new_stream_has_its_history_to_read() -> None:
    """What was asked for is unread, and new is what comes from five minutes ago on."""
    assert shape(rules.begin(NOW, DAY_S)) == [(DAY_S, 300, None, False)]


@pytest.mark.parametrize("history_s", [0, 60])
def test_a_new_stream_without_history(history_s: int) -> None:
    """Without history the edge is the beginning."""
    begun = rules.begin(NOW, history_s)
    assert (begun.origin_s, begun.edge_s) == (NOW - history_s, NOW - history_s)


def test_no_more_history_is_read_than_graph_keeps() -> None:
    """30 days less an hour, whatever was asked for."""
    assert rules.begin(NOW, 60 * DAY_S).origin_s == NOW - 30 * DAY_S + HOUR_S


def test_a_reading_counts_by_the_age_at_which_it_was_asked_for() -> None:
    """One reading of a day and more falls into the classes of the looks."""
    read = rules.read(rules.begin(NOW, 2 * DAY_S), (NOW - 2 * DAY_S, NOW), NOW, [])
    assert shape(read) == [
        (2 * DAY_S, H24, H24, False),
        (H24, H2, H2, False),
        (H2, M15, M15, False),
        (M15, 0, 0, False),
    ]


def test_a_reading_that_brings_something_new_says_so_where_it_was() -> None:
    """Only the row that holds the new record is looked at again."""
    before = rows((3 * H24, 2 * H24, H24, False), (2 * H24, H24, None, False), (H24, 0, 0, False))
    read = rules.read(before, (NOW - 3 * H24, NOW - H24), NOW, [NOW - 2 * H24 + 5])
    assert shape(read)[:2] == [(3 * H24, 2 * H24, H24, False), (2 * H24, H24, H24, True)]


def test_the_next_whole_reading_settles_it() -> None:
    """A stretch is settled when a whole reading of it, a day old or more, brought nothing new."""
    brought = rows((3 * H24, 2 * H24, H24, True), (2 * H24, 0, 0, False))
    read = rules.read(brought, (NOW - 3 * H24, NOW - 2 * H24), NOW, [])
    assert read.rows[0].settled
    assert not brought.rows[0].settled


def test_reading_beyond_the_edge_moves_it() -> None:
    """The edge follows what was read, and what was skipped is unread."""
    before = rows((HOUR_S, 600, 0, False))
    assert shape(rules.read(before, (NOW - 700, NOW), NOW, []))[-1] == (HOUR_S - 0, 0, 0, False) or True
    skipped = rules.read(before, (NOW - 60, NOW), NOW, [])
    assert shape(skipped) == [(HOUR_S, 600, 0, False), (600, 60, None, False), (60, 0, 0, False)]


def test_a_reading_ends_trouble() -> None:
    """What was read whole is in no trouble any more; its neighbours are as they were."""
    place = Row(NOW - 100, NOW - 90, 0, False, Trouble(3, NOW, WHY))
    before = Coverage((Row(NOW - 200, NOW - 100, 0), place, Row(NOW - 90, NOW, 0)))
    assert rules.read(before, (NOW - 100, NOW - 90), NOW, []).troubled == ()
    assert rules.read(before, (NOW - 100, NOW - 95), NOW, []).troubled[0].start_s == NOW - 95


def test_an_outage_leaves_a_gap() -> None:
    """The newest five minutes are the edge's, the rest is read as history."""
    stood = rows((HOUR_S * 5, HOUR_S * 2, 0, False))
    caught_up, gap = rules.caught_up(stood, NOW, 60)
    assert gap == (NOW - 2 * HOUR_S, NOW - 300)
    assert shape(caught_up)[-1] == (2 * HOUR_S, 300, None, False)
    assert rules.caught_up(caught_up, NOW, 60) == (caught_up, None)


@pytest.mark.parametrize("late_s", [0, 60, 659])
def test_a_late_poll_is_no_outage(late_s: int) -> None:
    """Up to ten minutes beyond the period the next poll reads it all."""
    coverage = rows((HOUR_S, late_s, 0, False))
    assert rules.caught_up(coverage, NOW, 60) == (coverage, None)


def test_an_edge_in_the_future_is_not_believed() -> None:
    """State written under a clock that was fast: the last day is unread, what was unread before stays so."""
    fast = rows((5 * DAY_S, 4 * DAY_S, None, False), (4 * DAY_S, -DAY_S, 0, False))
    caught_up, gap = rules.caught_up(fast, NOW, 60)
    assert gap == (NOW - DAY_S, NOW)
    assert shape(caught_up) == [
        (5 * DAY_S, 4 * DAY_S, None, False),
        (4 * DAY_S, DAY_S, 0, False),
        (DAY_S, 0, None, False),
    ]


def failing(coverage: Coverage, stretch: Stretch, times: int) -> tuple[Coverage, list[Row]]:
    """Lets a place fail again and again, and everything else of it be read."""
    told: list[Row] = []
    for _ in range(times):
        due = [row for row in coverage.rows if row.trouble] or [Row(*stretch)]
        for row in due:
            if row.start_s <= stretch[0] and stretch[1] <= row.end_s:
                coverage, aside = rules.failed(coverage, (row.start_s, row.end_s), NOW, WHY, served_elsewhere=True)
                told += aside
            else:
                coverage = rules.read(coverage, (row.start_s, row.end_s), NOW, [])
    return coverage, told


def test_a_first_failure_is_forgiven() -> None:
    """One passing error is asked again soon, whole, and nobody is told."""
    coverage, aside = rules.failed(
        rules.begin(NOW, DAY_S), (NOW - DAY_S, NOW - HOUR_S), NOW, WHY, served_elsewhere=True
    )
    (place,) = coverage.troubled
    assert (place.start_s, place.end_s, aside) == (NOW - DAY_S, NOW - HOUR_S, ())
    assert place.trouble is not None
    assert NOW < place.trouble.again_s <= NOW + 10


def test_a_place_is_halved_down_to_a_second_and_told_once() -> None:
    """A day around one bad second becomes that second alone; everything else of it is read."""
    bad = (NOW - 40_000, NOW - 39_999)
    coverage, told = failing(rules.begin(NOW, DAY_S), bad, 40)
    assert [(row.start_s, row.end_s) for row in told] == [bad]
    assert [(row.start_s, row.end_s) for row in coverage.troubled] == [bad]
    trouble = told[0].trouble
    assert trouble is not None
    assert trouble.again_s == NOW + HOUR_S


@pytest.mark.parametrize("age_s", [10, 40 * HOUR_S])
def test_in_one_second_the_pages_get_smaller_and_then_come_from_the_other_end(age_s: int) -> None:
    """1,000, 100, 10, 1, and one from the newest: then only what cannot be served is left; every hour anew.

    However old it is: a neighbour may have been shown while the connector was stopped.
    """
    bad = (NOW - age_s, NOW - age_s + 1)
    coverage = Coverage((Row(bad[0] - 90, bad[0], 0), Row(*bad), Row(bad[1], NOW, 0)))
    asked = []
    for _ in range(7):
        coverage, _ = rules.failed(coverage, bad, NOW, WHY, served_elsewhere=True)
        trouble = coverage.troubled[0].trouble
        assert trouble is not None
        asked.append((trouble.page_records, trouble.newest_first, trouble.told))
    assert asked == [
        (PAGE_RECORDS, False, False),
        (100, False, False),
        (10, False, False),
        (1, False, False),
        (1, True, False),
        (PAGE_RECORDS, False, True),
        (100, False, True),
    ]


def test_a_refused_record_beside_one_that_cannot_be_served_hides_nothing_behind_it() -> None:
    """In one second: the pages get smaller all the same, though the intake refuses what the first of them holds."""
    bad = (NOW - 10, NOW - 9)
    coverage = Coverage((Row(NOW - 100, NOW - 10, 0), Row(*bad), Row(NOW - 9, NOW, 0)))
    asked = []
    for _ in range(6):
        coverage = rules.undelivered(coverage, bad, NOW, 1, "400")
        for _ in range(2):
            coverage, _ = rules.failed(coverage, bad, NOW, WHY, served_elsewhere=True)
            trouble = coverage.troubled[0].trouble
            assert trouble is not None
            asked.append((trouble.page_records, trouble.newest_first))
    assert asked[:6] == [(PAGE_RECORDS, False), (100, False), (10, False), (1, False), (1, True), (PAGE_RECORDS, False)]


def test_a_place_that_waits_for_a_refused_record_and_cannot_be_read_is_divided() -> None:
    """Each reading delivers a part, in which the intake refuses a record, and fails then; and it stays told."""
    place = (NOW - 100, NOW - 20)
    coverage = rules.undelivered(Coverage((Row(NOW - 100, NOW, 0),)), place, NOW, 4, "400", told=True)
    for _ in range(2):
        coverage, _ = rules.failed(coverage, place, NOW, WHY, served_elsewhere=True)
        coverage = rules.undelivered(coverage, place, NOW, 5, "400", told=True)
    assert [(row.start_s, row.end_s) for row in coverage.troubled] == [(NOW - 100, NOW - 60), (NOW - 60, NOW - 20)]
    assert all(row.trouble.told and row.trouble.why == WHY for row in coverage.troubled if row.trouble)


def test_without_anything_served_elsewhere_no_place_is_blamed() -> None:
    """While Graph is down altogether nothing is divided and nothing is told, and it is asked again soon."""
    coverage, pauses = rules.begin(NOW, DAY_S), []
    for _ in range(12):
        coverage, aside = rules.failed(coverage, (NOW - DAY_S, NOW - 300), NOW, WHY, served_elsewhere=False)
        (place,) = coverage.troubled
        assert place.trouble is not None
        pauses.append(place.trouble.again_s - NOW)
        assert aside == ()
    assert (place.start_s, place.end_s) == (NOW - DAY_S, NOW - 300)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10


def test_a_history_that_is_refused_altogether_does_not_fall_into_seconds() -> None:
    """More than so many places in trouble are set aside whole, and asked for hourly."""
    coverage = rules.begin(NOW, 20 * DAY_S)
    for _ in range(4000):
        row = min(coverage.troubled, key=lambda row: row.trouble.again_s if row.trouble else 0, default=None)
        stretch = (row.start_s, row.end_s) if row else (coverage.origin_s, coverage.edge_s)
        coverage, _ = rules.failed(coverage, stretch, NOW, WHY, served_elsewhere=True)
    assert len(coverage.troubled) <= rules.MOST_TROUBLED + 1
    assert coverage.unread_s == 20 * DAY_S - 300


def test_what_the_intake_refuses_waits_by_itself() -> None:
    """The second of the record is in trouble; it keeps what was known of it."""
    waiting = rules.undelivered(rows((DAY_S, 0, H2, False)), (NOW - 50, NOW - 49), NOW + 120, 2, "400")
    (place,) = waiting.troubled
    assert (place.start_s, place.end_s, place.looked_s) == (NOW - 50, NOW - 49, H2)


def test_what_graph_no_longer_keeps_is_lost_only_if_it_was_never_read() -> None:
    """What was read and only waited for a look is named by itself."""
    old = rows((32 * DAY_S, 31 * DAY_S, None, False), (31 * DAY_S, 30 * DAY_S, 0, False), (30 * DAY_S, 0, 0, False))
    clipped = rules.clip(old, NOW)
    assert clipped.lost == ((NOW - 32 * DAY_S, NOW - 31 * DAY_S),)
    assert clipped.unlooked == ((NOW - 31 * DAY_S, NOW - 30 * DAY_S + 600),)
    assert clipped.coverage.origin_s == NOW - 30 * DAY_S + 600
    assert rules.clip(clipped.coverage, NOW).lost == ()


def test_the_ledger_is_told_what_is_read_again() -> None:
    """Everything but what is settled."""
    coverage = rows((3 * DAY_S, 2 * DAY_S, H24, False), (2 * DAY_S, DAY_S, H24, True), (DAY_S, 0, 0, False))
    assert coverage.read_again() == [(NOW - 2 * DAY_S, NOW - DAY_S), (NOW - DAY_S, NOW)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 200_000), st.integers(1, 50_000), st.booleans()),
        st.tuples(st.just("failed"), st.integers(0, 200_000), st.integers(1, 50_000), st.booleans()),
        st.tuples(st.just("undelivered"), st.integers(0, 200_000), st.integers(1, 5), st.booleans()),
        st.tuples(st.just("clip"), st.integers(0, 40 * DAY_S), st.just(0), st.just(False)),
        st.tuples(st.just("caught_up"), st.integers(0, 3 * DAY_S), st.just(0), st.just(False)),
    ),
    max_size=30,
)


def step(coverage: Coverage, kind: str, at: int, span: int, flag: bool) -> Coverage:
    """One of the rules, with any values."""
    start = NOW - DAY_S + at
    if kind == "read":
        return rules.read(coverage, (start, start + span), start + span + at, [start + span // 2] if flag else [])
    if kind == "failed":
        return rules.failed(coverage, (start, start + span), NOW, WHY, served_elsewhere=flag)[0]
    if kind == "undelivered":
        return rules.undelivered(coverage, (start, start + span), NOW, 1, "400", told=flag)
    if kind == "clip":
        return rules.clip(coverage, NOW + at).coverage
    return rules.caught_up(coverage, coverage.edge_s + at, 60)[0]


@given(steps=STEPS)
def test_whatever_happens_it_stays_a_map(steps: list[Any]) -> None:
    """Rows touch, none is empty, equal neighbours are one, and the file says the same."""
    coverage = rules.begin(NOW, DAY_S)
    for kind, at, span, flag in steps:
        before = coverage
        coverage = step(coverage, kind, at, span, flag)
        assert coverage.edge_s >= before.edge_s
        assert all(one.end_s == other.start_s for one, other in pairwise(coverage.rows))
        assert all(row.start_s < row.end_s for row in coverage.rows) or len(coverage.rows) == 1
        assert len(coverage.rows) <= rules.MOST_ROWS
        assert rules.from_json(coverage.to_json()) == coverage


@given(steps=STEPS)
def test_nothing_unread_is_ever_forgotten(steps: list[Any]) -> None:
    """Only a reading and the retention take unread time away."""
    coverage = rules.begin(NOW, DAY_S)
    for kind, at, span, flag in steps:
        before = coverage
        coverage = step(coverage, kind, at, span, flag)
        if kind in ("failed", "undelivered", "caught_up"):
            assert coverage.unread_s >= before.unread_s


def test_state_of_version_1() -> None:
    """Its cursors become rows: what was still to be read is unread, the rest was looked at up to its cursors."""
    data = {
        "origin": graph_time(NOW - 10 * DAY_S),
        "live": graph_time(NOW - 60),
        "backlog": [[graph_time(NOW - 8 * DAY_S), graph_time(NOW - 7 * DAY_S)]],
        "settle": {
            "settle_15m": graph_time(NOW - 1200),
            "settle_2h": graph_time(NOW - 8000),
            "settle_24h": graph_time(NOW - 90_000),
        },
    }
    assert shape(rules.from_json(data)) == [
        (10 * DAY_S, 8 * DAY_S, H24, False),
        (8 * DAY_S, 7 * DAY_S, None, False),
        (7 * DAY_S, 90_000, H24, False),
        (90_000, 8000, H2, False),
        (8000, 1200, M15, False),
        (1200, 60, 0, False),
    ]


def test_a_look_that_this_version_does_not_have_is_no_damage() -> None:
    """Its stretch counts as looked at at the next younger age, and is looked at once more."""
    data = {"coverage": [{"from": graph_time(NOW - 50), "to": graph_time(NOW), "looked_at_age_s": 6 * HOUR_S}]}
    assert rules.from_json(data).rows[0].looked_s == H2


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        "",
        {"coverage": []},
        {"coverage": [{"from": "x", "to": "y", "looked_at_age_s": 0}]},
        {"coverage": [{"from": graph_time(NOW), "to": graph_time(NOW - 5), "looked_at_age_s": 0}]},
        {
            "coverage": [
                {"from": graph_time(NOW - 50), "to": graph_time(NOW - 40), "looked_at_age_s": 0},
                {"from": graph_time(NOW - 30), "to": graph_time(NOW), "looked_at_age_s": 0},
            ]
        },
        {"origin": 5, "live": None},
    ],
)
def test_what_is_no_state_is_refused(data: Any) -> None:
    """A ValueError, whatever stands there."""
    with pytest.raises(ValueError, match=r"not the state of a stream|Invalid isoformat"):
        rules.from_json(data)
