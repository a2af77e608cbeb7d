"""A connector's life in the SDK: what would end it, stop it from ending, or make it run hot, does not."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from urllib.request import urlopen

import pytest
import requests
from tenacity import wait_none

from graph_entra.errors import GraphEntraError, StorageFailed
from graph_entra.sekoia import lifecycle
from graph_entra.sekoia.configuration import EntraConnectorConfiguration
from graph_entra.sekoia.lifecycle import LOGS_KEPT, Lifecycle
from graph_entra.sekoia.module import GraphEntraModule

ROOT = Path(__file__).parents[2]
APPLICATION = {"tenant_id": "t", "client_id": "c"}
LOGS_URL = "http://platform.invalid/logs"
SOON_S = 3.0


class Answer:
    """An answer of the platform's."""

    def __init__(self, content: Any = None) -> None:
        self._content = content

    def raise_for_status(self) -> None:
        """It went well."""

    def json(self) -> Any:
        """The body."""
        return self._content


class Platform:
    """Sekoia's platform, as ``requests`` reaches it."""

    def __init__(self) -> None:
        self.lines: list[dict[str, str]] = []
        self.posts = 0
        self.logs_down = False
        self.logs_stall = Event()
        self.logs_stall.set()
        self.secrets: list[Any] = [{"value": {"client_secret": "hush"}}]
        self.secrets_asked = 0
        self._lock = Lock()

    def post(self, url: str, **kwargs: Any) -> Answer:
        """Take log lines."""
        assert url == LOGS_URL
        assert kwargs["timeout"] is not None
        with self._lock:
            self.posts += 1
        self.logs_stall.wait()
        if self.logs_down:
            raise requests.ConnectionError("refused")
        with self._lock:
            self.lines += kwargs["json"]["logs"]
        return Answer()

    def get(self, *_: Any, **__: Any) -> Answer:
        """Hand over the secrets: each answer once, the last one for ever."""
        self.secrets_asked += 1
        answer = self.secrets[0] if len(self.secrets) == 1 else self.secrets.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer)

    def levels(self, level: str) -> list[str]:
        """The messages of one level."""
        return [line["message"] for line in self.lines if line["level"] == level]


class Quiet(Lifecycle):
    """A connector that collects nothing, or fails as it is told."""

    name = "quiet"
    configuration: EntraConnectorConfiguration  # type: ignore[override]

    def __init__(self, data_path: Path) -> None:
        super().__init__(GraphEntraModule(), data_path)
        self.collected = 0
        self.beats = 0
        self.faults: list[Exception] = []
        self.failed: list[GraphEntraError] = []
        self.secret = ""

    async def collect(self, told_to_stop: asyncio.Event) -> None:
        """Wait for the stop."""
        self.collected += 1
        self.secret = self.module.configuration.client_secret.get_secret_value()
        if self.faults:
            raise self.faults.pop(0)
        await told_to_stop.wait()

    def failed_to_start(self, error: GraphEntraError) -> None:
        """Note it."""
        self.failed.append(error)

    def heartbeat(self) -> None:
        """Count it."""
        self.beats += 1
        super().heartbeat()


class Running:
    """A connector, executed in a thread as the platform executes it in a process."""

    def __init__(self, connector: Quiet) -> None:
        self.connector = connector
        self.error: BaseException | None = None
        self._thread = Thread(target=self._execute, daemon=True)
        self._thread.start()

    def _execute(self) -> None:
        try:
            self.connector.execute()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.error = error

    @property
    def runs(self) -> bool:
        """Whether execute has not returned."""
        return self._thread.is_alive()

    def stop(self) -> float:
        """Stop it; returns how long that took."""
        began_s = time.monotonic()
        self.connector.stop()
        self._thread.join(SOON_S)
        assert not self.runs, "it does not end"
        assert self.error is None
        return time.monotonic() - began_s


def eventually(condition: Callable[[], object]) -> None:
    """Wait for something that must happen soon."""
    end_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end_s, "it does not happen"
        time.sleep(0.005)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """The platform and its environment; short waits; signals as they were."""
    monkeypatch.chdir(ROOT)
    for name, value in {
        "MODULE_CONFIGURATION": json.dumps(APPLICATION),
        "CONNECTOR_CONFIGURATION": json.dumps({"intake_key": "k"}),
        "TOKEN": "t",
        "URL_CALLBACK": "http://platform.invalid/callback",
        "URL_LOGS": LOGS_URL,
        "URL_SECRETS": "http://platform.invalid/secrets",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(lifecycle, "HEARTBEAT_EVERY_S", 0.02)
    monkeypatch.setattr(lifecycle, "RESTART_AFTER_S", 0.02)
    monkeypatch.setattr(lifecycle, "LOGS_EVERY_S", 0.02)
    monkeypatch.setattr(lifecycle, "wait_exponential", lambda **_: wait_none())
    made = Platform()
    monkeypatch.setattr(requests, "post", made.post)
    monkeypatch.setattr(requests, "get", made.get)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield made
    made.logs_stall.set()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def connector(platform: Platform, tmp_path: Path) -> Iterator[Quiet]:
    """A connector that was not started."""
    made = Quiet(tmp_path)
    yield made
    made.stop()
    # Its thread lives on: nothing may be left that it would send to the next test's platform.
    platform.logs_down = False
    platform.logs_stall.set()
    made._flush_logs()


# Life


def test_a_life(platform: Platform, connector: Quiet) -> None:
    """Secrets, collecting, stop: within a moment, and without an error."""
    running = Running(connector)
    eventually(lambda: connector.collected)
    assert connector.secret == "hush"
    connector.write("hello", "info")
    assert running.stop() < 1
    assert connector.collected == 1
    assert platform.levels("info") == ["hello"], "the last lines are sent before the end"


def test_a_stop_before_the_start(platform: Platform, connector: Quiet) -> None:
    """A signal may come while modules are imported: nothing is collected."""
    connector.stop()
    running = Running(connector)
    eventually(lambda: not running.runs)
    assert connector.collected == 0
    assert running.error is None


def test_what_cannot_start_starts_again(platform: Platform, connector: Quiet) -> None:
    """An error of our tree is diagnosed; any other is logged; both after a pause, for ever."""
    connector.faults = [StorageFailed("full"), ValueError("odd"), StorageFailed("still full")]
    running = Running(connector)
    eventually(lambda: connector.collected == 4)
    assert [str(error) for error in connector.failed] == ["full", "still full"]
    eventually(lambda: platform.levels("error"))
    assert "quiet failed, and starts again" in platform.levels("error")[0]
    assert platform.levels("critical") == []
    running.stop()


def test_a_restart_is_no_hot_loop(platform: Platform, connector: Quiet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK calls ``run`` again at once: the wait is in here, and a stop ends it."""
    monkeypatch.setattr(lifecycle, "RESTART_AFTER_S", 60.0)
    connector.faults = [StorageFailed("full")] * 100
    running = Running(connector)
    eventually(lambda: connector.collected)
    time.sleep(0.2)
    assert connector.collected == 1
    assert running.stop() < 1


# A configuration that cannot be used


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("CONNECTOR_CONFIGURATION", {"intake_key": "k", "frequency": 0}, "frequency is 0. It must be"),
        ("CONNECTOR_CONFIGURATION", {}, "intake_key is missing."),
        ("CONNECTOR_CONFIGURATION", None, "The configuration cannot be read"),
        ("MODULE_CONFIGURATION", {"tenant_id": "", "client_id": "c"}, "tenant_id is empty."),
        ("MODULE_CONFIGURATION", APPLICATION | {"cloud": "mars"}, "cloud is 'mars'."),
        ("MODULE_CONFIGURATION", {}, "tenant_id is missing."),
    ],
    ids=str,
)
def test_a_bad_configuration_is_said_once_and_waited_with(
    platform: Platform, connector: Quiet, monkeypatch: pytest.MonkeyPatch, name: str, value: Any, sentence: str
) -> None:
    """One critical sentence, a heartbeat now and then, no hot loop, and a stop ends it."""
    monkeypatch.setenv(name, json.dumps(value))
    running = Running(connector)
    eventually(lambda: connector.beats >= 3)
    assert running.runs
    assert running.stop() < 1
    [line] = platform.lines
    assert line["level"] == "critical"
    assert line["message"].startswith(sentence)
    assert "\n" not in line["message"]
    assert connector.collected == 0
    assert connector.beats < 200


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, "client_secret is empty."),
        ({"client_secret": ""}, "client_secret is empty."),
        ({"client_secret": None}, "client_secret is empty."),
        ({"client_secret": 5}, "client_secret cannot be used."),
    ],
    ids=str,
)
def test_a_secret_that_is_not_there_is_said(
    platform: Platform, connector: Quiet, value: dict[str, Any], sentence: str
) -> None:
    """What the platform hands over is checked too, without a traceback."""
    platform.secrets = [{"value": value}]
    running = Running(connector)
    eventually(lambda: platform.levels("critical"))
    assert platform.levels("critical")[0].startswith(sentence)
    assert connector.collected == 0
    running.stop()


# Secrets


def test_secrets_are_asked_for_until_they_come(platform: Platform, connector: Quiet) -> None:
    """The platform may be down at first, or answer something else than JSON."""
    platform.secrets = [
        requests.ConnectionError("refused"),
        requests.Timeout("slow"),
        ValueError("not JSON"),
        {"value": {"client_secret": "hush"}},
    ]
    running = Running(connector)
    eventually(lambda: connector.collected)
    assert connector.secret == "hush"
    assert platform.secrets_asked == 4
    assert connector.beats >= 3
    running.stop()
    assert "asked again" in platform.levels("warning")[0]


def test_a_stop_ends_the_asking(platform: Platform, connector: Quiet, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the wait between two tries."""
    monkeypatch.setattr(lifecycle, "wait_exponential", lambda **_: lambda _state: 60)
    platform.secrets = [requests.ConnectionError("refused")]
    running = Running(connector)
    eventually(lambda: platform.secrets_asked)
    assert running.stop() < 1
    assert connector.collected == 0


# Logs


def test_a_logs_api_that_is_down_stops_nothing(platform: Platform, connector: Quiet) -> None:
    """No call blocks or raises, the newest thousand lines wait, and they come in order when it is back."""
    platform.logs_down = True
    running = Running(connector)
    eventually(lambda: connector.collected)
    began_s = time.monotonic()
    for number in range(LOGS_KEPT + 500):
        connector.log(f"line {number}", "error")
    assert time.monotonic() - began_s < 2
    eventually(lambda: platform.posts >= 2)
    assert len(connector._logs) <= LOGS_KEPT
    platform.logs_down = False
    eventually(lambda: len(platform.lines) >= LOGS_KEPT)
    numbers = [int(message.split()[1]) for message in platform.levels("error")]
    assert numbers == list(range(500, LOGS_KEPT + 500))
    running.stop()


def test_lines_that_could_not_be_sent_wait(platform: Platform, connector: Quiet) -> None:
    """They are sent with the next ones, in their order."""
    platform.logs_down = True
    connector.log("first", "error")
    assert not connector._flush_logs()
    connector.log("second", "error")
    platform.logs_down = False
    assert connector._flush_logs()
    assert platform.levels("error") == ["first", "second"]


def test_of_lines_that_wait_the_oldest_go(platform: Platform, connector: Quiet) -> None:
    """Before they were tried, and after it."""
    platform.logs_down = True
    for _ in range(2):
        for number in range(LOGS_KEPT + 5):
            connector.log(f"line {number}", "error")
        assert [line["message"] for line in connector._logs] == [f"line {number + 5}" for number in range(LOGS_KEPT)]
        assert not connector._flush_logs()


def test_the_last_lines_are_sent_before_the_end(
    platform: Platform, connector: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends them otherwise may be at anything by then."""
    monkeypatch.setattr(connector, "_send_logs", lambda: None)
    running = Running(connector)
    eventually(lambda: connector.collected)
    connector.log("last", "error")
    running.stop()
    assert platform.levels("error") == ["last"]


def test_a_logs_api_that_stalls_stops_nothing(platform: Platform, connector: Quiet) -> None:
    """A request that hangs for minutes: lines are taken meanwhile, and none is lost."""
    platform.logs_stall.clear()
    running = Running(connector)
    eventually(lambda: connector.collected)
    connector.log("first", "error")
    eventually(lambda: platform.posts)
    began_s = time.monotonic()
    for number in range(100):
        connector.log(f"line {number}", "error")
    assert time.monotonic() - began_s < 0.5
    platform.logs_stall.set()
    eventually(lambda: len(platform.lines) == 101)
    running.stop()


def test_a_stop_does_not_wait_for_a_logs_api_that_is_down(platform: Platform, connector: Quiet) -> None:
    """The last lines are tried once."""
    platform.logs_down = True
    running = Running(connector)
    eventually(lambda: connector.collected)
    connector.log("unheard", "error")
    assert running.stop() < 1


def test_lines_from_many_threads_are_all_sent(platform: Platform, connector: Quiet) -> None:
    """Lanes deliver in threads of their own."""
    running = Running(connector)
    threads = [
        Thread(target=lambda who=who: [connector.log(f"{who} {n}", "error") for n in range(50)]) for who in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running.stop()
    sent = platform.levels("error")
    assert len(sent) == len(set(sent)) == 300


# Stop


class Timers:
    """Stands in for the timer that would end the process."""

    def __init__(self) -> None:
        self.started: list[tuple[float, Any, Any]] = []

    def __call__(self, seconds: float, action: Any, args: Any) -> Any:
        outer = self

        class Timer:
            daemon = False

            def start(self) -> None:
                assert self.daemon, "a timer that is no daemon would itself keep the process"
                outer.started.append((seconds, action, args))

        return Timer()


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    """No test ends the process that runs it."""
    made = Timers()
    monkeypatch.setattr(lifecycle, "Timer", made)
    return made


def test_a_stop_without_a_signal_ends_no_process(connector: Quiet, timers: Timers) -> None:
    """Whoever embeds the connector, a test for one, lives on."""
    running = Running(connector)
    eventually(lambda: connector.collected)
    running.stop()
    assert timers.started == []


def test_a_signal_ends_the_process_within_five_seconds(connector: Quiet, timers: Timers) -> None:
    """With status 0, whatever still hangs by then."""
    running = Running(connector)
    eventually(lambda: connector.collected)
    connector.stop(signal.SIGTERM, None)
    [(seconds, action, args)] = timers.started
    assert seconds < 5
    assert action is os._exit
    assert args == (0,)
    running.stop()


def test_a_signal_before_the_start_ends_no_process(connector: Quiet, timers: Timers) -> None:
    """The SDK registers the handler at construction."""
    connector.stop(signal.SIGTERM, None)
    assert timers.started == []


def test_a_second_stop_is_no_fault(connector: Quiet) -> None:
    """Signals come twice."""
    running = Running(connector)
    eventually(lambda: connector.collected)
    running.stop()
    connector.stop()


# Monitoring


@pytest.mark.parametrize("busy", [["LIVENESS_PORT"], ["METRICS_PORT"], ["LIVENESS_PORT", "METRICS_PORT"], []], ids=str)
def test_a_port_that_is_taken_costs_that_page_only(
    connector: Quiet, monkeypatch: pytest.MonkeyPatch, busy: list[str]
) -> None:
    """The other page is served, a warning says why, and the connector runs."""
    with closing(socket.socket()) as first, closing(socket.socket()) as second:
        ports = {}
        for name, other in (("LIVENESS_PORT", first), ("METRICS_PORT", second)):
            other.bind(("0.0.0.0", 0))
            ports[name] = other.getsockname()[1]
            monkeypatch.setenv(name, str(ports[name]))
            if name in busy:
                other.listen()
            else:
                other.close()
        connector.start_monitoring()
        try:
            for name, path in (("LIVENESS_PORT", "health"), ("METRICS_PORT", "metrics")):
                if name not in busy:
                    with urlopen(f"http://127.0.0.1:{ports[name]}/{path}", timeout=SOON_S) as answer:
                        assert answer.status == 200
            assert any("port cannot be opened" in line["message"] for line in connector._logs) is bool(busy)
        finally:
            connector.stop_monitoring()


def test_a_quiet_tenant_is_alive(connector: Quiet) -> None:
    """Alive is who beats, however long no event came."""
    connector._last_events_time = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=9)
    assert connector.is_alive()
    connector._last_heartbeat = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=301)
    assert not connector.is_alive()
