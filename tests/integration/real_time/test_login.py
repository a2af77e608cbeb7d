"""The login over TLS and through a proxy, by secret and by certificate, against the emulated Entra."""

import asyncio
import json
import logging
import os
import socket
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from graph_entra.clock import SystemClock
from graph_entra.errors import (
    CertificateUntrusted,
    CredentialRejected,
    GraphEntraError,
    LoginUnavailable,
    ProxyInTheWay,
)
from graph_entra.microsoft.certificate import ClientCertificate, read_certificate
from graph_entra.microsoft.clouds import CLOUDS
from graph_entra.microsoft.graph import Graph
from graph_entra.microsoft.login import ClientSecret, Login
from graph_entra.microsoft.network import settle
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.sekoia.library_output import QUIET, quiet_libraries
from graph_entra.streams import AUDITS
from graph_entra.telling.diagnosis import advise
from tests.emulator import Emulator, Fault
from tests.emulator.certificates import make_pair, spare_key

PAIR, OTHER = make_pair(), make_pair(spare_key(1), name="another")
CLOCK = SystemClock()
INTAKE = "intake.example.test"


def certificate(pair: Any = PAIR) -> ClientCertificate:
    """As the module reads it."""
    read = read_certificate(SecretStr(pair.pem), time.time())
    assert isinstance(read, ClientCertificate)
    return read


class GraphTime:
    """Graph's clock as the connector learns it: this machine's until an answer told another."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.told: list[float] = []

    def __call__(self) -> float:
        return time.time() + self.ahead_s

    def learn(self, date_s: float) -> None:
        """As the connector does with each answer's date."""
        self.told.append(date_s)
        self.ahead_s = date_s - time.time()


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The emulator, on the real clock, and the libraries as quiet as the connector makes them."""
    levels = {name: logging.getLogger(name).level for name in QUIET}
    factory = logging.getLogRecordFactory()
    quiet_libraries()
    with Emulator(extra_hosts=[INTAKE]) as running:
        running.tenant.certificates = [PAIR.certificate]
        running.adopt(monkeypatch)
        yield running
    logging.captureWarnings(capture=False)
    logging.setLogRecordFactory(factory)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


Make = Callable[..., Login]


@pytest.fixture
async def make(emulator: Emulator) -> AsyncIterator[Make]:
    """Makes logins, and closes them."""
    made: list[Login] = []

    def login(secret: ClientSecret | ClientCertificate | None = None, **members: Any) -> Login:
        tenant, graph_time = emulator.tenant, members.pop("graph_time", None) or GraphTime()
        made.append(
            Login(
                CLOUDS[members.pop("cloud", "global")],
                members.pop("tenant_id", tenant.tenant_id),
                members.pop("client_id", tenant.client_id),
                secret or ClientSecret(SecretStr(tenant.client_secret)),
                graph_time=graph_time,
                on_date=members.pop("on_date", graph_time.learn),
            )
        )
        return made[-1]

    yield login
    for one in made:
        await one.close()


def forms(emulator: Emulator) -> list[dict[str, str]]:
    """What Entra's token endpoint was asked."""
    return [request.body for request in emulator.login.requests if request.path.endswith("/token")]


async def refused(login: Login) -> GraphEntraError:
    """What the login raises."""
    with pytest.raises(GraphEntraError) as raised:
        await login.token()
    return raised.value


@pytest.mark.parametrize("how", ["secret", "certificate"])
async def test_one_token_serves_everybody(emulator: Emulator, make: Make, how: str) -> None:
    """Those who ask at once get the same one, asked for once; it states tenant, permissions and end."""
    login = make(certificate() if how == "certificate" else None)
    tokens = await asyncio.gather(*(login.token() for _ in range(5)))
    assert len(set(tokens)) == 1
    assert tokens[0].tenant_id == emulator.tenant.tenant_id
    assert tokens[0].roles == {"AuditLog.Read.All", "Directory.Read.All"}
    assert tokens[0].expires_s == pytest.approx(time.time() + 3599, abs=30)
    (form,) = forms(emulator)
    assert ("client_assertion" in form, "client_secret" in form) == (how == "certificate", how == "secret")
    assert json.loads(form["claims"]) == {"access_token": {"xms_cc": {"values": ["CP1"]}}}


async def test_a_domain_as_tenant(emulator: Emulator, make: Make) -> None:
    """The token states the id."""
    token = await make(certificate(), tenant_id=emulator.tenant.domain).token()
    assert token.tenant_id == emulator.tenant.tenant_id


@pytest.mark.parametrize("how", ["secret", "certificate"])
async def test_only_the_newest_token_is_forgotten(emulator: Emulator, make: Make, how: str) -> None:
    """A refusal that was on its way when another lane fetched a new token does not cost that one."""
    login = make(certificate() if how == "certificate" else None)
    first = await login.token()
    login.forget(first)
    second = await login.token()
    assert second != first
    login.forget(first)
    assert await login.token() == second
    assert len(forms(emulator)) == 2


@pytest.mark.parametrize("ahead", [timedelta(days=800), timedelta(days=-20), timedelta(minutes=-20)], ids=str)
async def test_a_wrong_clock_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """Entra's first refusal states its clock; from then on each assertion is dated by it."""
    with Emulator(clock=lambda: datetime.now(UTC) + ahead) as emulator:
        emulator.adopt(monkeypatch)
        pair = make_pair(start=datetime.now(UTC) - timedelta(days=30), days=3000)
        emulator.tenant.certificates = [pair.certificate]
        graph_time = GraphTime()
        login = Login(
            CLOUDS["global"],
            emulator.tenant.tenant_id,
            emulator.tenant.client_id,
            certificate(pair),
            graph_time=graph_time,
            on_date=graph_time.learn,
        )
        login.forget(await login.token())
        assert len(forms(emulator)) == 2
        login.forget(await login.token())
        assert len(forms(emulator)) == 3
        await login.close()


async def test_a_refused_time_is_told_where_nobody_knows_better(make: Make, emulator: Emulator) -> None:
    """Where the clock that dates the assertion cannot be mended, the refusal is raised, after one try."""
    graph_time = GraphTime()
    graph_time.ahead_s = -86_400
    login = make(certificate(), graph_time=graph_time, on_date=lambda _: None)
    fault = await refused(login)
    assert isinstance(fault, CredentialRejected)
    assert fault.code == 700024
    assert len(forms(emulator)) == 1


REJECTED: dict[str, tuple[int, Callable[[Make, Emulator], Login], str]] = {
    "not registered": (700027, lambda make, _: make(certificate(OTHER)), "Upload its public half"),
    "another application": (700016, lambda make, _: make(certificate(), client_id=OTHER.thumbprint), "client_id"),
    "another tenant": (90002, lambda make, _: make(certificate(), tenant_id=OTHER.thumbprint), "tenant_id"),
}
ON_CUE = {
    700027: "Upload its public half",
    50012: "Upload its public half",
    700024: "NTP",
    700023: "Check cloud",
    700021: "Check client_id",
    50027: "make a new certificate",
    5002738: "RSA key",
    700025: "Allow public client flows",
}


@pytest.mark.parametrize(("code", "arrange", "advice"), REJECTED.values(), ids=REJECTED)
async def test_a_certificate_that_entra_refuses(
    emulator: Emulator, make: Make, code: int, arrange: Callable[[Make, Emulator], Login], advice: str
) -> None:
    """The code, the thumbprint as the portal shows it, and what to do."""
    fault = await refused(arrange(make, emulator))
    assert isinstance(fault, CredentialRejected)
    assert fault.code == code
    assert fault.thumbprint in str(fault)
    assert fault.thumbprint in (PAIR.thumbprint, OTHER.thumbprint)
    assert advice in advise(fault).remedy


@pytest.mark.parametrize(("code", "advice"), ON_CUE.items())
async def test_every_code_about_assertions_has_its_remedy(
    emulator: Emulator, make: Make, code: int, advice: str
) -> None:
    """As the documents list them."""
    text = {"error": "invalid_client", "error_description": f"AADSTS{code}: Something. Trace ID: x"}
    emulator.login.faults.inject(Fault.status(401, body=text), times=None)
    fault = await refused(make(certificate()))
    assert isinstance(fault, CredentialRejected)
    assert advice in advise(fault).remedy
    assert PAIR.thumbprint in str(fault)


async def test_an_expired_certificate_is_refused_by_entra_too(emulator: Emulator, make: Make) -> None:
    """Where this machine's clock does not know."""
    pair = make_pair(start=datetime.now(UTC) - timedelta(days=9), days=8)
    emulator.tenant.certificates.append(pair.certificate)
    read = read_certificate(SecretStr(pair.pem), 0.0)
    assert isinstance(read, ClientCertificate)
    fault = await refused(make(read))
    assert isinstance(fault, CredentialRejected)
    assert fault.code == 700027


STRANGE = {
    "a gateway's page": Fault.html(503),
    "a page of a proxy's": Fault.html(200),
    "nothing": Fault.status(200, body=b""),
    "no object": Fault.status(200, body=b"[1]"),
    "no token": Fault.status(200, body={"expires_in": 3599}),
    "no end": Fault.status(200, body={"access_token": "x"}),
    "an end that is none": Fault.status(200, body={"access_token": "x", "expires_in": "soon"}),
    "cut short": Fault.truncate(40),
    "no text": Fault.status(200, body=b"\xff\xfe", headers={"Content-Type": "application/json"}),
    "a picture": Fault.status(200, body=b"\x89PNG", headers={"Content-Type": "image/png"}),
    "a reset": Fault.reset(),
    "an error of nobody's": Fault.status(400, body={"error": "invalid_request"}),
}


@pytest.mark.parametrize("how", ["secret", "certificate"])
@pytest.mark.parametrize("fault", STRANGE.values(), ids=STRANGE)
async def test_a_strange_answer_passes(emulator: Emulator, make: Make, fault: Fault, how: str) -> None:
    """It accuses neither the secret nor the certificate, and the next try is right."""
    login = make(certificate() if how == "certificate" else None)
    emulator.login.faults.inject(fault)
    assert type(await refused(login)) is LoginUnavailable
    assert (await login.token()).roles is not None


@pytest.mark.parametrize(("header", "wait_s"), [("7", 7.0), (None, None), ("86400", 3600.0)])
async def test_entra_is_left_alone_as_long_as_it_asks(
    emulator: Emulator, make: Make, header: str | None, wait_s: float | None
) -> None:
    """An hour at most."""
    emulator.login.faults.inject(Fault.retry_after(429, header))
    fault = await refused(make())
    assert isinstance(fault, LoginUnavailable)
    assert fault.retry_after_s == wait_s


async def test_a_token_that_cannot_be_read_states_nothing(emulator: Emulator, make: Make) -> None:
    """Microsoft calls tokens opaque."""
    for text in ("opaque", "a.b.c", "a.W10.c"):
        emulator.login.faults.inject(Fault.status(200, body={"access_token": text, "expires_in": 3599}))
        token = await make().token()
        assert (token.text, token.tenant_id, token.roles) == (text, None, None)


async def test_a_token_without_roles_states_that_there_are_none(emulator: Emulator, make: Make) -> None:
    """Entra leaves the claim out where nobody consented to anything."""
    emulator.tenant.roles = []
    assert (await make().token()).roles == frozenset()


async def test_the_token_goes_to_the_clouds_graph_only(make: Make) -> None:
    """Whatever address the SDK asks about."""
    provider = make().provider().access_token_provider
    assert await provider.get_authorization_token("https://graph.microsoft.com/v1.0/x")
    for other in ("https://graph.evil.example/v1.0/x", "https://graph.microsoft.us/x", "https://login.microsoft.com"):
        assert not await provider.get_authorization_token(other)


# What stands in the way


@asynccontextmanager
async def tls_proxy(emulator: Emulator) -> AsyncIterator[str]:
    """The emulator's proxy behind TLS: its address."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        on, back = await asyncio.open_connection("127.0.0.1", emulator.proxy.port)
        await asyncio.gather(pump(reader, back), pump(on, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=emulator._tls)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """These variables of a proxy and no others, settled as the connector does."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert settle() is None


async def everybody(login: Login) -> None:
    """Asks Entra, Graph and the intake once each, as the connector does."""
    limiter = RateLimiter(CLOCK, spacing_s=0.01)
    graph = Graph(CLOUDS["global"], login, "x", rate_limiter=limiter, clock=CLOCK)
    await graph.one(AUDITS)
    await graph.close()
    assert (await asyncio.to_thread(requests.Session().post, f"https://{INTAKE}/batch", timeout=5)).status_code == 404


@pytest.mark.parametrize("no_proxy", ["127.0.0.1,fd00::/8", "localhost,[::1]", "*.elsewhere.example"])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("form", ["http://127.0.0.1:{}", "127.0.0.1:{}", "svc:p@ss@127.0.0.1:{}", "https"])
async def test_login_graph_and_intake_go_the_same_way(
    emulator: Emulator, make: Make, monkeypatch: pytest.MonkeyPatch, variable: str, form: str, no_proxy: str
) -> None:
    """Whatever the variable and however the proxy is written, a proxy that is reached by TLS included."""
    async with tls_proxy(emulator) as secure:
        address = secure if form == "https" else form.format(emulator.proxy.port)
        environment(monkeypatch, **{variable: address, "NO_PROXY": no_proxy})
        await everybody(make())
    assert set(emulator.proxy.tunnels) == {"login.microsoftonline.com", "graph.microsoft.com", INTAKE}


async def test_an_exception_is_one_for_all(emulator: Emulator, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is to be asked directly is asked directly by every client."""
    environment(monkeypatch, HTTPS_PROXY=emulator.proxy_url, NO_PROXY=f".microsoftonline.com,{INTAKE}")
    fault = await refused(make())
    assert type(fault) is LoginUnavailable
    with pytest.raises(requests.ConnectionError):
        await asyncio.to_thread(requests.Session().post, f"https://{INTAKE}/batch", timeout=5)
    assert emulator.proxy.tunnels == []


async def test_a_proxy_in_the_way_is_called_that(
    emulator: Emulator, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is not there, and one that refuses; without a word of its address."""
    with socket.socket() as held:  # bound, so that nobody else gets the port, and listening to nobody
        held.bind(("127.0.0.1", 0))
        environment(monkeypatch, HTTPS_PROXY=f"svc:hush@127.0.0.1:{held.getsockname()[1]}")
        gone = await refused(make())
    emulator.proxy.hosts = frozenset()
    environment(monkeypatch, HTTPS_PROXY=f"svc:hush@127.0.0.1:{emulator.proxy.port}")
    shut = await refused(make())
    assert type(gone) is type(shut) is ProxyInTheWay
    assert str(shut).endswith("the proxy answered 502")
    assert "127.0.0.1" not in str(gone) + str(shut)


async def test_an_untrusted_certificate_is_called_that(
    emulator: Emulator, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person must act: at the proxy that opens TLS, or in SSL_CERT_FILE."""
    monkeypatch.delenv("SSL_CERT_FILE")
    assert type(await refused(make())) is CertificateUntrusted


# What is secret stays secret


def seen(error: BaseException) -> str:
    """All that a report of an error can show: its texts, its chain, and every local of every frame."""
    shown = ["".join(traceback.format_exception(error))]
    link: BaseException | None = error
    while link is not None:
        frame: TracebackType | None = link.__traceback__
        while frame is not None:
            if "graph_entra" in frame.tb_frame.f_code.co_filename or "azure" in frame.tb_frame.f_code.co_filename:
                shown += [repr(value) for value in frame.tb_frame.f_locals.values()]
            frame = frame.tb_next
        link = link.__cause__ or link.__context__
    return "\n".join(shown)


@pytest.mark.parametrize("how", ["secret", "certificate"])
@pytest.mark.parametrize("what", ["refused", "down", "proxy"])
async def test_nothing_shows_what_is_secret(
    emulator: Emulator,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    how: str,
    what: str,
) -> None:
    """No log, output, traceback, local of a frame or exception's chain holds a secret, a key, a token or a password."""
    caplog.set_level(logging.DEBUG)
    quiet_libraries()
    secret = certificate() if how == "certificate" else None
    good = make(secret)
    token = await good.token()
    good.forget(token)
    if what == "refused":
        emulator.login.error = 7000215
    elif what == "down":
        emulator.login.faults.inject(Fault.html(503), times=None)
    else:
        environment(monkeypatch, HTTPS_PROXY="svc:hu%40sh@127.0.0.1:9")
    fault = await refused(make(secret) if what == "proxy" else good)
    shown = seen(fault) + caplog.text + "".join(capfd.readouterr()) + repr(good) + repr(token)
    key_lines = PAIR.key_pem.splitlines()[1:-1] + PAIR.old_key_pem.splitlines()[1:-1]
    assertions = [form.get("client_assertion", "-" * 9) for form in forms(emulator)]
    for hidden in (emulator.tenant.client_secret, token.text, "hu%40sh", "hu@sh", *key_lines, *assertions):
        assert hidden not in shown
