"""The progress of reading history: seldom, and with an estimate only where there is one."""

import pytest

from graph_entra.telling.history_progress import HistoryProgress
from tests.clocks import ManualClock

HOUR_S = 3600


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def progress(clock: ManualClock) -> HistoryProgress:
    return HistoryProgress(clock)


def test_every_five_minutes_with_an_estimate(progress: HistoryProgress, clock: ManualClock) -> None:
    """40 h left, 2 h read a minute: the rest takes as long as what was read says."""
    said = []
    for minute in range(1, 16):
        said.append(progress.page(1000, 40 * HOUR_S - minute * 2 * HOUR_S))
        clock.advance(60)
    assert [line for line in said if line] == [
        "history: 6000 records read, 28.0 h of it left, about 14 min.",
        "history: 11000 records read, 18.0 h of it left, about 9 min.",
    ]
    assert progress.done() == "history is read, 15000 records."


def test_no_estimate_where_nothing_was_read(progress: HistoryProgress, clock: ManualClock) -> None:
    """A stretch that does not get shorter, and one that grows by a gap, would take for ever, or less than no time."""
    for left_s in (10 * HOUR_S, 10 * HOUR_S, 20 * HOUR_S):
        line = progress.page(10, left_s)
        assert line is None or (line.endswith("h of it left.") and "min" not in line)
        clock.advance(300)


def test_the_next_history_is_counted_anew(progress: HistoryProgress, clock: ManualClock) -> None:
    """An outage's gap is another story."""
    progress.page(10, HOUR_S)
    progress.done()
    clock.advance(1000)
    assert progress.page(5, HOUR_S) is None
    assert progress.done() == "history is read, 5 records."
