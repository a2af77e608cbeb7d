"""What a benchmark hands back, and how RESULTS.md shows it."""

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

RESULTS_FILE = Path(__file__).with_name("RESULTS.md")
FIGURES_FILE = Path(__file__).with_name("results.json")
COMMAND = "make bench"


@dataclass(frozen=True)
class Figure:
    """One line of the summary; `met` is None where the goal is that the figure be stated."""

    what: str
    goal: str
    reached: str
    met: bool | None = None


@dataclass(frozen=True)
class Report:
    """What one benchmark found.

    Attributes:
        title: its heading.
        figures: for the summary.
        text: how it was measured and what is remarkable, in Markdown.
        values: bare numbers, for tests and for comparison between runs.
    """

    title: str
    figures: list[Figure]
    text: str
    values: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Report":
        return cls(**{**data, "figures": [Figure(**figure) for figure in data["figures"]]})


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def median_of(values: Sequence[float], digits: int = 1) -> str:
    """Returns the median and, of several values, the range."""
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f}, {len(values)} runs)"


def machine() -> str:
    """Returns the machine in a line."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else platform.machine()
    memory_gb = psutil.virtual_memory().total / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory_gb:.0f} GB; {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}"
    )


def summary(figures: Iterable[Figure]) -> str:
    """Returns the table of goals."""
    said = {True: "met", False: "**missed**", None: "stated"}
    return table(("figure", "goal", "reached", ""), [(f.what, f.goal, f.reached, said[f.met]) for f in figures])
