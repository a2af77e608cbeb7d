"""The figures in README.md's table, from results.json: `python -m tests.benchmarks.readme` writes them anew."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.report import FIGURES_FILE

README_FILE = Path(__file__).parents[2] / "README.md"
NOT_MEASURED = "not measured yet"


@dataclass(frozen=True)
class Cell:
    """One cell: its row, the benchmark whose figure it shows, how that figure begins, and what is said of it."""

    row: str
    benchmark: str
    begins: str
    said: str = "{}"
    column: int = 1


LATENESS = "shown to intake at {} records/s. Records shown 1 to 5 min"
CELLS = (
    Cell("Shown to intake, at 1 record/s", "lateness", LATENESS.format(1)),
    Cell("Shown to intake, at 100 records/s", "lateness", LATENESS.format(100)),
    Cell("A new record, while 300,000 are behind", "full_speed", "delay of a live record"),
    Cell("History, records a second", "full_speed", "delivered per second"),
    Cell("History, while each answer takes 20 s", "history", "history: one type, answers after 20 s", "{} of 500"),
    Cell("Two connectors on one account, both with history", "shared_limit", "limit used: both with backlog"),
    Cell("Every look on time, up to", "looks", "the highest rate", "{} at best by arithmetic"),
    Cell("Missing, where answers leave out 1 %", "left_out", "an answer leaves out 1%", "{} the requests"),
    Cell("Missing, where answers leave out 10 %", "left_out", "an answer leaves out 10%", "{} the requests"),
    Cell("CPU of a record, whole process", "process_cost", "CPU per record"),
    Cell(
        "CPU of a record, whole process",
        "process_cost",
        "the same against a reference reader",
        "{} that, in a reader with typed models [5]",
        column=2,
    ),
    Cell("Memory, at most", "full_speed", "peak memory"),
    Cell("State on disk, 1,000,000 records a day", "state_size", "state on disk"),
)


def filled(readme: str, kept: Mapping[str, Any]) -> str:
    """README's text with the figures of results.json.

    Raises:
        LookupError: a row is not there, or is there twice.
    """
    for cell in CELLS:
        before = rf"^\| {re.escape(cell.row)} \|" + r"[^|\n]*\|" * (cell.column - 1)
        pattern = re.compile(rf"({before})[^|\n]*\|", re.MULTILINE)
        if len(pattern.findall(readme)) != 1:
            raise LookupError(f"README.md has not one row {cell.row!r}")
        text = _text(cell, kept)
        readme = pattern.sub(lambda found, text=text: f"{found[1]} {text} |", readme)
    return readme


def _text(cell: Cell, kept: Mapping[str, Any]) -> str:
    figures = kept.get(cell.benchmark, {}).get("figures", ())
    reached = [figure["reached"] for figure in figures if figure["what"].startswith(cell.begins)]
    return cell.said.format(reached[0]) if reached else NOT_MEASURED


def main() -> None:
    """The command."""
    README_FILE.write_text(filled(README_FILE.read_text(), json.loads(FIGURES_FILE.read_text())))


if __name__ == "__main__":
    main()
