"""What the lanes cost in requests to Graph, and whether live is ever late because of them."""

import statistics

from graph_entra.streams import HOUR_S
from tests.benchmarks.report import Figure, Report, table
from tests.benchmarks.simulation import ANSWER_S, PAGE_RECORDS, PERIOD_S, SHARES, Outcome, simulate

NAME = "lane_requests"
# Every lane is at work after a day.
WARM_S = 27 * HOUR_S


def run(*, quick: bool = False) -> Report:
    """Simulates a day and some hours at 1 and 100 records a second."""
    counted_s = (1 if quick else 6) * HOUR_S
    rows, later_s = [], []
    per_record = {}
    for per_s in (1.0, 10.0, 100.0):
        for types, rates in (("one type", {"nonInteractiveUser": per_s}), ("four types", _shared(per_s))):
            ours = simulate(rates, warm_s=WARM_S, counted_s=counted_s)
            alone = simulate(rates, warm_s=HOUR_S, counted_s=counted_s, settle=False)
            requests = ours.requests.total() / (per_s * counted_s) * 1000
            plain = sum(max(1, -(-rate * PERIOD_S // PAGE_RECORDS)) for rate in rates.values()) / (per_s * PERIOD_S)
            per_record[per_s, types] = (requests, plain * 1000)
            later_s.append(_latest(ours) - _latest(alone))
            rows.append(
                (
                    f"{per_s:g}, {types}",
                    f"{requests:.2f}",
                    f"{plain * 1000:.2f}",
                    f"{requests / plain / 1000:.1f}",
                    f"{ours.per_minute.get('live', 0):.1f}",
                    f"{sum(count for lane, count in ours.per_minute.items() if lane.startswith('settle')):.1f}",
                    _delays(ours),
                    _delays(alone),
                    f"{max(ours.settle_lag_s.values()) / 60:.0f}",
                )
            )
    text = "\n\n".join(
        [
            f"Simulated: the real lanes, schedule and budget, {WARM_S // HOUR_S} h to warm up and "
            f"{counted_s // HOUR_S} h counted, Graph answering in {ANSWER_S} s and showing every record at once. "
            f"The plain cursor reader asks for [cursor, now] every {PERIOD_S} s and nothing else: it misses whatever "
            "Graph shows late. Four types share the rate as "
            + ", ".join(f"{kind} {share:.0%}" for kind, share in SHARES.items())
            + ". Graph allows 30 requests a minute.",
            table(
                (
                    "records/s",
                    "requests per 1,000 records",
                    "plain reader's",
                    "times",
                    "live per minute",
                    "settle per minute",
                    "live delay, s: median, max",
                    "the same without settle lanes",
                    "settle lanes late by, min",
                ),
                rows,
            ),
        ]
    )
    low, high = per_record[1.0, "one type"], per_record[100.0, "one type"]
    figure = Figure(
        "requests per 1,000 records delivered, all lanes, at 1 and 100 records/s; a plain cursor reader's",
        "stated",
        f"{low[0]:.1f} and {high[0]:.1f}; {low[1]:.1f} and {high[1]:.1f}",
    )
    worst_s = max(later_s)
    late = Figure(
        "live is later because of the settle lanes by, at most, up to 100 records/s",
        "never late: within its period + 15 s",
        f"{worst_s:.1f} s",
        worst_s <= 15,
    )
    return Report("Requests of the lanes", [figure, late], text, {"later_s": worst_s})


def _shared(per_s: float) -> dict[str, float]:
    return {kind: per_s * share for kind, share in SHARES.items()}


def _latest(outcome: Outcome) -> float:
    return max(outcome.delays_s)


def _delays(outcome: Outcome) -> str:
    return f"{statistics.median(outcome.delays_s):.0f}, {max(outcome.delays_s):.0f}"
