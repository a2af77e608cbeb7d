"""The account validator: each mistake that a person can make at the form, and the sentence that the form then shows.

Most run in this process, through the validator's own `execute` and the SDK's callback; three are real processes.
"""

import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from graph_entra.sekoia import account_check as validation
from graph_entra.sekoia.account_check import GraphEntraAccountValidator
from graph_entra.sekoia.module import GraphEntraModule
from tests.emulator import Emulator, Fault, Tenant
from tests.emulator.processes import ROOT

Arrange = Callable[[Emulator, pytest.MonkeyPatch], None]
UNKNOWN = "33333333-3333-4333-8333-333333333333"


def nothing(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The case's configuration is the mistake."""


def tenant_is(**members: Any) -> Arrange:
    """Changes the tenant that Microsoft knows."""

    def arrange(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in members.items():
            setattr(emulator.tenant, name, value)

    return arrange


def login_says(code: int) -> Arrange:
    """Entra refuses every token request with this code."""

    def arrange(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        emulator.login.error = code

    return arrange


def graph_does(fault: Fault) -> Arrange:
    """Graph answers everything with this fault."""
    return lambda emulator, _: emulator.graph.faults.inject(fault, times=None)


def login_does(fault: Fault) -> Arrange:
    """The login answers everything with this fault."""
    return lambda emulator, _: emulator.login.faults.inject(fault, times=None)


def proxy_is_gone(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens where the proxy should be."""
    held = socket.socket()  # bound, so that nobody else gets the port, and listening to nobody
    held.bind(("127.0.0.1", 0))
    monkeypatch.setattr(emulator, "held", held, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{held.getsockname()[1]}")


def network_breaks(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is reset."""
    emulator.login.faults.inject(Fault.reset(), times=None)


def no_way_out(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no proxy, and no name server answers."""
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in ("127.0.0.1", b"127.0.0.1"):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *args, **kwargs)

    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def proxy_refuses(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy lets nobody through."""
    emulator.proxy.hosts = frozenset()


@dataclass(frozen=True)
class Case:
    """A mistake, and what the form shows: how the sentence begins, and words of what it says to do."""

    says: str
    advises: str
    arrange: Arrange = nothing
    module: dict[str, Any] = field(default_factory=dict)


CASES = {
    "wrong tenant id": Case(
        "None of Microsoft's clouds knows the tenant.",
        "Check tenant_id: it is the Directory (tenant) ID on the app registration's overview.",
        module={"tenant_id": UNKNOWN},
    ),
    "wrong cloud": Case(
        "The tenant belongs to another of Microsoft's clouds: china, not global.",
        "Choose the cloud in which the tenant was created.",
        tenant_is(cloud="china"),
    ),
    "wrong cloud, US Government": Case(
        "The tenant belongs to another of Microsoft's clouds: us_gov or us_gov_dod, not china.",
        "Choose the cloud in which the tenant was created.",
        tenant_is(cloud="us_gov"),
        {"cloud": "china"},
    ),
    "the other US Government cloud": Case(
        "Entra does not know Microsoft Graph in this tenant under the chosen cloud's address.",
        "Check cloud: it must be the one in which the tenant was created.",
        tenant_is(cloud="us_gov"),
        {"cloud": "us_gov_dod"},
    ),
    "unknown app": Case(
        "Entra does not know the application in this tenant.",
        "Check client_id: it is the Application (client) ID on the app registration's overview.",
        module={"client_id": UNKNOWN},
    ),
    "app disabled": Case(
        "The application is disabled in this tenant.", "Enable it under Enterprise applications", login_says(7000112)
    ),
    "wrong secret": Case(
        "Entra refuses the client secret: its value is wrong.",
        "Copy the Value of a secret under Certificates & secrets",
        module={"client_secret": "emu8Q~not-the-secret"},
    ),
    "the secret's id": Case(
        "Entra refuses the client secret: this looks like the Secret ID, which is not the secret.",
        "Paste the secret's Value: it stands beside the Secret ID",
        module={"client_secret": Tenant().secret_id},
    ),
    "expired secret": Case(
        "The client secret has expired.",
        "Make a new client secret under Certificates & secrets and paste its Value.",
        tenant_is(secret_expires=datetime.now(UTC) - timedelta(days=1)),
    ),
    "missing permission": Case(
        "The application may not read the logs: AuditLog.Read.All is not among its permissions.",
        "then press Grant admin consent.",
        tenant_is(roles=["Directory.Read.All"]),
    ),
    "no admin consent": Case(
        "The application has no permission that an administrator has consented to.",
        "check that AuditLog.Read.All is listed as an Application permission of Microsoft Graph, then press Grant",
        tenant_is(roles=[]),
    ),
    "Conditional Access": Case(
        "A Conditional Access policy blocks the application's sign-in.",
        "Exclude the application from the policy",
        login_says(53003),
    ),
    "a code that we do not know": Case(
        "Entra refuses to sign the application in.",
        "Look the code up at https://login.microsoftonline.com/error",
        login_says(70003),
    ),
    "network cut": Case(
        "Entra could not be asked for an access token: the network, a proxy, or Entra itself.",
        "check that the cloud's login address can be reached from here, through HTTPS_PROXY if there is one. "
        "The secret is not the reason. Details: Entra could not be asked for an access token: gaierror.",
        no_way_out,
    ),
    "connections reset": Case(
        "Entra could not be asked for an access token: the network, a proxy, or Entra itself.",
        "check that the cloud's login address can be reached from here, through HTTPS_PROXY if there is one. "
        "The secret is not the reason.",
        network_breaks,
    ),
    "proxy out of reach": Case(
        "The proxy on the way to Microsoft cannot be reached, or refuses to connect.",
        "check HTTPS_PROXY",
        proxy_is_gone,
    ),
    "proxy refuses": Case(
        "The proxy on the way to Microsoft cannot be reached, or refuses to connect.",
        "check HTTPS_PROXY, and that the proxy lets this connector through to the cloud's login and Graph addresses. "
        "The secret is not the reason. Details: Entra could not be asked for an access token: the proxy answered 502.",
        proxy_refuses,
    ),
    "login down": Case(
        "Entra could not be asked for an access token: the network, a proxy, or Entra itself.",
        "Details: Entra, or something in its place, answered neither a token nor an error of Entra's.",
        login_does(Fault.html(503)),
    ),
    "login busy": Case(
        "Entra could not be asked for an access token: the network, a proxy, or Entra itself.",
        "AADSTS90033",
        login_says(90033),
    ),
    "throttled": Case(
        "Graph answers fewer requests than are asked: 5 in 10 s for all users of this app registration",
        "give this module an app registration of its own",
        graph_does(Fault.retry_after(429, "0.1")),
    ),
    "throttled for long": Case(
        "Graph answers fewer requests than are asked: 5 in 10 s for all users of this app registration",
        "give this module an app registration of its own",
        graph_does(Fault.retry_after(429, "3600")),
    ),
    "Graph down": Case(
        "Graph does not answer with records: the network, a proxy, or Graph itself.",
        "Graph answered 503",
        graph_does(Fault.retry_after(503, "0.1")),
    ),
    "a gateway's page": Case(
        "Graph does not answer with records: the network, a proxy, or Graph itself.",
        "Graph answered 502",
        graph_does(Fault.html(502)),
    ),
    "blank tenant id": Case("tenant_id is empty.", "Directory (tenant) ID", module={"tenant_id": " "}),
    "tenant id that is an address": Case(
        "tenant_id is 'https://x/y'.", "Directory (tenant) ID", module={"tenant_id": "https://x/y"}
    ),
    "blank client id": Case("client_id is empty.", "Application (client) ID", module={"client_id": ""}),
    "blank secret": Case("client_secret is empty.", "the Value of a client secret", module={"client_secret": " "}),
    "a cloud that does not exist": Case(
        "cloud is 'mars'.", "one of global, us_gov, us_gov_dod, china", module={"cloud": "mars"}
    ),
    "secret not handed over": Case(
        "The platform did not hand over client_secret.",
        "Enter the secret's Value once more",
        lambda emulator, _: emulator.platform.secrets.clear(),
    ),
    "configuration not handed over": Case(
        "The platform did not hand over the configuration.",
        "Save the account once more.",
        lambda emulator, _: emulator.platform.callback_faults.inject(Fault.status(200, body="{}")),
    ),
}


@pytest.fixture
def validate(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs the validator in this process and returns what the platform is told in the end."""
    emulator.adopt(monkeypatch)
    monkeypatch.setattr(validation, "WAIT_S", 0.05)

    def run(arrange: Arrange = nothing, **module: Any) -> dict[str, Any]:
        environment = emulator.environment(data_path=tmp_path, connector={}, module=module)
        for name in ("MODULE_CONFIGURATION", "TOKEN", "URL_CALLBACK"):
            monkeypatch.setenv(name, environment[name])
        arrange(emulator, monkeypatch)
        GraphEntraAccountValidator(GraphEntraModule(), tmp_path).execute()
        return emulator.platform.callbacks[-1]

    return run


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_mistake_has_its_sentence(
    validate: Callable[..., dict[str, Any]], case: Case, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The platform is told what is wrong and what to do, soon, and the secret appears nowhere."""
    began = time.monotonic()
    told = validate(case.arrange, **case.module)
    assert time.monotonic() - began < 15
    assert told["status"] == "finished"
    assert told["results"] == {"success": False}
    assert told["error"].startswith(case.says)
    assert case.advises in told["error"]
    assert told["error"].count(case.says) == 1
    hidden = {emulator.tenant.client_secret, case.module.get("client_secret", "").strip()} - {""}
    assert not [secret for secret in hidden if secret in caplog.text + json.dumps(told)]


@pytest.mark.parametrize("name", ["network cut", "proxy out of reach", "proxy refuses", "login down", "login busy"])
def test_a_network_at_fault_is_not_called_a_wrong_secret(validate: Callable[..., dict[str, Any]], name: str) -> None:
    """azure-identity raises one class for both; who reads the sentence must not go and make a new secret."""
    told = validate(CASES[name].arrange)
    assert "The secret is not the reason." in told["error"]
    assert "wrong" not in told["error"]
    assert "Make a new" not in told["error"]


def test_a_certificate_that_is_not_trusted(
    validate: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that opens TLS connections is named as what it most likely is, for Graph too."""
    monkeypatch.delenv("SSL_CERT_FILE")
    told = validate()
    assert told["error"].startswith("The certificate that was shown in Microsoft's place is not trusted")
    assert "SSL_CERT_FILE" in told["error"]


def test_right_configuration_is_valid(validate: Callable[..., dict[str, Any]], emulator: Emulator) -> None:
    """One token, one audit, one sign-in, each asked for once; the platform is told that all is well."""
    told = validate()
    assert told == {"status": "finished", "results": {"success": True}}
    assert [request.query["$top"] for request in emulator.graph.requests] == ["1", "1"]
    assert {request.stream for request in emulator.graph.requests} == {"directoryAudits", "interactiveUser"}
    assert len(emulator.login.requests) == 1


@pytest.mark.parametrize("cloud", ["us_gov", "us_gov_dod", "china"])
def test_national_clouds_are_valid(validate: Callable[..., dict[str, Any]], emulator: Emulator, cloud: str) -> None:
    """A tenant of a national cloud is asked there, sign-ins through beta."""
    told = validate(tenant_is(cloud=cloud), cloud=cloud)
    assert told["results"] == {"success": True}
    assert emulator.proxy.refused == []


def test_no_licence_is_valid_with_a_warning(
    validate: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """Audits work without P1 or P2: the account is valid, and the log says that sign-ins will not come, and why."""
    told = validate(tenant_is(premium=False))
    assert told["results"] == {"success": True}
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("The configuration is valid for directory audits, but sign-ins will not come: ")
    assert "has no Entra ID P1 or P2 licence" in warning
    assert "Check the licence." in warning


def test_faults_of_the_moment_are_asked_again(validate: Callable[..., dict[str, Any]], emulator: Emulator) -> None:
    """One 503 of the login, one 429 and one 503 of Graph do not make a right configuration wrong."""
    emulator.login.faults.inject(Fault.status(503))
    emulator.graph.faults.inject(Fault.retry_after(429, "0.2"))
    emulator.graph.faults.inject(Fault.retry_after(503, "0.2"))
    assert validate()["results"] == {"success": True}


def test_discovery_that_names_the_cloud_is_believed(
    validate: Callable[..., dict[str, Any]], emulator: Emulator
) -> None:
    """The global authority knows the tenants of the US Government and says which of its two clouds it is."""
    said = {
        "token_endpoint": "https://login.microsoftonline.us/x/oauth2/v2.0/token",
        "tenant_region_scope": "USGov",
        "tenant_region_sub_scope": "DOD",
        "cloud_instance_name": "microsoftonline.us",
    }
    emulator.login.faults.inject(
        Fault.status(200, body=said), times=None, match=lambda request: request.path.endswith("openid-configuration")
    )
    assert "clouds: us_gov_dod, not global." in validate(login_says(90002))["error"]


def test_tenant_and_cloud_are_both_named_where_discovery_is_out_of_reach(
    validate: Callable[..., dict[str, Any]], emulator: Emulator
) -> None:
    """A network that lets only the chosen cloud through: the sentence names both suspects."""
    emulator.proxy.hosts = frozenset({"login.microsoftonline.com", "graph.microsoft.com"})
    told = validate(tenant_id=UNKNOWN)
    assert told["error"].startswith("Entra does not know the tenant. Check tenant_id")
    assert "and cloud" in told["error"]


def start_process(emulator: Emulator, folder: Path, **module: Any) -> subprocess.Popen[str]:
    """Starts the validator as the platform does."""
    environment = emulator.environment(data_path=folder, connector={}, module=module)
    return subprocess.Popen(
        [sys.executable, "main.py", "validate_module_configuration"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_real_processes(emulator: Emulator, tmp_path: Path) -> None:
    """Valid, and the secret's id, as the platform runs them: exit status 0, one result, nothing leaked."""
    with Emulator() as wrong:
        runs = [
            (emulator, start_process(emulator, tmp_path), None),
            (wrong, start_process(wrong, tmp_path, client_secret=wrong.tenant.secret_id), CASES["the secret's id"]),
        ]
        for platform, process, case in runs:
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 0, output
            assert [call["status"] for call in platform.platform.callbacks] == ["running", "finished"]
            told = platform.platform.callbacks[-1]
            assert told["results"] == {"success": case is None}
            assert told.get("error", "").startswith(case.says if case else "")
            assert "Traceback" not in output
            for hidden in (platform.tenant.client_secret, platform.tenant.secret_id, "Bearer ", "eyJ"):
                assert hidden not in output
