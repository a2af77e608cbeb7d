"""Which records have been delivered, by hour of creation.

One file an hour, ``ledger/<stream>/<hour>.bin``: a header, then one frame for each delivered batch (count, CRC-32,
and 16 bytes a record: identity, digest). A batch is appended and nothing else is touched; an hour is read when a page
needs it and dropped when every lane has passed it, so neither memory nor a write grows with the horizon.

Appends are not flushed to the disk one by one: a kill leaves them in the system's hands, and a power cut costs repeats
of the last seconds, never a record, because the ledger only ever says what *not* to push.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from graph_entra.records import Record
from graph_entra.state.files import Damage, Files
from graph_entra.streams import HOUR_S

_HEADER: Final = b"GEL\x01"
_FRAME: Final = struct.Struct("<II")
_ENTRY_BYTES: Final = 16
# Live, its neighbour at the turn of the hour, three settle lanes, backlog.
_HOURS_IN_MEMORY: Final = 6
# A record dated further ahead than this says nothing true about its creation.
_FUTURE_S: Final = 24 * HOUR_S
_UNDATED: Final = "undated-"

# identity -> digest
_Entries = dict[int, int]


class Ledger:
    """The delivered records of one stream. Used by one thread at a time.

    Args:
        files: the data path.
        stream_key: names the folder.
        on_damage: told of a file that was set aside, and why.

    Raises:
        StorageFailed: from every method, when the data path does not answer.
    """

    def __init__(self, files: Files, stream_key: str, on_damage: Damage) -> None:
        self._files = files
        self._folder = f"ledger/{stream_key}"
        self._on_damage = on_damage
        self._written: set[str] = set()
        self._unwritten: dict[str, array[int]] = {}
        self._hours: OrderedDict[int, _Entries] = OrderedDict()
        self._floor_hour = 0
        # Records without a usable time, by the hour of their delivery; there are hardly any.
        self._undated: _Entries = {}
        for name in files.names(self._folder):
            with suppress(ValueError):  # what was set aside, or half written, is none of the ledger's hours
                _start_s(name)
                self._written.add(name)
        for name in self._undated_names():
            self._undated |= self._load(name)

    def digest(self, record: Record, now_s: int) -> int | None:
        """The digest under which a record was last delivered; None if it was not."""
        hour = self._hour_of(record, now_s)
        return (self._undated if hour is None else self._entries(hour)).get(record.identity)

    def add(self, records: Iterable[Record], now_s: int) -> None:
        """Note that the intake has acknowledged these records.

        Raises:
            StorageFailed: they are noted in memory, and written by the next call that can.
        """
        unwritten: dict[int | None, array[int]] = {}
        for record in records:
            hour = self._hour_of(record, now_s)
            (self._undated if hour is None else self._entries(hour))[record.identity] = record.digest
            if hour not in unwritten:
                unwritten[hour] = self._unwritten.setdefault(self._name(hour, now_s), array("Q"))
            unwritten[hour].extend((record.identity, record.digest))
        for name in list(self._unwritten):
            # A crash before this write repeats the batch, if its cursor was not saved either; after it, nothing.
            frame = _frame(self._unwritten[name])
            self._files.append(name, frame if name in self._written else _HEADER + frame)
            self._written.add(name)
            del self._unwritten[name]

    def prune(self, floor_s: int) -> None:
        """Drop the hours before ``floor_s``: no lane will read them again."""
        if floor_s // HOUR_S == self._floor_hour:
            return
        self._floor_hour = floor_s // HOUR_S
        for name in [name for name in self._written if _start_s(name) < self._floor_hour * HOUR_S]:
            if name in self._undated_names():
                for identity in self._load(name):
                    self._undated.pop(identity, None)
            self._hours.pop(_start_s(name) // HOUR_S, None)
            self._files.delete(name)
            self._written.discard(name)

    def oldest_s(self) -> int | None:
        """The start of the oldest hour that is held; None if none is. No lane had passed it."""
        return min((_start_s(name) for name in self._written), default=None)

    def _hour_of(self, record: Record, now_s: int) -> int | None:
        """The hour of a record's creation; None if it states none, or one that no lane reads."""
        created_s = record.created_s
        if created_s is None or created_s > now_s + _FUTURE_S:
            return None
        hour = created_s // HOUR_S
        return hour if hour >= self._floor_hour else None

    def _entries(self, hour: int) -> _Entries:
        entries = self._hours.get(hour)
        if entries is not None:
            return entries
        name = self._name(hour, 0)
        entries = self._load(name) if name in self._written else {}
        pending = self._unwritten.get(name, array("Q"))
        entries.update(zip(pending[0::2], pending[1::2], strict=True))
        if len(self._hours) >= _HOURS_IN_MEMORY:
            self._hours.popitem(last=False)
        self._hours[hour] = entries
        return entries

    def _name(self, hour: int | None, now_s: int) -> str:
        start = datetime.fromtimestamp(now_s if hour is None else hour * HOUR_S, UTC)
        return f"{self._folder}/{_UNDATED if hour is None else ''}{start:%Y%m%dT%H}.bin"

    def _undated_names(self) -> list[str]:
        # Oldest first: of a record that was delivered in two of these hours, the later digest counts.
        return sorted(name for name in self._written if f"/{_UNDATED}" in name)

    def _load(self, name: str) -> _Entries:
        content = self._files.read(name)
        if content is None:
            self._written.discard(name)
            return {}
        entries, whole = _parse(content)
        if not whole:
            # What can be read is kept; records of the rest may be pushed once more, none is lost.
            future = content[:3] == _HEADER[:3] and content[3:4] != _HEADER[3:] and len(content) > len(_HEADER)
            why = "unknown-version" if future else "damaged"
            # Crash in here: the damaged file still stands, or what could be read of it.
            self._on_damage(self._files.set_aside(name, why, _HEADER + _frame(entries) if entries else b""), why)
            if not entries:
                self._written.discard(name)
        # Many records, few digests: one object for each of them takes a third off the memory.
        shared: _Entries = {}
        return {
            identity: shared.setdefault(digest, digest)
            for identity, digest in zip(entries[0::2], entries[1::2], strict=True)
        }


def _start_s(name: str) -> int:
    stem = name.rpartition("/")[2].removeprefix(_UNDATED).removesuffix(".bin")
    return int(datetime.strptime(stem, "%Y%m%dT%H").replace(tzinfo=UTC).timestamp())


def _frame(entries: array[int]) -> bytes:
    payload = _little_endian(entries).tobytes()
    return _FRAME.pack(len(payload) // _ENTRY_BYTES, zlib.crc32(payload)) + payload


def _little_endian(entries: array[int]) -> array[int]:
    if sys.byteorder == "big":  # pragma: no cover - the file is the same on every machine
        entries = array("Q", entries)
        entries.byteswap()
    return entries


def _parse(content: bytes) -> tuple[array[int], bool]:
    """The entries of the whole frames at the start of ``content``, and whether that is all of it."""
    entries = array("Q")
    position = len(_HEADER)
    whole = content.startswith(_HEADER) and len(content) > position
    while whole and position < len(content):
        start = position + _FRAME.size
        if start > len(content):
            whole = False
            break
        count, checksum = _FRAME.unpack_from(content, position)
        position = start + count * _ENTRY_BYTES
        payload = content[start:position]
        if position > len(content) or zlib.crc32(payload) != checksum:
            whole = False
            break
        entries.frombytes(payload)
    return _little_endian(entries), whole
