"""The Grafana dashboard asks for figures that exist, and shows all of ours."""

import json
import re
from html import escape
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sekoia_automation.connector.metrics import MetricsMixin

import graph_entra.telling.metrics  # noqa: F401 - it registers ours
from docs.dashboard import PANELS, ROWS, dashboard

DOCS = Path(__file__).parents[2] / "docs"
OURS = {
    sample
    for metric in REGISTRY.collect()
    if metric.name.startswith("graph_entra_")
    for sample in ([f"{metric.name}_total"] if metric.type == "counter" else [metric.name])
}
SDKS = {
    f"{MetricsMixin._prometheus_namespace}_{name}"
    for name in (
        "forwarded_events_total",
        "discarded_events_total",
        "events_lags",
        "forward_events_duration_sum",
        "forward_events_duration_count",
    )
}
QUERIES = [query for panel in PANELS for query, _ in panel.queries]


def asked(query: str) -> set[str]:
    """The metrics that a query names."""
    return set(re.findall(r"\b(?:graph_entra|symphony)_\w+", query))


def test_the_file_is_what_the_script_writes() -> None:
    """If this fails, run `python -m docs.dashboard`; the form is the one that the catalogue's checker wants."""
    assert (DOCS / "grafana-dashboard.json").read_text() == json.dumps(dashboard(), indent=2)


@pytest.mark.parametrize("query", QUERIES)
def test_every_figure_that_is_asked_for_exists(query: str) -> None:
    """A metric that was renamed would leave an empty panel."""
    assert asked(query)
    assert asked(query) <= OURS | SDKS


def test_every_figure_of_ours_is_shown() -> None:
    """A metric that nobody sees helps nobody."""
    assert set().union(*map(asked, QUERIES)) >= OURS


def test_every_row_has_panels_that_do_not_overlap() -> None:
    """Five rows of three, on Grafana's grid of 24 columns."""
    cells = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in dashboard()["panels"]
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert {panel.row for panel in PANELS} == set(ROWS)
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


def test_the_picture_shows_every_panel() -> None:
    """It is of this dashboard, and small enough for a page."""
    picture = (DOCS / "dashboard.svg").read_text()
    assert len(picture) < 150_000
    for panel in PANELS:
        assert f">{escape(panel.title)}<" in picture


def test_every_figure_of_an_alert_exists() -> None:
    """A metric that was renamed would never fire; tests/integration/test_alerts.py evaluates each expression."""
    assert asked((DOCS / "alerts.yml").read_text()) <= OURS
