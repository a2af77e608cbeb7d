"""The highest rate at which every look is on time, and which gives way above it."""

from graph_entra.reading.coverage import LOOKS
from graph_entra.reading.plan import STEP_S
from graph_entra.streams import HOUR_S, LOOK_AGES
from tests.benchmarks.report import Figure, Report, table
from tests.benchmarks.simulation import Outcome, Tenant, at_once, minutes_late, simulate

NAME = "looks"
TYPE = "nonInteractiveUser"
GRAPH_PER_S = 500
OPTIMUM_PER_S = GRAPH_PER_S / (len(LOOKS) + 1)
RATES = (80, 90, 100, 105, 110, 115, 120)
# The look at 24 h has been at work for some hours.
ON_TIME_S = 30 * HOUR_S
ABOVE = (150, 200)
ABOVE_S = 50 * HOUR_S
# A look waits until it is worth a request, and for the others; beyond its step, so much is on time.
GRACE_S = 10 * 60


def run(*, quick: bool = False) -> Report:
    """Simulates a day and more at each rate, and two days above."""
    seconds = 4 * HOUR_S if quick else ON_TIME_S
    rows, highest = [], 0
    for per_s in RATES[::3] if quick else RATES:
        outcome = _simulated(per_s, seconds)
        on_time = _on_time(outcome)
        highest = per_s if on_time else highest
        rows.append((per_s, f"{seconds // HOUR_S} h", *_cells(outcome), "yes" if on_time else "no"))
        if not on_time:
            break
    for per_s in ABOVE:
        outcome = _simulated(per_s, seconds if quick else ABOVE_S)
        rows.append((per_s, f"{ABOVE_S // HOUR_S} h", *_cells(outcome), "no"))
    text = "\n\n".join(
        [
            f"Simulated as above, one type, every record shown at once up to {RATES[-1]} records/s, after 1 to 5 min "
            f"above. The optimum: each record is read once and looked at {len(LOOKS)} times, {GRAPH_PER_S} / "
            f"{len(LOOKS) + 1} = {OPTIMUM_PER_S:.0f} records/s. On time: no look is later than its step "
            f"({', '.join(f'{STEP_S[age_s] // 60} min' for age_s in LOOKS)}) and {GRACE_S // 60} min.",
            table(
                (
                    "records/s",
                    "after",
                    *(f"look at {age} late by, h" for age in LOOK_AGES),
                    "polls/min",
                    "looks/min",
                    "on time",
                ),
                rows,
            ),
            "The order in which they give way: first the look at 15 min, because polls find most of what it would, "
            "then that at 24 h, and that at 2 h last. Polls never do. A look that is late is done all the same, oldest "
            "first, as long as Graph keeps the records; it is told when one is an hour late.",
        ]
    )
    figure = Figure(
        "the highest rate at which every look is on time, one type; the arithmetic optimum",
        "stated",
        f"{highest} records/s; {OPTIMUM_PER_S:.0f}",
    )
    return Report("Looks", [figure], text, {"highest_per_s": highest})


def _simulated(per_s: float, seconds: float) -> Outcome:
    lateness = minutes_late if per_s in ABOVE else at_once
    return simulate(Tenant({TYPE: per_s}, lateness), warm_s=seconds - HOUR_S, counted_s=HOUR_S)


def _on_time(outcome: Outcome) -> bool:
    return all(outcome.overdue_s[age_s] <= STEP_S[age_s] + GRACE_S for age_s in LOOKS)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    late = (f"{outcome.overdue_s[age_s] / HOUR_S:.1f}" for age_s in LOOKS)
    return *late, f"{outcome.per_minute['edge']:.1f}", f"{outcome.per_minute.get('look', 0.0):.1f}"
