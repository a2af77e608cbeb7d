"""State that 1.0.0 really wrote is taken over: nothing it delivered is new, nothing it did not is known."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from graph_entra.microsoft.pages import read_page
from graph_entra.records import Record
from graph_entra.state.context import ContextStore
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from graph_entra.streams import AUDITS, Stream, sign_in_stream
from tests.clocks import ManualClock

WRITTEN = Path(__file__).parents[1] / "state_1_0_0"
NOW_S = 1_795_435_800  # 2026-11-23T12:10:00Z, where it stopped
STREAMS = {stream.key: stream for stream in (sign_in_stream("interactiveUser", beta_only=False), AUDITS)}
HELD = [orjson.loads(line) for line in (WRITTEN / "records.jsonl").read_bytes().splitlines()]
FOR_EVER_S = 2**40


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The data path, as 1.0.0 left it."""
    shutil.copytree(WRITTEN, tmp_path, dirs_exist_ok=True)
    return Files(tmp_path, ManualClock(NOW_S))


def read(stream: Stream, *texts: str) -> list[Record]:
    """The records of a page of these texts."""
    return read_page(stream, ('{"value":[' + ",".join(texts) + "]}").encode()).records


def one_page(texts: list[str]) -> list[list[str]]:
    """Pages as this version asks for them: large ones."""
    return [texts]


def a_page_each(texts: list[str]) -> list[list[str]]:
    """Pages as narrow as they get."""
    return [[text] for text in texts]


@pytest.mark.parametrize("pages", [one_page, a_page_each])
@pytest.mark.parametrize("key", STREAMS)
def test_nothing_is_lost_and_nothing_repeated(
    files: Files, key: str, pages: Callable[[list[str]], list[list[str]]]
) -> None:
    """Everything is read again, on other pages than 1.0.0's: exactly what it had delivered is known, unchanged."""
    stream, held = STREAMS[key], [one for one in HELD if one["stream"] == key]
    wanted = {one["text"] for one in held if not one["delivered"]}
    for attempt in range(3):
        ledger = Ledger(files, stream, pytest.fail)
        ledger.keep([(NOW_S - 2 * 86_400, FOR_EVER_S)])
        new: list[Record] = []
        for page in pages([one["text"] for one in held]):
            for record in read(stream, *page):
                known = ledger.digest(record, NOW_S)
                assert known in (None, record.digest), record.text
                if known is None:
                    new.append(record)
        assert {record.text for record in new} == (wanted if attempt == 0 else set())
        ledger.add(new, NOW_S)


def test_a_change_since_shows(files: Files) -> None:
    """What Graph changed after 1.0.0 delivered it is a change of a known record."""
    stream = STREAMS["interactiveUser"]
    ledger = Ledger(files, stream, pytest.fail)
    text = next(one["text"] for one in HELD if one["delivered"] and one["stream"] == stream.key)
    (changed,) = read(stream, text.replace('"riskState":"none"', '"riskState":"atRisk"'))
    known = ledger.digest(changed, NOW_S)
    assert known is not None
    assert known != changed.digest


def test_another_part_of_an_audit_is_delivered(files: Files) -> None:
    """A part that came on a page of its own was left out by 1.0.0: its id is another part's."""
    ledger = Ledger(files, AUDITS, pytest.fail)
    parts = [one["text"] for one in HELD if "Directory_split" in one["text"]]
    assert [ledger.digest(record, NOW_S) is not None for record in read(AUDITS, *parts)] == [True, True]
    (third,) = read(AUDITS, parts[0].replace('"value":"1"', '"value":"3"'))
    assert ledger.digest(third, NOW_S) is None


def test_cursors_are_handed_on(files: Files) -> None:
    """Under the tenant's name as it was configured then; the file says what it is with the first change."""
    store = ContextStore(files, ["8f0c2a31-5b7e-4d19-9c64-0e7d1f3b2a58", "contoso.onmicrosoft.com"], pytest.fail)
    before: Any = orjson.loads((WRITTEN / "context.json").read_bytes())["streams"]
    assert {key: store.stream(key) for key in STREAMS} == before
    assert before["interactiveUser"]["backlog"]
    assert not store.damaged
    store.save_stream("interactiveUser", {"rows": []})
    assert orjson.loads(files.read("context.json") or b"") == {
        "version": 2,
        "tenant_id": "8f0c2a31-5b7e-4d19-9c64-0e7d1f3b2a58",
        "streams": {**before, "interactiveUser": {"rows": []}},
    }
