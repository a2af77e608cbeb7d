"""What a running connector tells the platform: each cause, from its first line to its recovery.

The connectors run in this process, by their own `execute`, against the emulator; their clock runs 300 times as fast,
so that an hour takes 12 s. A real process tells the same in test_health_metrics.py.
"""

import asyncio
import errno
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from graph_entra.delivery import intake
from graph_entra.microsoft import rate_limit as budget
from graph_entra.reading import schedule
from graph_entra.sekoia import assembly as runtime
from graph_entra.sekoia.assembly import EntraConnector
from graph_entra.sekoia.connectors import EntraAuditsConnector, EntraSignInsConnector
from graph_entra.sekoia.module import GraphEntraModule
from graph_entra.state.files import Files
from tests.emulator import Emulator, Fault, Tenant
from tests.emulator.intake import SIGNINS_KEY
from tests.emulator.records import fill
from tests.emulator.tenant import AUDITS
from tests.end_to_end.conftest import until
from tests.integration.quick_time import QuickTime

SPEED = 300.0
OTHER = "33333333-3333-4333-8333-333333333333"
STREAM = "interactiveUser"


class QuickSleep:
    """The module `asyncio` with a sleep that is shorter."""

    def __init__(self, clock: QuickTime) -> None:
        self.sleep = clock.sleep

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


class Running:
    """A connector in a thread of its own, as the SDK runs it."""

    def __init__(self, emulator: Emulator, connector: EntraConnector, clock: QuickTime) -> None:
        self.emulator = emulator
        self.connector = connector
        self.clock = clock
        self._thread = threading.Thread(target=connector.execute, daemon=True)
        self._thread.start()

    def lines(self, *levels: str) -> list[str]:
        """The lines that the platform got, of these levels or of all, each marked with its level."""
        return [
            f"{entry['level']}: {entry['message']}"
            for entry in list(self.emulator.platform.logs)
            if not levels or entry["level"] in levels
        ]

    def complaints(self) -> list[str]:
        """The lines that ask for somebody's attention. Warnings would arrive some seconds later by themselves."""
        self.connector._flush_logs()
        lines = self.lines("warning", "error", "critical")
        # After ten minutes without reading, its quick clock says: that is a line of its own.
        return [line for line in lines if "nothing was read since" not in line]

    def pass_time(self, seconds: float) -> None:
        """Waits for so long by the connector's clock."""
        end_s = self.clock.monotonic() + seconds
        until(lambda: self.clock.monotonic() >= end_s)

    def stop(self) -> None:
        """Stops it; the platform then has every line."""
        self.connector.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


Run = Callable[..., Running]


@pytest.fixture
def clock() -> QuickTime:
    return QuickTime(SPEED)


@pytest.fixture
def emulator(clock: QuickTime) -> Iterator[Emulator]:
    """Its clock is the connector's; a token outlives the test."""
    with Emulator(Tenant(), clock.now) as running:
        running.graph.limit = None
        running.login.token_lifetime_s = 10**7
        yield running


@pytest.fixture
def run(emulator: Emulator, clock: QuickTime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Starts a connector on the quick clock; what still runs at the end is stopped."""
    emulator.adopt(monkeypatch)
    for module, name, value in (
        (schedule, "asyncio", clock),
        (schedule, "time", clock),
        (budget, "asyncio", clock),
        (runtime, "asyncio", QuickSleep(clock)),
        (runtime, "time", clock),
        (runtime, "gc", SimpleNamespace(collect=int, freeze=int)),
        (intake, "sleep_using_event", lambda event: partial(clock.wait, event)),
        (runtime, "RateLimiter", partial(budget.RateLimiter, 0.004, clock.monotonic)),
        (runtime, "StreamSchedule", partial(schedule.StreamSchedule, clock=clock.time)),
    ):
        monkeypatch.setattr(module, name, value)
    started: list[Running] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def start(kind: type[EntraConnector] = EntraSignInsConnector, **arguments: Any) -> Running:
        given = {"frequency": 30, "start_time": 3, "sign_in_types": [STREAM], **arguments}
        if kind is EntraAuditsConnector:
            del given["sign_in_types"]
        environment = emulator.environment(data_path=tmp_path, connector=given)
        for name in ("MODULE_CONFIGURATION", "CONNECTOR_CONFIGURATION", "TOKEN", "INTAKE_URL"):
            monkeypatch.setenv(name, environment[name])
        for name in ("URL_CALLBACK", "URL_LOGS", "URL_SECRETS"):
            monkeypatch.setenv(name, environment[name])
        connector = kind(GraphEntraModule(), tmp_path)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        started.append(Running(emulator, connector, clock))
        return started[-1]

    yield start
    for running in started:
        emulator.graph.faults.clear()
        emulator.intake.faults.clear()
        running.stop()


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
    emulator.hosts, emulator.proxy.hosts = emulator.proxy.hosts, frozenset()  # type: ignore[attr-defined]


def let_through(emulator: Emulator) -> None:
    """The proxy connects again."""
    emulator.proxy.hosts = emulator.hosts  # type: ignore[attr-defined]


SIGN_IN = "signing in to Entra"
INTAKE = "pushing to the intake"
LIVE = f"{STREAM} (live)"
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
        SIGN_IN,
        "The proxy on the way to Microsoft cannot be reached, or refuses to connect.",
        "check HTTPS_PROXY",
        "Entra could not be asked for an access token: the proxy answered 502",
        let_nobody_through,
        let_through,
    ),
    "missing permission": Case(
        "error",
        LIVE,
        "Graph forbids the application to read this log: AuditLog.Read.All is missing",
        "then press Grant admin consent.",
        "Graph answered 403 Authentication_MSGraphPermissionMissing: The principal does not have.*",
        change(roles=["Directory.Read.All"]),
        same,
    ),
    "no licence": Case(
        "error",
        LIVE,
        "Graph says that the tenant has no Entra ID P1 or P2 licence",
        "Licensed tenants get this answer at times too",
        "Graph answered 403 Authentication_RequestFromNonPremiumTenantOrB2CTenant: Neither tenant is B2C or.*",
        change(premium=False),
        same,
    ),
    "question refused": Case(
        "error",
        LIVE,
        "Graph does not accept the question for this log.",
        "Microsoft may have changed or withdrawn it in the beta API",
        "Graph answered 400 BadRequest: Unknown member",
        graph(BAD_REQUEST),
        forget_faults,
    ),
    "Graph down": Case(
        "warning",
        LIVE,
        "Graph does not answer with records: the network, a proxy, or Graph itself.",
        "check that the cloud's Graph address can be reached from here",
        "Graph answered 503 ServiceUnavailable",
        graph(Fault.status(503)),
        forget_faults,
    ),
    "a gateway's page": Case(
        "warning",
        LIVE,
        "Graph does not answer with records: the network, a proxy, or Graph itself.",
        "check that the cloud's Graph address can be reached from here",
        "Graph answered 502",
        graph(Fault.html(502)),
        forget_faults,
    ),
    "throttled": Case(
        "warning",
        LIVE,
        "Graph answers fewer requests than are asked: 5 in 10 s",
        "give this module an app registration of its own",
        r"Graph throttles the application \(429\)",
        graph(Fault.retry_after(429, "2.128")),
        forget_faults,
    ),
    "token refused": Case(
        "warning",
        LIVE,
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
        "Records are kept waiting, none is dropped.",
        "the intake answered 503",
        intake_fault(Fault.status(503)),
        forget_faults,
    ),
    "intake acknowledges too few": Case(
        "warning",
        INTAKE,
        "The Sekoia intake does not acknowledge the records.",
        "Records are kept waiting, none is dropped.",
        r"the intake acknowledged 0 of \d+ records",
        intake_fault(Fault.status(200, body={"event_ids": []})),
        forget_faults,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_cause_from_its_first_line_to_its_recovery(case: Case, run: Run, emulator: Emulator) -> None:
    """One line with where, cause, remedy, details and the next try; a line when it is over; every record once."""
    now = emulator.clock()
    fill(emulator.tenant, STREAM, 20, now - timedelta(hours=2), now - timedelta(minutes=1), seed=1)
    case.arrange(emulator)
    # The configuration is the plain tenant's, whatever Microsoft knows.
    plain = Tenant()
    arranged = {name: getattr(emulator.tenant, name) for name in ("tenant_id", "client_id", "client_secret")}
    change(tenant_id=plain.tenant_id, client_id=plain.client_id, client_secret=plain.client_secret)(emulator)
    running = run()
    change(**arranged)(emulator)
    until(running.complaints, 10)
    running.pass_time(120)
    (line,) = running.complaints()
    assert line.startswith(f"{case.level}: {case.where}: {case.says}")
    assert case.advises in line
    assert re.search(f" Details: {case.details}. Tries: \\d+; the next one in \\d+ s. Nothing is dropped mean", line)
    case.mend(emulator)
    until(lambda: emulator.intake.count >= 20, 10)
    until(lambda: not running.connector._problems._open, 10)
    running.stop()
    (over,) = [text for text in running.lines("info") if "recovered" in text]
    assert re.match(
        f"info: {re.escape(case.where)}: recovered after \\d+ s and \\d+ failed tries; nothing was lo", over
    )
    assert case.says in over
    assert running.complaints() == [line]
    assert emulator.intake.count == 20
    secrets = (plain.client_secret, SIGNINS_KEY, "Bearer", "eyJ", "skiptoken")
    assert not [secret for secret in secrets if secret in "\n".join(running.lines())]


@pytest.mark.parametrize("name", ["wrong secret", "unknown app"])
def test_critical_after_five_minutes(name: str, run: Run, emulator: Emulator) -> None:
    """First an error; after three tries over five minutes the one critical, at which the platform stops us."""
    running = run()
    until(lambda: emulator.graph.requests, 10)
    CASES[name].arrange(emulator)
    emulator.login.revoke()
    until(lambda: running.lines("error"), 10)
    began_s = running.clock.monotonic()
    until(lambda: running.lines("critical"), 10)
    assert running.clock.monotonic() - began_s > 250
    running.pass_time(120)
    (error,) = running.lines("error")
    (critical,) = running.lines("critical")
    for line in (error, critical):
        assert CASES[name].says in line
    assert int(re.findall(r"Tries: (\d+)", critical)[0]) >= 3


@pytest.mark.parametrize("name", ["missing permission", "no licence", "wrong intake key", "proxy refuses"])
def test_never_critical(name: str, run: Run, emulator: Emulator) -> None:
    """What may be mended outside or pass by itself is tried on, and is told once an hour."""
    CASES[name].arrange(emulator)
    now = emulator.clock()
    fill(emulator.tenant, STREAM, 5, now - timedelta(hours=2), now - timedelta(minutes=1), seed=1)
    running = run()
    until(running.complaints, 10)
    (problem,) = [one for one in running.connector._problems._open.values() if one.logged_s is not None]
    running.clock.jump(600)
    tries = problem.tries
    until(lambda: problem.tries >= tries + 3, 10)
    assert len(running.complaints()) == 1
    assert running.lines("critical") == []


def test_a_problem_is_told_again_after_an_hour(run: Run, emulator: Emulator, clock: QuickTime) -> None:
    """Who looks at today's log sees yesterday's problem."""
    CASES["missing permission"].arrange(emulator)
    running = run()
    until(running.complaints, 10)
    clock.jump(3600)
    until(lambda: len(running.complaints()) == 2, 10)
    running.pass_time(300)
    assert len(running.complaints()) == 2


def test_every_sign_in_type_has_its_line(run: Run, emulator: Emulator) -> None:
    """A permission that is missing stops all four types: one line each, whichever lane met it."""
    CASES["missing permission"].arrange(emulator)
    kinds = ["interactiveUser", "nonInteractiveUser", "servicePrincipal", "managedIdentity"]
    running = run(sign_in_types=kinds)
    until(lambda: len(running.complaints()) >= 4, 10)
    running.pass_time(300)
    assert sorted(line.split(":")[1].strip() for line in running.complaints()) == sorted(f"{k} (live)" for k in kinds)


def test_a_full_data_path(run: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data path fails under the running connector: one line, nothing is dropped, and it goes on afterwards."""
    full = threading.Event()
    path = Files._path

    def path_or_fault(self: Files, name: str) -> Path:
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        return path(self, name)

    monkeypatch.setattr(Files, "_path", path_or_fault)
    running = run()
    until(lambda: len(emulator.graph.requests) > 2, 10)
    full.set()
    now = emulator.clock()
    fill(emulator.tenant, STREAM, 5, now - timedelta(seconds=20), now - timedelta(seconds=1), seed=1)
    until(running.complaints, 10)
    running.pass_time(120)
    (line,) = running.complaints()
    assert line.startswith("error: the data path: The connector's data path cannot be read or written")
    assert "Check the space and the rights of the data path." in line
    assert "No space left on device" in line
    full.clear()
    until(lambda: emulator.intake.count >= 5, 10)
    until(lambda: not running.connector._problems._open, 10)
    running.stop()
    assert any("the data path: recovered after" in text for text in running.lines("info"))


def test_an_outage_beyond_the_retention_says_exactly_what_was_lost(run: Run, emulator: Emulator) -> None:
    """31 days without permission: the recovery states the bounds of what Graph no longer keeps."""
    running = run(EntraAuditsConnector)
    until(lambda: any(request.status == 200 for request in emulator.graph.requests), 10)
    running.pass_time(60)
    CASES["missing permission"].arrange(emulator)
    emulator.login.revoke()
    until(running.complaints, 10)
    running.clock.jump(31 * 86400)
    until(lambda: any("are lost" in line for line in running.complaints()), 10)
    same(emulator)
    until(lambda: not running.connector._problems._open, 20)
    running.stop()
    over = [text for text in running.lines("info") if "recovered" in text]
    bounds = r"from \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ to \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.search(f"{AUDITS} \\(live\\): recovered .* lost: {AUDITS} records created {bounds}, which Graph", over[0])


def test_the_secret_warns_before_it_ends(
    run: Run, emulator: Emulator, clock: QuickTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30, 14, 7, 3 and 1 days ahead, once each, although another secret ends sooner."""
    monkeypatch.setattr(runtime, "SECRET_EVERY_S", 60.0)  # the clock jumps, but not a sleep that is under way
    emulator.tenant.secret_expires = clock.now() + timedelta(days=30, hours=1)
    emulator.tenant.other_credentials = [
        {"hint": "xyz", "endDateTime": f"{clock.now() + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"}
    ]
    running = run(EntraAuditsConnector, start_time=0, frequency=3600)
    until(lambda: any("/applications" in request.path for request in emulator.graph.requests), 10)
    assert warnings(running) == []
    for left_days in (30, 14, 7, 3, 1):
        jump_to = emulator.tenant.secret_expires - timedelta(days=left_days)
        clock.jump((jump_to - clock.now()).total_seconds())
        until(lambda left_days=left_days: len(warnings(running)) == 1 + [30, 14, 7, 3, 1].index(left_days), 10)
    running.stop()
    said = [re.findall(r"ends in ([\d.]+) days", line)[0] for line in warnings(running)]
    assert [round(float(days)) for days in said] == [30, 14, 7, 3, 1]
    assert all(line.startswith("warning: The client secret ends in ") for line in warnings(running))


def warnings(running: Running) -> list[str]:
    """What was said of the secret's end."""
    running.connector._flush_logs()
    return [line for line in running.lines() if "client secret ends" in line]


@pytest.mark.parametrize("roles", [["AuditLog.Read.All"], ["AuditLog.Read.All", "Directory.Read.All"]])
def test_without_the_permission_nothing_is_said_of_the_secret(
    run: Run, emulator: Emulator, clock: QuickTime, roles: list[str]
) -> None:
    """A day before its end: silence without Directory.Read.All, and no error; a warning with it."""
    emulator.tenant.secret_expires = clock.now() + timedelta(hours=20)
    emulator.tenant.roles = roles
    running = run(EntraAuditsConnector)
    until(lambda: any("/applications" in request.path for request in emulator.graph.requests), 10)
    running.pass_time(60)
    running.stop()
    assert len(warnings(running)) == len(roles) - 1
    assert running.complaints() == warnings(running)
