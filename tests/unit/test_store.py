"""What a crash, a full disk and foreign hands leave of context.json, and of the files beside it."""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from sekoia_automation.storage import PersistentJSON

from graph_entra.errors import StorageFailed
from graph_entra.state.context import CONTEXT_FILE, ContextStore
from graph_entra.state.files import Files

TENANT = "8f0c2a31-5b7e-4d19-9c64-0e7d1f3b2a58"


class Power(Exception):
    """The machine stops here."""


class House:
    """A data path, and the processes that open it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = Files(folder)
        self.damage: list[tuple[str, str]] = []

    def open(self, tenant_id: str = TENANT) -> ContextStore:
        """The store, as a new process finds it."""
        return ContextStore(self.files, tenant_id, lambda name, why: self.damage.append((name, why)))

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


# Files


def test_replace_makes_folders_and_leaves_nothing_beside(house: House) -> None:
    """The file is there, whole; its draft is not."""
    house.files.replace("a/b/c.bin", b"1")
    house.files.replace("a/b/c.bin", b"22")
    assert house.files.read("a/b/c.bin") == b"22"
    assert house.files.names("a/b") == ["a/b/c.bin"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_crash_while_replacing_leaves_the_old_file(house: House, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old or new, never a part: whichever line the power fails at."""
    house.files.replace("x", b"old")
    house.files.replace("x", b"older but one" * 1000)

    def stop(*_: object, **__: object) -> None:
        raise Power

    with monkeypatch.context() as crash:
        owner = os if step == "fsync" else Path
        crash.setattr(owner, {"write": "open"}.get(step, step), stop)
        with pytest.raises(Power):
            house.files.replace("x", b"new")
    assert Files(house.folder).read("x") == b"older but one" * 1000
    house.files.replace("x", b"new")
    assert house.files.names(".") == ["./x"]


def test_append_adds_to_the_end(house: House) -> None:
    """What was there is not touched."""
    for part in (b"1", b"", b"23"):
        house.files.append("a/x", part)
    assert house.files.read("a/x") == b"123"


def test_a_full_disk_leaves_no_part_of_an_append(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torn batch in the middle of a file would hide everything behind it."""
    house.files.append("x", b"whole")
    real = Path.open

    def full(self: Path, *args: Any, **kwargs: Any) -> Any:
        out = real(self, *args, buffering=0, **kwargs)  # type: ignore[call-overload]
        real_write = out.write

        class Full:
            def __getattr__(self, name: str) -> Any:
                return getattr(out, name)

            def __enter__(self) -> "Full":
                return self

            def __exit__(self, *_: object) -> None:
                out.close()

            def write(self, content: bytes) -> None:
                real_write(content[:2])
                raise OSError(28, "No space left on device")

        return Full()

    with monkeypatch.context() as disk:
        disk.setattr(Path, "open", full)
        with pytest.raises(StorageFailed, match="No space left"):
            house.files.append("x", b"part")
    assert house.files.read("x") == b"whole"


def test_what_is_not_there(house: House) -> None:
    """Reading, listing and deleting what does not exist is no fault."""
    assert house.files.read("x") is None
    assert house.files.names("x") == []
    house.files.delete("x")


def test_set_aside_keeps_the_content_under_a_new_name(house: House) -> None:
    """Twice in a row makes two files."""
    names = []
    for content in (b"1", b"2"):
        house.files.replace("a/x", content)
        names.append(house.files.set_aside("a/x", "damaged"))
    assert len(set(names)) == 2
    assert all(name.startswith("a/x.damaged-") for name in names)
    assert [house.files.read(name) for name in names] == [b"1", b"2"]
    assert house.files.read("a/x") is None


def test_set_aside_puts_what_could_be_saved_in_its_place(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one step: a crash leaves the damaged file or the saved part there, never nothing."""
    house.files.replace("x", b"damaged")

    def stop(*_: object) -> None:
        raise Power

    with monkeypatch.context() as crash:
        crash.setattr(Path, "replace", stop)
        with pytest.raises(Power):
            house.files.set_aside("x", "damaged", b"saved")
    assert house.files.read("x") == b"damaged"
    name = house.files.set_aside("x", "damaged", b"saved")
    assert house.files.read("x") == b"saved"
    assert house.files.read(name) == b"damaged"


@pytest.mark.parametrize(
    ("method", "arguments", "verb"),
    [
        ("read", ("x",), "read"),
        ("replace", ("x", b""), "write"),
        ("append", ("x", b""), "write"),
        ("delete", ("x",), "delete"),
        ("set_aside", ("x", "damaged"), "rename"),
    ],
)
def test_what_the_disk_refuses_is_one_error(house: House, method: str, arguments: tuple[Any, ...], verb: str) -> None:
    """Whatever the system raises, the log says which file and what was tried."""
    (house.folder / "x").mkdir()
    (house.folder / "x" / "y").touch()
    if method == "set_aside":
        arguments = ("missing", "damaged")
    with pytest.raises(StorageFailed, match=f"cannot {verb} {arguments[0]} on the data path: "):
        getattr(house.files, method)(*arguments)


# ContextStore


def test_it_is_the_sdks_own_kind(house: House) -> None:
    """The state stays where the SDK's users expect it."""
    store = house.open()
    assert isinstance(store, PersistentJSON)
    store.save_stream("a", {"live": "x"})
    assert house.saved() == {"version": 1, "tenant_id": TENANT, "streams": {"a": {"live": "x"}}}


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
    (b'{"version": 2, "tenant_id": "%s", "streams": {}}' % TENANT.encode(), "unknown-version"),
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


def test_another_tenants_cursors_are_set_aside(house: House) -> None:
    """They say nothing of this one, which begins like a new installation: no damage, but not in silence."""
    house.open("other.example").save_stream("a", {"n": 1})
    before = house.context.read_bytes()
    store = house.open()
    assert store.stream("a") is None
    assert not store.damaged
    [(name, why)] = house.damage
    assert why == "other-tenant"
    assert (house.folder / name).read_bytes() == before


def test_a_tenant_in_capitals_is_the_same_tenant(house: House) -> None:
    """Ids and domains know no case: pasting one again in another case loses no cursor."""
    house.open().save_stream("a", {"n": 1})
    assert house.open(TENANT.upper()).stream("a") == {"n": 1}
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
