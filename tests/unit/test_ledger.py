"""What the ledger remembers, whatever happens to its files."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_entra.errors import StorageFailed
from graph_entra.records import Record
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from graph_entra.streams import DAY_S, HOUR_S

NOW = 1_795_420_800  # 2026-11-23T08:00:00Z
HOUR_FILE = "ledger/s/20261123T08.bin"


class Damaged(NamedTuple):
    """A file that was set aside."""

    name: str
    why: str


class House:
    """A data path, and the ledgers that open it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = Files(folder)
        self.damage: list[Damaged] = []

    def open(self) -> Ledger:
        """The ledger, as a new process finds it."""
        return Ledger(self.files, "s", lambda name, why: self.damage.append(Damaged(name, why)))

    def content(self, name: str = HOUR_FILE) -> bytes:
        """A file's bytes."""
        return (self.folder / name).read_bytes()

    def write(self, content: bytes, name: str = HOUR_FILE) -> None:
        """Put a file there."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """An empty data path."""
    return House(tmp_path)


def record(identity: int, digest: int = 1, created_s: int | None = NOW) -> Record:
    """A record of which only the ledger's own part matters."""
    return Record("{}", identity, digest, created_s, None)


def test_a_delivered_record_is_known(house: House) -> None:
    """Known at once, and after a restart, under the digest of its last delivery."""
    ledger = house.open()
    assert ledger.digest(record(5), NOW) is None
    ledger.add([record(5, 7), record(6, 2**64 - 1), record(2**64 - 1, 0)], NOW)
    ledger.add([record(5, 8)], NOW)
    for opened in (ledger, house.open()):
        assert [opened.digest(record(name), NOW) for name in (5, 6, 2**64 - 1, 7)] == [8, 2**64 - 1, 0, None]
    assert house.damage == []


def test_the_same_identity_in_another_hour_is_another_record(house: House) -> None:
    """A record is looked up by its hour of creation."""
    ledger = house.open()
    ledger.add([record(5, 7)], NOW)
    assert ledger.digest(record(5, created_s=NOW + HOUR_S), NOW) is None
    assert ledger.digest(record(5, created_s=NOW + HOUR_S - 1), NOW) == 7
    assert ledger.digest(record(5, created_s=NOW - 1), NOW) is None


def test_only_the_hours_that_changed_are_written(house: House) -> None:
    """One page writes to one file, however many there are."""
    ledger = house.open()
    ledger.add([record(n, created_s=NOW - n * HOUR_S) for n in range(20)], NOW)
    before = {path.name: path.read_bytes() for path in (house.folder / "ledger/s").iterdir()}
    assert len(before) == 20
    ledger.add([record(99)], NOW)
    after = {path.name: path.read_bytes() for path in (house.folder / "ledger/s").iterdir()}
    assert [name for name in after if after[name] != before[name]] == ["20261123T08.bin"]


def test_sixteen_bytes_a_record(house: House) -> None:
    """A page of 1,000 takes 16,000 bytes, twelve more, and the header once."""
    ledger = house.open()
    for page in range(3):
        ledger.add([record(page * 1000 + n) for n in range(1000)], NOW)
    assert len(house.content()) == 4 + 3 * (8 + 16_000)


def test_hours_leave_memory_and_come_back(house: House) -> None:
    """Memory holds a few hours; all others are read when they are asked for."""
    ledger = house.open()
    for hour in range(30):
        ledger.add([record(hour, hour, NOW - hour * HOUR_S)], NOW)
    assert len(ledger._hours) <= 6
    for hour in range(30):
        assert ledger.digest(record(hour, created_s=NOW - hour * HOUR_S), NOW) == hour
    assert len(ledger._hours) <= 6


# Records without a usable time


@pytest.mark.parametrize("created_s", [None, 4_070_908_800, -11_644_473_600], ids=str)
def test_undated_records_are_known_by_their_delivery(house: House, created_s: int | None) -> None:
    """No time, one in 2099 or in 1601: known for as long as the lanes may read it again, also after a restart."""
    house.open().add([record(5, 7, created_s)], NOW)
    assert [path.name for path in (house.folder / "ledger/s").iterdir()] == ["undated-20261123T08.bin"]
    later = NOW + 25 * HOUR_S
    ledger = house.open()
    assert ledger.digest(record(5, created_s=created_s), later) == 7
    assert ledger.digest(record(6, created_s=created_s), later) is None
    ledger.prune(NOW + HOUR_S)
    assert ledger.digest(record(5, created_s=created_s), later) is None
    assert house.files.names("ledger/s") == []


def test_a_time_a_little_ahead_is_a_time(house: House) -> None:
    """Clocks differ: up to a day ahead is filed under its own hour."""
    house.open().add([record(5, 7, NOW + DAY_S)], NOW)
    assert house.files.names("ledger/s") == ["ledger/s/20261124T08.bin"]


# Pruning


def test_pruning_drops_whole_hours_before_the_floor(house: House) -> None:
    """The floor's own hour stays: a lane will still read it."""
    ledger = house.open()
    ledger.add([record(n, n, NOW - n * HOUR_S) for n in range(1, 6)], NOW)
    assert ledger.oldest_s() == NOW - 5 * HOUR_S
    ledger.prune(NOW - 3 * HOUR_S + 1800)
    assert ledger.oldest_s() == NOW - 3 * HOUR_S
    for opened in (ledger, house.open()):
        known = [opened.digest(record(n, created_s=NOW - n * HOUR_S), NOW) for n in range(1, 6)]
        assert known == [1, 2, 3, None, None]


def test_a_pruned_hour_does_not_come_back_as_dated(house: House) -> None:
    """A record older than every lane is filed by its delivery: its hour's file would be dropped at once."""
    ledger = house.open()
    ledger.prune(NOW)
    ledger.add([record(5, 7, NOW - 1)], NOW)
    assert house.files.names("ledger/s") == ["ledger/s/undated-20261123T08.bin"]
    assert ledger.digest(record(5, created_s=NOW - 1), NOW) == 7


def test_an_empty_ledger_has_no_oldest_hour(house: House) -> None:
    """Nothing held, nothing to begin from."""
    assert house.open().oldest_s() is None


def test_oldest_counts_undated_hours(house: House) -> None:
    """They are kept as long, and say as much about where the lanes were."""
    ledger = house.open()
    ledger.add([record(1, created_s=None)], NOW - 7200)
    ledger.add([record(2)], NOW)
    assert ledger.oldest_s() == house.open().oldest_s() == NOW - 7200


# Damage


def three_frames(house: House) -> bytes:
    """A file of three batches, of one, two and three records."""
    ledger = house.open()
    ledger.add([record(1, 11)], NOW)
    ledger.add([record(2, 12), record(3, 13)], NOW)
    ledger.add([record(4, 14), record(5, 15), record(6, 16)], NOW)
    return house.content()


def test_a_torn_tail_at_every_byte(house: House) -> None:
    """The batches that are whole are kept; the torn file is set aside and told; what follows is written well."""
    whole = three_frames(house)
    ends = [4, 4 + 24, 4 + 24 + 40, len(whole)]
    for length in range(len(whole)):
        house.damage.clear()
        house.write(whole[:length])
        ledger = house.open()
        kept = [0, 1, 3, 6][max((n for n, end in enumerate(ends) if end <= length), default=0)]
        expected = [10 + n if n <= kept else None for n in range(1, 7)]
        assert [ledger.digest(record(n), NOW) for n in range(1, 7)] == expected, length
        if length in ends[1:]:
            assert house.damage == []
        else:
            assert [why for _, why in house.damage] == ["damaged"], length
            assert house.content(house.damage[0].name) == whole[:length]
            (house.folder / house.damage[0].name).unlink()
        ledger.add([record(9, 19)], NOW)
        again = house.open()
        assert [again.digest(record(n), NOW) for n in (*range(1, 7), 9)] == [*expected, 19], length
        assert len(house.damage) <= 1


def test_what_is_added_behind_a_torn_tail_is_kept(house: House) -> None:
    """The first call after the restart may be an add: it must not write behind the torn batch."""
    whole = three_frames(house)
    house.write(whole[:-5])
    house.open().add([record(9, 19)], NOW)
    assert house.open().digest(record(9), NOW) == 19
    assert house.open().digest(record(3), NOW) == 13


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_makes_no_record_known(at: int, flip: int) -> None:
    """Damage may forget deliveries (a repeat), never invent one (a loss)."""
    with TemporaryDirectory() as folder:
        house = House(Path(folder))
        content = bytearray(three_frames(house))
        content[at % len(content)] ^= flip
        house.write(bytes(content))
        ledger = house.open()
        assert {n: ledger.digest(record(n), NOW) for n in range(1, 7)}.items() <= {
            **{n: 10 + n for n in range(1, 7)},
            **{n: None for n in range(1, 7) if ledger.digest(record(n), NOW) is None},
        }.items()
        assert ledger._entries(NOW // HOUR_S).items() <= {n: 10 + n for n in range(1, 7)}.items()
        assert len(house.damage) == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged"),
        (b"GEL", "damaged"),
        (b"GEL\x01", "damaged"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
        (b"{}", "damaged"),
        (b"GEL\x02" + bytes(24), "unknown-version"),
    ],
)
@pytest.mark.parametrize("name", [HOUR_FILE, "ledger/s/undated-20261123T08.bin"])
def test_an_unusable_file_is_set_aside_and_told(house: House, name: str, content: bytes, why: str) -> None:
    """Empty, foreign or of a later version: kept under another name, and collection goes on without it."""
    house.write(content, name)
    created_s = None if "undated" in name else NOW
    ledger = house.open()
    assert ledger.digest(record(1, created_s=created_s), NOW) is None
    ledger.add([record(1, 11, created_s)], NOW)
    assert [damage.why for damage in house.damage] == [why]
    aside = house.damage[0].name
    assert aside.startswith(f"{name}.{why}-")
    assert house.content(aside) == content
    again = house.open()
    assert again.digest(record(1, created_s=created_s), NOW) == 11
    assert len(house.damage) == 1


def test_other_files_in_the_folder_are_left_alone(house: House) -> None:
    """What was set aside, half written or put there by a person is none of the ledger's hours."""
    house.open().add([record(1, 11)], NOW)
    for name in ("notes.txt", "20261123T08.bin.new", "20261123T08.bin.damaged-1", "20261399T99.bin"):
        house.write(b"x", f"ledger/s/{name}")
    ledger = house.open()
    assert ledger.digest(record(1), NOW) == 11
    ledger.prune(NOW + DAY_S)
    assert len(house.files.names("ledger/s")) == 4
    assert house.damage == []


def test_a_file_that_was_deleted_is_an_empty_hour(house: House) -> None:
    """A person who clears the folder under a running connector gets repeats, not an error."""
    ledger = house.open()
    for hour in range(8):
        ledger.add([record(hour, created_s=NOW - hour * HOUR_S)], NOW)
    (house.folder / HOUR_FILE).unlink()
    assert ledger.digest(record(0), NOW) is None
    ledger.add([record(0, 3)], NOW)
    assert house.open().digest(record(0), NOW) == 3
    assert house.damage == []


# A data path that fails


class Failing:
    """Makes one method of Files fail while it is set."""

    def __init__(self, files: Files, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = False
        self._real: Callable[..., object] = getattr(files, method)
        monkeypatch.setattr(files, method, self)

    def __call__(self, *args: object) -> object:
        if self.on:
            raise StorageFailed("no space left")
        return self._real(*args)


def test_a_failed_write_keeps_what_is_in_memory(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is delivered: this process knows it, and the next write that can writes it."""
    disk = Failing(house.files, "append", monkeypatch)
    ledger = house.open()
    ledger.add([record(1, 11)], NOW)
    disk.on = True
    for n in (2, 3):
        with pytest.raises(StorageFailed):
            ledger.add([record(n, 10 + n)], NOW)
    assert [ledger.digest(record(n), NOW) for n in (1, 2, 3)] == [11, 12, 13]
    disk.on = False
    ledger.add([], NOW)
    assert [house.open().digest(record(n), NOW) for n in (1, 2, 3)] == [11, 12, 13]
    assert house.damage == []


def test_what_could_not_be_written_survives_leaving_memory(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour is evicted and read again while its last batch still waits to be written."""
    disk = Failing(house.files, "append", monkeypatch)
    ledger = house.open()
    ledger.add([record(1, 11)], NOW)
    disk.on = True
    with pytest.raises(StorageFailed):
        ledger.add([record(2, 12), record(3, 13, NOW - 9 * HOUR_S), record(4, 14, None)], NOW)
    for hour in range(1, 9):
        ledger.digest(record(0, created_s=NOW - hour * HOUR_S), NOW)
    assert ledger.digest(record(1), NOW) == 11
    assert ledger.digest(record(2), NOW) == 12
    assert ledger.digest(record(3, created_s=NOW - 9 * HOUR_S), NOW) == 13
    disk.on = False
    ledger.add([record(5, 15)], NOW)
    again = house.open()
    assert [again.digest(record(n), NOW) for n in (1, 2, 5)] == [11, 12, 15]
    assert again.digest(record(3, created_s=NOW - 9 * HOUR_S), NOW) == 13
    assert again.digest(record(4, created_s=None), NOW) == 14


@pytest.mark.parametrize("method", ["read", "set_aside", "replace"])
def test_a_failed_read_forgets_nothing(house: House, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour that cannot be read now, or set aside, is not taken for an empty one."""
    house.write(three_frames(house)[:-1])
    disk = Failing(house.files, method, monkeypatch)
    ledger = house.open()
    disk.on = True
    with pytest.raises(StorageFailed):
        ledger.digest(record(1), NOW)
    disk.on = False
    if method != "replace":
        assert ledger.digest(record(1), NOW) == 11


def test_a_failed_delete_is_not_forgotten(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hour is dropped by a later pruning, and known until then."""
    disk = Failing(house.files, "delete", monkeypatch)
    ledger = house.open()
    ledger.add([record(1, created_s=NOW - 5 * HOUR_S), record(2)], NOW)
    disk.on = True
    with pytest.raises(StorageFailed):
        ledger.prune(NOW)
    disk.on = False
    ledger.prune(NOW + HOUR_S)
    assert house.files.names("ledger/s") == []


# A model: a dictionary that forgets by floor

HOURS = st.integers(-30, 2)
ADD = st.tuples(st.just("add"), st.lists(st.tuples(st.integers(1, 12), HOURS, st.integers(0, 5)), max_size=6))
OPERATION = st.one_of(
    ADD,
    ADD,
    st.tuples(st.just("fail"), st.lists(st.tuples(st.integers(1, 12), HOURS, st.integers(0, 5)), max_size=3)),
    st.tuples(st.just("reopen"), st.just([])),
    st.tuples(st.just("prune"), st.integers(1, 40)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(OPERATION, max_size=25))
def test_the_ledger_is_a_dictionary_that_forgets_by_floor(operations: list[tuple[str, object]]) -> None:
    """Any order of adding, failing to write, restarting and pruning: what is above the floor is known."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        house = House(Path(folder))
        disk = Failing(house.files, "append", monkeypatch)
        ledger, model = house.open(), dict[tuple[int, int], int]()
        floor = -(10**6)
        for name, content in operations:
            if name == "prune":
                assert isinstance(content, int)
                floor = max(floor, -content)
                ledger.prune(NOW + floor * HOUR_S)
                model = {key: digest for key, digest in model.items() if key[1] >= floor}
            elif name == "reopen":
                ledger.add([], NOW)
                ledger = house.open()
            else:
                assert isinstance(content, list)
                entries = [entry for entry in content if entry[1] >= floor]
                disk.on = name == "fail"
                try:
                    ledger.add([record(i, digest, NOW + hour * HOUR_S) for i, hour, digest in entries], NOW)
                except StorageFailed:
                    assert disk.on
                disk.on = False
                model |= {(i, hour): digest for i, hour, digest in entries}
            for identity in range(1, 13):
                for hour in {key[1] for key in model}:
                    known = ledger.digest(record(identity, created_s=NOW + hour * HOUR_S), NOW)
                    assert known == model.get((identity, hour))
        assert house.damage == []
