"""A picture of the dashboard: `python -m docs.dashboard_picture` runs both connectors on the emulator for five minutes.

A real Prometheus (Debian's package) reads their pages and computes the panels' own queries; the lines are drawn from
its answers. In the middle Graph answers 503 for three quarters of a minute.
"""

import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docs.dashboard import FOLDER, PANELS, ROWS, Panel
from tests.emulator import Emulator, Fault
from tests.emulator.intake import AUDITS_KEY
from tests.emulator.processes import Connector
from tests.emulator.programme import Programme

RUN_S = 300.0
OUTAGE_S = (170.0, 215.0)
EVERY_S = 2
CAPTION = (
    "Five minutes of both connectors on the emulator, computed by Prometheus: a day of history first, one record that "
    "Graph cannot serve, a short outage of the intake, Graph down from 2:50 to 3:35."
)
COLUMN, HEIGHT = 420, 204
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffa6b0", "#96d98d", "#ffcb7d")
Line = list[tuple[float, float]]


def run(folder: Path) -> list[list[tuple[str, Line]]]:
    """Runs, and returns the lines of each panel with their names."""
    metrics_of = {job: _free_port() for job in ("sign-ins", "audits")}
    prometheus, port = _prometheus(folder, metrics_of)
    with Emulator(Programme.furnished(datetime.now(UTC))) as emulator:
        programme = Programme(emulator, emulator.clock())
        programme.begin()
        connectors = []
        for job, command, key in (
            ("sign-ins", "graph_entra_signins", None),
            ("audits", "graph_entra_audits", AUDITS_KEY),
        ):
            (folder / job).mkdir()
            environment = emulator.environment(
                data_path=folder / job,
                connector={"frequency": 20, "start_time": 24},
                intake_key=key,
                metrics_port=metrics_of[job],
            )
            connectors.append(Connector(command, environment, folder / f"{job}.log"))
        began_s, wall_s, failing = time.monotonic(), time.time(), False
        while (passed_s := time.monotonic() - began_s) < RUN_S:
            programme.step(None)
            if failing != (OUTAGE_S[0] < passed_s < OUTAGE_S[1]):
                failing = not failing
                emulator.graph.faults.clear()
                if failing:
                    emulator.graph.faults.inject(Fault.status(503), times=None)
            time.sleep(1.0)
        lines = [_lines(port, panel, wall_s) for panel in PANELS]
        for connector in connectors:
            connector.stop()
    prometheus.kill()
    prometheus.wait()
    return lines


def _prometheus(folder: Path, metrics_of: dict[str, int]) -> tuple[subprocess.Popen[bytes], int]:
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in metrics_of.items()
    ]
    (folder / "prometheus.yml").write_text(
        json.dumps({"global": {"scrape_interval": f"{EVERY_S}s", "scrape_timeout": "1s"}, "scrape_configs": jobs})
    )
    port = _free_port()
    process = subprocess.Popen(  # noqa: S603 - a fixed command line
        [  # noqa: S607 - wherever Debian's package put it
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=subprocess.DEVNULL,
    )
    return process, port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lines(port: int, panel: Panel, wall_s: float) -> list[tuple[str, Line]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    found = []
    for query, legend in panel.queries:
        asked = query.replace("$__rate_interval", "30s").replace("$stream", ".*")
        span = {"query": asked, "start": wall_s, "end": wall_s + RUN_S, "step": 2 * EVERY_S}
        address = f"http://127.0.0.1:{port}/api/v1/query_range?{urllib.parse.urlencode(span)}"
        with opener.open(address, timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        for series in result:
            name = re.sub(r"{{(\w+)}}", partial(_label, series["metric"]), legend)
            points = [(at_s - wall_s, float(value)) for at_s, value in series["values"] if value != "NaN"]
            found.append((name, points))
    return sorted(found)


def _label(labels: dict[str, str], found: re.Match[str]) -> str:
    return labels.get(found[1], "")


def draw(lines: list[list[tuple[str, Line]]]) -> str:
    """The picture, as SVG."""
    parts = []
    for number, (panel, drawn) in enumerate(zip(PANELS, lines, strict=True)):
        row, column = divmod(number, 3)
        parts.append(_panel(panel, drawn, column * COLUMN, 66 + row * HEIGHT))
    width, height = 3 * COLUMN, 66 + len(ROWS) * HEIGHT + 10
    style = "text{fill:#ccccdc}.s{fill:#8e8e99;font-size:10px}polyline{fill:none;stroke-width:1.5}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, '
        f'sans-serif" font-size="12"><style>{style}</style><rect width="{width}" height="{height}" fill="#111217"/>'
        '<text x="16" y="30" font-size="20">Microsoft Entra ID (Graph API)</text>'
        f'<text x="16" y="50" class="s">{CAPTION}</text>' + "".join(parts) + "</svg>"
    )


def _panel(panel: Panel, lines: list[tuple[str, Line]], x: int, y: int) -> str:
    left, right, top, bottom = x + 52, x + COLUMN - 18, y + 32, y + HEIGHT - 84
    high = max((value for _, line in lines for _, value in line), default=0.0) * 1.05 or 1.0
    parts = [
        f'<rect x="{x + 8}" y="{y}" width="{COLUMN - 12}" height="{HEIGHT - 8}" fill="#181b1f"/>',
        f'<text x="{x + 18}" y="{y + 19}">{escape(panel.title)}</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        height = bottom - share * (bottom - top)
        parts.append(f'<path d="M{left} {height:.0f}H{right}" stroke="#2c3235"/>')
        parts.append(f'<text x="{left - 5}" y="{height + 4:.0f}" text-anchor="end" class="s">{high * share:.3g}</text>')
    for minute in range(6):
        at = left + minute / 5 * (right - left)
        parts.append(f'<text x="{at:.0f}" y="{bottom + 13}" text-anchor="middle" class="s">{minute}:00</text>')
    legend_x, legend_y = x + 18, bottom + 27
    for number, (name, line) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(
            f"{left + at_s / RUN_S * (right - left):.0f},{bottom - max(0.0, value) / high * (bottom - top):.0f}"
            for at_s, value in line
        )
        parts.append(f'<polyline points="{points}" stroke="{colour}"/>')
        width = 20 + 5.2 * len(name)
        if legend_x + width > x + COLUMN - 8:
            legend_x, legend_y = x + 18, legend_y + 11
        parts.append(f'<path d="M{legend_x} {legend_y - 3}h9" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{legend_x + 13}" y="{legend_y}" class="s">{escape(name)}</text>')
        legend_x += int(width)
    return "".join(parts)


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        (FOLDER / "dashboard.svg").write_text(draw(run(Path(name))))
