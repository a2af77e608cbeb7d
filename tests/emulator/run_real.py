"""`make run` with TENANT_ID, CLIENT_ID and CLIENT_SECRET: the real Graph, and Sekoia.io only with INTAKE_KEY.

The secret goes to the connectors as the platform hands it over, by its secrets API (here on loopback); it is on no
command line, in no file and in no output. Without INTAKE_KEY the intake is the emulated one, which keeps the records.
"""

import os
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import orjson
from rich.console import Console

from tests.emulator import Emulator, PushedEvent, Tenant
from tests.emulator.intake import AUDITS_KEY, SIGNINS_KEY
from tests.emulator.processes import Connector

RUN_S = 115.0
SEKOIA_INTAKE = "https://intake.sekoia.io"
# What the emulator sets so that its private authority is trusted: the real hosts have certificates of their own.
_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


def real(folder: Path) -> int:
    """Reads the real tenant; returns the exit status: 0 if both connectors ran and ended well."""
    console = Console()
    given = os.environ
    to_sekoia = given.get("INTAKE_KEY")
    follow = given.get("FOLLOW", "") not in ("", "0")
    tenant = Tenant(tenant_id=given["TENANT_ID"], client_id=given["CLIENT_ID"], client_secret=given["CLIENT_SECRET"])
    counts: Counter[str] = Counter()
    with Emulator(tenant) as emulator, (folder / "events.jsonl").open("a") as kept:

        def keep(events: list[PushedEvent]) -> None:
            for event in events:
                kept.write(event.text + "\n")
                counts[event.intake_key] += 1
            kept.flush()

        emulator.intake.keep = keep
        connectors = [
            Connector(command, _environment(emulator, folder / name, key), folder / f"{name}.log")
            for command, name, key in (
                ("graph_entra_signins", "signins", SIGNINS_KEY),
                ("graph_entra_audits", "audits", AUDITS_KEY),
            )
        ]
        where = "Sekoia.io" if to_sekoia else f"{folder.name}/events.jsonl"
        console.print(f"Reading {tenant.tenant_id} from the real Graph into {where}; Ctrl-C ends it.", soft_wrap=True)
        shown = 0
        began = time.monotonic()
        try:
            while follow or time.monotonic() - began < RUN_S:
                time.sleep(5)
                for connector in connectors:
                    connector.check()
                lines = emulator.platform.logs[shown:]
                shown += len(lines)
                for line in lines:
                    text = f"{line['level']}: {line['message']}"
                    console.print(text, soft_wrap=True, markup=False, highlight=False)
                console.print(f"{datetime.now(UTC):%H:%M:%S}  {_progress(counts, folder, to_sekoia)}", highlight=False)
        except KeyboardInterrupt:
            console.print("Stopping.")
        statuses = [connector.stop() for connector in connectors]
    console.print(f"{_progress(counts, folder, to_sekoia)}; exit statuses {statuses}", highlight=False)
    return 0 if statuses == [0, 0] else 1


def _environment(emulator: Emulator, data_path: Path, key: str) -> dict[str, str]:
    """The platform's environment, with the caller's own proxy and trust, and without the secret."""
    environment = emulator.environment(
        data_path=data_path,
        connector={"frequency": 60, "start_time": 24},
        module={"cloud": os.environ.get("CLOUD", "global")},
        intake_key=os.environ.get("INTAKE_KEY") or key,
    )
    for name in (*_TRUST, *_PROXIES):
        environment.pop(name, None)
        if name in os.environ:
            environment[name] = os.environ[name]
    if os.environ.get("INTAKE_KEY"):
        environment["INTAKE_URL"] = os.environ.get("INTAKE_URL", SEKOIA_INTAKE)
    local = "127.0.0.1,localhost"
    environment["NO_PROXY"] = environment["no_proxy"] = f"{environment.get('NO_PROXY', '')},{local}".lstrip(",")
    for name in ("CLIENT_SECRET", "INTAKE_KEY"):
        environment.pop(name, None)
    return environment


def _progress(counts: Counter[str], folder: Path, to_sekoia: str | None) -> str:
    if not to_sekoia:
        return f"sign-ins {counts[SIGNINS_KEY]:,}, audits {counts[AUDITS_KEY]:,}"
    positions = []
    for name in ("signins", "audits"):
        context = folder / name / "context.json"
        if context.exists():
            streams = orjson.loads(context.read_bytes())["streams"]
            positions += [f"{key} up to {state['live']}" for key, state in streams.items()]
    return ", ".join(positions) or "nothing read yet"
