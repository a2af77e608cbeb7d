"""Each alert of docs/alerts.yml fires in a run that has its trouble, and not in one that has none, by real Prometheus.

Collected only where Debian's package prometheus is installed (tests/conftest.py).
"""

import asyncio
import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from graph_entra.telling import metrics
from tests.emulator import Fault
from tests.integration.rig import Rig, Run
from tests.virtual import VirtualClock

ALERTS = Path(__file__).parents[2] / "docs" / "alerts.yml"
RULES = {rule["alert"]: rule["expr"] for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]}
STREAM = "interactiveUser"
LABELS = {"job": "sign-ins", "instance": "here:8020"}


class Pages:
    """The metrics page of every minute of a run, as OpenMetrics text with its time."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._types: dict[str, str] = {}
        self.last_s = 0.0

    def read(self, now_s: float) -> None:
        """Keeps what the page shows now."""
        self.last_s = now_s
        for family in REGISTRY.collect():
            if not family.name.startswith("graph_entra_"):
                continue
            self._types[family.name] = family.type
            for figure in family.samples:
                if not figure.name.endswith("_created"):
                    labels = ",".join(
                        f"{name}={json.dumps(value)}" for name, value in {**figure.labels, **LABELS}.items()
                    )
                    line = f"{figure.name}{{{labels}}} {figure.value} {now_s:.3f}"
                    self._lines.setdefault(family.name, []).append(line)

    def text(self) -> str:
        """All of it."""
        parts = [f"# TYPE {name} {self._types[name]}\n" + "\n".join(lines) for name, lines in self._lines.items()]
        return "\n".join([*parts, "# EOF", ""])


@contextmanager
def prometheus(pages: Pages, folder: Path) -> Iterator[str]:
    """Runs Prometheus on these pages; yields its address."""
    (folder / "pages").write_text(pages.text())
    (folder / "none.yml").write_text("{}")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", folder / "pages", folder / "data"],
        check=True,
        capture_output=True,
    )
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'none.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=100y",
            "--web.listen-address=127.0.0.1:0",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    address, ready = "", False
    try:
        for line in process.stderr:
            if found := re.search(r"Listening on.*?address=([\d.:\[\]]+)", line):
                address = found[1]
            # The two lines come from two threads, in either order.
            ready = ready or "ready to receive web requests" in line
            if ready and address:
                break
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def firing(pages: Pages, folder: Path) -> set[str]:
    """The alerts whose expression has a result at the end of the run."""
    found = set()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with prometheus(pages, folder) as address:
        for name, expression in RULES.items():
            query = urllib.parse.urlencode({"query": expression, "time": f"{pages.last_s:.3f}"})
            with opener.open(f"{address}/api/v1/query?{query}", timeout=10) as answer:
                if json.load(answer)["data"]["result"]:
                    found.add(name)
    return found


@pytest.fixture(autouse=True)
def _clean() -> None:
    """No figure of another test is on the page."""
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            metric.clear()
    metrics.CLOCK.set(0)


async def collected(rig: Rig, run: Run, pages: Pages, minutes: int) -> None:
    """Lets time pass, with a record every minute and a look at the page."""
    for minute in range(minutes):
        rig.fill(STREAM, count=1, hours=0.0005, seed=10_000 + len(rig.graph_requests) + minute)
        await asyncio.sleep(60)
        run.connector._lag.value_s()
        metrics.problems(run.connector._problems.open())
        pages.read(rig.clock.time())


def test_promtool_has_nothing_to_say() -> None:
    """The file is one that Prometheus loads."""
    checked = subprocess.run(["promtool", "check", "rules", ALERTS], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


async def test_nothing_fires_while_all_is_well(rig: Rig, tmp_path: Path) -> None:
    """An hour of a healthy connector, whose secret lasts."""
    pages = Pages()
    rig.emulator.tenant.secret_expires = rig.clock.now() + timedelta(days=90)
    async with rig.collecting(STREAM, frequency=60) as run:
        await collected(rig, run, pages, 60)
    assert firing(pages, tmp_path) == set()


TROUBLES: dict[str, tuple[set[str], Fault]] = {
    "Graph is down": ({"EntraNotCollecting", "EntraLate", "EntraProblemOpen"}, Fault.status(503)),
    "a storm of 429s": ({"EntraNotCollecting", "EntraLate", "EntraThrottled"}, Fault.retry_after(429, "10")),
}


@pytest.mark.parametrize(("alerts", "fault"), TROUBLES.values(), ids=TROUBLES)
async def test_what_fires_while_graph_does_not_answer(rig: Rig, tmp_path: Path, alerts: set[str], fault: Fault) -> None:
    """Three quarters of an hour of it, after ten good minutes."""
    pages = Pages()
    async with rig.collecting(STREAM, frequency=60) as run:
        await collected(rig, run, pages, 10)
        rig.emulator.graph.faults.inject(fault, times=None)
        await collected(rig, run, pages, 45)
    assert firing(pages, tmp_path) == alerts


async def test_what_fires_while_the_intake_is_down(rig: Rig, tmp_path: Path) -> None:
    """Graph answers, and nothing arrives: that is not collecting either."""
    pages = Pages()
    async with rig.collecting(STREAM, frequency=60) as run:
        await collected(rig, run, pages, 10)
        rig.emulator.intake.faults.inject(Fault.status(503), times=None)
        await collected(rig, run, pages, 45)
    assert firing(pages, tmp_path) == {"EntraNotCollecting", "EntraLate", "EntraProblemOpen"}


async def test_a_secret_that_ends_soon_fires(rig: Rig, tmp_path: Path) -> None:
    """Two weeks ahead, while all is well otherwise."""
    pages = Pages()
    rig.emulator.tenant.secret_expires = rig.clock.now() + timedelta(days=13)
    async with rig.collecting(STREAM, frequency=60) as run:
        await collected(rig, run, pages, 10)
    assert firing(pages, tmp_path) == {"EntraCredentialEnds"}


async def test_a_record_that_graph_cannot_serve_fires(rig: Rig, tmp_path: Path) -> None:
    """Its second is a troubled stretch; new records go on."""
    pages = Pages()
    bad = rig.fill(STREAM, count=40)[20]
    rig.emulator.graph.quirks.spoil(json.loads(bad)["id"])
    async with rig.collecting(STREAM, frequency=60) as run:
        await collected(rig, run, pages, 30)
    assert firing(pages, tmp_path) == {"EntraTroubledStretch"}


async def test_a_record_that_the_intake_refuses_fires(rig: Rig, tmp_path: Path) -> None:
    """It is kept and counted; its neighbours arrive."""
    pages = Pages()
    async with rig.collecting(STREAM, frequency=60) as run:
        await collected(rig, run, pages, 5)
        rig.emulator.intake.refused = {json.loads(rig.fill(STREAM, count=5, hours=0.01, seed=77)[2])["id"]: 400}
        await collected(rig, run, pages, 30)
    assert firing(pages, tmp_path) == {"EntraRecordsRefused"}


async def test_a_clock_that_differs_fires(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's is three hours ahead of Graph's: that is all that is wrong, and the lag is not among it."""
    pages = Pages()
    right = VirtualClock.time
    monkeypatch.setattr(VirtualClock, "now", lambda self: datetime.fromtimestamp(right(self), UTC))
    monkeypatch.setattr(VirtualClock, "time", lambda self: right(self) + 10_800)
    async with rig.collecting(STREAM, frequency=60) as run:
        await collected(rig, run, pages, 10)
    assert firing(pages, tmp_path) == {"EntraClockDiffers"}
