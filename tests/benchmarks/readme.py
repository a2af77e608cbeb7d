"""The figures in README.md's table, from results.json: `python -m tests.benchmarks.readme` writes them anew."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.report import FIGURES_FILE

README_FILE = Path(__file__).parents[2] / "README.md"
# A row of the table, and whose column the figure stands in -> the benchmark, and how its figure begins.
OURS, THE_CONNECTORS = 0, 1
ROWS: Mapping[tuple[str, int], tuple[str, str]] = {
    ("History, records a second", OURS): ("full_speed", "delivered per second"),
    ("A new record, while 300,000 are behind", OURS): ("full_speed", "delay of a live record"),
    ("CPU of a record, whole process", OURS): ("process_cost", "CPU per record"),
    ("CPU of a record, whole process", THE_CONNECTORS): ("process_cost", "the same against a reference reader"),
    ("Memory, at most", OURS): ("full_speed", "peak memory"),
    ("State on disk, 1,000,000 records a day", OURS): ("state_size", "state on disk"),
}
_SAID = {THE_CONNECTORS: "{} that, with a reader that has msgraph-sdk's models in it, too [5]"}


def filled(readme: str, kept: Mapping[str, Any]) -> str:
    """README's text with the figures of results.json.

    Raises:
        LookupError: a row or a figure is not there, or is there twice.
    """
    for (row, column), (benchmark, begins) in ROWS.items():
        reached = [one["reached"] for one in kept[benchmark]["figures"] if one["what"].startswith(begins)]
        pattern = re.compile(rf"^(\| {re.escape(row)} \|(?:[^|\n]*\|){{{column}}})[^|\n]*\|", re.MULTILINE)
        if len(reached) != 1 or len(pattern.findall(readme)) != 1:
            raise LookupError(f"not one figure for {row}: {begins}")
        said = _SAID.get(column, "{}").format(reached[0])
        readme = pattern.sub(lambda found, said=said: f"{found[1]} {said} |", readme)
    return readme


def main() -> None:
    """The command."""
    README_FILE.write_text(filled(README_FILE.read_text(), json.loads(FIGURES_FILE.read_text())))


if __name__ == "__main__":
    main()
