"""How the cost grows, from 10 to 1,000 records a second and from 1 to 30 days of history."""

import statistics

from graph_entra.streams import DAY_S, HOUR_S
from tests.benchmarks.lane_requests import WARM_S
from tests.benchmarks.report import Figure, Report, table
from tests.benchmarks.simulation import SHARES, simulate

NAME = "growth"
RATES = (10, 20, 50, 100, 200, 300, 400, 500, 1000)
DAYS = (1, 7, 30)
_ENTRY_BYTES = 16
# The oldest lane's age, its step and a live period: what the ledger holds.
_HELD_H = 25.5
# In memory: the hours of live, of its neighbour, and of the lanes of 2 h and 24 h (measured in CPython 3.11).
_LOADED_H = 4
_LOADED_ENTRY_BYTES = 94
# Enough for the speed to show, and clear of the retention's edge: what that cuts off is not read.
_HISTORY_S = 20 * DAY_S
_KEEPS_S = 30 * DAY_S


def run(*, quick: bool = False) -> Report:
    """Simulates each rate twice: settled, and with a backlog."""
    counted_s = (1 if quick else 6) * HOUR_S
    rows = []
    for per_s in RATES[::4] if quick else RATES:
        rates = {kind: per_s * share for kind, share in SHARES.items()}
        settled = simulate(rates, warm_s=WARM_S, counted_s=counted_s)
        backlog = simulate(rates, history_s=_HISTORY_S, warm_s=HOUR_S, counted_s=counted_s)
        speed = backlog.backlog_read_s / counted_s
        rows.append(
            (
                per_s,
                f"{settled.requests.total() / counted_s * 60:.1f}",
                f"{settled.per_minute.get('live', 0):.1f}",
                _delay(settled.delays_s),
                _late(settled.settle_lag_s),
                *(_finish(days, speed) for days in DAYS),
                f"{min(per_s, 495) * HOUR_S * _HELD_H * _ENTRY_BYTES / 1e6:,.0f}",
                f"{min(per_s, 495) * HOUR_S * _LOADED_H * _LOADED_ENTRY_BYTES / 1e6:,.0f}",
                f"{settled.requests.total() / counted_s * 1000 * 80 / 1e4:.0f}",
            )
        )
    text = "\n\n".join(
        [
            "Simulated as in the benchmark before, four types. Hours until the history of a first start is read while "
            "live goes on; Graph keeps 30 days, so history that would take longer is lost at its old end. The ledger "
            f"is {_ENTRY_BYTES} bytes a record for {_HELD_H} h on disk, and {_LOADED_ENTRY_BYTES} for the {_LOADED_H} "
            "hours that the lanes are in, in memory. CPU: every record of every full page at 80 us, of one core; "
            "known records cost less. Graph gives 500 records/s. Reading everything once more costs as many requests "
            "as reading it, so three settle lanes fit up to about 100 records/s; above that they fall behind, oldest "
            "first, and records that Graph shows later than the overlap reaches back are delivered late. From 500 "
            "on, nothing is left for a history.",
            table(
                (
                    "records/s",
                    "requests/min (of 29.7)",
                    "live/min",
                    "live delay, s: median, max",
                    "settle late, min",
                    *(f"{days} d read in" for days in DAYS),
                    "ledger, MB on disk",
                    "MB in memory",
                    "CPU, % at most",
                ),
                rows,
            ),
        ]
    )
    figure = Figure("growth, 10 to 1,000 records/s and 1 to 30 days of history", "shown", "see the table")
    return Report("How the cost grows", [figure], text)


def _finish(days: int, speed: float) -> str:
    """Returns how long it takes to read so many days, at so many seconds of them a second."""
    if speed <= 0:
        return "never"
    taken_s = days * DAY_S / speed
    if taken_s > _KEEPS_S:
        return f"{1 - _KEEPS_S / taken_s:.0%} lost"
    return f"{taken_s / HOUR_S:,.1f} h"


def _delay(delays_s: list[float]) -> str:
    return f"{statistics.median(delays_s):,.0f}, {max(delays_s):,.0f}" if delays_s else "never read"


def _late(lags_s: dict[str, float]) -> str:
    worst_s = max(lags_s.values())
    return f"{worst_s / 60:,.0f}" if worst_s < 6 * HOUR_S else "falls behind"
