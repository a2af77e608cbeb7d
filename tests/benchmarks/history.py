"""A history at full speed under Graph's limit, however slowly Graph answers."""

from collections.abc import Sequence

from graph_entra.streams import DAY_S, HOUR_S, SIGN_IN_TYPES
from tests.benchmarks.report import Figure, Report, table
from tests.benchmarks.simulation import PAGE_RECORDS, PERIOD_S, Outcome, Tenant, quantile, simulate

NAME = "history"
ONE = ("nonInteractiveUser",)
GRAPH_PER_S = 500
# Live records of each type a second, and what the history of a quiet tenant holds that was busy before.
LIVE_PER_S = 2.0
SPARSE_PER_S = 0.02
HISTORY_PER_S = 5.0
HISTORY_S = 20 * DAY_S
WARM_S = HOUR_S // 6
COUNTED_S = 3 * HOUR_S
_GRAPH_PER_MINUTE = 30
# Types, seconds that an answer takes, live records a second; the goal, of what Graph allows.
CASES: tuple[tuple[Sequence[str], float, float, float | None], ...] = (
    (ONE, 0.5, LIVE_PER_S, 0.95),
    (ONE, 5.0, LIVE_PER_S, 0.93),
    (ONE, 10.0, LIVE_PER_S, 0.92),
    (ONE, 20.0, LIVE_PER_S, 0.90),
    (SIGN_IN_TYPES, 0.5, LIVE_PER_S, 0.90),
    (ONE, 0.5, SPARSE_PER_S, None),
)


def run(*, quick: bool = False) -> Report:
    """Simulates a long history and live records beside it."""
    rows, figures = [], []
    for types, answer_s, live_per_s, goal in CASES:
        tenant = Tenant(
            dict.fromkeys(types, live_per_s), answer_s=answer_s, history_s=HISTORY_S, history_per_s=HISTORY_PER_S
        )
        outcome = simulate(tenant, warm_s=WARM_S, counted_s=HOUR_S if quick else COUNTED_S)
        name = f"{'one type' if len(types) == 1 else 'four types'}, answers after {answer_s:g} s"
        if live_per_s == SPARSE_PER_S:
            name += ", hardly any live records"
        reached = outcome.per_s / GRAPH_PER_S
        rows.append((name, f"{outcome.per_s:.0f}", f"{reached:.1%}", f"{_of_the_rest(outcome):.1%}", *_cells(outcome)))
        wanted = "stated" if goal is None else f">= {goal:.0%} of {GRAPH_PER_S} records/s"
        met = None if goal is None else reached >= goal
        figures.append(Figure(f"history: {name}", wanted, f"{reached:.1%}", met))
    polls = len(SIGN_IN_TYPES) * 60 / PERIOD_S
    most = 1 - polls / _GRAPH_PER_MINUTE
    text = "\n\n".join(
        [
            f"Simulated as above: a history of {HISTORY_S // DAY_S} days, {HISTORY_PER_S:g} records a second in each "
            f"type, and {LIVE_PER_S:g} live records a second in each type. Delivered: history and live records. Of "
            "the rest: history, of what Graph allows without the polls.",
            table(
                (
                    "",
                    "delivered/s",
                    f"of {GRAPH_PER_S}",
                    "history, of the rest",
                    "polls/min",
                    "history/min",
                    "looks/min",
                    "again/min",
                    "live delay, s: p50, p95, max",
                ),
                rows,
            ),
            f"Why four types cannot reach 90 %: each is polled every {PERIOD_S} s, which is {polls:.0f} of Graph's "
            f"{_GRAPH_PER_MINUTE} requests a minute, each with few new records. The other "
            f"{_GRAPH_PER_MINUTE - polls:.0f} bring {most:.1%} of {GRAPH_PER_S} records/s at the most, with a limiter "
            "that wastes nothing; ours keeps 1 % off the limit. A longer `frequency` gives history more.",
        ]
    )
    return Report("History", figures, text)


def _of_the_rest(outcome: Outcome) -> float:
    left_per_minute = _GRAPH_PER_MINUTE - outcome.per_minute["edge"]
    return outcome.read_first["unread"] / outcome.seconds * 60 / (left_per_minute * PAGE_RECORDS)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    works = (f"{outcome.per_minute.get(work, 0.0):.2f}" for work in ("edge", "unread", "look", "again"))
    delays = ", ".join(f"{quantile(outcome.delays_s, share):.0f}" for share in (0.5, 0.95, 1.0))
    return *works, delays
