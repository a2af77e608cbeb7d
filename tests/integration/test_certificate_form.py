"""A certificate in the form: each slip, by the account check and by a running connector, and the right ones."""

import json
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from graph_entra.sekoia.account_check import GraphEntraAccountValidator
from graph_entra.sekoia.connectors import EntraAuditsConnector
from graph_entra.sekoia.module import GraphEntraModule
from tests.emulator import Emulator
from tests.emulator.certificates import make_pair, spare_key
from tests.emulator.tenant import AUDITS
from tests.integration.rig import Rig

PAIR, OTHER = make_pair(), make_pair(spare_key(1), name="another")
CURVE = make_pair(ec.generate_private_key(ec.SECP256R1()))
EXPIRED = make_pair(start=datetime.now(UTC) - timedelta(days=400), days=365)
PLACEHOLDER = "*" * 8

SLIPS: dict[str, tuple[dict[str, str], str]] = {
    "neither": ({"client_secret": "", "client_certificate": " \n"}, "client_secret is empty. Enter the Value of"),
    "not handed over": (
        {"client_secret": "", "client_certificate": PLACEHOLDER},
        "The platform did not hand over client_certificate. Paste it and its key once more",
    ),
    "in the secret's field": ({"client_secret": PAIR.pem}, "client_secret holds a key or a certificate. Paste it as"),
    "the public half": ({"client_certificate": PAIR.certificate_pem}, "client_certificate holds a certificate without"),
    "the key alone": ({"client_certificate": PAIR.key_pem}, "client_certificate holds a private key without"),
    "with a password": (
        {"client_certificate": PAIR.locked_key_pem() + PAIR.certificate_pem},
        "The private key in client_certificate is protected by a password",
    ),
    "another's key": (
        {"client_certificate": OTHER.key_pem + PAIR.certificate_pem},
        f"The private key in client_certificate is not that of the certificate (thumbprint {PAIR.thumbprint})",
    ),
    "expired": ({"client_certificate": EXPIRED.pem}, f"The certificate (thumbprint {EXPIRED.thumbprint}) ended on"),
    "an elliptic curve": (
        {"client_certificate": CURVE.pem},
        f"The key of the certificate (thumbprint {CURVE.thumbprint}) is not an RSA key",
    ),
    "a PFX": ({"client_certificate": PAIR.pfx}, "client_certificate is a PFX"),
    "cut off": ({"client_certificate": PAIR.pem[:900]}, "client_certificate is cut off"),
    "a wrong one beside a right secret": (
        {"client_secret": "emu8Q~emulated-secret-value-0123456789abc", "client_certificate": PAIR.key_pem},
        "client_certificate holds a private key without",
    ),
}


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The emulator, on the real clock."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with Emulator() as running:
        running.adopt(monkeypatch)
        running.tenant.certificates = [PAIR.certificate]
        yield running
    for number, handler in handlers.items():
        signal.signal(number, handler)


Fill = Callable[[dict[str, str]], None]


@pytest.fixture
def fill(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Fills in the form of the account."""

    def filled(secrets: dict[str, str]) -> None:
        environment = emulator.environment(data_path=tmp_path, connector={}, module=dict(secrets))
        for name in ("MODULE_CONFIGURATION", "CONNECTOR_CONFIGURATION", "TOKEN", "URL_CALLBACK", "URL_LOGS"):
            monkeypatch.setenv(name, environment[name])

    return filled


def check(emulator: Emulator, folder: Path) -> dict[str, Any]:
    """What the platform is told when the account is saved."""
    GraphEntraAccountValidator(GraphEntraModule(), folder).execute()
    return emulator.platform.callbacks[-1]


@pytest.mark.parametrize(("secrets", "says"), SLIPS.values(), ids=SLIPS)
def test_each_slip_has_its_sentence_before_anything_is_asked(
    emulator: Emulator,
    fill: Fill,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    secrets: dict[str, str],
    says: str,
) -> None:
    """The same one at the form and in the connector's log; neither shows a line of a key."""
    fill(secrets)
    told = check(emulator, tmp_path)
    assert told["results"] == {"success": False}
    assert told["error"].startswith(says)

    connector = EntraAuditsConnector(GraphEntraModule(), tmp_path)
    connector.module.set_secrets(emulator.platform.secrets)
    connector._stop_event.set()
    connector.run()
    (line,) = [one for one in connector._logs if one["level"] == "critical"]
    assert line["message"] == told["error"]
    assert emulator.login.requests == []

    shown = caplog.text + json.dumps(told) + json.dumps(connector._logs) + repr(connector.module.configuration)
    for pair in (PAIR, OTHER, CURVE, EXPIRED):
        for secret in pair.key_pem.splitlines()[1:-1] + pair.old_key_pem.splitlines()[1:-1]:
            assert secret not in shown


@pytest.mark.parametrize(
    "secrets",
    [
        {"client_certificate": PAIR.pem},
        {"client_certificate": PAIR.certificate_pem + PAIR.old_key_pem},
        {"client_certificate": PAIR.pem.replace("\n", "\\n")},
        {"client_certificate": PAIR.pem.replace("\n", " ")},
        {"client_certificate": PAIR.pem, "client_secret": "wrong"},
        {"client_certificate": PAIR.pem, "client_secret": PLACEHOLDER},
        {"client_certificate": "", "client_secret": "emu8Q~emulated-secret-value-0123456789abc"},
    ],
    ids=["pem", "old", "written out", "one line", "with a secret", "with a placeholder", "a secret alone"],
)
def test_a_right_one_is_valid(emulator: Emulator, fill: Fill, tmp_path: Path, secrets: dict[str, str]) -> None:
    """However it was pasted; where both are there, the certificate counts."""
    fill(secrets)
    assert check(emulator, tmp_path)["results"] == {"success": True}
    (form,) = [request.body for request in emulator.login.requests]
    assert ("client_assertion" in form) is bool(secrets["client_certificate"])


def test_a_wrong_clock_of_this_machine_keeps_nobody_out(
    emulator: Emulator, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entra's first refusal says what time it is."""
    pair = make_pair(start=datetime.now(UTC) - timedelta(days=30), days=3000)
    emulator.tenant.certificates = [pair.certificate]
    for service, name in ((emulator, "clock"), (emulator.login, "_clock"), (emulator.graph, "_clock")):
        monkeypatch.setattr(service, name, lambda: datetime.now(UTC) + timedelta(days=20))
    fill({"client_certificate": pair.pem})
    assert check(emulator, tmp_path)["results"] == {"success": True}


def test_one_that_is_not_registered_is_told_by_its_thumbprint(emulator: Emulator, fill: Fill, tmp_path: Path) -> None:
    """What to look for on the portal, and where to upload it."""
    fill({"client_certificate": OTHER.pem})
    told = check(emulator, tmp_path)
    assert told["error"].startswith("The certificate is not one of this app registration's. Upload its public half")
    assert f"thumbprint {OTHER.thumbprint} (AADSTS700027)" in told["error"]


async def test_a_connector_goes_on_when_the_public_half_is_uploaded(rig: Rig) -> None:
    """The refusal is told with the thumbprint; once it is mended, everything arrives."""
    pair = make_pair(start=datetime(2020, 1, 1, tzinfo=UTC), days=36_500)
    rig.emulator.secrets = {"client_certificate": pair.pem}
    rig.fill(AUDITS, count=20)
    async with rig.collecting() as run:
        await run.until(lambda: run.said("The certificate is not one of this app registration's."), "the refusal")
        assert run.said(pair.thumbprint, "AADSTS700027")
        rig.emulator.tenant.certificates = [pair.certificate]
        await run.complete(AUDITS)
