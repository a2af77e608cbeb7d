"""The Grafana dashboard asks for figures that exist, and shows all of ours."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sekoia_automation.connector.metrics import MetricsMixin

import graph_entra.telling.metrics  # noqa: F401 - it registers ours
from docs.dashboard import PANELS, ROWS, dashboard
from docs.picture import draw, evaluate
from docs.scrape import Sample

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
    """Four rows of three, on Grafana's grid of 24 columns."""
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
    assert len(picture) < 200_000
    for panel in PANELS:
        assert f">{panel.title}<" in picture


def figures(metric: str, *values: float, **labels: str) -> list[Sample]:
    """A figure, read every two seconds."""
    named = {"stream": "s", "lane": "live", "status": "200", "job": "j", **labels}
    return [Sample(2.0 * n, metric, {**named, "now": str(1000.0 + 2 * n)}, value) for n, value in enumerate(values)]


def test_the_picture_computes_as_prometheus_does() -> None:
    """A rate, an age, a sum over labels, and a quotient."""
    assert evaluate("sum by (job) (rate(c[5m]))", figures("c", 0, 2, 4) + figures("c", 0, 4, 8, stream="t")) == {
        (("job", "j"),): [(0.0, 0.0), (2.0, 3.0), (4.0, 3.0)]
    }
    assert list(evaluate('time() - g{stream=~"$stream"}', figures("g", 990, 1000)).values()) == [
        [(0.0, 10.0), (2.0, 2.0)]
    ]
    assert evaluate("max by (lane) (g)", figures("g", 5) + figures("g", 7, stream="t")) == {
        (("lane", "live"),): [(0.0, 7.0)]
    }
    quotient = evaluate(
        "sum by (job) (rate(a[1m])) / sum by (job) (rate(b[1m]))", figures("a", 0, 6) + figures("b", 0, 2)
    )
    assert quotient == {(("job", "j"),): [(2.0, 3.0)]}


def test_the_picture_knows_every_query() -> None:
    """Each form of query that the dashboard uses can be drawn."""
    samples = [sample for metric in OURS | SDKS for sample in figures(metric, 1, 2, 3)]
    drawn = draw(samples)
    assert drawn.count("<polyline") == len(QUERIES)
