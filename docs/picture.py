"""The dashboard's panels, drawn as SVG from what was scraped: the queries are the dashboard's own."""

import math
import re
from collections import defaultdict
from html import escape

from docs.dashboard import PANELS, ROWS, Panel
from docs.scrape import RUN_S, Sample

WIDTH, COLUMN, HEIGHT, HEAD = 1320, 440, 250, 34
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#fade2a", "#96d98d", "#ffb357")
WINDOW_S = 24.0
Line = list[tuple[float, float]]

_QUERY = re.compile(
    r"^(?:(?P<fold>sum|max) by \((?P<by>\w+)\) \()?(?P<age>time\(\) - )?(?:(?P<kind>rate|increase)\()?"
    r"(?P<metric>\w+)(?:\{[^}]*\})?(?:\[[^]]*\])?\)*$"
)


def evaluate(query: str, samples: list[Sample]) -> dict[tuple[tuple[str, str], ...], Line]:
    """The few forms of PromQL that the dashboard uses."""
    if " / " in query:
        above, below = (evaluate(part, samples) for part in query.split(" / "))
        return {
            key: [(t, a / b) for (t, a), (_, b) in zip(line, below[key], strict=True) if b > 0]
            for key, line in above.items()
        }
    form = _QUERY.match(query)
    if form is None:
        raise ValueError(f"not a form that is known here: {query}")
    series: dict[tuple[tuple[str, str], ...], Line] = defaultdict(list)
    for sample in samples:
        if sample.name == form["metric"]:
            labels = tuple(sorted((name, text) for name, text in sample.labels.items() if name != "now"))
            value = float(sample.labels["now"]) - sample.value if form["age"] else sample.value
            series[labels].append((sample.at_s, value))
    if form["kind"]:
        series = {key: _change(line, per_second=form["kind"] == "rate") for key, line in series.items()}
    if not form["fold"]:
        return dict(series)
    folded: dict[tuple[tuple[str, str], ...], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for labels, line in series.items():
        for at_s, value in line:
            folded[((form["by"], dict(labels)[form["by"]]),)][at_s].append(value)
    fold = sum if form["fold"] == "sum" else max
    return {key: sorted((at_s, float(fold(values))) for at_s, values in at.items()) for key, at in folded.items()}


def _change(line: Line, *, per_second: bool) -> Line:
    changed = []
    for at_s, value in line:
        start_s, before = next(point for point in line if point[0] >= at_s - (WINDOW_S if per_second else 3600.0))
        span_s = at_s - start_s
        changed.append((at_s, (value - before) / span_s if per_second and span_s else (value - before)))
    return changed


def draw(samples: list[Sample]) -> str:
    """The whole picture."""
    parts = []
    y = 58
    for row in ROWS:
        parts.append(f'<text x="16" y="{y + 20}" class="row">{row}</text>')
        for place, panel in enumerate(panel for panel in PANELS if panel.row == row):
            parts.append(_panel(panel, samples, place * COLUMN, y + HEAD))
        y += HEAD + HEIGHT
    style = (
        "text{fill:#ccccdc}.row{font-size:16px;font-weight:600}.small{font-size:10.5px;fill:#9d9daf}"
        ".title{font-size:13px;font-weight:600}polyline{fill:none;stroke-width:1.6}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 14}" '
        f'font-family="Inter, Helvetica, Arial, sans-serif" font-size="12"><style>{style}</style>'
        f'<rect width="{WIDTH}" height="{y + 14}" fill="#111217"/>'
        '<text x="16" y="30" font-size="20" font-weight="600">Microsoft Entra ID (Graph API)</text>'
        '<text x="16" y="49" class="small">Drawn from a run of both connectors on the emulator: five minutes, a day of '
        "history first, Graph down from 2:50 to 3:35.</text>" + "".join(parts) + "</svg>"
    )


def _panel(panel: Panel, samples: list[Sample], x: int, y: int) -> str:
    lines: list[tuple[str, Line]] = []
    for query, legend in panel.queries:
        for labels, line in sorted(evaluate(query, samples).items()):
            lines.append((re.sub(r"{{(\w+)}}", lambda m, of=dict(labels): of.get(m[1], ""), legend), line))
    lines = [(name, line) for name, line in lines if line]
    left, right, top, bottom = x + 62, x + COLUMN - 20, y + 34, y + HEIGHT - 66
    values = [value for _, line in lines for _, value in line]
    high = _round_up(max(values, default=1.0) or 1.0)
    low = 1.0 if panel.log else 0.0
    high = 10.0 ** math.ceil(math.log10(max(high, 10.0))) if panel.log else high

    def place(at_s: float, value: float) -> str:
        share = math.log10(max(value, low)) / math.log10(high) if panel.log else max(0.0, value) / high
        return f"{left + at_s / RUN_S * (right - left):.0f},{bottom - share * (bottom - top):.1f}"

    ticks = [10.0**n for n in range(int(math.log10(high)) + 1)] if panel.log else [high * n / 4 for n in range(5)]
    parts = [
        f'<rect x="{x + 8}" y="{y}" width="{COLUMN - 12}" height="{HEIGHT - 10}" rx="3" fill="#181b1f"/>',
        f'<text x="{x + 20}" y="{y + 21}" class="title">{escape(panel.title)}</text>',
    ]
    for tick in ticks:
        height = place(0, tick).split(",")[1]
        label = _label(tick, panel.unit)
        parts.append(f'<path d="M{left} {height}H{right}" stroke="#2c3235"/>')
        parts.append(f'<text x="{left - 6}" y="{float(height) + 4}" text-anchor="end" class="small">{label}</text>')
    for minute in range(int(RUN_S // 60) + 1):
        at = place(minute * 60, low).split(",")[0]
        parts.append(f'<text x="{at}" y="{bottom + 15}" text-anchor="middle" class="small">{minute}:00</text>')
    legend_x, legend_y = x + 20, bottom + 32
    for number, (name, line) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(place(at_s, value) for at_s, value in line)
        parts.append(f'<polyline points="{points}" stroke="{colour}"/>')
        width = 22 + 5.6 * len(name)
        if legend_x + width > x + COLUMN - 10:
            legend_x, legend_y = x + 20, legend_y + 13
        parts.append(f'<path d="M{legend_x} {legend_y - 4}h10" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{legend_x + 14}" y="{legend_y}" class="small">{escape(name)}</text>')
        legend_x += int(width)
    return "".join(parts)


def _round_up(value: float) -> float:
    size = 10.0 ** math.floor(math.log10(value))
    return next(step * size for step in (1, 2, 4, 5, 8, 10) if step * size >= value * 0.999)


def _label(value: float, unit: str) -> str:
    if unit == "s" and value >= 3600:
        return f"{value / 3600:g} h" if value % 900 == 0 else f"{value / 3600:.1f} h"
    if unit == "s" and value >= 120:
        return f"{value / 60:.3g} min"
    return f"{value:.3g}" + {"s": " s", "cps": "/s", "reqps": "/s"}.get(unit, "")
