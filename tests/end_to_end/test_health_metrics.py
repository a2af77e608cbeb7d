"""Health and metrics as a real process shows them: what the platform's liveness check and Prometheus see."""

import re
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from graph_entra.streams import LOOK_AGES
from graph_entra.telling.metrics import PROBLEM_KINDS
from tests.emulator import Emulator, Fault
from tests.emulator.intake import AUDITS_KEY
from tests.emulator.processes import Connector
from tests.emulator.records import one
from tests.emulator.tenant import AUDITS
from tests.end_to_end.conftest import until


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
                until(lambda: self._is_settled(self._figures(port)))
                self.at = emulator.clock()
                self.page = fetch(port, "/metrics")[1]
                self.health = fetch(liveness, "/health")
            finally:
                self.status = connector.stop()
            self.logs = list(emulator.platform.logs)

    @staticmethod
    def _is_settled(figures: dict[str, float]) -> bool:
        """Polled, history read, the secret's end known, and the heartbeat has shown the lag since."""
        known = {"graph_entra_last_success_seconds", "graph_entra_credential_end_seconds"} <= figures.keys()
        unread_s = figures.get("graph_entra_unread_seconds")
        return known and unread_s == 0 and figures["symphony_module_common_events_lags"] < 200

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


@pytest.fixture(scope="session")
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
    """Records, requests, coverage, problems and the last poll of the one stream."""
    label = {"stream": AUDITS}
    assert scraped.value("graph_entra_records_delivered_total", **label) == 2
    for name in ("late", "updated", "cut", "refused"):
        assert scraped.value(f"graph_entra_records_{name}_total", **label) == 0
    assert scraped.value("graph_entra_throttled_total", **label) == 0
    assert scraped.value("graph_entra_requests_total", status="200", **label) >= 2
    assert scraped.value("graph_entra_unread_seconds", **label) == 0
    assert scraped.value("graph_entra_troubled_stretches", **label) == 0
    # By Graph's clock, which it states in whole seconds.
    now_s = scraped.at.timestamp() + 1.5
    assert now_s - 30 < scraped.value("graph_entra_last_success_seconds", **label) <= now_s
    assert now_s - 30 < scraped.value("graph_entra_edge_position_seconds", **label) <= now_s
    for age in LOOK_AGES:
        assert scraped.value("graph_entra_look_overdue_seconds", age=age, **label) < 60
    for kind in PROBLEM_KINDS:
        assert scraped.value("graph_entra_problems_open", kind=kind) == 0
    for kind in ("passes", "content", "person"):
        assert scraped.value("graph_entra_pushes_failed_total", kind=kind) == 0
    assert scraped.value("graph_entra_look_back_seconds", **label) > 0
    assert scraped.value("graph_entra_request_spacing_seconds") >= 2
    assert abs(scraped.value("graph_entra_clock_difference_seconds")) < 60
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
    """What tests/integration/test_diagnosis.py tests in its own process is what the platform's process does."""
    told = [entry for entry in scraped.logs if "signing in to Entra" in entry["message"]]
    assert [entry["level"] for entry in told] == ["warning", "info"]
    over = (
        r"signing in to Entra: recovered after \d+ s and 3 failed tries; nothing was lost. It was: Entra could not be"
    )
    assert re.match(over, told[1]["message"])
