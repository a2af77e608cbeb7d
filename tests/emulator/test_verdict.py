"""The verdict of `make run` sees each way in which a record can go wrong, and takes waiting for nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from tests.emulator import Fault, GraphRequest, PushedEvent, Tenant
from tests.emulator.instants import ticks_of
from tests.emulator.intake import AUDITS_KEY, SIGNINS_KEY, IntakeRequest
from tests.emulator.records import one
from tests.emulator.verdict import SETTLED_AFTER, Totals, Verdict, canonical

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
STREAM = "interactiveUser"
RECORD = one(STREAM, NOW - timedelta(minutes=1), seed=1)
OTHER = one(STREAM, NOW - timedelta(minutes=1), seed=2)
TEXT = orjson.dumps(OTHER).decode()
READ = GraphRequest(
    0.0,
    NOW,
    "graph.microsoft.com",
    "v1.0",
    "/v1.0/auditLogs/signIns",
    STREAM,
    {},
    {},
    status=200,
    span=(ticks_of(NOW - timedelta(hours=1)), ticks_of(NOW)),
)


class Bench:
    """A verdict, and all that it looks at."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.tenant = Tenant()
        self.events: list[PushedEvent] = []
        self.pushes: list[IntakeRequest] = []
        self.requests: list[GraphRequest] = []
        intake = SimpleNamespace(events=self.events, requests=self.pushes)
        self.kept = folder / "events.jsonl"
        self.verdict = Verdict(self.tenant, intake, lambda: self.requests, self.kept, lambda: self.now)  # type: ignore[arg-type]

    def push(self, *texts: str, key: str = SIGNINS_KEY) -> None:
        """The intake gets these."""
        self.events += [PushedEvent(self.now, key, text) for text in texts]

    def totals(self) -> Totals:
        """What the verdict says now."""
        self.verdict.take()
        return self.verdict.totals()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A tenant with two records, of which the first has arrived."""
    made = Bench(tmp_path)
    made.tenant.add(STREAM, RECORD)
    made.tenant.add(STREAM, OTHER)
    made.push(orjson.dumps(RECORD).decode())
    return made


SPELT = TEXT.replace('"errorCode":', '"errorCode": ', 1)


@pytest.mark.parametrize(
    ("pushed", "totals"),
    [
        ([TEXT], Totals(2, 0, 0, 0, 0, 0)),
        ([], Totals(1, 0, 1, 0, 0, 0)),
        ([TEXT, TEXT], Totals(2, 0, 0, 0, 1, 0)),
        ([TEXT.replace("Z", "0Z", 1)], Totals(1, 0, 1, 0, 0, 1)),
        ([orjson.dumps({k: v for k, v in OTHER.items() if k != "status"}).decode()], Totals(1, 0, 1, 0, 0, 1)),
        ([orjson.dumps(dict(reversed(OTHER.items()))).decode()], Totals(1, 0, 1, 0, 0, 1)),
        ([SPELT], Totals(1, 0, 1, 0, 0, 1)),
    ],
    ids=["all", "waiting", "repeated", "a digit more", "a member less", "members in another order", "a space more"],
)
def test_texts_are_compared_byte_for_byte(bench: Bench, pushed: list[str], totals: Totals) -> None:
    """Repeated and altered records are counted; what has not arrived is waiting, and every push is kept."""
    bench.push(*pushed)
    assert bench.totals() == totals
    assert totals.sound == (not totals.repeated and not totals.altered)
    assert len(bench.kept.read_text().splitlines()) == len(pushed) + 1


def test_a_number_that_lost_a_digit_is_altered(bench: Bench) -> None:
    """Numbers are their texts: a value that a float cannot tell apart is told apart."""
    bench.tenant.add(STREAM, TEXT.replace("{", '{"n":0.30000000000000004321,', 1).encode())
    bench.push(TEXT, TEXT.replace("{", '{"n":0.30000000000000004,', 1))
    assert bench.totals().altered == 1
    assert canonical('{"a":1.10,"b":2}') == canonical('{"b":2, "a":1.10}') != canonical('{"b":2,"a":1.1}')


def test_lost_is_what_a_settled_reading_did_not_bring(bench: Bench) -> None:
    """A page that held it was answered, and long ago: before that it is waiting."""
    bench.requests.append(READ)
    for passed, lost in ((timedelta(0), 0), (SETTLED_AFTER, 0), (SETTLED_AFTER + timedelta(seconds=1), 1)):
        bench.now = NOW + passed
        totals = bench.totals()
        assert (totals.lost, totals.waiting) == (lost, 1 - lost)
        assert totals.sound == (not lost)
    bench.push(TEXT)
    assert bench.totals() == Totals(2, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 500},
        {"status": 0},
        {"stream": "servicePrincipal"},
        {"fault": Fault.truncate(5)},
        {"span": None},
        {"span": (ticks_of(NOW - timedelta(seconds=30)), ticks_of(NOW))},
        {"time": NOW - timedelta(seconds=1)},
    ],
    ids=[
        "refused",
        "never answered",
        "another stream",
        "disturbed",
        "spoiled",
        "another window",
        "before it was shown",
    ],
)
def test_what_was_not_read_is_waiting(bench: Bench, changes: dict) -> None:
    """However long: no answer held the record as Graph shows it."""
    bench.totals()
    bench.requests.append(replace(READ, **changes))
    bench.now = NOW + timedelta(hours=1)
    assert bench.totals() == Totals(1, 0, 1, 0, 0, 0)


def test_what_the_intake_did_not_take_is_waiting(bench: Bench) -> None:
    """Read long ago, and refused a moment ago: it will come."""
    bench.requests.append(READ)
    bench.verdict.take()
    bench.now = NOW + timedelta(minutes=10)
    bench.pushes.append(IntakeRequest(bench.now - timedelta(seconds=5), 1, {}, status=503))
    assert (bench.totals().waiting, bench.totals().lost) == (1, 0)
    bench.now += timedelta(seconds=60)
    assert (bench.totals().waiting, bench.totals().lost) == (0, 1)


def test_the_other_connectors_intake_is_the_wrong_one(bench: Bench) -> None:
    """A sign-in in the audits' intake is no delivery."""
    bench.push(TEXT, key=AUDITS_KEY)
    assert bench.totals() == Totals(1, 0, 1, 0, 0, 1)


def test_a_revised_record_waits_until_its_last_form_arrives(bench: Bench) -> None:
    """The first form alone is not enough; both forms are one record and one update; the last alone will do."""
    revised = {**OTHER, "riskState": "confirmedCompromised"}
    bench.push(TEXT)
    assert bench.totals() == Totals(2, 0, 0, 0, 0, 0)
    bench.tenant.change(STREAM, OTHER["id"], revised, NOW + timedelta(seconds=5))
    bench.now += timedelta(seconds=10)
    assert bench.totals() == Totals(2, 0, 1, 0, 0, 0)
    bench.push(orjson.dumps(revised).decode())
    assert bench.totals() == Totals(2, 1, 0, 0, 0, 0)


def test_a_form_that_nobody_saw_in_between_was_shown_all_the_same(bench: Bench) -> None:
    """Two changes between two looks: the first of them, pushed, is no alteration."""
    first, second = ({**OTHER, "riskState": state} for state in ("atRisk", "remediated"))
    bench.verdict.take()
    for seconds, record in ((1, first), (2, second)):
        bench.tenant.change(STREAM, OTHER["id"], record, NOW + timedelta(seconds=seconds))
    bench.now += timedelta(seconds=10)
    bench.push(orjson.dumps(first).decode(), orjson.dumps(second).decode())
    assert bench.totals() == Totals(2, 1, 0, 0, 0, 0)
