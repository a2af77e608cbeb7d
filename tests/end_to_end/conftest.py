"""Real processes against the emulator."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.emulator import Emulator, Tenant
from tests.emulator.intake import AUDITS_KEY, SIGNINS_KEY
from tests.emulator.processes import Connector
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


def forms(texts: list[Any]) -> list[bytes]:
    """Records in a form that can be compared and counted, sorted."""
    return sorted(map(canonical, texts))
