"""A connector's process in each kind of network that its environment may describe."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.emulator import Emulator
from tests.emulator.certificates import make_pair
from tests.emulator.processes import Connector
from tests.emulator.records import fill
from tests.emulator.tenant import AUDITS
from tests.end_to_end.conftest import until

Begin = Callable[..., Connector]
PASSWORD = "hu@sh"


@pytest.fixture
def begin(emulator: Emulator, tmp_path: Path) -> Iterator[Begin]:
    """Starts the audits' connector with these variables in place of the usual ones; {} stands for the proxy."""
    started: list[Connector] = []

    def run(**variables: str) -> Connector:
        environment = emulator.environment(data_path=tmp_path, connector={"frequency": 5, "start_time": 1})
        if any(name.lower().endswith("_proxy") and name.upper() != "NO_PROXY" for name in variables):
            for name in ("HTTPS_PROXY", "https_proxy"):
                del environment[name]
        for name, value in variables.items():
            environment.pop(name.lower(), None)
            environment[name] = value.format(emulator.proxy_url.removeprefix("http://"))
        started.append(Connector("graph_entra_audits", environment, tmp_path / "output.log"))
        return started[-1]

    yield run
    for process in started:
        process.kill()


@pytest.mark.parametrize(
    "variables",
    [
        {"NO_PROXY": "127.0.0.1,fd00::/8"},
        {"NO_PROXY": "127.0.0.1,localhost,[::1]"},
        {"HTTPS_PROXY": "{}"},
        {"ALL_PROXY": "http://{}"},
        {"https_proxy": f"svc:{PASSWORD}@{{}}", "ALL_PROXY": "socks5://elsewhere:1080"},
    ],
    ids=str,
)
def test_a_network_that_can_be_used_is_used(
    emulator: Emulator, begin: Begin, now: datetime, variables: dict[str, str]
) -> None:
    """By login and Graph alike; nothing is complained about, and no password is shown."""
    fill(emulator.tenant, AUDITS, 5, now - timedelta(minutes=30), now - timedelta(minutes=1), 0)
    connector = begin(**variables)
    until(lambda: emulator.intake.count == 5)
    assert {"login.microsoftonline.com", "graph.microsoft.com"} <= set(emulator.proxy.tunnels)
    assert connector.stop() == 0
    assert emulator.platform.messages("critical") == emulator.platform.messages("error") == []
    assert PASSWORD not in connector.output.read_text()


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"ALL_PROXY": "socks5://proxy:1080"},
            "ALL_PROXY names a SOCKS proxy, through which this connector cannot go.",
        ),
        ({"HTTPS_PROXY": "ftp://proxy:21"}, "HTTPS_PROXY cannot be read as the address of a proxy. Write it as"),
        ({"HTTPS_PROXY": "http://svc:hu#sh@proxy:1"}, "HTTPS_PROXY cannot be read as the address of a proxy."),
        ({"SSL_CERT_FILE": "/no/where.pem"}, "SSL_CERT_FILE names /no/where.pem, which cannot be read (no such file"),
        ({"CURL_CA_BUNDLE": "/no/where.pem"}, "CURL_CA_BUNDLE names /no/where.pem, which cannot be read (no such file"),
    ],
    ids=str,
)
def test_a_network_that_cannot_be_used_is_said_once(
    emulator: Emulator, begin: Begin, variables: dict[str, str], sentence: str
) -> None:
    """One critical line that names the variable; nothing is asked, and a SIGTERM ends it."""
    connector = begin(**variables)
    until(lambda: emulator.platform.messages("critical"), 30)
    time.sleep(0.5)
    assert len(emulator.platform.logs) == 1
    assert emulator.platform.messages("critical")[0].startswith(sentence)
    assert connector.stop() == 0
    assert emulator.login.requests == []
    output = connector.output.read_text()
    assert "Traceback" not in output
    assert "hu#sh" not in output


def test_a_proxy_that_is_gone_does_not_tell_its_password(emulator: Emulator, begin: Begin) -> None:
    """Not even the libraries' own lines do, try after try; when the proxy is back, so is the connector."""
    connector = begin(HTTPS_PROXY=f"http://svc:{PASSWORD}@{{}}")
    emulator.proxy.down = True
    until(lambda: emulator.proxy.connections > 3, 30)
    until(lambda: emulator.platform.logs, 30)
    emulator.proxy.down = False
    until(lambda: emulator.graph.requests, 60)
    assert connector.stop() == 0
    shown = connector.output.read_text() + "".join(emulator.platform.messages())
    for hidden in (PASSWORD, "hu%40sh", "svc:", emulator.tenant.client_secret, "eyJ", "skiptoken"):
        assert hidden not in shown


def test_a_process_that_signs_in_with_a_certificate_shows_no_line_of_its_key(
    emulator: Emulator, begin: Begin, tmp_path: Path, now: datetime
) -> None:
    """Neither in its output, nor in what the platform gets, nor in a file; a secret under a new name neither."""
    pair = make_pair()
    emulator.tenant.certificates = [pair.certificate]
    emulator.secrets = {"client_certificate": pair.pem, "future_secret": pair.pem}
    fill(emulator.tenant, AUDITS, 5, now - timedelta(minutes=30), now - timedelta(minutes=1), 0)
    connector = begin()
    until(lambda: emulator.intake.count == 5)
    emulator.tenant.certificates = []
    emulator.login.revoke()
    until(lambda: any("AADSTS700027" in text for text in emulator.platform.messages()))
    assert connector.stop() == 0
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    shown = b"\n".join([*files, "".join(emulator.platform.messages()).encode()])
    for line in pair.key_pem.splitlines()[1:-1]:
        assert line.encode() not in shown
    assert pair.thumbprint.encode() in shown
