"""Health and metrics: what the platform's liveness check and Prometheus see.

Days pass in virtual time, on the real lanes, budget, heartbeat and liveness check; a real process shows the two pages.
"""

import asyncio
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from sekoia_automation import trigger

from graph_entra.errors import CredentialRejected, GraphUnavailable, IntakeUnavailable, Throttled
from graph_entra.microsoft import rate_limit as budget
from graph_entra.reading import schedule
from graph_entra.records import Page, Taken
from graph_entra.sekoia import assembly as runtime
from graph_entra.sekoia.connectors import EntraAuditsConnector
from graph_entra.sekoia.module import GraphEntraModule
from graph_entra.telling import metrics
from tests.emulator import Emulator, Fault
from tests.emulator.intake import AUDITS_KEY
from tests.emulator.processes import Connector
from tests.emulator.records import one
from tests.emulator.tenant import AUDITS
from tests.end_to_end.conftest import until
from tests.unit.virtual_time import VirtualLoop

DAY_S = 86_400
START = datetime(2026, 11, 23, 8, tzinfo=UTC)


class World:
    """A connector whose hours pass in milliseconds, and what Graph does to it."""

    def __init__(self, connector: EntraAuditsConnector, loop: VirtualLoop) -> None:
        self.connector = connector
        self.loop = loop
        self.began_s = loop.time()
        self.asked = 0
        self.answer: Callable[[], Any] = self.quiet

    def passed_s(self) -> float:
        """Seconds since the start."""
        return self.loop.time() - self.began_s

    def now(self, _zone: Any = UTC) -> datetime:
        """The date in this world."""
        return START + timedelta(seconds=self.passed_s())

    async def quiet(self) -> None:
        """Graph answers at once that there is nothing."""

    async def pages(self, stream: Any, window: Any) -> AsyncGenerator[tuple[Page, bool]]:
        """Stands in for graph.Graph: a turn of the real budget, then one empty page, or what `answer` does."""
        await self.budget.turn(0 if window.lane == "live" else 1, stream.key)
        self.asked += 1
        await self.answer()
        yield Page([], None, None, None, True), True

    @property
    def budget(self) -> budget.RateLimiter:
        """The connector's own."""
        return self.connector._schedules[0]._budget

    async def password_credentials(self) -> list[Any]:
        """Nothing is known of the secret."""
        return []

    async def close(self) -> None:
        """Nothing to close."""

    async def health(self, seconds: float, every_s: float = 60.0) -> set[int]:
        """Lets time pass; returns the statuses that `/health` had meanwhile."""
        seen = set()
        for _ in range(int(seconds / every_s)):
            await asyncio.sleep(every_s)
            seen.add(200 if self.connector.is_alive() else 500)
        return seen


Live = Callable[..., None]


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Runs a scenario while the connector collects, all in virtual time."""
    runner = asyncio.Runner(loop_factory=VirtualLoop)
    loop = runner.get_loop()
    assert isinstance(loop, VirtualLoop)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(scenario: Callable[[World], Any], **arguments: Any) -> None:
        monkeypatch.setenv("CONNECTOR_CONFIGURATION", "{}")
        module = GraphEntraModule()
        module._configuration = SimpleNamespace(  # type: ignore[assignment]
            tenant_id="t", client_id="c", client_secret=SimpleNamespace(get_secret_value=lambda: "s"), cloud="global"
        )
        connector = EntraAuditsConnector(module, tmp_path)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        connector.configuration = {"intake_key": "k", "start_time": 0, **arguments}  # type: ignore[assignment]
        world = World(connector, loop)
        clock = SimpleNamespace(monotonic=loop.time, time=lambda: world.now().timestamp())
        for name in (schedule, runtime, budget):
            monkeypatch.setattr(name, "time", clock)
        monkeypatch.setattr(runtime, "RateLimiter", lambda: budget.RateLimiter(clock=loop.time))
        monkeypatch.setattr(
            runtime, "StreamSchedule", lambda *a, **k: schedule.StreamSchedule(*a, **k, clock=clock.time)
        )
        monkeypatch.setattr(runtime, "Graph", lambda *_, **__: world)
        monkeypatch.setattr(trigger, "datetime", SimpleNamespace(now=world.now))
        monkeypatch.setattr(asyncio, "to_thread", _at_once)
        monkeypatch.setattr(os, "fsync", lambda _: None)  # days of polls, and no power cut
        monkeypatch.setattr(runtime, "gc", SimpleNamespace(collect=int, freeze=int))
        connector._last_heartbeat = world.now().replace(tzinfo=None)
        connector._problems = runtime.ProblemLog(connector.write, clock.time)

        async def both() -> None:
            stop = asyncio.Event()
            collecting = asyncio.create_task(connector.collect(stop))
            await asyncio.sleep(0)
            await scenario(world)
            stop.set()
            await collecting

        runner.run(both())

    yield run
    runner.close()


async def _at_once(function: Callable[..., Any], *args: Any) -> Any:
    """A thread's work, done here: virtual time does not wait for threads."""
    return function(*args)


def failing(error: Exception) -> Callable[[], Any]:
    """Graph fails."""

    async def answer() -> None:
        raise error

    return answer


def test_a_quiet_tenant_is_healthy_for_days(live: Live) -> None:
    """Three days without a record: 200 all the time, and it has polled all the time."""

    async def scenario(world: World) -> None:
        assert await world.health(3 * DAY_S, 600) == {200}
        assert world.asked > 3 * 24 * 12

    live(scenario, frequency=300)


@pytest.mark.parametrize(("frequency", "seconds"), [(1, 900), (3600, 6 * 3600)])
def test_every_frequency_is_healthy(live: Live, frequency: int, seconds: int) -> None:
    """The shortest and the longest wait between two polls."""

    async def scenario(world: World) -> None:
        assert await world.health(seconds) == {200}

    live(scenario, frequency=frequency)


@pytest.mark.parametrize(
    "error", [GraphUnavailable("503"), CredentialRejected(7000215), RuntimeError("x")], ids=["down", "secret", "bug"]
)
def test_healthy_while_graph_is_down(live: Live, error: Exception) -> None:
    """Six hours of failures: a restart would mend nothing."""

    async def scenario(world: World) -> None:
        world.answer = failing(error)
        assert await world.health(6 * 3600) == {200}

    live(scenario)


@pytest.mark.parametrize("retry_after_s", [3600.0, 4 * 3600.0])
def test_healthy_while_graph_asks_to_wait(live: Live, retry_after_s: float) -> None:
    """Every lane waits for as long as Graph asked, and then the polls go on."""

    async def scenario(world: World) -> None:
        async def throttle() -> None:
            world.budget.throttled(retry_after_s)
            world.answer = world.quiet
            raise Throttled("429", retry_after_s)

        await world.health(600)
        world.answer = throttle
        assert await world.health(retry_after_s - 120) == {200}
        asked = world.asked
        assert await world.health(3600) == {200}
        assert world.asked > asked + 30

    live(scenario)


@pytest.mark.parametrize("retry_after_s", [3600.0, 4 * 3600.0])
def test_healthy_while_graph_asked_another_stream_to_wait(live: Live, retry_after_s: float) -> None:
    """The pause is everybody's: a live lane that waits for its turn meanwhile is not stuck."""

    async def scenario(world: World) -> None:
        await world.health(600)
        world.budget.throttled(retry_after_s)
        asked = world.asked
        assert await world.health(retry_after_s - 120) == {200}
        assert world.asked <= asked + 1
        assert await world.health(3600) == {200}
        assert world.asked > asked + 30

    live(scenario)


def test_healthy_while_the_intake_is_down(live: Live) -> None:
    """A push that is tried for six hours holds the live lane, which tells at every try that it is waiting."""

    async def scenario(world: World) -> None:
        async def push_in_vain() -> None:
            while world.passed_s() < 6 * 3600:
                await asyncio.sleep(20)
                world.connector._note_intake_fault(IntakeUnavailable("503"))

        world.answer = push_in_vain
        assert await world.health(7 * 3600) == {200}

    live(scenario)


def test_healthy_during_a_live_pass_of_many_pages(live: Live) -> None:
    """Every page that arrives is a sign of life, however long the pass takes."""

    async def scenario(world: World) -> None:
        async def many_pages() -> None:
            for _ in range(100):
                await asyncio.sleep(60)
                world.connector._note_taken(Taken(AUDITS, "live", read=1000))

        world.answer = many_pages
        assert await world.health(2 * 3600) == {200}

    live(scenario)


def test_unhealthy_when_the_live_lane_is_stuck(live: Live) -> None:
    """A question that never ends: 500 after 15 minutes and the heartbeat's five, not before."""

    async def scenario(world: World) -> None:
        await world.health(600)
        world.answer = lambda: asyncio.sleep(10 * DAY_S)
        assert await world.health(900) == {200}
        await world.health(600)
        assert await world.health(6 * 3600) == {500}

    live(scenario)


def test_unhealthy_when_the_loop_is_stuck(live: Live) -> None:
    """Without a turn of the loop there is no heartbeat: 500 after five minutes."""

    async def scenario(world: World) -> None:
        await world.health(600)
        assert world.connector.is_alive()
        world.loop._virtual_s += 280  # the loop is held for so long
        assert world.connector.is_alive()
        world.loop._virtual_s += 25
        assert not world.connector.is_alive()
        await world.health(60)
        assert world.connector.is_alive()

    live(scenario)


def test_a_stuck_lane_is_healthy_again_once_it_moves(live: Live) -> None:
    """What was stuck for an hour and came back needs no restart any more."""

    async def scenario(world: World) -> None:
        world.answer = lambda: asyncio.sleep(3600)
        await world.health(3500)
        assert not world.connector.is_alive()
        world.answer = world.quiet
        await world.health(600)
        assert world.connector.is_alive()

    live(scenario)


# Metrics


def sample(name: str, **labels: str) -> float | None:
    """A figure as it is now in this process."""
    return REGISTRY.get_sample_value(name, labels)


def test_lag_is_shown_only_while_records_flow() -> None:
    """The newest live record's age when it came; after two quiet periods 0, however old it gets."""
    now_s = 1_000_000.0
    lag = metrics.Lag(180.0, lambda: now_s)
    assert lag.value_s() == 0
    lag.note("flowing", now_s - 90)
    lag.note("late", now_s - 1200)
    assert lag.value_s() == 90
    assert sample("graph_entra_lag_seconds", stream="late") == 1200
    now_s += 179
    assert lag.value_s() == 90
    lag.note("late", now_s - 600)
    now_s += 2
    assert lag.value_s() == 600
    assert sample("graph_entra_lag_seconds", stream="flowing") == 0
    now_s += 10**6
    assert lag.value_s() == 0
    lag.note("flowing", now_s + 50)
    assert lag.value_s() == 0, "a record dated ahead of the clock has no negative age"


def test_counters_follow_what_was_delivered() -> None:
    """Refused records are not delivered; late and updated ones are, and are counted apart as well."""
    taken = Taken("meant", "settle_2h", read=9, new=5, late=5, updated=2, cut=["a"], refused=["b", "c"])
    metrics.begin("meant")
    assert sample("graph_entra_records_delivered_total", stream="meant") == 0
    metrics.count(taken)
    assert sample("graph_entra_records_delivered_total", stream="meant") == 5
    assert sample("graph_entra_records_late_total", stream="meant") == 5
    assert sample("graph_entra_records_updated_total", stream="meant") == 2
    assert sample("graph_entra_records_cut_total", stream="meant") == 1
    assert sample("graph_entra_records_refused_total", stream="meant") == 2


class Scraped:
    """What a real process showed: its pages, its log, and what it was given."""

    def __init__(self, folder: Path) -> None:
        self.key = AUDITS_KEY
        with Emulator() as emulator:
            emulator.login.faults.inject(Fault.html(503), times=3)
            now = emulator.clock()
            self.created = now - timedelta(minutes=2)
            emulator.tenant.add(AUDITS, one(AUDITS, self.created, seed=1))
            emulator.tenant.add(AUDITS, one(AUDITS, now - timedelta(hours=3), seed=2))
            environment = emulator.environment(
                data_path=folder,
                connector={"frequency": 5},
                intake_key=AUDITS_KEY,
            )
            self.secrets = (emulator.tenant.client_secret, emulator.platform.token, "Bearer", "eyJ", "skiptoken")
            connector = Connector("graph_entra_audits", environment, folder / "output")
            try:
                until(lambda: emulator.intake.count >= 2)
                port, liveness = connector.port("/metrics"), connector.port("/health")
                until(lambda: self._figures(port).get("graph_entra_backlog_seconds") == 0.0)
                self.at = emulator.clock()
                self.page = fetch(port, "/metrics")[1]
                self.health = fetch(liveness, "/health")
            finally:
                self.status = connector.stop()
            self.logs = list(emulator.platform.logs)

    def _figures(self, port: int) -> dict[str, float]:
        page = fetch(port, "/metrics")[1]
        return {s.name: s.value for family in text_string_to_metric_families(page) for s in family.samples}

    def families(self) -> dict[str, Metric]:
        """The page, parsed."""
        return {family.name: family for family in text_string_to_metric_families(self.page)}

    def value(self, name: str, **labels: str) -> float:
        """One sample."""
        (found,) = [
            s.value
            for family in self.families().values()
            for s in family.samples
            if s.name == name and s.labels == labels
        ]
        return float(found)


def fetch(port: int, path: str) -> tuple[int, str]:
    """Status and text of a page on loopback."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Scraped:
    return Scraped(tmp_path_factory.mktemp("scraped"))


def test_the_page_parses_and_every_metric_is_described(scraped: Scraped) -> None:
    """As promtool would have it: help and type for each of ours, counters named _total, base units, no NaN."""
    for name, family in scraped.families().items():
        if not name.startswith("graph_entra_") or name.endswith("_created"):
            continue
        assert family.documentation, name
        assert family.type in ("counter", "gauge"), name
        assert family.samples, name
        for figure in family.samples:
            assert figure.value == figure.value, name
            if family.type == "counter":
                assert figure.name.endswith(("_total", "_created")), figure.name
        assert not re.search(r"_(milliseconds|minutes|hours|ms|count|gauge)$", name), name
    assert len(re.findall(r"^# TYPE (\S+) ", scraped.page, re.MULTILINE)) == len(
        set(re.findall(r"^# TYPE (\S+) ", scraped.page, re.MULTILINE))
    )


def test_the_sdks_four_have_their_meaning(scraped: Scraped) -> None:
    """Forwarded, discarded, duration and lag, by the intake's key: the SDK's own label."""
    label = {"intake_key": scraped.key}
    assert scraped.value("symphony_module_common_forwarded_events_total", **label) == 2
    assert scraped.value("symphony_module_common_discarded_events_total", **label) == 0
    assert scraped.value("symphony_module_common_forward_events_duration_count", **label) >= 1
    lag_s = scraped.value("symphony_module_common_events_lags", **label)
    assert 120 <= lag_s < 120 + (scraped.at - scraped.created).total_seconds()


def test_ours_have_their_meaning(scraped: Scraped) -> None:
    """Records, requests, lanes and the last success of the one stream."""
    label = {"stream": AUDITS}
    assert scraped.value("graph_entra_records_delivered_total", **label) == 2
    for name in ("late", "updated", "cut", "refused"):
        assert scraped.value(f"graph_entra_records_{name}_total", **label) == 0
    assert scraped.value("graph_entra_throttled_total", **label) == 0
    assert scraped.value("graph_entra_requests_total", status="200", **label) >= 2
    assert scraped.value("graph_entra_backlog_seconds", **label) == 0
    now_s = scraped.at.timestamp()
    assert now_s - 30 < scraped.value("graph_entra_last_success_seconds", **label) <= now_s
    assert now_s - 30 < scraped.value("graph_entra_lane_position_seconds", lane="live", **label) <= now_s
    for lane, age_s in (("settle_15m", 900), ("settle_2h", 7200), ("settle_24h", DAY_S)):
        position_s = scraped.value("graph_entra_lane_position_seconds", lane=lane, **label)
        assert now_s - age_s - 3600 <= position_s <= now_s - age_s
    assert scraped.value("graph_entra_overlap_seconds", **label) == 300
    assert scraped.value("graph_entra_request_spacing_seconds") == pytest.approx(budget.SPACING_S)
    assert 120 <= scraped.value("graph_entra_lag_seconds", **label) < 180


def test_no_secret_is_on_a_page(scraped: Scraped) -> None:
    """Neither the client's secret nor a token; the intake's key is the SDK's label and nowhere else."""
    for secret in scraped.secrets:
        assert secret not in scraped.page
        assert secret not in scraped.health[1]
    ours = [line for line in scraped.page.splitlines() if line.startswith("graph_entra")]
    assert not [line for line in ours if scraped.key in line]


def test_health_is_200_and_the_process_ends_well(scraped: Scraped) -> None:
    """The page that the platform asks for, with the heartbeat's threshold and no threshold for events."""
    status, text = scraped.health
    assert status == 200
    assert '"seconds_without_events_threshold": 0' in text
    assert '"last_heartbeat_threshold": 300' in text
    assert scraped.status == 0


def test_a_real_process_tells_a_problem_and_its_recovery(scraped: Scraped) -> None:
    """What test_diagnosis.py tests in this process is what the platform's process does."""
    told = [entry for entry in scraped.logs if "signing in to Entra" in entry["message"]]
    assert [entry["level"] for entry in told] == ["warning", "info"]
    over = (
        r"signing in to Entra: recovered after \d+ s and 3 failed tries; nothing was lost. It was: Entra could not be"
    )
    assert re.match(over, told[1]["message"])
