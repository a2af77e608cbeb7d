"""The main job with real processes: every record once, as Graph states it, across restarts and outages."""

import json
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from tests import records
from tests.emulator import Emulator, Fault, Tenant
from tests.emulator.intake import AUDITS_KEY, SIGNINS_KEY
from tests.emulator.processes import Connector
from tests.emulator.records import fill, one
from tests.emulator.tenant import AUDITS
from tests.end_to_end.conftest import Start, forms, until


def everything_hidden(emulator: Emulator, tenant: Tenant, connector: Connector, data_path: Path) -> None:
    """Asserts that no secret, token or intake key is in the output, the platform's logs or the state."""
    tokens = [header.split()[-1] for r in emulator.graph.requests if (header := r.headers.get("authorization"))]
    files = [path for path in data_path.rglob("*") if path.is_file()]
    said = connector.output.read_bytes() + json.dumps(emulator.platform.logs).encode()
    said += b"".join(path.read_bytes() for path in files)
    for secret in (tenant.client_secret, SIGNINS_KEY, AUDITS_KEY, "skiptoken", *tokens):
        assert secret.encode() not in said


def test_ties_across_a_page_boundary_arrive_once_and_a_restart_repeats_none(
    emulator: Emulator, tenant: Tenant, start: Start, now: datetime, tmp_path: Path
) -> None:
    """3,000 sign-ins, 1,500 of them in one second, arrive once each; SIGTERM and a restart lose and repeat nothing."""
    fill(tenant, "interactiveUser", 1500, now - timedelta(hours=20), now - timedelta(minutes=10), seed=1)
    second = (now - timedelta(hours=3)).replace(microsecond=500_000)
    for serial in range(1500):
        tenant.add("interactiveUser", one("interactiveUser", second, seed=serial))
    connector = start()
    until(lambda: emulator.intake.count >= 3000)
    began = time.monotonic()
    assert connector.stop() == 0
    assert time.monotonic() - began < 5
    tenant.add("interactiveUser", one("interactiveUser", now, seed=9999))
    requests = len(emulator.graph.requests)
    connector = start()
    until(lambda: emulator.intake.count >= 3001)
    until(lambda: len(emulator.graph.requests) >= requests + 3)
    assert connector.stop() == 0
    assert forms(emulator.intake.texts()) == forms(tenant.all_texts("interactiveUser"))
    everything_hidden(emulator, tenant, connector, tmp_path / "graph_entra_signins")


def test_the_samples_arrive_equal_in_both_connectors(
    emulator: Emulator, tenant: Tenant, start: Start, now: datetime
) -> None:
    """The records of tests/records arrive member for member, value for value."""
    expected: dict[str, list[bytes]] = {}
    for kind in ("interactive_v1", "non_interactive", "directory_audits"):
        stream = records.STREAMS[kind]
        expected[stream] = records.texts(kind)
        for minutes, text in enumerate(expected[stream]):
            tenant.add(stream, text, created=now - timedelta(hours=2, minutes=minutes))
    start(sign_in_types=["interactiveUser", "nonInteractiveUser"])
    start("graph_entra_audits")
    until(lambda: emulator.intake.count >= sum(map(len, expected.values())))
    time.sleep(5)
    sign_ins = expected["interactiveUser"] + expected["nonInteractiveUser"]
    assert forms(emulator.intake.texts(SIGNINS_KEY)) == forms(sign_ins)
    assert forms(emulator.intake.texts(AUDITS_KEY)) == forms(expected[AUDITS])


def test_all_four_types_and_late_records_arrive(
    emulator: Emulator, tenant: Tenant, start: Start, now: datetime
) -> None:
    """Each sign-in type is read from its own endpoint, and a record shown late follows."""
    kinds = ["interactiveUser", "nonInteractiveUser", "servicePrincipal", "managedIdentity"]
    for seed, kind in enumerate(kinds):
        fill(tenant, kind, 50, now - timedelta(hours=1), now, seed=seed)
        late = one(kind, now - timedelta(seconds=30), seed=1000 + seed)
        tenant.add(kind, late, visible_at=now + timedelta(seconds=8))
    connector = start(sign_in_types=kinds, start_time=2)
    until(lambda: emulator.intake.count >= 204, 60)
    assert connector.stop() == 0
    held = [text for kind in kinds for text in tenant.all_texts(kind)]
    assert forms(emulator.intake.texts()) == forms(held)


def test_an_intake_that_fails_and_recovers_loses_nothing(
    emulator: Emulator, tenant: Tenant, start: Start, now: datetime
) -> None:
    """While the intake answers 500, 429 or resets, records wait; then all arrive, none is skipped."""
    fill(tenant, "interactiveUser", 1200, now - timedelta(hours=2), now, seed=3)
    emulator.intake.faults.inject(Fault.status(500), times=2)
    emulator.intake.faults.inject(Fault.status(429), times=1, after=2)
    emulator.intake.faults.inject(Fault.reset(), times=1, after=3)
    connector = start()
    until(lambda: emulator.intake.count >= 1200)
    assert connector.stop() == 0
    assert forms(emulator.intake.texts()) == forms(tenant.all_texts("interactiveUser"))
    assert any("does not acknowledge" in line for line in emulator.platform.messages("warning"))
    assert any("recovered" in line for line in emulator.platform.messages("info"))


def test_a_platform_that_fails_at_first_stops_nothing(
    emulator: Emulator, tenant: Tenant, start: Start, now: datetime
) -> None:
    """The secrets API fails at first and the logs API stalls all along: collection goes on."""
    fill(tenant, "interactiveUser", 20, now - timedelta(hours=2), now, seed=4)
    emulator.platform.secrets_faults.inject(Fault.status(500), times=2)
    emulator.platform.logs_faults.inject(Fault.stall(600), times=None)
    emulator.intake.faults.inject(Fault.status(500), times=2)
    connector = start()
    until(lambda: emulator.intake.count >= 20)
    began = time.monotonic()
    assert connector.stop() == 0
    assert time.monotonic() - began < 5


def test_ports_that_are_taken_stop_nothing(emulator: Emulator, tenant: Tenant, start: Start, now: datetime) -> None:
    """A liveness port and a metrics port in use cost a warning, not the collection."""
    fill(tenant, "interactiveUser", 20, now - timedelta(hours=2), now, seed=5)
    taken = emulator.platform_port
    connector = start(liveness_port=taken, metrics_port=taken)
    until(lambda: emulator.intake.count >= 20)
    assert connector.stop() == 0
    assert any("port" in line for line in emulator.platform.messages("warning"))


def test_a_wrong_intake_key_is_said_at_once_and_drops_nothing(
    emulator: Emulator, tenant: Tenant, start: Start, now: datetime, tmp_path: Path
) -> None:
    """An invalid key is told in plain words within seconds; once the key is valid, every record arrives."""
    fill(tenant, "interactiveUser", 30, now - timedelta(hours=2), now, seed=6)
    connector = start(intake_key="a-key-made-a-moment-ago")
    until(lambda: any("intake_key" in line for line in emulator.platform.messages("error")), 20)
    assert emulator.intake.count == 0
    emulator.intake.keys.add("a-key-made-a-moment-ago")
    until(lambda: emulator.intake.count >= 30)
    assert connector.stop() == 0
    assert Counter(forms(emulator.intake.texts())) == Counter(forms(tenant.all_texts("interactiveUser")))
    assert b"a-key-made-a-moment-ago" not in connector.output.read_bytes()


def test_the_push_goes_through_the_proxy_too(tenant: Tenant, now: datetime, tmp_path: Path) -> None:
    """An intake outside, such as Sekoia.io's own, is reached through HTTPS_PROXY and with the proxy's authority."""
    fill(tenant, "interactiveUser", 3, now - timedelta(hours=2), now, seed=7)
    with Emulator(tenant, extra_hosts=["intake.example.test"]) as emulator:
        arguments = {"intake_server": "https://intake.example.test", "sign_in_types": ["interactiveUser"]}
        environment = emulator.environment(data_path=tmp_path, connector=arguments)
        connector = Connector("graph_entra_signins", environment, tmp_path / "output")
        try:
            until(lambda: any(request.path == "/batch" for request in emulator.extra_requests))
        finally:
            connector.stop()
        # Nobody answers there: nothing counts as delivered.
        assert emulator.intake.count == 0
        assert not (tmp_path / "ledger").exists()
