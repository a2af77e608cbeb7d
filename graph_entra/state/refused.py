"""``refused.jsonl``: the records that the intake refuses for their content, kept for a person, one a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson

from graph_entra.records import Record
from graph_entra.state.files import Files

REFUSED_FILE: Final = "refused.jsonl"
MAX_BYTES: Final = 50_000_000
# What is left when the oldest go: not one for one, which would write the whole file each time.
_LEFT_BYTES: Final = MAX_BYTES * 3 // 4


class RefusedRecords:
    """Keeps refused records, at most 50 MB of them.

    Args:
        files: the data path.
        on_dropped: told how many of the oldest had to go.

    Raises:
        StorageFailed: from every method, when the data path does not answer or is full.
    """

    def __init__(self, files: Files, on_dropped: Callable[[int], None]) -> None:
        self._files = files
        self._on_dropped = on_dropped
        self._bytes: int | None = None

    def keep(self, record: Record, status: int) -> None:
        """Add a record as a line: ``{"status":413,"id":"...","record":{...}}``.

        The record stands there as it was pushed, except that line breaks between its members are spaces.

        Args:
            record: which one.
            status: what the intake answered.
        """
        line = _line(record, status)
        if self._bytes is None:
            content = self._files.read(REFUSED_FILE) or b""
            self._bytes = content.rfind(b"\n") + 1
            if self._bytes < len(content):
                # A kill left a part of a line, whose record is refused again: it goes, or it would spoil the next one.
                self._files.cut(REFUSED_FILE, self._bytes)
        if self._bytes + len(line) > MAX_BYTES:
            self._drop_oldest(len(line))
        self._files.append(REFUSED_FILE, line)
        self._bytes += len(line)

    def _drop_oldest(self, room: int) -> None:
        content = self._files.read(REFUSED_FILE) or b""
        start = content.find(b"\n", max(0, len(content) - max(0, _LEFT_BYTES - room) - 1)) + 1 or len(content)
        self._files.replace(REFUSED_FILE, content[start:])
        self._bytes = len(content) - start
        self._on_dropped(content.count(b"\n", 0, start))


def _line(record: Record, status: int) -> bytes:
    head = orjson.dumps({"status": status, "id": _utf8(record.id)})
    # JSON allows line breaks between members only: within a text they are escaped.
    text = record.text.replace("\r", " ").replace("\n", " ").encode()
    return head[:-1] + b',"record":' + text + b"}\n"


def _utf8(text: str | None) -> str | None:
    return None if text is None else text.encode(errors="backslashreplace").decode()
