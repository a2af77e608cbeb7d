"""From the moment that Graph shows a record until the intake has it, by rate: four types, polled every 60 s."""

from collections.abc import Sequence
from dataclasses import dataclass

from graph_entra.streams import HOUR_S
from tests.benchmarks.report import Figure, Report, table
from tests.benchmarks.simulation import (
    ANSWER_S,
    PERIOD_S,
    SHARES,
    Lateness,
    Outcome,
    Tenant,
    hours_late,
    minutes_late,
    quantile,
    shared,
    simulate,
)

NAME = "lateness"
WARM_S = 8 * HOUR_S
COUNTED_S = 4 * HOUR_S
_SHARES = (0.5, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Goal:
    """A row of the goals: seconds that a median and a 95th percentile may take; None where none is set."""

    per_s: float
    p50_s: float | None
    p95_s: float | None


MINUTES = (
    Goal(0.1, 35, 62),
    Goal(1, 35, 62),
    Goal(10, 35, 62),
    Goal(40, 35, 62),
    Goal(100, None, 120),
    Goal(150, None, 300),
    Goal(200, None, 300),
)
HOURS = (Goal(0.1, None, 65), Goal(1, None, 65), Goal(10, None, 300), Goal(40, None, None), Goal(100, None, None))


def run(*, quick: bool = False) -> Report:
    """Simulates some hours at each rate, with both kinds of lateness."""
    text = [
        f"Simulated: the real schedule, plan, coverage, shares and limiter on a clock that jumps, {WARM_S // HOUR_S} h "
        f"to warm up and {COUNTED_S // HOUR_S} h counted; Graph answers in {ANSWER_S} s. Polls every {PERIOD_S} s. "
        "Four types share the rate as " + ", ".join(f"{kind} {share:.0%}" for kind, share in SHARES.items()) + ".",
    ]
    figures = []
    for title, goals, lateness, within_2_h in (
        ("Records shown 1 to 5 min after their creation", MINUTES, minutes_late, False),
        ("15 % shown after 5 to 60 min, 3 % after 1 to 24 h; of those shown within 2 h", HOURS, hours_late, True),
    ):
        rows = []
        for goal in goals[::3] if quick else goals:
            outcome = _simulated(goal.per_s, lateness, quick=quick)
            delays_s = outcome.delays_within_2_h_s if within_2_h else outcome.delays_s
            rows.append((f"{goal.per_s:g}", *_cells(delays_s), *_requests(outcome)))
            if goal.p95_s is not None:
                figures.append(_figure(title, goal, delays_s))
        head = ("records/s", "p50, s", "p95, s", "p99, s", "max, s", "polls/min", "looks/min")
        text += [f"{title}:", table(head, rows)]
    text.append(
        "What polls do not reach back to is found by a look: these are the long delays. Above the rate at which all "
        "looks are on time, they are longer: see the looks."
    )
    return Report("Shown to intake", figures, "\n\n".join(text))


def _simulated(per_s: float, lateness: Lateness, *, quick: bool) -> Outcome:
    warm_s, counted_s = (HOUR_S, HOUR_S) if quick else (WARM_S, COUNTED_S)
    return simulate(Tenant(shared(per_s), lateness), warm_s=warm_s, counted_s=counted_s)


def _cells(delays_s: list[float]) -> Sequence[str]:
    return [f"{quantile(delays_s, share):,.0f}" for share in _SHARES]


def _requests(outcome: Outcome) -> tuple[str, str]:
    per_minute = outcome.per_minute
    looks = per_minute.get("look", 0.0) + per_minute.get("again", 0.0)
    return f"{per_minute['edge']:.1f}", f"{looks:.1f}"


def _figure(title: str, goal: Goal, delays_s: list[float]) -> Figure:
    p50_s, p95_s = quantile(delays_s, 0.5), quantile(delays_s, 0.95)
    met = p95_s <= (goal.p95_s or 0) and (goal.p50_s is None or p50_s <= goal.p50_s)
    wanted = f"p95 <= {goal.p95_s} s" if goal.p50_s is None else f"p50 <= {goal.p50_s} s, p95 <= {goal.p95_s} s"
    return Figure(
        f"shown to intake at {goal.per_s:g} records/s. {title}", wanted, f"p50 {p50_s:.0f} s, p95 {p95_s:.0f} s", met
    )
