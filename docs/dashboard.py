"""The Grafana dashboard, and a picture of it from a run on the emulator.

python -m docs.dashboard          writes docs/grafana-dashboard.json
python -m docs.dashboard --draw   besides runs both connectors for five minutes and draws docs/dashboard.svg
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
STREAM = '{stream=~"$stream"}'
ROWS = ("Flow", "Freshness", "Lanes", "Budget")


@dataclass(frozen=True)
class Panel:
    """One graph: in which row, what it shows, in which unit of Grafana's, and which queries with their legends."""

    row: str
    title: str
    what: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    log: bool = False


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{STREAM}[$__rate_interval]))"


PANELS = (
    Panel(
        "Flow",
        "Records per second",
        "Acknowledged by the intake, updates included.",
        "cps",
        ((_rate("graph_entra_records_delivered_total", "stream"), "{{stream}}"),),
    ),
    Panel(
        "Flow",
        "Late and updated per second",
        "Late: Graph showed them so late that only a settle lane found them. Updated: pushed again because Graph "
        "changed them.",
        "cps",
        (
            (_rate("graph_entra_records_late_total", "job"), "{{job}} late"),
            (_rate("graph_entra_records_updated_total", "job"), "{{job}} updated"),
        ),
    ),
    Panel(
        "Flow",
        "Cut and refused in the last hour",
        "Records over 250,000 characters, delivered in part, and records that the intake refuses, kept in "
        "refused.jsonl. Both should be 0; the log names each.",
        "short",
        (
            (f"sum by (job) (increase(graph_entra_records_cut_total{STREAM}[1h]))", "{{job}} cut"),
            (f"sum by (job) (increase(graph_entra_records_refused_total{STREAM}[1h]))", "{{job}} refused"),
        ),
    ),
    Panel(
        "Freshness",
        "Lag",
        "Age of the newest live record when it was delivered: Microsoft's own delay and ours. 0 while none comes.",
        "s",
        ((f"graph_entra_lag_seconds{STREAM}", "{{stream}}"),),
    ),
    Panel(
        "Freshness",
        "Time since the last successful poll",
        "Stays under the time between polls. What climbs is not read: the log says why.",
        "s",
        ((f"time() - graph_entra_last_success_seconds{STREAM}", "{{stream}}"),),
    ),
    Panel(
        "Freshness",
        "Forwarded and lag, as the SDK counts",
        "The figures that every Sekoia.io connector has: records per second, and the lag of its newest record.",
        "short",
        (
            (
                "sum by (job) (rate(symphony_module_common_forwarded_events_total[$__rate_interval]))",
                "{{job}} records/s",
            ),
            ("max by (job) (symphony_module_common_events_lags)", "{{job}} lag in s"),
        ),
    ),
    Panel(
        "Lanes",
        "How far each lane is behind",
        "live: seconds. The settle lanes: their age and a little more; what climbs lacks request budget.",
        "s",
        ((f"max by (lane) (time() - graph_entra_lane_position_seconds{STREAM})", "{{lane}}"),),
        log=True,
    ),
    Panel(
        "Lanes",
        "Backlog left",
        "Stretch of time that still has to be read, after a first start or an outage.",
        "s",
        ((f"graph_entra_backlog_seconds{STREAM}", "{{stream}}"),),
    ),
    Panel(
        "Lanes",
        "Overlap of live passes",
        "How far a live pass reaches back: 300 s, less where the request budget does not suffice.",
        "s",
        ((f"graph_entra_overlap_seconds{STREAM}", "{{stream}}"),),
    ),
    Panel(
        "Budget",
        "Requests to Graph per second, by status",
        "Microsoft allows 0.5 for one application in one tenant. 0 is no answer.",
        "reqps",
        ((_rate("graph_entra_requests_total", "status"), "{{status}}"),),
    ),
    Panel(
        "Budget",
        "Throttled per second",
        "Answers of 429. Some are normal where two connectors share an application.",
        "reqps",
        ((_rate("graph_entra_throttled_total", "stream"), "{{stream}}"),),
    ),
    Panel(
        "Budget",
        "Time between two requests, and pushes",
        "2.02 s while Graph is content, up to 16 s while it throttles; and the mean duration of a push.",
        "s",
        (
            ("max by (job) (graph_entra_request_spacing_seconds)", "{{job}} between requests"),
            (
                "sum by (job) (rate(symphony_module_common_forward_events_duration_sum[$__rate_interval])) / sum by "
                "(job) (rate(symphony_module_common_forward_events_duration_count[$__rate_interval]))",
                "{{job}} a push",
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """Grafana's model of it."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    shown: list[dict[str, Any]] = []
    y = 0
    for row in ROWS:
        shown.append({"id": len(shown) + 1, "type": "row", "title": row, "gridPos": _grid(0, y, 24, 1), "panels": []})
        for place, panel in enumerate(panel for panel in PANELS if panel.row == row):
            shown.append(
                {
                    "id": len(shown) + 1,
                    "type": "timeseries",
                    "title": panel.title,
                    "description": panel.what,
                    "datasource": source,
                    "gridPos": _grid(8 * place, y + 1, 8, 8),
                    "fieldConfig": {
                        "defaults": {
                            "unit": panel.unit,
                            "min": None if panel.log else 0,
                            "custom": {
                                "lineWidth": 1,
                                "fillOpacity": 8,
                                "showPoints": "never",
                                "scaleDistribution": {"type": "log", "log": 10} if panel.log else {"type": "linear"},
                            },
                        },
                        "overrides": [],
                    },
                    "options": {
                        "legend": {"displayMode": "list", "placement": "bottom"},
                        "tooltip": {"mode": "multi", "sort": "desc"},
                    },
                    "targets": [
                        {"refId": chr(ord("A") + n), "datasource": source, "expr": expr, "legendFormat": legend}
                        for n, (expr, legend) in enumerate(panel.queries)
                    ],
                }
            )
        y += 9
    return {
        "title": "Microsoft Entra ID (Graph API)",
        "uid": "graph-entra",
        "description": "The module graph_entra: sign-in logs and directory audit logs to Sekoia.io.",
        "tags": ["sekoia.io", "entra"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                {
                    "name": "stream",
                    "label": "Stream",
                    "type": "query",
                    "datasource": source,
                    "query": "label_values(graph_entra_records_delivered_total, stream)",
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": shown,
    }


def _grid(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def main() -> None:
    """The command."""
    (FOLDER / "grafana-dashboard.json").write_text(json.dumps(dashboard(), indent=2))
    if "--draw" in sys.argv:
        from docs.picture import draw
        from docs.scrape import scrape

        (FOLDER / "dashboard.svg").write_text(draw(scrape()))


if __name__ == "__main__":
    main()
