"""README.md shows the figures that were measured last."""

import json

import pytest

from tests.benchmarks.readme import README_FILE, filled
from tests.benchmarks.report import FIGURES_FILE


def test_the_readme_shows_what_was_measured() -> None:
    """Each figure of its table is that of results.json; if not: `python -m tests.benchmarks.readme`."""
    readme = README_FILE.read_text()
    assert filled(readme, json.loads(FIGURES_FILE.read_text())) == readme


def test_a_figure_that_is_gone_is_seen() -> None:
    """A benchmark that calls its figure otherwise does not leave an old one in the README."""
    kept = json.loads(FIGURES_FILE.read_text())
    for figure in kept["process_cost"]["figures"]:
        figure["what"] = "something else"
    with pytest.raises(LookupError):
        filled(README_FILE.read_text(), kept)
