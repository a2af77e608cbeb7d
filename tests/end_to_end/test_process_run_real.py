"""`make run` with a tenant of one's own, the emulator standing in for the real Microsoft."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.emulator import Emulator, Fault, Tenant
from tests.emulator.intake import SIGNINS_KEY
from tests.emulator.records import fill
from tests.emulator.tenant import AUDITS
from tests.end_to_end.conftest import RunProcess, forms, until

Real = Callable[..., RunProcess]


@pytest.fixture
def real(emulator: Emulator, tenant: Tenant, tmp_path: Path) -> Iterator[Real]:
    """Starts `make run` with the tenant's own values, or with others; None leaves a variable out."""
    started: list[RunProcess] = []

    def start(**changes: str | None) -> RunProcess:
        variables: dict[str, str | None] = {
            "TENANT_ID": tenant.tenant_id,
            "CLIENT_ID": tenant.client_id,
            "CLIENT_SECRET": tenant.client_secret,
            "HTTPS_PROXY": emulator.proxy_url,
            "SSL_CERT_FILE": str(emulator.ca_file),
            "REQUESTS_CA_BUNDLE": str(emulator.ca_file),
            **changes,
        }
        started.append(RunProcess(tmp_path, {name: value for name, value in variables.items() if value is not None}))
        return started[-1]

    yield start
    for run in started:
        run.process.kill()


def test_a_tenant_of_ones_own_is_read_without_a_sekoia_account(
    emulator: Emulator, tenant: Tenant, real: Real, now: datetime
) -> None:
    """TENANT_ID, CLIENT_ID and CLIENT_SECRET are enough: records are kept, Ctrl-C ends it, the secret stays hidden."""
    fill(tenant, "interactiveUser", 40, now - timedelta(hours=2), now, seed=1)
    fill(tenant, AUDITS, 20, now - timedelta(hours=2), now, seed=2)
    run = real()
    until(lambda: len(run.kept()) >= 60, 90)
    command_lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    children = run.connectors()
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(20) == 0
    assert "delivered: sign-ins 40, audits 20; exit statuses [0, 0]" in run.said()
    assert forms(run.kept()) == forms(tenant.all_texts("interactiveUser") + tenant.all_texts(AUDITS))
    assert not [child for child in children if child.is_running()]
    secret = tenant.client_secret.encode()
    files = [path.read_bytes() for path in run.folder.rglob("*") if path.is_file()]
    assert not any(secret in text for text in [*command_lines, *files, run.said().encode()])


def test_a_second_run_goes_on_where_the_first_one_was(
    emulator: Emulator, tenant: Tenant, real: Real, now: datetime
) -> None:
    """With INTAKE_KEY twice: the state is kept, nothing is pushed again, and what is shown as read was delivered."""
    destination = {"INTAKE_KEY": SIGNINS_KEY, "INTAKE_URL": emulator.intake_url}
    fill(tenant, "interactiveUser", 30, now - timedelta(hours=2), now, seed=1)
    first = real(**destination)
    until(lambda: "interactiveUser 30" in first.said(), 90)
    assert emulator.intake.count == 30
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(20) == 0
    fill(tenant, "interactiveUser", 5, now - timedelta(seconds=60), now, seed=2)
    emulator.intake.faults.inject(Fault.status(503), times=None)
    second = real(**destination)
    until(lambda: emulator.intake.faults.used, 90)
    time.sleep(6)  # another look
    assert "interactiveUser 5" not in second.said(), "read, but not delivered"
    emulator.intake.faults.clear()
    until(lambda: "interactiveUser 5" in second.said(), 60)
    for _ in range(2):
        second.process.send_signal(signal.SIGINT)
    assert second.process.wait(20) == 0
    assert forms(emulator.intake.texts()) == forms(tenant.all_texts("interactiveUser"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"CLIENT_SECRET": "wrong"}, "Entra refuses the client secret: its value is wrong."),
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, "The secret is not the reason."),
        ({"CLOUD": "mars"}, "cloud is 'mars'. It must be one of global, us_gov, us_gov_dod, china."),
        ({"CLIENT_SECRET": ""}, "CLIENT_SECRET is set, but empty."),
        ({"CLIENT_SECRET": None}, "CLIENT_SECRET or CLIENT_CERTIFICATE is needed"),
        ({"TENANT_ID": " "}, "TENANT_ID is empty or missing."),
        ({"CLIENT_ID": None}, "CLIENT_ID is empty or missing."),
        ({"CLIENT_SECRET": None, "CLIENT_CERTIFICATE": ""}, "CLIENT_CERTIFICATE is set, but empty."),
        ({"CLIENT_SECRET": None, "CLIENT_CERTIFICATE": "no.pem"}, "CLIENT_CERTIFICATE is neither a PEM text nor the"),
    ],
)
def test_what_cannot_work_ends_at_once(
    emulator: Emulator, real: Real, changes: dict[str, str | None], sentence: str
) -> None:
    """The sentence of the account check, or of what is not there, and status 1; nothing is read."""
    run = real(**changes)
    assert run.process.wait(60) == 1
    assert sentence in run.said()
    assert "Traceback" not in run.said()
    assert emulator.graph.requests == []
    assert run.kept() == []


def test_no_permission_ends_at_once(emulator: Emulator, tenant: Tenant, real: Real) -> None:
    """The account check asks for one audit, and says what is missing."""
    tenant.roles = []
    run = real()
    assert run.process.wait(60) == 1
    assert "AuditLog.Read.All" in run.said()
    assert run.kept() == []


def test_the_callers_environment_is_untouched_by_the_emulators(emulator: Emulator, real: Real) -> None:
    """The emulator that stands for the platform is no proxy: every request went where the caller's proxy leads."""
    run = real(CLIENT_SECRET="wrong")
    assert run.process.wait(60) == 1
    assert set(emulator.proxy.tunnels) == {"login.microsoftonline.com"}
    assert os.environ.get("HTTPS_PROXY") != emulator.proxy_url
