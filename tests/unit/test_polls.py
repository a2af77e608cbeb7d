"""What a poll asks for: as far back as is free, or as lateness asks and the limit allows."""

import asyncio

import pytest

from graph_entra.reading import coverage as coverage_rules
from graph_entra.reading.collector import Reading
from graph_entra.reading.outcomes import PROBE_AFTER
from graph_entra.reading.reader import _LATER_THAN_POLLS, Flight, Polled, Reader
from graph_entra.streams import HOUR_S, Window
from tests.unit.readers import NOW, Desk

ANSWER_S = 0.5


def asked(desk: Desk, *, others_wait: bool = False, answer_s: float = ANSWER_S) -> list[tuple[int, int]]:
    """What a poll of the first stream asks for: seconds ago, from and to."""
    now_s = int(desk.clock.time())
    windows = asyncio.run(desk.polls.windows(desk.reader, others_wait, answer_s))
    assert {window.work for window in windows} <= {"edge"}
    return [(now_s - window.start_s, now_s - window.end_s) for window in windows]


def answer(desk: Desk, *stretches: tuple[int, int], records: int = 0, reached_s: int = 0) -> None:
    """A poll of these windows, seconds ago, was answered with so many records each, up to `reached_s` ago."""
    now_s = int(desk.clock.time())
    readings = [
        Reading(Window("edge", now_s - start, now_s - end), now_s, now_s - max(end, reached_s), 1, records)
        for start, end in stretches
    ]
    asyncio.run(desk.polls.worked(desk.reader, readings))


def polled(desk: Desk, per_s: float, late_s: float = 20.0) -> None:
    """A stream of such a rate and lateness, which has been polled a minute ago."""
    reader = desk.reader
    reader.last_poll = reader.last_reach = Polled(NOW - 360, NOW - 60, NOW - 60)
    reader.edge_per_s = per_s
    reader.density.learn(NOW - 2 * HOUR_S, NOW, int(per_s * 2 * HOUR_S))
    reader.lateness.note([late_s] * 100, 0)


def test_the_first_poll_asks_for_microsofts_usual_delay() -> None:
    """Nothing is known yet."""
    assert asked(Desk()) == [(300, 0)]


@pytest.mark.parametrize(
    ("per_s", "back_s"),
    [
        (0.0, 2 * HOUR_S),  # a quiet stream has what is two hours late within a period
        (0.1, 2 * HOUR_S),
        (0.5, 1700),
        (1.0, 850),  # as far as one page holds it anyway
        (10.0, 90),  # its lateness, and the minute since the last poll
        (100.0, 90),
    ],
)
def test_as_far_back_as_is_free(per_s: float, back_s: int) -> None:
    """One page costs the same, however full it is."""
    desk = Desk()
    polled(desk, per_s)
    windows = asked(desk)
    assert windows[0][0] == pytest.approx(back_s, abs=3)
    assert windows[-1][1] == 0


@pytest.mark.parametrize(
    ("others_wait", "per_s", "pages", "every_s"),
    [
        # 10 records/s and 600 s back: 660 s of it in 6.6 pages, and half of one that is not full; 2.02 s each.
        (False, 10.0, 7.1, 7.1 * 2.02 / 0.85),
        (True, 10.0, 7.1, 7.1 * 2.02 / 0.75),
        (False, 100.0, 66.5, 66.5 * 2.02 / 0.85),
        (True, 100.0, 66.5, 66.5 * 2.02 / 0.75),
        (False, 3.0, 2.48, 60.0),  # what fits in every period is asked for in every period
    ],
)
def test_a_busy_stream_looks_back_as_often_as_the_limit_allows(
    others_wait: bool, per_s: float, pages: float, every_s: float
) -> None:
    """All of its lateness now, and between two such polls only what is free: they take 85 % of the limit at most."""
    desk = Desk()
    polled(desk, per_s, late_s=600.0)
    desk.limiter._share, desk.limiter._starting = 5, False
    assert desk.reader.reach_pages() == pytest.approx(pages)
    assert asked(desk, others_wait=others_wait)[0][0] == pytest.approx(660, abs=2)
    desk.clock.advance(max(60.0, every_s) - 2)
    assert asked(desk, others_wait=others_wait)[0][0] < max(600, 850 / per_s + 62)
    desk.clock.advance(2)
    assert asked(desk, others_wait=others_wait)[0][0] >= 600


def test_a_poll_reaches_to_the_last_one_that_reached_back() -> None:
    """What was shown since adds to it: ten minutes at most."""
    desk = Desk()
    polled(desk, 10.0, late_s=300.0)
    desk.reader.last_reach = Polled(NOW - 900, NOW - 400, NOW - 400)
    assert asked(desk)[0][0] == pytest.approx(700, abs=1)
    desk.reader.reach_due_s = 0.0
    desk.reader.last_reach = Polled(NOW - 9000, NOW - 4000, NOW - 4000)
    assert asked(desk)[0][0] == pytest.approx(900, abs=1)


@pytest.mark.parametrize(
    ("per_s", "answer_s", "target", "parts"),
    [
        (10.0, 0.5, 20_000, 1),
        (10.0, 10.0, 20_000, 3),  # 6,600 records: where answers are slower than turns, three pages a part
        (10.0, 0.5, 1000, 7),  # where larger windows were not answered
        (10.0, 0.5, 100, 66),
    ],
)
def test_a_large_poll_is_asked_in_parts(per_s: float, answer_s: float, target: float, parts: int) -> None:
    """Of equal length, that touch."""
    desk = Desk()
    polled(desk, per_s, late_s=600.0)
    desk.limiter._share, desk.limiter._starting = 5, False
    desk.reader.target_records = target
    windows = asked(desk, answer_s=answer_s)
    assert len(windows) == parts
    assert [start for start, _ in windows[1:]] == [end for _, end in windows[:-1]]
    assert windows[-1][1] == 0


def test_what_is_in_flight_is_not_asked_for_twice() -> None:
    """Where an answer takes longer than a period, the next poll begins where that one ends, and a little before."""
    desk = Desk()
    polled(desk, 0.1)
    desk.reader.flights.append(Flight(Window("edge", NOW - 7000, NOW - 60), "edge"))
    assert asked(desk) == [(360, 0)]


def test_a_poll_that_failed_twice_asks_for_the_last_second() -> None:
    """If that is served, what failed is a place, and waits by itself from then on."""
    desk = Desk()
    polled(desk, 0.1)
    desk.reader.polls_failed, desk.reader.failed_poll = PROBE_AFTER, ((NOW - 300, NOW - 60), "Graph answered 500")
    assert asked(desk) == [(1, 0)]
    answer(desk, (1, 0))
    assert desk.collectors[0].failed == [((NOW - 300, NOW - 60), "Graph answered 500", False)]
    assert (desk.reader.polls_failed, desk.reader.failed_poll) == (0, None)
    # It is told of when it lasts only, and the next poll does not touch it.
    assert desk.problems.of("troubled") == []
    assert asked(desk)[0][0] <= 60


def test_a_poll_that_stopped_early_goes_on_at_once() -> None:
    """A burst of more pages than a chain may have."""
    desk = Desk()
    desk.clock.advance(5)
    desk.reader.poll_due_s = 65.0
    answer(desk, (60, 0), records=15_000, reached_s=20)
    assert desk.reader.poll_due_s == 5.0
    assert desk.reader.last_poll.until_s == NOW + 5 - 20
    desk.collectors[0].coverage = coverage_rules.read(desk.reader.coverage, (NOW - 60, NOW + 5), NOW + 5, [])
    assert asked(desk) == [(20, 0)], "from where it was left, not from its beginning"
    answer(desk, (20, 0))
    assert asked(desk)[0][0] > 20


def test_the_rate_follows_the_polls() -> None:
    """Half by the last one: a burst is noticed, and forgotten again."""
    desk = Desk()
    answer(desk, (100, 0), records=1000)
    assert desk.reader.edge_per_s == 10.0
    answer(desk, (20, 0), records=0)
    assert desk.reader.edge_per_s == 10.0, "a poll of the last seconds says nothing: Graph shows little of these yet"
    answer(desk, (400, 200), (200, 0), records=0)
    assert desk.reader.edge_per_s == 5.0


def test_an_outage_is_told_when_records_flow_again() -> None:
    """With the bounds of what is read as history: from where it stood still, once."""
    desk = Desk()
    for _ in range(3):
        desk.clock.advance(HOUR_S)
        asked(desk)
    assert desk.reader.gap == (NOW - 60, NOW + 3 * HOUR_S - 300)
    answer(desk, (300, 0))
    answer(desk, (300, 0))
    assert desk.problems.of("gap") == [("interactiveUser", (NOW - 60, NOW + 3 * HOUR_S - 300))]
    assert desk.reader.coverage.unread_s == 3 * HOUR_S - 240


@pytest.mark.parametrize(
    ("polls", "created_ago_s", "hidden_s"),
    [
        # polls: (from, to, asked), seconds ago; the last one first, then the last that looked back far, then before.
        ([(360, 60, 60), (360, 60, 60)], 30, 0),  # newer than the last poll: nobody asked in vain
        ([(360, 60, 60), (360, 60, 60)], 100, 40),  # a poll asked when it was 40 s old
        ([(120, 60, 60), (7200, 120, 120)], 1000, 880),  # only the one that looked back so far
        ([(120, 60, 60), (180, 60, 60), (1500, 900, 900)], 1000, 100 * _LATER_THAN_POLLS),  # what only a look finds
        ([(120, 60, 60), (120, 60, 60)], 1000, None),  # nobody asked for it: that says nothing
    ],
)
def test_how_late_a_record_is(polls: list[tuple[int, int, int]], created_ago_s: int, hidden_s: float | None) -> None:
    """Its age when it was asked for in vain, not when it was found: that would grow with itself."""
    reader: Reader = Desk().reader
    last, reach, *before = (Polled(NOW - start, NOW - end, NOW - at) for start, end, at in polls)
    reader.last_poll, reader.last_reach, reader.reached = last, reach, tuple(before)
    assert reader.hidden_s(NOW - created_ago_s) == hidden_s
