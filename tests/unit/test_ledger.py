"""What the ledger remembers, whatever happens to its files."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_entra.errors import StorageFailed
from graph_entra.records import Record, hash64
from graph_entra.state.files import Files
from graph_entra.state.ledger import MATERIAL_1, Ledger, set_of
from graph_entra.streams import DAY_S, HOUR_S, Stream
from tests.clocks import ManualClock

NOW = 1_795_420_800  # 2026-11-23T08:00:00Z
# The set of version 1, so that its files need no taking over.
MATERIAL = MATERIAL_1["signIns"]
STREAM = Stream("s", "signIns", "v1.0", "createdDateTime", MATERIAL)
SET = f"{set_of(MATERIAL):016x}"
HOUR_FILE = f"ledger/s/20261123T08-{SET}.bin"
HEADER = b"GEL\x02" + set_of(MATERIAL).to_bytes(8, "little")
FOR_EVER_S = 2**40


class Damaged(NamedTuple):
    """A file that was set aside."""

    name: str
    why: str


class House:
    """A data path, and the ledgers that open it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = Files(folder, ManualClock(NOW))
        self.damage: list[Damaged] = []

    def open(self, stream: Stream = STREAM) -> Ledger:
        """The ledger, as a new process finds it."""
        return Ledger(self.files, stream, lambda name, why: self.damage.append(Damaged(name, why)))

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


def test_a_record_is_looked_up_by_its_time(house: House) -> None:
    """By the minute of its creation: an identity holds the second, so it is found nowhere else."""
    ledger = house.open()
    ledger.add([record(5, 7)], NOW)
    assert ledger.digest(record(5, created_s=NOW + HOUR_S), NOW) is None
    assert ledger.digest(record(5, created_s=NOW + 59), NOW) == 7
    assert ledger.digest(record(5, created_s=NOW + 60), NOW) is None
    assert ledger.digest(record(5, created_s=NOW - 1), NOW) is None


def test_only_the_hours_that_changed_are_written(house: House) -> None:
    """One page writes to one file, however many there are."""
    ledger = house.open()
    ledger.add([record(n, created_s=NOW - n * HOUR_S) for n in range(20)], NOW)
    before = {path.name: path.read_bytes() for path in (house.folder / "ledger/s").iterdir()}
    assert len(before) == 20
    ledger.add([record(99)], NOW)
    after = {path.name: path.read_bytes() for path in (house.folder / "ledger/s").iterdir()}
    assert [name for name in after if after[name] != before[name]] == [Path(HOUR_FILE).name]


def test_eight_bytes_a_record(house: House) -> None:
    """A page of 1,000 takes 8,000 bytes, a few for each digest and minute in it, and the header once."""
    ledger = house.open()
    for page in range(3):
        ledger.add([record(page * 1000 + n) for n in range(1000)], NOW)
    assert len(house.content()) == 12 + 3 * (12 + 16 + 8_000)


def test_hours_leave_memory_and_come_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded in records, wherever they are; all others are read when they are asked for."""
    monkeypatch.setattr("graph_entra.state.ledger.MAX_HELD", 12_000)
    monkeypatch.setattr("graph_entra.state.ledger.MAX_READY", 1_000)
    ledger = house.open()
    hours, each = 4, 4000
    for hour in range(hours):
        ledger.add((record(n, n % 7, NOW - hour * HOUR_S + n % 3600) for n in range(each)), NOW)
    for opened in (ledger, house.open()):
        for n in (0, 1, each - 1):
            for hour in range(hours):
                assert opened.digest(record(n, created_s=NOW - hour * HOUR_S + n % 3600), NOW) == n % 7
        assert len(opened._hours) < hours
        assert sum(map(len, opened._ready.values())) <= 1_000


def test_a_record_takes_less_than_half_of_a_dictionarys_memory(house: House) -> None:
    """A dictionary takes 94 bytes an entry; a busy hour takes 47 at most, the minutes at work included."""
    tracemalloc.start()
    try:
        ledger = house.open()
        before = tracemalloc.get_traced_memory()[0]
        count = 250_000
        random = Random(1)
        for start in range(0, count, 1000):
            names = (random.getrandbits(64) for _ in range(1000))
            ledger.add(
                [record(name, name % 20, NOW + (start + n) * 3600 // count) for n, name in enumerate(names)], NOW
            )
        assert (tracemalloc.get_traced_memory()[0] - before) / count < 47
    finally:
        tracemalloc.stop()


# Records without a usable time


@pytest.mark.parametrize("created_s", [None, 4_070_908_800, -11_644_473_600], ids=str)
def test_undated_records_are_known_by_their_delivery(house: House, created_s: int | None) -> None:
    """No time, one in 2099 or in 1601: known for as long as the lanes may read it again, also after a restart."""
    house.open().add([record(5, 7, created_s)], NOW)
    assert [path.name for path in (house.folder / "ledger/s").iterdir()] == [f"undated-20261123T08-{SET}.bin"]
    later = NOW + 25 * HOUR_S
    ledger = house.open()
    assert ledger.digest(record(5, created_s=created_s), later) == 7
    assert ledger.digest(record(6, created_s=created_s), later) is None
    ledger.keep([(NOW + HOUR_S, FOR_EVER_S)])
    assert ledger.digest(record(5, created_s=created_s), later) is None
    assert house.files.names("ledger/s") == []


def test_a_time_a_little_ahead_is_a_time(house: House) -> None:
    """Clocks differ: up to a day ahead is filed under its own hour."""
    house.open().add([record(5, 7, NOW + DAY_S)], NOW)
    assert house.files.names("ledger/s") == [f"ledger/s/20261124T08-{SET}.bin"]


# Pruning


def test_pruning_drops_whole_hours_before_the_floor(house: House) -> None:
    """The floor's own hour stays: a lane will still read it."""
    ledger = house.open()
    ledger.add([record(n, n, NOW - n * HOUR_S) for n in range(1, 6)], NOW)
    assert ledger.oldest_s() == NOW - 5 * HOUR_S
    ledger.keep([(NOW - 3 * HOUR_S + 1800, FOR_EVER_S)])
    assert ledger.oldest_s() == NOW - 3 * HOUR_S
    for opened in (ledger, house.open()):
        known = [opened.digest(record(n, created_s=NOW - n * HOUR_S), NOW) for n in range(1, 6)]
        assert known == [1, 2, 3, None, None]


def test_a_pruned_hour_does_not_come_back_as_dated(house: House) -> None:
    """A record older than every lane is filed by its delivery: its hour's file would be dropped at once."""
    ledger = house.open()
    ledger.keep([(NOW, FOR_EVER_S)])
    ledger.add([record(5, 7, NOW - 1)], NOW)
    assert house.files.names("ledger/s") == [f"ledger/s/undated-20261123T08-{SET}.bin"]
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


def damaged(content: bytes) -> bytes:
    """One byte of the last batch is another."""
    return content[:-1] + bytes([content[-1] ^ 1])


def three_frames(house: House) -> bytes:
    """A file of three batches, of one, two and three records."""
    ledger = house.open()
    ledger.add([record(1, 11)], NOW)
    ledger.add([record(2, 12), record(3, 13)], NOW)
    ledger.add([record(4, 14), record(5, 15), record(6, 16)], NOW)
    return house.content()


def test_a_restart_at_every_byte_of_an_append(house: House) -> None:
    """A kill leaves a part of a batch: the whole ones before are kept, the part goes, what follows is written well."""
    whole = three_frames(house)
    ends = [12, 12 + 12 + 16 + 8, 12 + 12 + 16 + 8 + 12 + 2 * (16 + 8), len(whole)]
    for length in range(len(whole)):
        house.write(whole[:length])
        ledger = house.open()
        kept = [0, 1, 3, 6][max((n for n, end in enumerate(ends) if end <= length), default=0)]
        expected = [10 + n if n <= kept else None for n in range(1, 7)]
        assert [ledger.digest(record(n), NOW) for n in range(1, 7)] == expected, length
        ledger.add([record(9, 19)], NOW)
        again = house.open()
        assert [again.digest(record(n), NOW) for n in (*range(1, 7), 9)] == [*expected, 19], length
    assert house.damage == []


@settings(max_examples=30, deadline=None)
@given(
    batches=st.lists(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 3)), max_size=4), min_size=1, max_size=5),
    data=st.data(),
)
def test_kills_while_appending_forget_the_batch_in_flight_at_most(
    batches: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    """On real files, a kill at any byte of any append, again and again: every batch before it is known."""
    with TemporaryDirectory() as folder:
        house, known = House(Path(folder)), dict[int, int]()
        for batch in batches:
            before = house.content() if (house.folder / HOUR_FILE).exists() else b""
            house.open().add([record(identity, digest) for identity, digest in batch], NOW)
            after = house.content() if (house.folder / HOUR_FILE).exists() else b""
            assert after.startswith(before)
            if data.draw(st.booleans()) and len(after) > len(before):
                house.write(after[: data.draw(st.integers(len(before), len(after) - 1))])
            else:
                known |= dict(batch)
            ledger = house.open()
            assert [ledger.digest(record(n), NOW) for n in range(1, 100)] == [known.get(n) for n in range(1, 100)]
        assert house.damage == []


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
        assert len(house.damage) <= 1


def test_a_batch_in_which_one_bit_is_another_is_not_believed(house: House) -> None:
    """Or a record that nobody delivered would be known, and left out."""
    house.write(damaged(three_frames(house)))
    ledger = house.open()
    assert [ledger.digest(record(n), NOW) for n in range(1, 7)] == [11, 12, 13, None, None, None]
    assert [damage.why for damage in house.damage] == ["damaged"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PK\x03\x04" + bytes(100), "damaged"),
        (b"{}", "damaged"),
        (b"GEL\x00" + bytes(24), "damaged"),
        (HEADER + bytes(24), "damaged"),
        (b"GEL\x03" + bytes(24), "unknown-version"),
    ],
)
@pytest.mark.parametrize("name", [HOUR_FILE, f"ledger/s/undated-20261123T08-{SET}.bin"])
def test_an_unusable_file_is_set_aside_and_told(house: House, name: str, content: bytes, why: str) -> None:
    """Foreign, full of zeros or of a later version: kept under another name, and collection goes on without it."""
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
    ledger.keep([(NOW + DAY_S, FOR_EVER_S)])
    assert len(house.files.names("ledger/s")) == 4
    assert house.damage == []


def test_a_file_that_was_deleted_is_an_empty_hour(house: House) -> None:
    """A person who clears the folder under a running connector gets repeats, not an error."""
    ledger = house.open()
    for hour in range(8):
        ledger.add([record(hour, created_s=NOW - hour * HOUR_S)], NOW)
    (house.folder / HOUR_FILE).unlink()
    assert house.open().digest(record(0), NOW) is None
    ledger.add([record(0, 3)], NOW)
    assert house.open().digest(record(0), NOW) == 3
    assert house.damage == []


# State that evolves

OTHER = Stream("s", "signIns", "v1.0", "createdDateTime", (*MATERIAL, "another"))


def test_under_another_set_known_records_are_updated_in_place(house: House) -> None:
    """One more material member: no known record is repeated, and the next change of it shows."""
    house.open().add([record(n, 10 + n) for n in range(5)], NOW)
    for _ in range(2):
        ledger = house.open(OTHER)
        assert [ledger.digest(record(n, 20 + n), NOW) for n in range(6)] == [20, 21, 22, 23, 24, None]
        ledger.add([], NOW)
    assert house.open(OTHER).digest(record(3, 99), NOW) == 23
    # The file beside it stays as it was: back again under the first set, a change since is seen as one.
    assert house.open().digest(record(3, 13), NOW) == 13
    assert house.damage == []


def test_what_was_never_delivered_is_new_under_any_set(house: House) -> None:
    """Another set makes nothing known."""
    house.open().add([record(1, 11), record(2, 12, None)], NOW)
    ledger = house.open(OTHER)
    assert ledger.digest(record(3), NOW) is None
    assert ledger.digest(record(2, 5, None), NOW) == 5
    assert ledger.digest(record(1, 7), NOW) == 7
    ledger.keep([(NOW + DAY_S, FOR_EVER_S)])
    assert house.files.names("ledger/s") == []


def version_1(*entries: tuple[int, int]) -> bytes:
    """A file as 1.0.0 wrote it."""
    payload = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    return b"GEL\x01" + struct.pack("<II", len(entries), zlib.crc32(payload)) + payload


def named(record_id: str, text: str, digest: int, created_s: int | None = NOW) -> Record:
    """A record with an identity of today's, which version 1 did not know."""
    return Record(text, hash64(text.encode()) ^ 1, digest, created_s, record_id)


@pytest.mark.parametrize("name", ["20261123T08.bin", "undated-20261123T08.bin"])
def test_version_1_is_taken_over(house: House, name: str) -> None:
    """What 1.0.0 delivered is known, a change of it is seen as a change, and the old file is not touched."""
    old = version_1((hash64(b"a"), 7), (hash64(b"b"), 8), (5, 9))
    house.write(old, f"ledger/s/{name}")
    created_s = None if "undated" in name else NOW
    for _ in range(2):
        ledger = house.open()
        assert ledger.digest(named("a", "{1}", 7, created_s), NOW) == 7
        assert ledger.digest(named("b", "{2}", 70, created_s), NOW) == 8
        assert ledger.digest(named("c", "{3}", 7, created_s), NOW) is None
        assert ledger.digest(record(5, 9, created_s), NOW) == 9
        ledger.add([], NOW)
    ledger.add([named("b", "{2}", 70, created_s)], NOW)
    assert house.open().digest(named("b", "{2}", 70, created_s), NOW) == 70
    assert house.content(f"ledger/s/{name}") == old
    assert ledger.oldest_s() == NOW
    ledger.keep([(NOW + DAY_S, FOR_EVER_S)])
    assert house.files.names("ledger/s") == []


@pytest.mark.parametrize("restart", [False, True], ids=["at once", "after a restart"])
def test_a_name_of_version_1_stands_for_one_record(house: House, restart: bool) -> None:
    """1.0.0 left out the second part of an audit if it came on a page of its own: it is delivered now, once."""
    house.write(version_1((hash64(b"a"), 7), (hash64(b"{2}"), 8)), "ledger/s/20261123T08.bin")
    ledger = house.open()
    assert ledger.digest(named("a", "{1}", 7), NOW) == 7
    ledger.add([], NOW)
    if restart:
        ledger = house.open()
    # The second shared a page with the first: 1.0.0 knew it by its content. The third it left out.
    assert ledger.digest(named("a", "{2}", 8), NOW) == 8
    assert ledger.digest(named("a", "{3}", 7), NOW) is None
    ledger.add([named("a", "{3}", 7)], NOW)
    for opened in (ledger, house.open(), house.open(OTHER)):
        assert [opened.digest(named("a", text, 7), NOW) is None for text in ("{1}", "{2}", "{3}", "{4}")] == [
            False, False, False, True,
        ]  # fmt: skip


def test_a_torn_or_damaged_file_of_version_1(house: House) -> None:
    """Its whole batches are known; what a kill left behind them goes, a changed byte is told."""
    whole = version_1((hash64(b"a"), 7)) + version_1((hash64(b"b"), 8))[4:]
    house.write(whole[:-3], "ledger/s/20261123T08.bin")
    assert house.open().digest(named("a", "{1}", 7), NOW) == 7
    assert house.content("ledger/s/20261123T08.bin") == whole[:28]
    assert house.damage == []
    house.write(damaged(whole), "ledger/s/20261123T08.bin")
    ledger = house.open()
    assert ledger.digest(named("a", "{1}", 7), NOW) == 7
    assert ledger.digest(named("b", "{2}", 8), NOW) is None
    assert [why for _, why in house.damage] == ["damaged"]


# Stretches


def test_hours_that_meet_no_stretch_are_dropped(house: House) -> None:
    """Stretches in several places, both ends included; undated ones go when every hour before them went."""
    ledger = house.open()
    ledger.add([record(n, n, NOW - n * HOUR_S) for n in range(1, 9)], NOW)
    ledger.add([record(20, 20, None)], NOW - 6 * HOUR_S)
    ledger.keep(
        [(NOW - 7 * HOUR_S + 5, NOW - 6 * HOUR_S), (NOW - 3 * HOUR_S - 1, NOW - 3 * HOUR_S - 1), (NOW, FOR_EVER_S)]
    )
    for opened in (ledger, house.open()):
        known = [opened.digest(record(n, created_s=NOW - n * HOUR_S), NOW) for n in range(1, 9)]
        assert known == [None, None, None, 4, None, 6, 7, None]
        assert opened.digest(record(20, 20, None), NOW) == 20
    ledger.keep([(NOW - 3 * HOUR_S - 1, FOR_EVER_S)])
    assert ledger.digest(record(20, 20, None), NOW) is None
    ledger.keep([])
    assert house.files.names("ledger/s") == []
    assert ledger.oldest_s() is None


def test_an_hour_that_is_read_again_after_all(house: House) -> None:
    """A record delivered while nobody was to read its hour is known when somebody is."""
    ledger = house.open()
    ledger.keep([(NOW, FOR_EVER_S)])
    ledger.add([record(5, 7, NOW - HOUR_S)], NOW)
    ledger.keep([(NOW - 2 * HOUR_S, FOR_EVER_S)])
    assert ledger.digest(record(5, 7, NOW - HOUR_S), NOW) == 7
    assert house.open().digest(record(5, 7, NOW - HOUR_S), NOW) == 7


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
    house.write(damaged(three_frames(house)))
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
        ledger.keep([(NOW, FOR_EVER_S)])
    disk.on = False
    ledger.keep([(NOW + HOUR_S, FOR_EVER_S)])
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
                ledger.keep([(NOW + floor * HOUR_S, FOR_EVER_S)])
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
