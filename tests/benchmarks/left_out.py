"""An answer that leaves records out at random, differently each time: what is lost, and what finding them costs."""

from graph_entra.streams import DAY_S, HOUR_S
from tests.benchmarks.report import Figure, Report, table
from tests.benchmarks.simulation import PAGE_RECORDS, Tenant, simulate

NAME = "left_out"
TYPE = "nonInteractiveUser"
HISTORY_S = 20 * DAY_S
# So that each record of the simulation is one of Graph's: how much a page holds decides when it is settled.
PER_S = 0.5
# Left out, and the goal: one in so many lost.
CASES = ((0.01, 100_000), (0.10, 1_000))


def run(*, quick: bool = False) -> Report:
    """Simulates a history from which each answer leaves something out."""
    history_s = 2 * DAY_S if quick else HISTORY_S
    rows, figures = [], []
    for left_out, one_in in CASES:
        tenant = Tenant({TYPE: PER_S}, history_s=history_s, left_out=left_out)
        outcome = simulate(tenant, warm_s=0, counted_s=12 * HOUR_S)
        once = PER_S * (history_s - DAY_S) / PAGE_RECORDS
        times = outcome.history_requests / once
        lost = "none" if not outcome.missing else f"1 in {outcome.records / outcome.missing:,.0f}"
        rows.append((f"{left_out:.0%}", f"{outcome.records:,}", outcome.missing, lost, f"{times:.1f}"))
        figures.append(
            Figure(
                f"an answer leaves out {left_out:.0%}, a history of {HISTORY_S // DAY_S} days: lost; requests in "
                "multiples of reading it once",
                f"<= 1 in {one_in:,}",
                f"{outcome.missing} of {outcome.records:,} ({lost}); {times:.1f} times",
                outcome.missing * one_in <= outcome.records,
            )
        )
    text = "\n\n".join(
        [
            "Simulated as above, one type, each record of its own: no record stands for others. History that is older "
            "than a day is read again until a whole reading of a page's stretch brings nothing new.",
            table(("left out of each answer", "records", "never came", "lost", "times read"), rows),
        ]
    )
    return Report("Answers that leave records out", figures, text)
