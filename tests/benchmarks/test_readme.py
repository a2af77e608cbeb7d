"""README.md shows the figures that were measured last."""

import json

import pytest

from tests.benchmarks.readme import CELLS, NOT_MEASURED, README_FILE, filled
from tests.benchmarks.report import FIGURES_FILE


def test_the_readme_shows_what_was_measured() -> None:
    """Each figure of its table is that of results.json; if not: `python -m tests.benchmarks.readme`."""
    readme = README_FILE.read_text()
    assert filled(readme, json.loads(FIGURES_FILE.read_text())) == readme


def test_a_figure_that_is_gone_leaves_no_old_one() -> None:
    """Where nothing was measured, the table says so."""
    assert filled(README_FILE.read_text(), {}).count(f" {NOT_MEASURED} |") == len(CELLS)


def test_a_row_that_is_gone_is_seen() -> None:
    """No figure gets lost in silence."""
    with pytest.raises(LookupError):
        filled(README_FILE.read_text().replace("| Memory, at most |", "| Memory |"), {})
