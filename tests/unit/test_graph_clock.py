"""The clock that everything is planned by: Graph's, carried on by this machine's monotonic one."""

import pytest

from graph_entra.reading.graph_clock import GraphClock
from tests.clocks import START_S, ManualClock

DAY_S = 86_400


@pytest.fixture
def machine() -> ManualClock:
    return ManualClock()


def test_before_the_first_answer_it_is_this_machines(machine: ManualClock) -> None:
    """Nothing better is known, and no difference is claimed."""
    clock = GraphClock(machine)
    assert (clock.now_s(), clock.difference_s) == (START_S, 0.0)


@pytest.mark.parametrize("wrong_s", [-10 * DAY_S, -3600, 0, 3 * 3600, 40 * DAY_S])
def test_the_first_answer_sets_it_right(wrong_s: int) -> None:
    """However wrong the machine's is, by the middle of the second that the answer names; and by how much is known."""
    machine = ManualClock(START_S + wrong_s)
    clock = GraphClock(machine)
    clock.seen(START_S)
    machine.advance(100)
    assert clock.now_s() == START_S + 100.5
    assert clock.difference_s == wrong_s - 0.5


def test_a_wall_clock_that_steps_changes_nothing(machine: ManualClock) -> None:
    """Between two answers only the monotonic clock counts."""
    clock = GraphClock(machine)
    clock.seen(START_S)
    for step_s in (2 * DAY_S, -12 * DAY_S, 36 * 3600):
        machine.now += step_s
        machine.advance(10)
    assert clock.now_s() == START_S + 30.5
    assert clock.difference_s == pytest.approx(-8.5 * DAY_S, abs=1)


def test_the_last_answer_counts(machine: ManualClock) -> None:
    """A monotonic clock that drifts is corrected by every answer."""
    clock = GraphClock(machine)
    clock.seen(START_S)
    machine.advance(1000)
    clock.seen(START_S + 1030)
    assert clock.now_s() == pytest.approx(START_S + 1030.5, abs=0.5)


def test_a_step_is_believed_when_it_is_confirmed(machine: ManualClock) -> None:
    """One answer with a date of its own changes nothing; a machine that slept is set right by the second."""
    clock = GraphClock(machine)
    clock.seen(START_S)
    clock.seen(START_S + 10 * 365 * DAY_S)
    assert clock.now_s() == START_S + 0.5
    machine.advance(10)
    clock.seen(START_S + 7210)
    assert clock.now_s() == START_S + 10.5
    machine.advance(2)
    clock.seen(START_S + 7212)
    assert clock.now_s() == pytest.approx(START_S + 7212.5, abs=0.5)


@pytest.mark.parametrize(
    ("dated_s", "took_s", "right_s"),
    [
        (1000, 0.4, 1000.5),  # whole seconds: what is known is within it
        (700, 300, 1000.5),  # the header came at once, and the body five minutes later
        (960, 40, 1000.5),  # or forty seconds
        (1000, 300, 1000.5),  # the header came with the body
        (1010, 0.4, 1010.0),  # Graph's is ahead of what was thought, by ten seconds at least
        (990, 0.4, 991.4),  # or behind it
    ],
)
def test_a_slow_answer_moves_nothing(machine: ManualClock, dated_s: int, took_s: float, right_s: float) -> None:
    """It was dated at some moment while it was waited for: only what that cannot explain is corrected."""
    clock = GraphClock(machine)
    clock.seen(START_S)
    machine.advance(1000)
    clock.seen(START_S + dated_s, took_s)
    assert clock.now_s() == pytest.approx(START_S + right_s)
