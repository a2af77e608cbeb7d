"""What a running connector tells: each cause, from its first line to its recovery, in virtual time.

A real process tells the same in tests/end_to_end/test_health_metrics.py.
"""

import asyncio
import errno
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from graph_entra.sekoia import credential_watch
from graph_entra.state.files import Files
from tests.emulator import Emulator, Fault, Tenant
from tests.emulator.hosts import GRAPH_HOSTS, LOGIN_HOSTS
from tests.emulator.intake import SIGNINS_KEY
from tests.emulator.tenant import AUDITS
from tests.integration.rig import Rig, Run

OTHER = "33333333-3333-4333-8333-333333333333"
STREAM = "interactiveUser"
KINDS = ("interactiveUser", "nonInteractiveUser", "servicePrincipal", "managedIdentity")
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


@dataclass(frozen=True)
class Case:
    """A cause, where it is told, the beginning of its sentence, its remedy's words, its details; and its cure."""

    level: str
    where: str
    says: str
    advises: str
    details: str
    arrange: Callable[[Emulator], Any]
    mend: Callable[[Emulator], Any]


def change(**members: Any) -> Callable[[Emulator], None]:
    """Changes what Microsoft knows of the tenant."""

    def arrange(emulator: Emulator) -> None:
        for name, value in members.items():
            setattr(emulator.tenant, name, value)

    return arrange


def same(emulator: Emulator) -> None:
    """Puts the tenant right again."""
    plain = Tenant()
    for name in ("tenant_id", "client_id", "client_secret", "secret_expires", "cloud", "roles", "premium"):
        setattr(emulator.tenant, name, getattr(plain, name))
    emulator.login.error = None


def refuse(code: int) -> Callable[[Emulator], None]:
    """Entra refuses every token request."""
    return lambda emulator: setattr(emulator.login, "error", code)


def graph(fault: Fault) -> Callable[[Emulator], None]:
    """Graph answers everything with this fault."""
    return lambda emulator: emulator.graph.faults.inject(fault, times=None)


def login(fault: Fault) -> Callable[[Emulator], None]:
    """The login answers everything with this fault."""
    return lambda emulator: emulator.login.faults.inject(fault, times=None)


def intake_fault(fault: Fault) -> Callable[[Emulator], None]:
    """The intake answers everything with this fault."""
    return lambda emulator: emulator.intake.faults.inject(fault, times=None)


def forget_faults(emulator: Emulator) -> None:
    """Everything answers again."""
    emulator.login.faults.clear()
    emulator.graph.faults.clear()
    emulator.intake.faults.clear()


def let_nobody_through(emulator: Emulator) -> None:
    """The proxy refuses."""
    emulator.proxy.hosts = frozenset()


def let_through(emulator: Emulator) -> None:
    """The proxy connects again."""
    emulator.proxy.hosts = LOGIN_HOSTS | GRAPH_HOSTS


SIGN_IN = "signing in to Entra"
WAY = "the way to Microsoft"
INTAKE = "pushing to the intake"
NO_DIRECTORY = {"error": {"code": "Authentication_ApplicationHasNoDirectoryReadAccess", "message": "Not for you."}}
BAD_REQUEST = Fault.status(400, body={"error": {"code": "BadRequest", "message": "Unknown member."}})

CASES = {
    "wrong secret": Case(
        "error",
        SIGN_IN,
        "Entra refuses the client secret: its value is wrong.",
        "make a new secret and paste that one's Value",
        r"Entra refused to sign the application in \(AADSTS7000215\)",
        change(client_secret="another"),
        same,
    ),
    "expired secret": Case(
        "error",
        SIGN_IN,
        "The client secret has expired.",
        "Make a new client secret under Certificates & secrets and paste its Value.",
        r"Entra refused to sign the application in \(AADSTS7000222\)",
        lambda emulator: change(secret_expires=emulator.clock() - timedelta(hours=1))(emulator),
        same,
    ),
    "unknown app": Case(
        "error",
        SIGN_IN,
        "Entra does not know the application in this tenant.",
        "Check client_id",
        r"Entra refused to sign the application in \(AADSTS700016\)",
        change(client_id=OTHER),
        same,
    ),
    "app disabled": Case(
        "error",
        SIGN_IN,
        "The application is disabled in this tenant.",
        "Enable it under Enterprise applications",
        r"Entra refused to sign the application in \(AADSTS7000112\)",
        refuse(7000112),
        same,
    ),
    "unknown tenant": Case(
        "error",
        SIGN_IN,
        "Entra does not know the tenant.",
        "Check tenant_id",
        r"Entra refused to sign the application in \(AADSTS90002\)",
        change(tenant_id=OTHER),
        same,
    ),
    "Conditional Access": Case(
        "error",
        SIGN_IN,
        "A Conditional Access policy blocks the application's sign-in.",
        "Exclude the application from the policy",
        r"Entra refused to sign the application in \(AADSTS53003\)",
        refuse(53003),
        same,
    ),
    "login down": Case(
        "warning",
        SIGN_IN,
        "Entra could not be asked for an access token: the network, a proxy, or Entra itself.",
        "The secret is not the reason.",
        "Entra, or something in its place, answered neither a token nor an error of Entra's",
        login(Fault.html(503)),
        forget_faults,
    ),
    "a code that passes": Case(
        "warning",
        SIGN_IN,
        "Entra could not be asked for an access token: the network, a proxy, or Entra itself.",
        "The secret is not the reason.",
        r"Entra could not sign the application in just now \(AADSTS50196\)",
        login(Fault.status(400, body={"error": "invalid_grant", "error_description": "AADSTS50196: A loop."})),
        forget_faults,
    ),
    "any code with a 503": Case(
        "warning",
        SIGN_IN,
        "Entra could not be asked for an access token: the network, a proxy, or Entra itself.",
        "The secret is not the reason.",
        r"Entra could not sign the application in just now \(AADSTS700016\)",
        login(Fault.status(503, body={"error": "invalid_client", "error_description": "AADSTS700016: Not found."})),
        forget_faults,
    ),
    "a code that we do not know": Case(
        "error",
        SIGN_IN,
        "Entra refuses to sign the application in: The app returned an unsupported grant type.",
        "Look the code up",
        r"Entra refused to sign the application in \(AADSTS70003\)",
        refuse(70003),
        same,
    ),
    "login reset": Case(
        "warning",
        SIGN_IN,
        "Entra could not be asked for an access token: the network, a proxy, or Entra itself.",
        "The secret is not the reason.",
        "Entra could not be asked for an access token: [A-Za-z]+Error",
        login(Fault.reset()),
        forget_faults,
    ),
    "proxy refuses": Case(
        "warning",
        WAY,
        "The proxy on the way to Microsoft cannot be reached, or refuses to connect.",
        "check HTTPS_PROXY",
        "Entra could not be asked for an access token: the proxy answered 502",
        let_nobody_through,
        let_through,
    ),
    "missing permission": Case(
        "error",
        STREAM,
        "Graph forbids the application to read this log: AuditLog.Read.All is missing",
        "then press Grant admin consent.",
        "Graph answered 403 Authentication_MSGraphPermissionMissing: The principal does not have.*",
        change(roles=["Directory.Read.All"]),
        same,
    ),
    "no licence": Case(
        "error",
        STREAM,
        "Graph says that the tenant has no Entra ID P1 or P2 licence",
        "Licensed tenants get this answer at times too",
        "Graph answered 403 Authentication_RequestFromNonPremiumTenantOrB2CTenant: Neither tenant is B2C or.*",
        change(premium=False),
        same,
    ),
    "the licence check itself is not allowed": Case(
        "error",
        STREAM,
        "Graph cannot see whether the tenant has a licence for this log",
        "Directory.Read.All beside AuditLog.Read.All, then press Grant admin consent.",
        "Graph answered 403 Authentication_ApplicationHasNoDirectoryReadAccess: Not for you",
        graph(Fault.status(403, body=NO_DIRECTORY)),
        forget_faults,
    ),
    "question refused": Case(
        "error",
        STREAM,
        "Graph does not accept the question for this log.",
        "Microsoft may have changed or withdrawn it in the beta API",
        "Graph answered 400 BadRequest: Unknown member",
        graph(BAD_REQUEST),
        forget_faults,
    ),
    "Graph down": Case(
        "warning",
        STREAM,
        "Graph does not answer with records: the network, a proxy, or Graph itself.",
        "check that the cloud's Graph address can be reached from here",
        "Graph answered 503 ServiceUnavailable",
        graph(Fault.status(503)),
        forget_faults,
    ),
    "a gateway's page": Case(
        "warning",
        STREAM,
        "Graph does not answer with records: the network, a proxy, or Graph itself.",
        "check that the cloud's Graph address can be reached from here",
        "Graph answered 502",
        graph(Fault.html(502)),
        forget_faults,
    ),
    "throttled": Case(
        "warning",
        STREAM,
        "Graph answers fewer requests than are asked. It grants an app registration 5 in 10 s in a tenant",
        "give this module one of its own",
        r"Graph throttles the application \(429\)",
        graph(Fault.retry_after(429, "2.128")),
        forget_faults,
    ),
    "token refused": Case(
        "warning",
        STREAM,
        "Graph refused an access token; a new one is fetched.",
        "check that the application still exists and is enabled",
        r"Graph refused the access token \(401 UnknownError\)",
        graph(Fault.status(401)),
        forget_faults,
    ),
    "wrong intake key": Case(
        "error",
        INTAKE,
        "The Sekoia intake refuses the records.",
        "Check intake_key",
        "the intake answered 401",
        lambda emulator: emulator.intake.keys.clear(),
        lambda emulator: emulator.intake.keys.add(SIGNINS_KEY),
    ),
    "intake down": Case(
        "warning",
        INTAKE,
        "The Sekoia intake does not acknowledge the records.",
        "check that the intake's address can be reached from here",
        "the intake answered 503",
        intake_fault(Fault.status(503)),
        forget_faults,
    ),
    "intake acknowledges too few": Case(
        "warning",
        INTAKE,
        "The Sekoia intake does not acknowledge the records.",
        "check that the intake's address can be reached from here",
        r"the intake acknowledged 0 of \d+ records",
        intake_fault(Fault.status(200, body={"event_ids": []})),
        forget_faults,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_each_cause_from_its_first_line_to_its_recovery(case: Case, rig: Rig) -> None:
    """One line with where, cause, remedy, details and the next try; a line when it is over; every record once."""
    rig.fill(STREAM, count=20)
    async with rig.collecting(STREAM) as run:
        case.arrange(rig.emulator)
        await run.until(run.complaints, "a line")
        await asyncio.sleep(300)
        (line,) = run.complaints()
        assert line.startswith(f"{case.level}: {case.where}: {case.says}")
        assert case.advises in line
        assert re.search(
            f" Details: {case.details}. Tries: \\d+; the next one in \\d+ s. Nothing is dropped mean", line
        )
        case.mend(rig.emulator)
        await run.complete()
        await run.until(lambda: run.said("recovered"), "its end")
        (over,) = run.said("recovered", level="info")
        assert re.match(
            f"{re.escape(case.where)}: recovered after \\d+ s and \\d+ failed tries; nothing was lost", over
        )
        assert case.says in over
        assert run.complaints() == [line]
        assert run.connector._problems.open() == {}


@pytest.mark.parametrize("name", ["wrong secret", "unknown app"])
@pytest.mark.parametrize(("worked", "least_s"), [(False, 300), (True, 6 * HOUR_S)])
async def test_critical_after_minutes_or_hours(name: str, rig: Rig, *, worked: bool, least_s: float) -> None:
    """First an error; then the one critical, at which the platform stops us: late, if it has worked before."""
    async with rig.collecting(STREAM) as run:
        if worked:
            await run.until(lambda: len(rig.graph_requests) > 2, "a first round")
        CASES[name].arrange(rig.emulator)
        rig.emulator.login.revoke()
        await run.until(run.complaints, "an error")
        began_s = rig.clock.monotonic()
        await run.until(lambda: run.said(level="critical"), "the critical line", 7 * HOUR_S)
        assert least_s - 1 <= rig.clock.monotonic() - began_s < least_s + 600
        (critical,) = run.said(level="critical")
        assert CASES[name].says in critical
        assert "the next one in" not in critical
        assert len(run.said(CASES[name].says, level="error")) == (6 if worked else 1)
        same(rig.emulator)


async def test_a_restart_while_the_secret_is_refused_is_not_critical_soon(rig: Rig) -> None:
    """What has worked in an earlier process has the same hours as what has worked in this one."""
    async with rig.collecting(STREAM) as run:
        await run.until(lambda: len(rig.graph_requests) > 2, "a first round")
    refuse(7000222)(rig.emulator)
    async with rig.collecting(STREAM) as run:
        await run.until(run.complaints, "an error")
        await asyncio.sleep(2 * HOUR_S)
        assert run.said(level="critical") == []
    same(rig.emulator)


@pytest.mark.parametrize("name", ["missing permission", "no licence", "wrong intake key", "proxy refuses"])
async def test_never_critical(name: str, rig: Rig) -> None:
    """What may be mended outside or pass by itself is tried on, and is told once an hour."""
    rig.fill(STREAM, count=5)
    async with rig.collecting(STREAM, frequency=600) as run:
        CASES[name].arrange(rig.emulator)
        await asyncio.sleep(5.5 * HOUR_S)
        assert len(run.complaints()) == 6
        assert run.said(level="critical") == []
        CASES[name].mend(rig.emulator)


async def test_every_stream_stands_in_one_line(rig: Rig) -> None:
    """A permission that is missing stops all four types: one line that names them, and one when it is over."""
    async with rig.collecting(*KINDS, frequency=60) as run:
        await run.until(lambda: len(rig.graph_requests) > 12, "a first round")
        CASES["missing permission"].arrange(rig.emulator)
        rig.emulator.login.revoke()
        await run.until(run.complaints, "a line")
        await asyncio.sleep(1200)
        (line,) = run.complaints()
        assert line.startswith("error: ")
        assert set(line.removeprefix("error: ").partition(":")[0].split(", ")) == set(KINDS)
        same(rig.emulator)
        await run.until(lambda: run.said("recovered"), "its end")
        await asyncio.sleep(1200)
        (over,) = run.said("recovered")
        assert set(over.partition(":")[0].split(", ")) == set(KINDS)


async def test_a_long_wait_is_told_with_its_end(rig: Rig) -> None:
    """A year, by a wrong header: an hour of it is kept, and the line says until when, and what was asked."""
    async with rig.collecting(STREAM) as run:
        await run.until(lambda: len(rig.graph_requests) > 2, "a first round")
        year = Fault.retry_after(429, "31536000")
        rig.emulator.graph.faults.inject(year, match=lambda request: "signIns" in request.path)
        began = rig.clock.now()
        await run.until(run.complaints, "a line", 120)
        (line,) = run.complaints()
        assert "asks to be left alone for 8760 h, of which 1 is kept" in line
        until = re.findall(r"left alone until (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", line)[0]
        assert (
            f"{began + timedelta(minutes=59):%Y-%m-%d %H:%M}"
            <= until
            <= f"{began + timedelta(minutes=63):%Y-%m-%d %H:%M}"
        )
        asked = len(rig.graph_requests)
        await asyncio.sleep(3500)
        assert len(rig.graph_requests) == asked
        await run.until(lambda: run.said("recovered"), "its end")
        assert len(run.complaints()) == 1


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """As long as something is in it, the data path has no space left."""
    full: list[bool] = []
    path = Files._path

    def path_or_fault(self: Files, name: str) -> Path:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return path(self, name)

    monkeypatch.setattr(Files, "_path", path_or_fault)
    return full


async def test_a_full_data_path(rig: Rig, full: list[bool]) -> None:
    """The data path fails under the running connector: one line, nothing is dropped, and it goes on afterwards."""
    async with rig.collecting(STREAM) as run:
        await run.until(lambda: len(rig.graph_requests) > 2, "a first round")
        full.append(True)
        rig.fill(STREAM, count=5, hours=0.001)
        await run.until(run.complaints, "a line")
        await asyncio.sleep(300)
        (line,) = run.complaints()
        assert line.startswith("error: the data path: The connector's data path cannot be read or written")
        assert "Check the space and the rights of the data path." in line
        assert "No space left on device" in line
        full.clear()
        await run.until(lambda: run.said("the data path: recovered after"), "its end")


async def test_an_outage_beyond_the_retention_says_exactly_what_was_lost(rig: Rig) -> None:
    """31 days without permission: the recovery states the bounds of what Graph no longer keeps."""
    async with rig.collecting() as run:
        await run.until(lambda: len(rig.graph_requests) > 2, "a first round")
        CASES["missing permission"].arrange(rig.emulator)
        rig.emulator.login.revoke()
        await run.until(run.complaints, "a line")
        rig.clock.jump(31 * DAY_S)
        await run.until(lambda: run.said("are lost"), "a line about the loss")
        same(rig.emulator)
        await run.until(lambda: run.said("recovered"), "its end")
        bounds = r"from \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ to \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
        assert re.search(
            f"{AUDITS}: recovered .* lost: {AUDITS} records created {bounds}, which", run.said("recovered")[0]
        )


def warnings(run: Run) -> list[str]:
    """What was said of the secret's end."""
    return run.said("client secret ends", level="warning")


async def test_the_secret_warns_before_it_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """30, 14, 7, 3 and 1 days ahead, once each, although another secret ends sooner."""
    monkeypatch.setattr(credential_watch, "DAY_S", 60)  # the clock jumps, but not a sleep that is under way
    rig.emulator.login.token_lifetime_s = 10**7
    tenant, now = rig.emulator.tenant, rig.clock.now()
    tenant.secret_expires = now + timedelta(days=30, hours=1)
    tenant.other_credentials = [{"hint": "xyz", "endDateTime": f"{now + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"}]
    async with rig.collecting(start_time=0, frequency=3600) as run:
        await run.until(lambda: any("/applications" in request.path for request in rig.graph_requests), "a look")
        assert warnings(run) == []
        for number, left_days in enumerate((30, 14, 7, 3, 1), 1):
            left_s = (tenant.secret_expires - timedelta(days=left_days) - rig.clock.now()).total_seconds()
            rig.clock.jump(left_s)
            await asyncio.sleep(120)
            assert len(warnings(run)) == number
        said = [re.findall(r"ends in ([\d.]+) days", line)[0] for line in warnings(run)]
        assert [round(float(days)) for days in said] == [30, 14, 7, 3, 1]


@pytest.mark.parametrize("roles", [["AuditLog.Read.All"], ["AuditLog.Read.All", "Directory.Read.All"]])
async def test_without_the_permission_nothing_is_said_of_the_secret(rig: Rig, roles: list[str]) -> None:
    """A day before its end: silence without Directory.Read.All, and no error; a warning with it."""
    rig.emulator.tenant.secret_expires = rig.clock.now() + timedelta(hours=20)
    rig.emulator.tenant.roles = roles
    async with rig.collecting() as run:
        await run.until(lambda: any("/applications" in request.path for request in rig.graph_requests), "a look")
        await asyncio.sleep(60)
        assert len(warnings(run)) == len(roles) - 1
        assert len(run.complaints()) == len(roles) - 1


async def test_a_day_of_troubles(rig: Rig, full: list[bool]) -> None:
    """Each trouble of a long day has two lines, none is false, and each figure is right while it lasts."""
    serial = iter(range(1, 10_000))

    async def records_for(run: Run, seconds: float) -> None:
        """A record of each type every five minutes."""
        for _ in range(int(seconds // 300)):
            rig.fill(*KINDS, count=1, hours=0.0005, seed=next(serial))
            await asyncio.sleep(300)

    async def trouble(run: Run, arrange: Callable[[], Any], mend: Callable[[], Any], kind: str, minutes: float) -> None:
        before = len(run.lines)
        assert run.connector._lag.value_s() < 240
        arrange()
        await records_for(run, minutes * 60)
        assert run.connector._problems.open() == {kind: 1}
        assert minutes * 60 - 120 <= run.connector._lag.value_s() <= minutes * 60 + 180
        mend()
        await records_for(run, 900)
        assert run.connector._problems.open() == {}
        assert run.connector._lag.value_s() < 240
        lines = [text for _, text in run.lines[before:] if "history is read" not in text]
        assert len(lines) == 2, lines
        assert "recovered after" in lines[1]
        assert "nothing was lost" in lines[1]

    emulator = rig.emulator
    async with rig.collecting(*KINDS, frequency=60) as run:
        await records_for(run, 1200)
        outage = Fault.status(503)
        await trouble(
            run, lambda: emulator.intake.faults.inject(outage, times=None), emulator.intake.faults.clear, "intake", 10
        )
        storm = Fault.retry_after(429, "10")
        await trouble(
            run, lambda: emulator.graph.faults.inject(storm, times=None), emulator.graph.faults.clear, "throttled", 15
        )

        def expire() -> None:
            emulator.tenant.secret_expires = rig.clock.now() - timedelta(seconds=1)
            emulator.login.revoke()

        await trouble(run, expire, lambda: same(emulator), "login", 50)

        def take_permission() -> None:
            emulator.tenant.roles = ["Directory.Read.All"]
            emulator.login.revoke()

        await trouble(run, take_permission, lambda: same(emulator), "graph", 50)
        await trouble(run, lambda: full.append(True), full.clear, "storage", 20)
        await run.complete()
    async with rig.collecting(*KINDS, frequency=60) as again:
        await records_for(again, 1800)
        assert again.complaints() == []
        await again.complete()
