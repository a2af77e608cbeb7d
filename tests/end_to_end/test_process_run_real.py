"""`make run` with a tenant of one's own, the emulator standing in for the real Microsoft."""

import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

from tests.emulator import Emulator, Tenant
from tests.emulator.processes import ROOT
from tests.emulator.records import fill
from tests.emulator.tenant import AUDITS
from tests.end_to_end.conftest import forms, until


def lines(file: Path) -> list[str]:
    """The records kept so far."""
    return file.read_text().splitlines() if file.exists() else []


def test_a_tenant_of_ones_own_is_read_without_a_sekoia_account(
    emulator: Emulator, tenant: Tenant, now: datetime, tmp_path: Path
) -> None:
    """TENANT_ID, CLIENT_ID and CLIENT_SECRET are enough: records are kept, Ctrl-C ends it, the secret stays hidden."""
    fill(tenant, "interactiveUser", 40, now - timedelta(hours=2), now, seed=1)
    fill(tenant, AUDITS, 20, now - timedelta(hours=2), now, seed=2)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        "TENANT_ID": tenant.tenant_id,
        "CLIENT_ID": tenant.client_id,
        "CLIENT_SECRET": tenant.client_secret,
        "HTTPS_PROXY": emulator.proxy_url,
        "SSL_CERT_FILE": str(emulator.ca_file),
        "REQUESTS_CA_BUNDLE": str(emulator.ca_file),
        "RUN_FOLDER": str(tmp_path / "run"),
    }
    environment.pop("INTAKE_KEY", None)
    with (tmp_path / "output").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.emulator.run"], cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    try:
        until(lambda: len(lines(tmp_path / "run" / "events.jsonl")) >= 60, 60)
        command_lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
    finally:
        process.kill()
    held = tenant.all_texts("interactiveUser") + tenant.all_texts(AUDITS)
    assert forms(lines(tmp_path / "run" / "events.jsonl")) == forms(held)
    secret = tenant.client_secret.encode()
    kept = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not any(secret in text for text in [*command_lines, *kept, (tmp_path / "output").read_bytes()])
