"""The Grafana dashboard: `python -m docs.dashboard` writes docs/grafana-dashboard.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
STREAM = '{stream=~"$stream"}'
ROWS = ("Flow", "Freshness", "Coverage", "Problems", "Requests")


@dataclass(frozen=True)
class Panel:
    """One graph: in which row, what it shows, in which unit of Grafana's, and which queries with their legends."""

    row: str
    title: str
    what: str
    unit: str
    queries: tuple[tuple[str, str], ...]


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
        "Late: Graph showed them so late that only a second look found them. Updated: pushed again because Graph "
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
        "How long a record that is created now would have to wait: Microsoft's own delay and ours while records flow, "
        "0 while none comes. It grows while records cannot be read or pushed: the log says why.",
        "s",
        (
            (f"graph_entra_lag_seconds{STREAM}", "{{stream}}"),
            ("max by (job) (symphony_module_common_events_lags)", "{{job}}, as the SDK shows it"),
        ),
    ),
    Panel(
        "Freshness",
        "Time since the last poll that brought all",
        "Stays under the time between polls. What climbs is not read: the log says why.",
        "s",
        (
            (f"time() - graph_entra_last_success_seconds{STREAM}", "{{stream}}"),
            (f"time() - graph_entra_edge_position_seconds{STREAM}", "{{stream}}, by creation"),
        ),
    ),
    Panel(
        "Freshness",
        "Look-back of polls",
        "How far a poll reaches back for records that Graph shows late: as far as is free.",
        "s",
        ((f"graph_entra_look_back_seconds{STREAM}", "{{stream}}"),),
    ),
    Panel(
        "Coverage",
        "History and gaps left",
        "Stretch of time that was never read, after a first start or an outage.",
        "s",
        ((f"graph_entra_unread_seconds{STREAM}", "{{stream}}"),),
    ),
    Panel(
        "Coverage",
        "Second looks overdue",
        "How late the oldest look at 15 minutes, 2 hours and 24 hours of age is. What climbs lacks Graph's limit.",
        "s",
        ((f"max by (age) (graph_entra_look_overdue_seconds{STREAM})", "{{age}}"),),
    ),
    Panel(
        "Coverage",
        "Troubled stretches",
        "Stretches that Graph cannot serve at present; everything around them is read. The log names their bounds.",
        "short",
        (
            (f"sum by (stream) (graph_entra_troubled_stretches{STREAM})", "{{stream}}"),
            (f"sum by (job) (graph_entra_troubled_seconds{STREAM})", "{{job}} seconds"),
        ),
    ),
    Panel(
        "Problems",
        "Open problems",
        "By kind; the log names each, with its remedy.",
        "short",
        (("sum by (job, kind) (graph_entra_problems_open) > 0", "{{job}} {{kind}}"),),
    ),
    Panel(
        "Problems",
        "Pushes that failed, in the last hour",
        "passes: the intake was down or busy. content: it refused a batch for what was in it. person: the key or the "
        "address is wrong.",
        "short",
        (("sum by (job, kind) (increase(graph_entra_pushes_failed_total[1h]))", "{{job}} {{kind}}"),),
    ),
    Panel(
        "Problems",
        "Days until the credential ends, and the clock",
        "Of the app registration's secret or certificate, if Directory.Read.All lets the module see it; and by how "
        "many seconds this machine's clock is ahead of Microsoft's.",
        "short",
        (
            ("min by (credential) (graph_entra_credential_end_seconds - time()) / 86400", "{{credential}}, days"),
            ("max by (job) (graph_entra_clock_difference_seconds)", "{{job}} clock, seconds"),
        ),
    ),
    Panel(
        "Requests",
        "Requests to Graph per second, by status",
        "Microsoft allows 0.5 for one application in one tenant. 0 is no answer.",
        "reqps",
        ((_rate("graph_entra_requests_total", "status"), "{{status}}"),),
    ),
    Panel(
        "Requests",
        "Throttled per second",
        "Answers of 429. Some are normal where two connectors share an application.",
        "reqps",
        ((_rate("graph_entra_throttled_total", "stream"), "{{stream}}"),),
    ),
    Panel(
        "Requests",
        "Between two requests, in flight, and pushes",
        "2.02 s between requests while Graph is content, more while it throttles; windows that are being read; and "
        "the mean duration of a push. Forwarded: as the SDK counts.",
        "short",
        (
            ("max by (job) (graph_entra_request_spacing_seconds)", "{{job}} s between requests"),
            ("max by (job) (graph_entra_windows_in_flight)", "{{job}} windows"),
            (
                "sum by (job) (rate(symphony_module_common_forward_events_duration_sum[$__rate_interval])) / sum by "
                "(job) (rate(symphony_module_common_forward_events_duration_count[$__rate_interval]))",
                "{{job}} s a push",
            ),
            (
                "sum by (job) (rate(symphony_module_common_forwarded_events_total[$__rate_interval]))",
                "{{job}} forwarded/s",
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
                            "min": 0,
                            "custom": {
                                "lineWidth": 1,
                                "fillOpacity": 8,
                                "showPoints": "never",
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


if __name__ == "__main__":
    (FOLDER / "grafana-dashboard.json").write_text(json.dumps(dashboard(), indent=2))
