"""Memory with pages of 1,000 records of 20 KB: 20 MB of JSON each."""

from tests.benchmarks.full_speed import read
from tests.benchmarks.report import Report, table

NAME = "large_records"
GOAL_MB = 320


def run(*, quick: bool = False) -> Report:
    """Reads sixty such pages."""
    large = read(10_000 if quick else 60_000, 20_000, live_per_s=0.0)
    text = "\n\n".join(
        [
            f"As above, {large.records:,} records of 20 KB. Every record holds some text outside ASCII, so that Python "
            "keeps each character of it in 2 or 4 bytes.",
            table(("", "20 KB records"), large.rows()),
        ]
    )
    figure = large.memory_figure("pages of 1,000 records of 20 KB", GOAL_MB)
    return Report("Memory with large records", [figure], text, {"peak_mb": large.peak_mb})
