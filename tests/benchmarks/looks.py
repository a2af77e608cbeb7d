"""The highest rate at which every look is on time, and which gives way above it."""

from graph_entra.reading.coverage import LOOKS
from graph_entra.reading.plan import STEP_S
from graph_entra.streams import HOUR_S, LOOK_AGES
from tests.benchmarks.report import Figure, Report, table
from tests.benchmarks.simulation import PAGE_RECORDS, Lateness, Outcome, Tenant, at_once, minutes_late, simulate

NAME = "looks"
TYPE = "nonInteractiveUser"
GRAPH_PER_S = 500
OPTIMUM_PER_S = GRAPH_PER_S / (len(LOOKS) + 1)
# Until the first that is too much: records shown at once, and after 1 to 5 min, for which polls reach back.
RATES: dict[Lateness, tuple[int, ...]] = {
    at_once: (100, 110, 115, 120),
    minutes_late: (40, 60, 70, 80),
}
# The look at 24 h has been at work for some hours.
ON_TIME_S = 30 * HOUR_S
ABOVE = (150, 200)
ABOVE_S = 50 * HOUR_S
# So late a look still counts as on time: it waits for its turn among the others.
GRACE_S = 10 * 60
_SHOWN = {at_once: "at once", minutes_late: "after 1 to 5 min"}


def run(*, quick: bool = False) -> Report:
    """Simulates a day and more at each rate, and two days above."""
    seconds, above_s = (4 * HOUR_S, 6 * HOUR_S) if quick else (ON_TIME_S, ABOVE_S)
    rows, highest = [], dict.fromkeys(RATES, 0)
    for lateness, rates in RATES.items():
        for per_s in rates[::3] if quick else rates:
            outcome = _simulated(per_s, lateness, seconds)
            on_time = all(late_s <= GRACE_S for late_s in outcome.overdue_s.values())
            rows.append((per_s, _SHOWN[lateness], f"{seconds // HOUR_S} h", *_cells(outcome)))
            if not on_time:
                break
            highest[lateness] = per_s
    for per_s in ABOVE:
        outcome = _simulated(per_s, minutes_late, above_s)
        rows.append((per_s, _SHOWN[minutes_late], f"{above_s // HOUR_S} h", *_cells(outcome)))
    text = "\n\n".join(
        [
            f"Simulated as above, one type. The optimum: each record is read once and looked at {len(LOOKS)} times, "
            f"{GRAPH_PER_S} / {len(LOOKS) + 1} = {OPTIMUM_PER_S:.0f} records/s. Where records are shown late, polls "
            "reach back for them and read what is known once more, so less is left to the looks. Late: beyond a look's "
            f"step ({', '.join(f'{STEP_S[age_s] // 60} min' for age_s in LOOKS)}); on time is up to {GRACE_S // 60} "
            "min.",
            table(
                (
                    "records/s",
                    "shown",
                    "after",
                    *(f"look at {age} late by, h" for age in LOOK_AGES),
                    "polls/min",
                    "looks/min",
                    "looks read, records/s, at most",
                ),
                rows,
            ),
            "What gives way above it: first the look at 15 min. It is put off until it is done at the age of the next "
            "one, and one reading then counts for both: that at 2 h is hardly late of its own (1 h at 115 a second). "
            "Then that at 24 h. Polls "
            "never give way. Where looks read less in a second than is created, the stretch that was not looked at yet "
            "grows until Graph's retention ends it, and is told then, as a look is that is an hour late. A record that "
            "a poll did not see arrives that late, or not at all.",
        ]
    )
    figure = Figure(
        "the highest rate at which every look is on time, one type, shown at once and after 1 to 5 min; the optimum",
        "stated",
        f"{highest[at_once]} and {highest[minutes_late]} records/s; {OPTIMUM_PER_S:.0f}",
    )
    return Report("Looks", [figure], text, {"highest_per_s": highest[at_once]})


def _simulated(per_s: float, lateness: Lateness, seconds: float) -> Outcome:
    return simulate(Tenant({TYPE: per_s}, lateness), warm_s=seconds - HOUR_S, counted_s=HOUR_S)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    late = (f"{outcome.overdue_s[age_s] / HOUR_S:.1f}" for age_s in LOOKS)
    looks = outcome.per_minute.get("look", 0.0)
    return *late, f"{outcome.per_minute['edge']:.1f}", f"{looks:.1f}", f"{looks / 60 * PAGE_RECORDS:.0f}"
