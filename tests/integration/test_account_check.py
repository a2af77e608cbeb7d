"""The account check: each mistake that a person can make at the form, and the sentence that the form then shows.

Through the validator's own `execute` and the SDK's callback, against the emulated Entra, Graph and platform.
"""

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from graph_entra.sekoia import account_check as validation
from graph_entra.sekoia.account_check import GraphEntraAccountValidator
from graph_entra.sekoia.module import GraphEntraModule
from graph_entra.telling.diagnosis import LICENCE_CODE
from tests.emulator import Emulator, Fault, Tenant

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


def entra_says(code: int, text: str, word: str = "invalid_request", status: int = 400) -> Arrange:
    """Entra refuses every token request with these words."""
    body = {"error": word, "error_description": f"AADSTS{code}: {text} Trace ID: {UNKNOWN} Timestamp: now"}
    return login_does(Fault.status(status, body=body))


def sign_ins_are_refused(code: str) -> Arrange:
    """Graph refuses sign-ins with this code, and hands out audits."""
    fault = Fault.status(403, body={"error": {"code": code, "message": "Not for you."}})
    return lambda emulator, _: emulator.graph.faults.inject(
        fault, times=None, match=lambda request: "signIns" in request.path
    )


def graph_does(fault: Fault) -> Arrange:
    """Graph answers everything with this fault."""
    return lambda emulator, _: emulator.graph.faults.inject(fault, times=None)


def login_does(fault: Fault) -> Arrange:
    """The login answers everything with this fault."""
    return lambda emulator, _: emulator.login.faults.inject(fault, times=None)


def proxy_is_gone(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens where the proxy should be."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")


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
        "Entra refuses to sign the application in: The app returned an unsupported grant type. Look the code up",
        "Details: Entra refused to sign the application in (AADSTS70003).",
        login_says(70003),
    ),
    "another cloud, AADSTS900432": Case(
        "The tenant belongs to another of Microsoft's clouds.",
        "Choose the cloud",
        entra_says(900432, "Confidential Client is not supported in Cross Cloud request."),
    ),
    "another cloud, AADSTS900439": Case(
        "The tenant belongs to another of Microsoft's clouds.",
        "Choose the cloud",
        entra_says(900439, "USGClientNotSupportedOnPublicEndpoint."),
    ),
    "another cloud, AADSTS900382": Case(
        "The tenant belongs to another of Microsoft's clouds.",
        "Choose the cloud",
        entra_says(900382, "Confidential Client is not supported in Cross Cloud request."),
    ),
    "common as tenant": Case(
        "tenant_id cannot be used.", "and not a word such as common", module={"tenant_id": "common"}
    ),
    "AADSTS50194": Case(
        "tenant_id is neither a directory's id nor one of its domains.",
        "and not a word such as common",
        entra_says(50194, "The application is not configured as a multi-tenant application."),
    ),
    "swapped ids": Case(
        "Entra does not know the tenant; it knows one by the id in client_id.",
        "Are tenant_id and client_id swapped?",
        module={"tenant_id": Tenant().client_id, "client_id": Tenant().tenant_id},
    ),
    "a loop of requests": Case(
        "Entra could not be asked for an access token",
        "The secret is not the reason.",
        entra_says(50196, "The server terminated an operation because it encountered a loop.", "invalid_grant"),
    ),
    "AADSTS90019 in passing": Case(
        "Entra could not be asked for an access token",
        "The secret is not the reason.",
        entra_says(90019, "No tenant-identifying information found in the request."),
    ),
    "temporarily unavailable, whatever the code": Case(
        "Entra could not be asked for an access token",
        "The secret is not the reason.",
        entra_says(700016, "Application not found.", "temporarily_unavailable"),
    ),
    "server error, whatever the code": Case(
        "Entra could not be asked for an access token",
        "The secret is not the reason.",
        entra_says(90002, "Tenant not found.", "server_error"),
    ),
    "a 503 with a code": Case(
        "Entra could not be asked for an access token",
        "The secret is not the reason.",
        entra_says(7000215, "Invalid client secret provided.", "invalid_client", 503),
    ),
    "a 429 with a code": Case(
        "Entra could not be asked for an access token",
        "The secret is not the reason.",
        entra_says(7000215, "Invalid client secret provided.", "invalid_client", 429),
    ),
    "no licence": Case(
        "Directory audits can be read, sign-ins cannot. Graph says that the tenant has no Entra ID P1 or P2 licence",
        "Check the licence.",
        tenant_is(premium=False),
    ),
    "the licence check itself is not allowed": Case(
        "Directory audits can be read, sign-ins cannot. Graph cannot see whether the tenant has a licence",
        "add Microsoft Graph > Application permissions > Directory.Read.All beside AuditLog.Read.All",
        sign_ins_are_refused("Authentication_ApplicationHasNoDirectoryReadAccess"),
    ),
    "network cut": Case(
        "Entra could not be asked for an access token: the network, a proxy, or Entra itself.",
        "check that the cloud's login address can be reached from here, through HTTPS_PROXY if there is one. "
        "The secret is not the reason. Details: Entra could not be asked for an access token: gaierror "
        "(login.microsoftonline.com).",
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
        "Graph answers fewer requests than are asked. It grants an app registration 5 in 10 s in a tenant",
        "give this module one of its own",
        graph_does(Fault.retry_after(429, "0.1")),
    ),
    "throttled for long": Case(
        "Graph answers fewer requests than are asked. It grants an app registration 5 in 10 s in a tenant",
        "give this module one of its own",
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
        "tenant_id cannot be used.", "Directory (tenant) ID", module={"tenant_id": "https://x/y"}
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
def emulator() -> Iterator[Emulator]:
    """The emulator, on the real clock."""
    with Emulator() as running:
        yield running


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


def test_faults_of_the_moment_are_asked_again(validate: Callable[..., dict[str, Any]], emulator: Emulator) -> None:
    """One 503 of the login, one 429, one 503 and one false word on the licence do not make a configuration wrong."""
    emulator.login.faults.inject(Fault.status(503))
    emulator.graph.faults.inject(Fault.retry_after(429, "0.2"))
    emulator.graph.faults.inject(Fault.retry_after(503, "0.2"))
    refused = Fault.status(403, body={"error": {"code": LICENCE_CODE, "message": "Neither tenant is B2C or premium."}})
    emulator.graph.faults.inject(refused, match=lambda request: "signIns" in request.path)
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


def test_a_login_that_is_down_does_not_spoil_what_another_says(
    validate: Callable[..., dict[str, Any]], emulator: Emulator
) -> None:
    """One cloud knows the tenant: it does not matter what a third would have said."""
    emulator.proxy.hosts = frozenset(emulator.proxy.hosts - {"login.chinacloudapi.cn"})
    told = validate(tenant_is(cloud="us_gov"))
    assert told["error"].startswith("The tenant belongs to another of Microsoft's clouds: us_gov or us_gov_dod")


@pytest.mark.parametrize(
    "gone",
    [
        {"login.microsoftonline.us", "login.chinacloudapi.cn"},
        {"login.chinacloudapi.cn"},
        {"login.microsoftonline.us"},
    ],
    ids=["both", "China", "US Government"],
)
def test_tenant_and_cloud_are_both_named_where_discovery_is_out_of_reach(
    validate: Callable[..., dict[str, Any]], emulator: Emulator, gone: set[str]
) -> None:
    """While one cloud's login cannot be asked, nobody knows that no cloud knows the tenant: both suspects are named."""
    emulator.proxy.hosts = frozenset(emulator.proxy.hosts - gone)
    told = validate(tenant_id=UNKNOWN)
    assert told["error"].startswith("Entra does not know the tenant. Check tenant_id")
    assert "and cloud" in told["error"]
