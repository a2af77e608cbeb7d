"""refused.jsonl: one JSON text a line, the newest of them, whatever a record holds."""

from pathlib import Path

import orjson
import pytest

from graph_entra.records import Record
from graph_entra.state import refused
from graph_entra.state.files import Files
from graph_entra.state.refused import REFUSED_FILE, RefusedRecords
from tests.clocks import ManualClock


def record(text: str, record_id: str | None = "a") -> Record:
    """A record that the intake refuses."""
    return Record(text, 1, 2, None, record_id)


def lines(folder: Path) -> list[bytes]:
    """What the file says."""
    return (folder / REFUSED_FILE).read_bytes().splitlines()


def test_a_line_holds_the_record_as_it_was_pushed(tmp_path: Path) -> None:
    """Its status and id beside it; line breaks between its members do not break the line."""
    keeper = RefusedRecords(Files(tmp_path, ManualClock()), pytest.fail)
    texts = ['{"id":"a","n":0.10,"n":1e400}', '{\n "id": "a",\r\n "x": "\\n\u2028é"\n}', '"text"', '{"x":"\\ud800"}']
    for text, record_id in zip(texts, ("a", "\ud800", None, "é"), strict=True):
        keeper.keep(record(text, record_id), 413)
    kept = (tmp_path / REFUSED_FILE).read_text().removesuffix("\n").split("\n")
    assert len(kept) == len(texts)
    assert kept[0] == '{"status":413,"id":"a","record":{"id":"a","n":0.10,"n":1e400}}'
    assert orjson.loads(kept[1]) == {"status": 413, "id": "\\ud800", "record": {"id": "a", "x": "\n\u2028é"}}
    assert kept[2] == '{"status":413,"id":null,"record":"text"}'
    assert kept[3] == '{"status":413,"id":"é","record":{"x":"\\ud800"}}'


def test_the_oldest_go_and_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is bounded; none of the newest is lost, over restarts too, and each that went is counted."""
    monkeypatch.setattr(refused, "MAX_BYTES", 1000)
    monkeypatch.setattr(refused, "_LEFT_BYTES", 750)
    dropped: list[int] = []
    files = Files(tmp_path, ManualClock())
    for n in range(100):
        if n % 9 == 0:
            keeper = RefusedRecords(files, dropped.append)
        keeper.keep(record(f'{{"n":{n}}}'), 400)
        assert (tmp_path / REFUSED_FILE).stat().st_size <= 1000
        numbers = [orjson.loads(line)["record"]["n"] for line in lines(tmp_path)]
        assert numbers == list(range(sum(dropped), n + 1))
    assert 2 < len(dropped) < 40


def test_a_record_larger_than_all_is_kept_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound gives way to the newest record."""
    monkeypatch.setattr(refused, "MAX_BYTES", 1000)
    monkeypatch.setattr(refused, "_LEFT_BYTES", 750)
    dropped: list[int] = []
    keeper = RefusedRecords(Files(tmp_path, ManualClock()), dropped.append)
    keeper.keep(record("1"), 400)
    keeper.keep(record('"' + "x" * 2000 + '"'), 400)
    keeper.keep(record("2"), 400)
    assert dropped == [1, 1]
    assert [len(line) for line in lines(tmp_path)] == [len('{"status":400,"id":"a","record":2}')]


def test_a_line_that_a_kill_tore_does_not_spoil_the_next(tmp_path: Path) -> None:
    """Its record is refused again; the torn part goes, and every line is one JSON text."""
    RefusedRecords(Files(tmp_path, ManualClock()), pytest.fail).keep(record('{"n":1}'), 400)
    path = tmp_path / REFUSED_FILE
    path.write_bytes(path.read_bytes() + b'{"status":400,"id":"b","rec')
    RefusedRecords(Files(tmp_path, ManualClock()), pytest.fail).keep(record('{"n":2}'), 400)
    assert [orjson.loads(line)["record"]["n"] for line in lines(tmp_path)] == [1, 2]
