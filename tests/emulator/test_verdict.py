"""The verdict of `make run` sees each way in which a record can go wrong."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from tests.emulator import PushedEvent, Tenant
from tests.emulator.intake import SIGNINS_KEY
from tests.emulator.records import one
from tests.emulator.verdict import Verdict

NOW = datetime.now(UTC)
RECORD = one("interactiveUser", NOW - timedelta(minutes=1), seed=1)
OTHER = one("interactiveUser", NOW - timedelta(minutes=1), seed=2)


def judge(tmp_path: Path, tenant: Tenant, *pushed: dict) -> tuple[int, int, int, int, int]:
    """The totals after these records were pushed."""
    events = [PushedEvent(NOW, SIGNINS_KEY, orjson.dumps(record).decode()) for record in pushed]
    verdict = Verdict(tenant, SimpleNamespace(events=events), tmp_path / "events.jsonl", print)
    verdict.take()
    return verdict.totals()


@pytest.mark.parametrize(
    ("pushed", "totals"),
    [
        ([RECORD, OTHER], (2, 0, 0, 0, 0)),
        ([OTHER, dict(reversed(RECORD.items()))], (2, 0, 0, 0, 0)),
        ([RECORD], (1, 0, 1, 0, 0)),
        ([RECORD, OTHER, RECORD], (2, 0, 0, 1, 0)),
        ([RECORD, {**OTHER, "createdDateTime": OTHER["createdDateTime"][:-2] + "Z"}], (1, 0, 1, 0, 1)),
        ([RECORD, {name: value for name, value in OTHER.items() if name != "status"}], (1, 0, 1, 0, 1)),
    ],
    ids=["all", "members in another order", "lost", "repeated", "a digit less", "a member less"],
)
def test_a_verdict_counts(tmp_path: Path, pushed, totals) -> None:
    """Lost, repeated and altered records are counted; the order of members is no alteration."""
    tenant = Tenant()
    tenant.add("interactiveUser", RECORD)
    tenant.add("interactiveUser", OTHER)
    assert judge(tmp_path, tenant, *pushed) == totals
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == len(pushed)


def test_a_revised_record_is_lost_unless_its_last_form_arrives(tmp_path: Path) -> None:
    """The first form alone is not enough; both forms are one record and one update."""
    tenant = Tenant()
    tenant.add("interactiveUser", RECORD)
    revised = {**RECORD, "riskState": "confirmedCompromised"}
    tenant.change("interactiveUser", RECORD["id"], revised, NOW - timedelta(seconds=1))
    assert judge(tmp_path, tenant, revised) == (1, 0, 0, 0, 0)
    events = [PushedEvent(NOW, SIGNINS_KEY, orjson.dumps(RECORD).decode())]
    tenant = Tenant()
    tenant.add("interactiveUser", RECORD)
    verdict = Verdict(tenant, SimpleNamespace(events=events), tmp_path / "events.jsonl", print)
    verdict.take()
    tenant.change("interactiveUser", RECORD["id"], revised, NOW - timedelta(seconds=1))
    verdict.take()
    assert verdict.totals() == (1, 0, 1, 0, 0)
    events.append(PushedEvent(NOW, SIGNINS_KEY, orjson.dumps(revised).decode()))
    verdict.take()
    assert verdict.totals() == (1, 1, 0, 0, 0)
