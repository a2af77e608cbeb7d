"""What readings teach: how dense a stream is, and how late Graph shows its records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph_entra.reading.traffic import (
    FIRST_SPAN_S,
    LONGEST_REACH_S,
    SHORTEST_REACH_S,
    USUAL_REACH_S,
    WIDEST_S,
    Density,
    Lateness,
)
from graph_entra.streams import DAY_S, HOUR_S

# A whole ten minutes.
AT = 1_795_000_200


def known(*stretches: tuple[int, int, int]) -> Density:
    """A density that learned: seconds from AT from, to, records."""
    density = Density()
    for start_s, end_s, records in stretches:
        density.learn(AT + start_s, AT + end_s, records)
    return density


def test_nothing_is_known_at_first() -> None:
    """The first window is an hour, or what there is."""
    density = Density()
    assert density.at(AT) is None
    assert density.expected(AT, AT + HOUR_S) == 0
    assert density.end_s(AT, AT + DAY_S, 20_000) == AT + FIRST_SPAN_S
    assert density.end_s(AT, AT + 60, 20_000) == AT + 60


@pytest.mark.parametrize(
    ("stretches", "second_s", "per_s"),
    [
        ([(0, 600, 600)], 300, 1.0),
        ([(0, 600, 600)], -50 * 3600, 1.0),  # the nearest that is known
        ([(0, 600, 600), (6000, 6600, 1200)], 2000, 1.0),
        ([(0, 600, 600), (6000, 6600, 1200)], 5000, 2.0),
        ([(0, 600, 600), (0, 600, 1200)], 300, 2.0),  # a whole reading counts whole
        ([(0, 600, 600), (0, 300, 600)], 300, 1.5),  # half of one counts half
        ([(0, 600, 600), (0, 6, 60)], 300, 2.8),  # six seconds count a fifth, not a hundredth
    ],
)
def test_records_a_second(stretches: list[tuple[int, int, int]], second_s: int, per_s: float) -> None:
    """By ten minutes; the nearest known ones speak for what is not known."""
    assert known(*stretches).at(AT + second_s) == pytest.approx(per_s)


@pytest.mark.parametrize(
    ("stretches", "records", "span_s"),
    [
        ([(0, 600, 600)], 300, 300),
        ([(0, 600, 600)], 6000, 6000),
        ([(0, 600, 600), (600, 1200, 6000)], 3600, 900),  # 600 of the first ten minutes, 3,000 of the second
        ([(0, 600, 60_000)], 50, 1),  # never less than a second
        ([(0, 600, 0)], 20_000, WIDEST_S),  # never more than a week
    ],
)
def test_where_a_window_ends(stretches: list[tuple[int, int, int]], records: int, span_s: int) -> None:
    """So that it holds about so many records."""
    assert known(*stretches).end_s(AT, AT + 30 * DAY_S, records) == AT + span_s


def test_a_window_ends_where_it_has_to() -> None:
    """However few records that are."""
    assert known((0, 600, 1)).end_s(AT, AT + 77, 20_000) == AT + 77


@pytest.mark.parametrize(
    ("stretches", "span_s"),
    [
        ([(-600, 0, 600)], 850),
        ([(-600, 0, 6000)], 85),
        ([(-600, 0, 300), (-1200, -600, 1200)], 600 + 275),
        ([(-7200, 0, 10)], LONGEST_REACH_S),
    ],
)
def test_where_a_window_begins(stretches: list[tuple[int, int, int]], span_s: int) -> None:
    """So that it holds at most 850 records; two hours back if these hold fewer."""
    begins_s = known(*stretches).start_s(AT, AT - LONGEST_REACH_S, 850)
    assert AT - span_s <= begins_s <= AT - span_s + 1


@given(st.lists(st.tuples(st.integers(-4000, 4000), st.integers(1, 4000), st.integers(0, 10**6)), max_size=12))
def test_a_window_always_moves(stretches: list[tuple[int, int, int]]) -> None:
    """Whatever was learned, a window has a second at least and stays within its bounds."""
    density = known(*((start_s, start_s + length_s, records) for start_s, length_s, records in stretches))
    assert AT < density.end_s(AT, AT + 5000, 1000) <= AT + 5000
    assert AT - 5000 <= density.start_s(AT, AT - 5000, 850) <= AT


def test_a_month_of_ten_minutes_is_remembered() -> None:
    """No more: the oldest is forgotten, and nothing grows for ever."""
    density = known((0, 600, 6000), *((600 * place, 600 * place + 600, 600) for place in range(1, 32 * 144)))
    assert density.at(AT) == 1.0


def test_until_enough_is_known_it_is_microsofts_own_figure() -> None:
    """Forty-nine records teach nothing yet."""
    lateness = Lateness()
    lateness.note([7000.0] * 49, 0)
    assert lateness.reach_s() == USUAL_REACH_S
    lateness.note([7000.0], 0)
    assert lateness.reach_s() == 7200


@pytest.mark.parametrize(
    ("late", "reach_s"),
    [
        ({0: 1000}, SHORTEST_REACH_S),
        ({100: 1000}, 120),
        ({100: 980, 500: 20}, 120),  # two of a hundred may be later
        ({100: 979, 500: 21}, 510),
        ({100: 900, 3000: 100}, 3000),
        ({100: 100, 9000: 900}, 120),  # beyond two hours it is the looks' business
    ],
)
def test_all_but_two_of_a_hundred(late: dict[int, int], reach_s: int) -> None:
    """A poll looks back as far as 98 % of the records need it."""
    lateness = Lateness()
    for late_s, count in late.items():
        lateness.note([float(late_s)] * count, 0)
    assert lateness.reach_s() == reach_s


def test_a_burst_is_forgotten() -> None:
    """What was late once does not make polls look back for ever: after some hours of quiet it is as before."""
    lateness = Lateness()
    lateness.note([20.0] * 1000, 0)
    lateness.note([6000.0] * 1000, 0)
    assert lateness.reach_s() == 6000
    for hour in range(1, 13):
        lateness.note([20.0] * 1000, hour * HOUR_S)
    assert lateness.reach_s() == SHORTEST_REACH_S


def test_weeks_overflow_nothing() -> None:
    """What is new weighs more and more, and is scaled down before it weighs too much."""
    lateness = Lateness()
    for hour in range(24 * 120):
        lateness.note([100.0] * 10, hour * HOUR_S)
    assert lateness.reach_s() == 120
