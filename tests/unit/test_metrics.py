"""What each figure means, by what it is told."""

from threading import Thread

import pytest
from prometheus_client import REGISTRY

from graph_entra.records import Taken
from graph_entra.telling import metrics
from graph_entra.telling.metrics import Lag
from tests.clocks import ManualClock

ONE, TWO = "one", "two"


def sample(name: str, **labels: str) -> float | None:
    """A figure as it is now in this process."""
    return REGISTRY.get_sample_value(name, labels)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def lag(clock: ManualClock) -> Lag:
    """Of two streams that are polled every minute."""
    lag = Lag(60.0, clock)
    for stream in (ONE, TWO):
        lag.begin(stream)
    return lag


def test_a_quiet_tenant_lags_behind_nothing(lag: Lag, clock: ManualClock) -> None:
    """Polls that bring nothing, for a day."""
    for _ in range(24 * 60):
        clock.advance(60)
        for stream in (ONE, TWO):
            lag.reached(stream)
        assert lag.value_s() == 0


def test_the_age_of_the_newest_record_while_records_flow(lag: Lag, clock: ManualClock) -> None:
    """When it came; the worst stream counts, and after two quiet polls it is nothing again."""
    for stream, age_s in ((ONE, 90), (TWO, 1200)):
        lag.reached(stream)
        lag.came(stream, age_s)
    assert lag.value_s() == 1200
    assert (sample("graph_entra_lag_seconds", stream=ONE), sample("graph_entra_lag_seconds", stream=TWO)) == (90, 1200)
    for _ in range(4):
        clock.advance(60)
        lag.reached(ONE)
        lag.reached(TWO)
    assert lag.value_s() == 0


def test_it_grows_while_nothing_can_be_read_or_pushed(lag: Lag, clock: ManualClock) -> None:
    """An outage of an hour: from two polls on it is the time since the last good one, of the stream that suffers."""
    lag.reached(ONE)
    lag.reached(TWO)
    for minute in range(1, 61):
        clock.advance(60)
        lag.reached(TWO)
        assert lag.value_s() == (60 * minute if minute > 3 else 0)
    assert sample("graph_entra_lag_seconds", stream=TWO) == 0
    lag.reached(ONE)
    assert lag.value_s() == 0


def test_it_grows_if_it_never_worked(lag: Lag, clock: ManualClock) -> None:
    """A secret that was wrong from the start shows no 0, the best value."""
    clock.advance(7200)
    assert lag.value_s() == 7200


def test_what_is_behind_after_a_stop_counts(clock: ManualClock) -> None:
    """A connector that was stopped for a day is a day behind until it has read it."""
    lag = Lag(60.0, clock)
    lag.begin(ONE, 86_400)
    assert lag.value_s() == 86_400
    clock.advance(60)
    lag.reached(ONE, 3600)
    assert lag.value_s() == 3600
    lag.reached(ONE)
    assert lag.value_s() == 0


def test_a_wall_clock_that_steps_changes_nothing(lag: Lag, clock: ManualClock) -> None:
    """Ages are told by Graph's clock, and time passes by the monotonic one; a record of the future has no age."""
    lag.reached(ONE)
    lag.reached(TWO)
    clock.now += 10**6
    lag.came(ONE, -50)
    assert (lag.value_s(), sample("graph_entra_lag_seconds", stream=ONE)) == (0, 0)


def test_any_thread_may_ask(lag: Lag) -> None:
    """The heartbeat asks, two streams tell: no call ever fails."""
    raised: list[BaseException] = []

    def ask(stream: str) -> None:
        try:
            for number in range(400):
                lag.begin(f"{stream}{number % 50}")
                lag.came(f"{stream}{number % 50}", 1)
                lag.value_s()
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            raised.append(error)

    threads = [Thread(target=ask, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []


def test_counters_follow_what_was_delivered() -> None:
    """Late and updated records are delivered, and counted apart as well; a refused one is told by itself."""
    metrics.begin("meant")
    assert sample("graph_entra_records_delivered_total", stream="meant") == 0
    metrics.count(Taken("meant", "look", pushed=7, new=5, late=5, updated=2, cut=["a"]))
    metrics.count(Taken("meant", "look", refused=[("b", 400)]))
    metrics.count(Taken("meant", "look", read=9))
    assert sample("graph_entra_records_delivered_total", stream="meant") == 7
    assert sample("graph_entra_records_late_total", stream="meant") == 5
    assert sample("graph_entra_records_updated_total", stream="meant") == 2
    assert sample("graph_entra_records_cut_total", stream="meant") == 1
    assert sample("graph_entra_records_refused_total", stream="meant") == 1


def test_gauges_show_what_they_are_told() -> None:
    """Plain numbers in, the same out; a problem that is over is 0 again, and a look that is early is not late."""
    metrics.begin("s")
    assert sample("graph_entra_look_overdue_seconds", stream="s", age="24 h") == 0
    metrics.polled("s", 1000.0, 990.0, 300.0)
    metrics.unread("s", 5.0)
    metrics.look_overdue("s", "2 h", 7.0)
    metrics.look_overdue("s", "15 min", -7.0)
    metrics.troubled("s", 2, 61.0)
    metrics.credential_end("secret", 1e9)
    metrics.problems({"login": 1, "something new": 2})
    shown = {
        "graph_entra_last_success_seconds": 1000,
        "graph_entra_edge_position_seconds": 990,
        "graph_entra_look_back_seconds": 300,
        "graph_entra_unread_seconds": 5,
        "graph_entra_troubled_stretches": 2,
        "graph_entra_troubled_seconds": 61,
    }
    assert {name: sample(name, stream="s") for name in shown} == shown
    assert sample("graph_entra_look_overdue_seconds", stream="s", age="2 h") == 7
    assert sample("graph_entra_look_overdue_seconds", stream="s", age="15 min") == 0
    assert sample("graph_entra_credential_end_seconds", credential="secret") == 1e9
    assert sample("graph_entra_problems_open", kind="login") == 1
    assert sample("graph_entra_problems_open", kind="something new") == 2
    metrics.problems({})
    assert sample("graph_entra_problems_open", kind="login") == 0
