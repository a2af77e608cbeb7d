"""A run of both connectors on the emulator, and what their pages for Prometheus showed every two seconds."""

import time
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from prometheus_client.parser import text_string_to_metric_families

from tests.emulator import Emulator, Fault
from tests.emulator.emulator import free_ports
from tests.emulator.intake import AUDITS_KEY
from tests.emulator.processes import Connector
from tests.emulator.records import one
from tests.emulator.run import add_live, furnished_tenant

RUN_S = 300.0
EVERY_S = 2.0
# In the middle, Graph answers 503 for so long.
OUTAGE_S = (170.0, 215.0)


@dataclass(frozen=True)
class Sample:
    """One figure at one moment."""

    at_s: float
    name: str
    labels: dict[str, str]
    value: float


def scrape() -> list[Sample]:
    """Runs, and returns what was seen; `job` tells the two processes apart, as Prometheus does."""
    rng = Random(1)  # noqa: S311 - the same run every time, no secret
    tenant = furnished_tenant(datetime.now(UTC))
    samples: list[Sample] = []
    with Emulator(tenant) as emulator, TemporaryDirectory() as name:
        folder = Path(name)
        jobs = {}
        for job, command, key in (
            ("sign-ins", "graph_entra_signins", None),
            ("audits", "graph_entra_audits", AUDITS_KEY),
        ):
            (folder / job).mkdir()
            _, port = free_ports()
            arguments = {"frequency": 20, "start_time": 24}
            environment = emulator.environment(
                data_path=folder / job, connector=arguments, intake_key=key, metrics_port=port
            )
            jobs[job] = port, Connector(command, environment, folder / f"{job}.log")
        began_s = time.monotonic()
        serial = 0
        failing = False
        while (passed_s := time.monotonic() - began_s) < RUN_S:
            for _ in range(3):
                serial += 1
                add_live(tenant, rng, serial)
            if 118 < passed_s < 120.5:
                created = datetime.now(UTC) - timedelta(seconds=2)
                tenant.add("interactiveUser", one("interactiveUser", created, seed=serial, size=300_000))
            if failing != (OUTAGE_S[0] < passed_s < OUTAGE_S[1]):
                failing = not failing
                emulator.graph.faults.clear()
                if failing:
                    emulator.graph.faults.inject(Fault.status(503), times=None)
            for job, (port, connector) in jobs.items():
                connector.check()
                samples += _page(job, port, passed_s)
            time.sleep(max(0.0, EVERY_S - (time.monotonic() - began_s - passed_s)))
        for _, connector in jobs.values():
            connector.stop()
    return samples


def _page(job: str, port: int, at_s: float) -> list[Sample]:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{port}/metrics", timeout=5
        ) as answer:
            text = answer.read().decode()
    except OSError:
        return []  # it is still starting
    now_s = time.time()
    return [
        Sample(at_s, sample.name, {**sample.labels, "job": job, "now": str(now_s)}, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(("graph_entra_", "symphony_"))
    ]
