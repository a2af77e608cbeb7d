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
    """A monotonic clock that drifts, or slept with the machine, is corrected by every answer."""
    clock = GraphClock(machine)
    clock.seen(START_S)
    machine.advance(1000)
    clock.seen(START_S + 4600)
    assert clock.now_s() == START_S + 4600.5
