"""Real processes against the emulator."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import psutil
import pytest

from tests.emulator import Emulator, Tenant
from tests.emulator.intake import AUDITS_KEY, SIGNINS_KEY
from tests.emulator.processes import ROOT, Connector
from tests.emulator.verdict import canonical

Start = Callable[..., Connector]


@pytest.fixture
def now() -> datetime:
    """The real time, once per test."""
    return datetime.now(UTC)


@pytest.fixture
def tenant() -> Tenant:
    """A tenant without records."""
    return Tenant()


@pytest.fixture
def emulator(tenant: Tenant) -> Iterator[Emulator]:
    """The emulator. Graph's limit is off: these tests are not about it, and the module keeps to it by itself."""
    with Emulator(tenant) as running:
        running.graph.limit = None
        yield running


@pytest.fixture
def start(emulator: Emulator, tmp_path: Path) -> Iterator[Start]:
    """Starts connectors on one data path each; whatever still runs at the end is killed."""
    started: list[Connector] = []

    def run(command: str = "graph_entra_signins", *, data_path: str | None = None, **arguments: Any) -> Connector:
        module = arguments.pop("module", None)
        ports = {name: arguments.pop(name) for name in ("liveness_port", "metrics_port") if name in arguments}
        connector = {"frequency": 5, "start_time": 24, **arguments}
        if command == "graph_entra_signins":
            connector.setdefault("sign_in_types", ["interactiveUser"])
        folder = tmp_path / (data_path or command)
        folder.mkdir(exist_ok=True)
        environment = emulator.environment(
            data_path=folder,
            connector=connector,
            module=module,
            intake_key=arguments.get("intake_key", AUDITS_KEY if command == "graph_entra_audits" else SIGNINS_KEY),
            **ports,
        )
        process = Connector(command, environment, tmp_path / f"{command}.log")
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()


def until(condition: Callable[[], object], timeout_s: float = 40.0) -> None:
    """Waits until the condition holds; fails the test if it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def forms(texts: list[Any]) -> list[str]:
    """Records in a form that can be compared and counted, sorted."""
    return sorted(map(canonical, texts))


class RunProcess:
    """`make run` as a process of its own; a context manager that kills it.

    Args:
        folder: what it leaves behind lies under it.
        variables: what is set in its environment, beside what every process has.
    """

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder / "run"
        self._output = folder / f"output-{uuid4()}"
        own = {"TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "CLIENT_CERTIFICATE", "INTAKE_KEY", "INTAKE_URL", "CLOUD"}
        plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment = {name: value for name, value in plain.items() if name not in own}
        with self._output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.emulator.run"],
                cwd=ROOT,
                env={**environment, "RUN_FOLDER": str(self.folder), **variables},
                stdout=out,
                stderr=out,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        processes: list[Any] = [*self.connectors(), self.process]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def said(self) -> str:
        """Its output so far."""
        return self._output.read_text()

    def kept(self) -> list[str]:
        """The records kept so far."""
        return [line for file in self.folder.rglob("events.jsonl") for line in file.read_text().splitlines()]

    def connectors(self) -> list[psutil.Process]:
        """The connectors that it has started and that run, without what they have forked themselves."""
        try:
            children = psutil.Process(self.process.pid).children()
            return [child for child in children if "main.py" in child.cmdline()]
        except psutil.NoSuchProcess:
            return []
