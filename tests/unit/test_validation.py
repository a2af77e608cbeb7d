"""The account validator when everything hangs: it ends within a minute, in virtual time, and never raises."""

import asyncio
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import requests
from sekoia_automation.exceptions import SendEventError

from graph_entra.errors import GraphRefused, GraphUnavailable, LoginUnavailable, Throttled, WindowTooWide
from graph_entra.microsoft.login import LOGIN_TIMEOUT_S, Token
from graph_entra.sekoia import account_check as validation
from graph_entra.sekoia.account_check import CALLBACK_TIMEOUT_S, GRAPH_TIMEOUT_S, GraphEntraAccountValidator
from graph_entra.sekoia.module import GraphEntraModule, GraphEntraModuleConfiguration
from graph_entra.telling.diagnosis import LICENCE_CODE
from tests.virtual.jumping import JumpingLoop

CONFIGURATION = {"tenant_id": "t", "client_id": "c", "client_secret": "s", "cloud": "global"}
FOR_EVER_S = 1e6


class Clock:
    """The validator's clock; every wait of a test moves it, on the loop or off it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def time(self) -> float:
        return self.monotonic()

    def monotonic(self) -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return self.now_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def wait(self, event: Event, seconds: float) -> bool:
        self.now_s += seconds
        return event.is_set()

    def run(self, check: Coroutine[Any, Any, Any]) -> Any:
        """Stands in for the validator's own `_run`."""
        loop = JumpingLoop()
        loop._virtual_s = self.now_s
        try:
            return loop.run_until_complete(check)
        finally:
            self.now_s = loop.time()
            loop.close()


class SlowGraph:
    """Microsoft's side: each question takes so long, and then fails or not."""

    login_s = graph_s = 0.0
    roles: frozenset[str] | None = frozenset({"AuditLog.Read.All"})
    login_fault: Exception | None = None
    graph_fault: Exception | None = None

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes whatever the real one is given."""

    async def token(self) -> Token:
        await asyncio.sleep(self.login_s)
        if self.login_fault is not None:
            raise self.login_fault
        return Token("h.p.s", None, self.roles, 0.0)

    async def one(self, _stream: Any) -> None:
        await asyncio.sleep(self.graph_s)
        if self.graph_fault is not None:
            raise self.graph_fault

    async def close(self) -> None:
        """Nothing to close."""


class Callback:
    """The platform: so many calls hang until the client gives up, the others are answered."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.hang = 0
        self.status = 200
        self.told: list[dict[str, Any]] = []

    def __call__(self, _verb: str, _url: str, *, json: Any, timeout: float, **_: Any) -> Any:
        if self.hang > 0:
            self.hang -= 1
            self.clock.wait(Event(), timeout)
            raise requests.ReadTimeout
        self.told.append(json)
        answer = requests.Response()
        answer.status_code = self.status
        answer._content = orjson.dumps({"module_configuration": {"value": CONFIGURATION}})
        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(GraphEntraAccountValidator, "clock", clock)
    monkeypatch.setattr(validation, "_run", clock.run)
    return clock


@pytest.fixture
def callback(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callback:
    callback = Callback(clock)
    monkeypatch.setattr(
        validation, "requests", SimpleNamespace(request=callback, RequestException=requests.RequestException)
    )
    return callback


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> type[SlowGraph]:
    kind = type("SlowGraph", (SlowGraph,), {})
    monkeypatch.setattr(validation, "Graph", kind)
    return kind


@pytest.fixture
def validator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GraphEntraAccountValidator:
    monkeypatch.setenv("TOKEN", "the-platform's-token")
    monkeypatch.setenv("URL_CALLBACK", "http://127.0.0.1/callback")
    monkeypatch.setenv("MODULE_CONFIGURATION", orjson.dumps({**CONFIGURATION, "client_secret": "****"}).decode())
    return GraphEntraAccountValidator(GraphEntraModule(), tmp_path)


HANGS: dict[str, tuple[dict[str, Any], str]] = {
    "the login, for ever": ({"login_s": FOR_EVER_S}, "Entra and Graph did not answer within 40 s."),
    "the login, until its time-out": (
        {"login_s": LOGIN_TIMEOUT_S, "login_fault": LoginUnavailable("x")},
        "Entra could not be asked for an access token",
    ),
    "Graph, for ever": ({"graph_s": FOR_EVER_S}, "Entra and Graph did not answer within 40 s."),
    "Graph, until its time-out": (
        {"graph_s": GRAPH_TIMEOUT_S, "graph_fault": WindowTooWide("x")},
        "Graph does not answer with records",
    ),
    "both, nearly until their time-outs": ({"login_s": 29.0, "graph_s": 14.0}, "Entra and Graph did not answer"),
    "Graph fails again and again": ({"graph_s": 4.0, "graph_fault": GraphUnavailable("x")}, "Graph does not answer"),
    "Graph asks to wait for an hour": ({"graph_fault": Throttled("x", 3600.0)}, "Graph answers fewer requests"),
    "Graph asks to wait again and again": ({"graph_fault": Throttled("x", 9.0)}, "Graph answers fewer requests"),
}


@pytest.mark.parametrize("hanging_calls", [0, 1])
@pytest.mark.parametrize(("microsoft", "says"), HANGS.values(), ids=HANGS)
def test_ends_within_a_minute_whatever_hangs(
    validator: GraphEntraAccountValidator,
    slow: type[SlowGraph],
    callback: Callback,
    clock: Clock,
    microsoft: dict[str, Any],
    says: str,
    hanging_calls: int,
) -> None:
    """The platform is told within 60 s, even if its own first call hung too."""
    for name, value in microsoft.items():
        setattr(slow, name, value)
    callback.hang = hanging_calls
    validator.execute()
    assert clock.now_s < 60
    assert callback.told[-1]["results"] == {"success": False}
    assert callback.told[-1]["error"].startswith(says)


def test_a_platform_that_hangs_for_ever(
    validator: GraphEntraAccountValidator,
    slow: type[SlowGraph],
    callback: Callback,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody can be told: it still ends within the minute, and does not raise."""
    callback.hang = 10**6
    validator.execute()
    assert "it did not answer" in caplog.text
    assert clock.now_s < 60
    assert callback.told == []


def test_the_slowest_check_leaves_time_to_tell() -> None:
    """The arithmetic of the constants: the check's end, and two tries to tell with a second between."""
    assert validation.CHECK_S + 2 * CALLBACK_TIMEOUT_S + 1 < 60
    assert LOGIN_TIMEOUT_S < validation.CHECK_S


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_platform_that_refuses_the_call(
    validator: GraphEntraAccountValidator,
    slow: type[SlowGraph],
    callback: Callback,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """The log says what happened, without the platform's token, and nothing is raised."""
    callback.status = status
    validator.execute()
    assert f"The platform could not be asked for the configuration: it answered {status}." in caplog.text
    assert f"The platform could not be told the result: it answered {status}." in caplog.text
    assert "platform's-token" not in caplog.text


def test_what_the_platform_refuses_shows_no_token(validator: GraphEntraAccountValidator, callback: Callback) -> None:
    """The error does not come from the request, which holds the platform's token."""
    callback.status = 401
    with pytest.raises(SendEventError) as raised:
        validator._send_request({})
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("roles", "says"),
    [
        (None, "Graph forbids the application to read this log"),
        (frozenset({"AuditLog.Read.All"}), "Graph forbids the application to read this log"),
        (frozenset({"Mail.Read"}), "The application may not read the logs: AuditLog.Read.All is not among"),
        (frozenset(), "The application has no permission that an administrator has consented to."),
    ],
)
def test_a_missing_permission_is_said_of_a_token_that_states_its_permissions(
    validator: GraphEntraAccountValidator,
    slow: type[SlowGraph],
    callback: Callback,
    roles: frozenset[str] | None,
    says: str,
) -> None:
    """Microsoft calls tokens opaque: one that cannot be read does not show that a permission is not there."""
    slow.roles = roles
    slow.graph_fault = GraphRefused(403, "Authorization_RequestDenied", "")
    validator.execute()
    assert callback.told[-1]["error"].startswith(says)


def test_an_unknown_error_is_an_answer_without_its_text(
    validator: GraphEntraAccountValidator, slow: type[SlowGraph], callback: Callback
) -> None:
    """A fault of our own is reported by its name: its text may hold anything."""
    slow.graph_fault = RuntimeError("the secret is s3cr3t")
    validator.execute()
    assert callback.told[-1]["error"] == "The configuration could not be checked: RuntimeError."


def test_a_name_that_no_server_answers_for_does_not_hold_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up runs in a thread that cannot be stopped; the check's end does not wait for it."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: time.sleep(1.5))

    async def look_up() -> None:
        async with asyncio.timeout(0.1):
            await asyncio.get_running_loop().getaddrinfo("login.microsoftonline.com", 443)

    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        validation._run(look_up())
    assert time.monotonic() - began_s < 1


@pytest.mark.parametrize(
    ("secret", "says"),
    [("", "client_secret is empty."), ("****", "The platform did not hand over client_secret."), ("a*", None)],
)
def test_missing_secret(secret: str, says: str | None, validator: GraphEntraAccountValidator) -> None:
    """An empty secret and the platform's placeholder are both no secret; a star within one is nothing special."""
    validator.module._configuration = GraphEntraModuleConfiguration(**{**CONFIGURATION, "client_secret": secret})
    sentence = validator.module.missing()
    assert sentence is None if says is None else sentence is not None and sentence.startswith(says)


@pytest.mark.parametrize("fault", [GraphUnavailable("x"), GraphRefused(403, LICENCE_CODE, "")], ids=["down", "licence"])
def test_patience_ends(clock: Clock, validator: GraphEntraAccountValidator, fault: Exception) -> None:
    """A fault of the moment is asked about three times, no more; the licence's answer may be one."""
    asked: list[int] = []

    async def ask() -> None:
        asked.append(1)
        raise fault

    with pytest.raises(type(fault)):
        clock.run(validator._patiently(ask))
    assert len(asked) == validation.TRIES


def test_a_refusal_is_not_asked_again(clock: Clock, validator: GraphEntraAccountValidator) -> None:
    """A permission does not come by waiting."""
    asked: list[int] = []

    async def ask() -> None:
        asked.append(1)
        raise GraphRefused(403, "Authorization_RequestDenied", "")

    with pytest.raises(GraphRefused):
        clock.run(validator._patiently(ask))
    assert len(asked) == 1
