"""Which records have been delivered, by hour of creation.

    ledger/<stream>/<hour>-<set>.bin = header, frame, frame, ...
    header = "GEL", version, set         which material members the digests in this file stand for
    frame  = bytes, CRC-32, group, ...   one for each delivered batch
    group  = minute, count, digest, identity, identity, ...

A batch is appended and nothing else is touched; an hour is read when a page needs it and dropped when nothing will be
read there again, so neither memory nor a write grows with the horizon. In memory an hour is a few arrays of 16 bytes a
record, one for each minute; the minutes that pages are in at present are dictionaries besides, and pages go by time.
Both are bounded in records, not in hours: windows in several places are in flight at once.

**State that evolves.** A file says under which set of material members its digests were made. Under another set they
say nothing of a change: a known record is taken as unchanged and noted under today's set, in a file beside the old one.
Version 1 (1.0.0) knew a record by its id alone; here its second of creation and an audit's parts tell records of one id
apart (microsoft/pages.py). The first record that answers to a name of version 1 takes the name over, and the new file
says so: any other of this id is another record, which 1.0.0 may have left out.

Appends are not flushed to the disk one by one: a kill leaves them in the system's hands, and a power cut costs repeats
of the last seconds, never a record, because the ledger only ever says what *not* to push.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain, groupby
from typing import Final, NamedTuple

from graph_entra.records import Record, hash64
from graph_entra.state.files import Damage, Files
from graph_entra.streams import HOUR_S, Stream, Stretch

_MAGIC: Final = b"GEL"
VERSION: Final = 2
_HEADER: Final = struct.Struct("<3sBQ")
_HEADER_1_BYTES: Final = 4
_FRAME: Final = struct.Struct("<III")
_FRAME_1: Final = struct.Struct("<II")
_GROUP: Final = struct.Struct("<IIQ")
# The material members of 1.0.0, whose files name none.
MATERIAL_1: Final = {
    "signIns": (
        "status.errorCode",
        "conditionalAccessStatus",
        "authenticationRequirement",
        "riskDetail",
        "riskLevelAggregated",
        "riskLevelDuringSignIn",
        "riskState",
        "riskEventTypes",
        "riskEventTypes_v2",
    ),
    "directoryAudits": ("result", "resultReason"),
}
# Records in memory, of one stream: 16 bytes each, and 94 each of those in dictionaries besides.
MAX_HELD: Final = 1_000_000
MAX_READY: Final = 10_000
# What a shard costs besides its records, in records.
_SHARD_COST: Final = 16
# A record dated further ahead than this says nothing true about its creation.
_FUTURE_S: Final = 24 * HOUR_S
_UNDATED: Final = "undated-"
_NO_HOUR: Final = -1
# In the place of a minute: version 1 did not say in which; names of version 1 that are taken over.
_ALL_MINUTES: Final = 61
_TAKEN_OVER: Final = 60

# identity -> digest
_Entries = dict[int, int]


class _Shard(NamedTuple):
    """A part of an hour that is looked up at once: a minute under one set; all of an hour that version 1 wrote.

    Attributes:
        set: of the digests.
        version: of the identities.
        minute: within the hour.
    """

    set: int
    version: int
    minute: int


class _Hour:
    """What is known of one hour.

    Attributes:
        shards: identity, digest, identity, digest, ... in the order of delivery.
        earlier: those of another set or version than today's.
        taken_over: names of version 1 that a record answers to already.
        cost: what it takes in memory, in records.
    """

    def __init__(self) -> None:
        self.shards: dict[_Shard, array[int]] = {}
        self.earlier: list[_Shard] = []
        self.taken_over: set[int] = set()
        self.cost = 0

    def add(self, shard: _Shard, entries: array[int], *, earlier: bool) -> None:
        """Note what a file says."""
        self.cost += len(entries) // 2
        if shard.minute == _TAKEN_OVER:
            self.taken_over.update(entries[0::2])
            return
        if earlier and shard not in self.shards:
            self.earlier.append(shard)
        self.held(shard).extend(entries)

    def held(self, shard: _Shard) -> array[int]:
        """The entries of a shard."""
        held = self.shards.get(shard)
        if held is None:
            held = self.shards[shard] = array("Q")
            self.cost += _SHARD_COST
        return held


class _Place(NamedTuple):
    """Where records of one minute belong.

    Attributes:
        minute: minutes since 1970; None for records without a usable time.
        name: the file for new ones.
        key: of ``entries``.
        hour: their hour.
        entries: what is known of this minute under today's set.
        held: the same, as it is held in ``hour``.
    """

    minute: int | None
    name: str
    key: tuple[int, _Shard]
    hour: _Hour
    entries: _Entries
    held: array[int]


class Ledger:
    """The delivered records of one stream. Used by one thread at a time.

    Args:
        files: the data path.
        stream: names the folder and the set of material members.
        on_damage: told of a file that was set aside, and why.

    Raises:
        StorageFailed: from every method, when the data path does not answer.
    """

    def __init__(self, files: Files, stream: Stream, on_damage: Damage) -> None:
        self._files = files
        self._folder = f"ledger/{stream.key}"
        self._on_damage = on_damage
        self._set = set_of(stream.material)
        self._set_1 = set_of(MATERIAL_1[stream.collection])
        # Hours since 1970 -> the files of that hour; of undated records, by the hour of their delivery.
        self._dated: dict[int, set[str]] = {}
        self._undated: dict[int, set[str]] = {}
        # File -> minute -> what is still to be written.
        self._unwritten: dict[str, dict[int, _Entries]] = {}
        self._hours: OrderedDict[int, _Hour] = OrderedDict()
        self._ready: OrderedDict[tuple[int, _Shard], _Entries] = OrderedDict()
        self._ready_cost = 0
        self._place: _Place | None = None
        self._kept: tuple[tuple[int, int], ...] | None = None
        for name in files.names(self._folder):
            with suppress(ValueError):  # what was set aside, or half written, is none of the ledger's hours
                self._files_of(name).setdefault(_hour_in(name), set()).add(name)
        # There are hardly any: they stay in memory.
        self._undated_hour = self._load_undated()

    def digest(self, record: Record, now_s: int) -> int | None:
        """The digest under which a record was last delivered; None if it was not.

        Of a record that is known under another set of material members: the record's own.
        """
        known = self._known(record, self._place_of(record, now_s))
        if known is None and self._undated:
            # It may have been delivered while nobody was to read its hour.
            known = self._known(record, self._place_at(None, now_s))
        return known

    def add(self, records: Iterable[Record], now_s: int) -> None:
        """Note that the intake has acknowledged these records.

        Raises:
            StorageFailed: they are noted in memory, and written by the next call that can.
        """
        for place, ones in groupby(records, lambda record: self._place_of(record, now_s)):
            self._note(place, {one.identity: one.digest for one in ones})
        self._write()

    def keep(self, read_again: Sequence[Stretch]) -> None:
        """Drop the hours that meet none of these stretches of creation time: nothing will be read there again.

        Records without a usable time are kept for as long as an hour before their delivery is.
        """
        self._write()
        kept = tuple(sorted({(start_s // HOUR_S, end_s // HOUR_S) for start_s, end_s in read_again}))
        if kept == self._kept:
            return
        self._kept = kept
        self._place = None
        for hour in [hour for hour in self._dated if not self._is_kept(hour)]:
            self._forget(hour)
            self._delete(self._dated, hour)
        floor = kept[0][0] if kept else sys.maxsize
        stale = [hour for hour in self._undated if hour < floor]
        for hour in stale:
            self._delete(self._undated, hour)
        if stale:
            self._forget(_NO_HOUR)
            self._undated_hour = self._load_undated()

    def oldest_s(self) -> int | None:
        """The start of the oldest hour that is held; None if none is. It was still to be read again."""
        return min((hour * HOUR_S for hour in (*self._dated, *self._undated)), default=None)

    # In memory

    def _known(self, record: Record, place: _Place) -> int | None:
        known = place.entries.get(record.identity)
        return self._take_over(record, place) if known is None and place.hour.earlier else known

    def _place_of(self, record: Record, now_s: int) -> _Place:
        created_s = record.created_s
        place = self._place
        if place is not None and created_s is not None and created_s // 60 == place.minute:
            return place
        if (
            created_s is None
            or created_s < 0
            or created_s > now_s + _FUTURE_S
            or not self._is_kept(created_s // HOUR_S)
        ):
            # It states no time, or one that nobody reads.
            return self._place_at(None, now_s)
        self._place = self._place_at(created_s // 60, created_s)
        return self._place

    def _place_at(self, minute: int | None, second: int) -> _Place:
        number = _NO_HOUR if minute is None else second // HOUR_S
        hour = self._undated_hour if minute is None else self._hour(number)
        shard = _Shard(self._set, VERSION, 0 if minute is None else minute % 60)
        start = datetime.fromtimestamp(second, UTC)
        name = f"{self._folder}/{_UNDATED if minute is None else ''}{start:%Y%m%dT%H}-{self._set:016x}.bin"
        return _Place(minute, name, (number, shard), hour, self._entries(number, hour, shard), hour.held(shard))

    def _is_kept(self, hour: int) -> bool:
        return self._kept is None or any(first <= hour <= last for first, last in self._kept)

    def _hour(self, number: int) -> _Hour:
        hour = self._hours.get(number)
        if hour is None:
            hour = _Hour()
            self._load(hour, self._dated, number)
            for name, minutes in self._unwritten.items():
                # What could not be written yet, and left memory meanwhile.
                if f"/{_UNDATED}" not in name and _hour_in(name) == number:
                    for minute, delivered in minutes.items():
                        entries = array("Q", chain.from_iterable(delivered.items()))
                        hour.add(_Shard(self._set, VERSION, minute), entries, earlier=False)
            self._hours[number] = hour
            while len(self._hours) > 1 and sum(one.cost for one in self._hours.values()) > MAX_HELD:
                self._forget(next(iter(self._hours)))
        else:
            self._hours.move_to_end(number)
        return hour

    def _entries(self, number: int, hour: _Hour, shard: _Shard) -> _Entries:
        key = (number, shard)
        entries = self._ready.get(key)
        if entries is None:
            held = hour.shards.get(shard, array("Q"))
            # Many records, few digests: one object for each of them takes a third off the memory.
            one: _Entries = {}
            entries = {
                identity: one.setdefault(digest, digest)
                for identity, digest in zip(held[0::2], held[1::2], strict=True)
            }
            self._ready[key] = entries
            self._ready_cost += len(entries) + _SHARD_COST
            while len(self._ready) > 1 and self._ready_cost > MAX_READY:
                self._ready_cost -= len(self._ready.popitem(last=False)[1]) + _SHARD_COST
        else:
            self._ready.move_to_end(key)
        return entries

    def _note(self, place: _Place, delivered: _Entries) -> None:
        known = len(place.entries)
        place.entries.update(delivered)
        place.hour.cost += len(place.entries) - known
        if self._ready.get(place.key) is place.entries:
            self._ready_cost += len(place.entries) - known
        place.held.extend(chain.from_iterable(delivered.items()))
        self._pend(place, place.key[1].minute, delivered)

    def _pend(self, place: _Place, minute: int, delivered: _Entries) -> None:
        minutes = self._unwritten.setdefault(place.name, {})
        minutes.setdefault(minute, {}).update(delivered)

    def _forget(self, number: int) -> None:
        self._hours.pop(number, None)
        for key in [key for key in self._ready if key[0] == number]:
            self._ready_cost -= len(self._ready.pop(key)) + _SHARD_COST

    # What an earlier version or another set of material members knew

    def _take_over(self, record: Record, place: _Place) -> int | None:
        number, shard = place.key
        for earlier in place.hour.earlier:
            if earlier.minute not in (shard.minute, _ALL_MINUTES):
                continue
            entries = self._entries(number, place.hour, earlier)
            for name in _names(record, earlier.version):
                digest = entries.get(name)
                if digest is None or (earlier.version != VERSION and name in place.hour.taken_over):
                    continue
                if earlier.set != self._set:
                    digest = record.digest
                self._note(place, {record.identity: digest})
                if earlier.version != VERSION:
                    place.hour.taken_over.add(name)
                    self._pend(place, _TAKEN_OVER, {name: digest})
                return digest
        return None

    # On disk

    def _files_of(self, name: str) -> dict[int, set[str]]:
        return self._undated if f"/{_UNDATED}" in name else self._dated

    def _write(self) -> None:
        for name in list(self._unwritten):
            # A crash before this write repeats the batch, if its coverage was not saved either; after it, nothing.
            self._files.append(name, _frame(self._unwritten[name]), _HEADER.pack(_MAGIC, VERSION, self._set))
            self._files_of(name).setdefault(_hour_in(name), set()).add(name)
            del self._unwritten[name]

    def _load(self, hour: _Hour, files: dict[int, set[str]], number: int) -> None:
        for name in sorted(files.get(number, ())):
            content = self._files.read(name)
            file = _File(name, content or b"", self._set_1)
            for minute, entries in file.groups():
                shard = _Shard(file.set, file.version, minute)
                hour.add(shard, entries, earlier=(file.set, file.version) != (self._set, VERSION))
            if content is not None and file.damage is not None:
                # What can be read is kept; records of the rest may be pushed once more, none is lost.
                # Crash in here: the damaged file still stands, or what could be read of it.
                self._on_damage(self._files.set_aside(name, file.damage, content[: file.size]), file.damage)
            elif content is not None and file.size < len(content):
                # A kill left a part of the batch in flight: it goes before anything is written behind it.
                self._files.cut(name, file.size)
            if not file.size:
                files[number].discard(name)
        if not files.get(number):
            files.pop(number, None)

    def _load_undated(self) -> _Hour:
        hour = _Hour()
        # Oldest first: of a record that was delivered in two of these hours, the later digest counts.
        for number in sorted(self._undated):
            self._load(hour, self._undated, number)
        return hour

    def _delete(self, files: dict[int, set[str]], number: int) -> None:
        for name in sorted(files[number]):
            self._files.delete(name)
            files[number].discard(name)
        del files[number]


def set_of(material: Sequence[str]) -> int:
    """64 bits that stand for a set of material members."""
    return hash64("\n".join(material).encode())


def _names(record: Record, version: int) -> Iterator[int]:
    """The identities under which a version of the ledger may know a record."""
    if version != VERSION and record.id is not None:
        yield hash64(record.id.encode(errors="surrogatepass"))
        # Version 1's name of a record that shared its id with another of its page.
        yield hash64(record.text.encode(errors="surrogatepass"))
    else:
        yield record.identity


def _hour_in(name: str) -> int:
    stem, _, rest = name.rpartition("/")[2].removeprefix(_UNDATED).removesuffix(".bin").partition("-")
    if not name.endswith(".bin") or (rest and not (len(rest) == 16 and int(rest, 16) >= 0)):
        raise ValueError(name)
    return int(datetime.strptime(stem, "%Y%m%dT%H").replace(tzinfo=UTC).timestamp()) // HOUR_S


def _frame(minutes: dict[int, _Entries]) -> bytes:
    """A frame of what was delivered in these minutes."""
    groups: list[bytes] = []
    for minute, delivered in minutes.items():
        by_digest: dict[int, list[int]] = {}
        for identity, digest in delivered.items():
            by_digest.setdefault(digest, []).append(identity)
        for digest, identities in by_digest.items():
            groups.append(_GROUP.pack(minute, len(identities), digest))
            groups.append(_little_endian(array("Q", identities)).tobytes())
    payload = b"".join(groups)
    return _FRAME.pack(len(payload), len(payload) ^ 0xFFFFFFFF, zlib.crc32(payload)) + payload


class _File:
    """Reads a file of any version.

    Attributes:
        version: of its identities.
        set: of its digests.
        size: up to where it is whole.
        damage: why it cannot be used as it is; None if it can, or if only its last frame is not whole.
    """

    def __init__(self, name: str, content: bytes, set_1: int) -> None:
        self._content = content
        begin, version = content[: len(_MAGIC)], content[len(_MAGIC) : _HEADER_1_BYTES]
        self.version = version[0] if version else VERSION
        self.set = set_1
        self.size = _HEADER_1_BYTES
        self.damage: str | None = None
        if not _MAGIC.startswith(begin) or not self.version:
            self.size, self.damage = 0, "damaged"
        elif self.version > VERSION:
            self.size, self.damage = 0, "unknown-version"
        elif self.version == VERSION:
            self.size = _HEADER.size
            if len(content) >= self.size:
                self.set = _HEADER.unpack_from(content)[2]
                if f"-{self.set:016x}." not in name:
                    self.size, self.damage = 0, "damaged"
        if self.size > len(content):
            self.size = 0

    def groups(self) -> Iterator[tuple[int, array[int]]]:
        """Minute, and identity, digest, identity, digest, ... in the order of delivery."""
        while self.size and (frame := self._frame()):
            start, length, checksum = frame
            end = start + length
            payload = self._content[start:end]
            if end > len(self._content):
                return
            if zlib.crc32(payload) != checksum:
                self.damage = "damaged"
                return
            self.size = end
            if self.version == 1:
                yield _ALL_MINUTES, _little_endian(array("Q", payload))
            else:
                yield from _groups(payload)

    def _frame(self) -> tuple[int, int, int] | None:
        """Where the next frame's payload begins, its length and its checksum; None if there is none."""
        form = _FRAME_1 if self.version == 1 else _FRAME
        start = self.size + form.size
        if start > len(self._content):
            return None
        length, *check, checksum = form.unpack_from(self._content, self.size)
        if check and check[0] != length ^ 0xFFFFFFFF:
            self.damage = "damaged"
            return None
        return start, length * 16 if self.version == 1 else length, checksum


def _groups(payload: bytes) -> Iterator[tuple[int, array[int]]]:
    position = 0
    while position < len(payload):
        minute, count, digest = _GROUP.unpack_from(payload, position)
        start = position + _GROUP.size
        position = start + count * 8
        entries = array("Q", bytes(16 * count))
        entries[0::2] = _little_endian(array("Q", payload[start:position]))
        entries[1::2] = array("Q", [digest]) * count
        yield minute, entries


def _little_endian(entries: array[int]) -> array[int]:
    if sys.byteorder == "big":  # pragma: no cover - the file is the same on every machine
        entries = array("Q", entries)
        entries.byteswap()
    return entries
