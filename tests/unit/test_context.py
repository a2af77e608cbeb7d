"""What a crash, a full disk, an earlier version and foreign hands leave of context.json."""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from sekoia_automation.storage import PersistentJSON

from graph_entra.errors import StorageFailed
from graph_entra.state.context import CONTEXT_FILE, ContextStore
from graph_entra.state.files import Files
from tests.clocks import ManualClock

TENANT = "8f0c2a31-5b7e-4d19-9c64-0e7d1f3b2a58"


class Power(Exception):
    """The machine stops here."""


class House:
    """A data path, and the processes that open it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = Files(folder, ManualClock())
        self.damage: list[tuple[str, str]] = []

    def open(self, *tenants: str) -> ContextStore:
        """The store, as a new process finds it."""
        return ContextStore(self.files, tenants or (TENANT,), lambda name, why: self.damage.append((name, why)))

    @property
    def context(self) -> Path:
        """The file."""
        return self.folder / CONTEXT_FILE

    def saved(self) -> Any:
        """What the file says."""
        return orjson.loads(self.context.read_bytes())


@pytest.fixture
def house(tmp_path: Path) -> House:
    """An empty data path."""
    return House(tmp_path)


def test_it_is_the_sdks_own_kind(house: House) -> None:
    """The state stays where the SDK's users expect it."""
    store = house.open()
    assert isinstance(store, PersistentJSON)
    store.save_stream("a", {"live": "x"})
    assert house.saved() == {"version": 2, "tenant_id": TENANT, "streams": {"a": {"live": "x"}}}


def test_streams_are_found_again(house: House) -> None:
    """Each under its own key; one that was never saved is None."""
    store = house.open()
    assert store.stream("a") is None
    assert not house.context.exists()
    store.save_stream("a", {"n": 1})
    store.save_stream("b", {"n": 2})
    again = house.open()
    assert [again.stream(key) for key in ("a", "b", "c")] == [{"n": 1}, {"n": 2}, None]
    assert not again.damaged
    assert house.damage == []


def test_nothing_is_written_when_nothing_changed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quiet tenant wears out no disk."""
    store = house.open()
    store.save_stream("a", {"n": 1})
    writes: list[str] = []
    monkeypatch.setattr(house.files, "replace", lambda name, _: writes.append(name))
    store.save_stream("a", {"n": 1})
    assert writes == []
    store.save_stream("a", {"n": 2})
    assert writes == [CONTEXT_FILE]


def test_a_failed_write_is_told_and_made_up_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file stays whole, and the next call with the same state writes it."""
    store = house.open()
    store.save_stream("a", {"n": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Path, "replace", full)
        for key in ("a", "b"):
            with pytest.raises(StorageFailed, match="No space left"):
                store.save_stream(key, {"n": 2})
    assert house.saved()["streams"] == {"a": {"n": 1}}
    store.save_stream("a", {"n": 2})
    assert house.saved()["streams"] == {"a": {"n": 2}}
    store.save_stream("b", {"n": 2})
    assert house.saved()["streams"] == {"a": {"n": 2}, "b": {"n": 2}}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_while_saving_leaves_the_last_state(house: House, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next process goes on from the state before."""
    store = house.open()
    store.save_stream("a", {"n": 1})

    def stop(*_: object) -> None:
        raise Power

    with monkeypatch.context() as crash:
        crash.setattr(os if step == "fsync" else Path, step, stop)
        with pytest.raises(Power):
            store.save_stream("a", {"n": 2})
    again = house.open()
    assert again.stream("a") == {"n": 1}
    assert not again.damaged
    assert house.damage == []


def whole() -> bytes:
    """A state of one stream."""
    return orjson.dumps({"version": 1, "tenant_id": TENANT, "streams": {"a": {"n": 1}}}, option=orjson.OPT_INDENT_2)


UNUSABLE = [
    (b"", "damaged"),
    (b"\x00" * 200, "damaged"),
    (b"\xff\xfe", "damaged"),
    (b"null", "damaged"),
    (b"[]", "damaged"),
    (b"{}", "damaged"),
    (b'{"most_recent_date_seen": "2026-11-23"}', "damaged"),
    (b'{"version": 1, "tenant_id": "%s", "streams": []}' % TENANT.encode(), "damaged"),
    (b'{"version": 3, "tenant_id": "%s", "streams": {}}' % TENANT.encode(), "unknown-version"),
    (b'{"tenant_id": "%s", "streams": {}}' % TENANT.encode(), "unknown-version"),
    *[(whole()[:length], "damaged") for length in range(1, len(whole()), 7)],
]


@pytest.mark.parametrize(("content", "why"), UNUSABLE)
def test_a_file_that_cannot_be_used_is_set_aside_and_told(house: House, content: bytes, why: str) -> None:
    """Torn, empty, foreign or of a later version: kept, reported, and the last 24 h are read again."""
    house.context.write_bytes(content)
    store = house.open()
    assert store.damaged
    assert store.stream("a") is None
    [(name, told)] = house.damage
    assert told == why
    assert name.startswith(f"context.json.{why}-")
    assert (house.folder / name).read_bytes() == content
    assert not house.context.exists()
    store.save_stream("a", {"n": 5})
    assert house.open().stream("a") == {"n": 5}
    assert len(house.damage) == 1


OTHER = "72f988bf-86f1-41af-91ab-2d7cd011db47"


def test_another_tenants_state_is_set_aside(house: House) -> None:
    """It says nothing of this one, which begins like a new installation: no damage, but not in silence."""
    house.open(OTHER).save_stream("a", {"n": 1})
    before = house.context.read_bytes()
    store = house.open()
    assert store.stream("a") is None
    assert not store.damaged
    [(name, why)] = house.damage
    assert why == "other-tenant"
    assert (house.folder / name).read_bytes() == before


def test_a_domain_that_may_be_this_tenants_is_no_first_start(house: House) -> None:
    """Nobody knows whose a domain of a while ago is: the last 24 h are read again, so that no time is left out."""
    house.open("contoso.example").save_stream("a", {"n": 1})
    store = house.open()
    assert store.stream("a") is None
    assert store.damaged
    assert [why for _, why in house.damage] == ["other-tenant"]


@pytest.mark.parametrize("saved", ["contoso.example", TENANT, "Contoso.Example", TENANT.upper()])
def test_the_same_tenant_under_another_name_goes_on(house: House, saved: str) -> None:
    """A domain, its id, either in capitals: whichever the configuration names now, and the token's id is written."""
    house.open(saved).save_stream("a", {"n": 1})
    store = house.open(TENANT, "contoso.example")
    assert store.stream("a") == {"n": 1}
    store.save_stream("b", 5)
    assert house.saved()["tenant_id"] == TENANT
    assert house.open(TENANT).stream("a") == {"n": 1}
    assert house.damage == []


def test_a_file_that_is_gone_was_there(house: House) -> None:
    """The ledger is there, so it is not the first start: told, and at least the last 24 h are read again."""
    house.files.append("ledger/a/20261123T08.bin", b"x")
    store = house.open()
    assert store.damaged
    assert house.damage == [("context.json", "missing")]
    store.save_stream("a", None)
    assert not house.open().damaged
    assert len(house.damage) == 1


def test_a_first_start_is_none(house: House) -> None:
    """Nothing is there: nothing is missing."""
    assert not house.open().damaged
    assert house.damage == []


def test_version_1_is_taken_over(house: House) -> None:
    """What 1.0.0 wrote of a stream is handed on as it is; with the first change the file is of this version."""
    streams = {"a": {"origin": "x", "live": "y", "backlog": [], "settle": {}}, "b": {"live": "z"}}
    house.context.write_bytes(orjson.dumps({"version": 1, "tenant_id": TENANT, "streams": streams}))
    store = house.open()
    assert [store.stream(key) for key in ("a", "b", "c")] == [streams["a"], streams["b"], None]
    assert not store.damaged
    assert house.saved()["version"] == 1
    store.save_stream("a", [1, 2])
    assert house.saved() == {"version": 2, "tenant_id": TENANT, "streams": {"a": [1, 2], "b": {"live": "z"}}}
    assert house.damage == []


def test_the_block_saves_when_it_ends_well(house: House) -> None:
    """``with store as context`` is the SDK's own way of use."""
    with house.open() as context:
        context["streams"]["a"] = {"n": 1}
    assert house.open().stream("a") == {"n": 1}


def test_the_block_does_not_save_when_it_raised(house: House) -> None:
    """The SDK's class saves a half-made change; this one does not."""
    house.open().save_stream("a", {"n": 1})

    def half_made() -> None:
        with house.open() as context:
            context["streams"]["a"] = {"n": 2}
            raise Power

    with pytest.raises(Power):
        half_made()
    assert house.open().stream("a") == {"n": 1}


def test_a_data_path_that_does_not_answer_is_not_an_empty_one(house: House) -> None:
    """Taking it for a first run would skip what happened since: it raises, and is tried again."""
    house.context.mkdir()
    with pytest.raises(StorageFailed, match=r"cannot read context\.json"):
        house.open()
    assert house.damage == []
