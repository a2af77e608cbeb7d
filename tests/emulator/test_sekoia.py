"""The platform and the intake."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from tests.emulator import Emulator, Fault, PushedEvent
from tests.emulator.intake import AUDITS_KEY, MAX_BODY_BYTES, MAX_EVENT_CHARACTERS, SIGNINS_KEY


@pytest.fixture
def http(emulator: Emulator) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {emulator.platform.token}"}
    with httpx.Client(base_url=emulator.platform_url, headers=headers, trust_env=False) as client:
        yield client


def push(emulator: Emulator, *texts: str, key: str = SIGNINS_KEY) -> httpx.Response:
    return httpx.post(f"{emulator.intake_url}/batch", json={"intake_key": key, "jsons": texts}, trust_env=False)


def test_secrets_logs_and_callback(http: httpx.Client, emulator: Emulator) -> None:
    """The platform tells the secret, collects logs, and answers a validator with the module's configuration."""
    assert http.get("/secrets").json() == {"value": {"client_secret": emulator.tenant.client_secret}}
    entry = {"date": "2026-11-23T08:00:00", "level": "info", "message": "héllo"}
    assert http.post("/logs", json={"logs": [entry]}).status_code == 200
    assert emulator.platform.logs == [entry]
    assert emulator.platform.messages("info") == ["héllo"]
    assert emulator.platform.messages("error") == []
    answer = http.patch("/callback", json={"status": "running"}).json()
    assert answer["module_configuration"]["value"]["client_secret"] == emulator.tenant.client_secret
    assert answer["module_configuration"]["value"]["tenant_id"] == emulator.tenant.tenant_id
    assert http.patch("/callback", json={"status": "finished", "results": {"success": True}}).json() == {}
    assert [call["status"] for call in emulator.platform.callbacks] == ["running", "finished"]


def test_platform_wants_its_token(http: httpx.Client, emulator: Emulator) -> None:
    """Without the bearer token everything is a 401."""
    for path in ("/secrets", "/logs", "/callback"):
        assert http.post(path, headers={"Authorization": "Bearer other"}, json={}).status_code == 401
    assert http.get("/nothing").status_code == 404
    assert emulator.platform.logs == []


def test_platform_faults_are_apart(http: httpx.Client, emulator: Emulator) -> None:
    """Each of the three endpoints fails by itself."""
    emulator.platform.logs_faults.inject(Fault.status(500))
    emulator.platform.secrets_faults.inject(Fault.status(503))
    emulator.platform.callback_faults.inject(Fault.reset())
    assert http.post("/logs", json={"logs": [{"level": "info"}]}).status_code == 500
    assert http.get("/secrets").status_code == 503
    with pytest.raises(httpx.TransportError):
        http.patch("/callback", json={"status": "running"})
    assert emulator.platform.logs == emulator.platform.callbacks == []


def test_push_is_stored_and_acknowledged(emulator: Emulator) -> None:
    """One id per event, all different; texts and keys are kept in order."""
    ids = push(emulator, '{"a":1}', '{"é":"名前"}').json()["event_ids"]
    assert len(set(ids)) == 2
    push(emulator, "third", key=AUDITS_KEY)
    assert emulator.intake.texts() == ['{"a":1}', '{"é":"名前"}', "third"]
    assert emulator.intake.texts(AUDITS_KEY) == ["third"]
    assert [batch.count for batch in emulator.intake.batches] == [2, 1]
    assert emulator.intake.count == 3


def test_records_can_be_refused_by_id(emulator: Emulator) -> None:
    """Every batch with that record is refused and nothing of it stored; others are taken."""
    emulator.intake.refused = {"bad": 422}
    assert push(emulator, '{"id":"good"}', '{"id":"bad"}').status_code == 422
    assert push(emulator, '{"id":"good"}').status_code == 200
    assert emulator.intake.texts() == ['{"id":"good"}']


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_success_may_name_no_ids(emulator: Emulator, body: bytes) -> None:
    """What is answered is as it was set, and the events are stored."""
    emulator.intake.success = body
    answer = push(emulator, "a")
    assert (answer.status_code, answer.content) == (200, body)
    assert emulator.intake.texts() == ["a"]


def test_a_slow_intake_stores_at_once_and_answers_late(emulator: Emulator) -> None:
    """As late as the number of records says."""
    emulator.intake.records_per_s = 100.0
    started = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{emulator.intake_url}/batch", json={"intake_key": SIGNINS_KEY, "jsons": ["a"] * 900}, trust_env=False,
            timeout=0.1,
        )  # fmt: skip
    assert emulator.intake.count == 900
    assert push(emulator, *["b"] * 20).status_code == 200
    assert 0.2 < time.monotonic() - started < 5


def test_an_answer_may_come_late_or_in_drops(emulator: Emulator) -> None:
    """The push is stored all the same, and who waits long enough gets the whole answer."""
    for fault in (Fault.late(0.2), Fault.trickle(0.005)):
        emulator.intake.faults.inject(fault)
        started = time.monotonic()
        assert len(push(emulator, "a").json()["event_ids"]) == 1
        assert time.monotonic() - started > 0.15
    assert emulator.intake.count == 2


def test_keep_decides_what_becomes_of_the_texts(emulator: Emulator) -> None:
    """Texts can be counted only, or handed to a function."""
    emulator.intake.keep = False
    push(emulator, "a")
    seen: list[PushedEvent] = []
    emulator.intake.keep = seen.extend
    push(emulator, "b")
    assert emulator.intake.events == []
    assert [event.text for event in seen] == ["b"]
    assert emulator.intake.count == 2


def test_intake_limits(emulator: Emulator) -> None:
    """An unknown key, an oversized event, an oversized body and nonsense are refused, and nothing of them is stored."""
    assert push(emulator, "x", key="unknown").status_code == 401
    assert push(emulator, "ok", "é" * (MAX_EVENT_CHARACTERS + 1)).status_code == 400
    assert push(emulator, "é" * MAX_EVENT_CHARACTERS).status_code == 200
    url = f"{emulator.intake_url}/batch"
    frame = json.dumps({"intake_key": SIGNINS_KEY, "jsons": []}).encode()
    assert httpx.post(url, content=frame.ljust(MAX_BODY_BYTES), trust_env=False).status_code == 200
    assert httpx.post(url, content=frame.ljust(MAX_BODY_BYTES + 1), trust_env=False).status_code == 413
    assert httpx.post(url, content=b"{", trust_env=False).status_code == 400
    assert httpx.post(url, content=b"[]", trust_env=False).status_code == 400
    assert httpx.get(url, trust_env=False).status_code == 404
    assert emulator.intake.count == 1


@pytest.mark.parametrize("status", [401, 429, 500])
def test_refused_push_is_not_stored(emulator: Emulator, status: int) -> None:
    """A status on cue stores nothing."""
    emulator.intake.faults.inject(Fault.status(status))
    assert push(emulator, "a").status_code == status
    assert emulator.intake.events == []


def test_resets_before_and_after_storing(emulator: Emulator) -> None:
    """Both look the same to the client; only the lost acknowledgement has stored the events."""
    emulator.intake.faults.inject(Fault.reset())
    emulator.intake.faults.inject(Fault.lost_answer())
    for text in ("refused", "stored"):
        with pytest.raises(httpx.TransportError):
            push(emulator, text)
    assert emulator.intake.texts() == ["stored"]
    assert len(emulator.intake.requests) == 2


def test_stalled_push_is_dropped_when_the_client_gives_up(emulator: Emulator) -> None:
    """A push whose client has gone is not stored, so that a test can count on it."""
    emulator.intake.faults.inject(Fault.stall(30))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{emulator.intake_url}/batch",
            json={"intake_key": SIGNINS_KEY, "jsons": ["a"]},
            timeout=httpx.Timeout(5, read=0.1),
            trust_env=False,
        )
    emulator.intake.faults.clear()
    assert push(emulator, "b").status_code == 200
    assert emulator.intake.texts() == ["b"]


def test_times_come_from_the_clock() -> None:
    """An injected clock stamps what arrives."""
    moment = datetime(2030, 1, 2, tzinfo=UTC)
    with Emulator(clock=lambda: moment) as emulator:
        push(emulator, "a")
        assert emulator.intake.events[0].at == emulator.intake.batches[0].at == moment
