"""What a record and a page of records are, and what became of a page."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

from graph_entra.streams import Work


class Record(NamedTuple):
    """One record of a page.

    Attributes:
        text: its JSON, byte for byte as Graph wrote it.
        identity: 64 bits that stand for who it is (microsoft/pages.py).
        digest: 64 bits that stand for its material members.
        created_s: second of its creation; None if it states none that can be read.
        id: its ``id``, for messages; None if it has no usable one.
        repaired: bytes of it were no UTF-8; they are spelled out in ``text``, which says so itself.
    """

    text: str
    identity: int
    digest: int
    created_s: int | None
    id: str | None
    repaired: bool = False

    def by_content(self) -> Record:
        """The same record, known by its content: for one that shares its ``id`` with another."""
        return self._replace(identity=hash64(self.text.encode(errors="surrogatepass")))


class Page(NamedTuple):
    """One page of a window.

    Attributes:
        records: in Graph's order.
        next_link: where the next page is; None after the last.
        first_time: creation time of the first record, None if the page is empty or out of order.
        last_time: creation time of the last record, None if the page is empty or out of order.
        ordered: True if every record states a time and none is before the one ahead of it.
        broken: where and why it breaks off behind its records, in words; None if it is whole.
    """

    records: list[Record]
    next_link: str | None
    first_time: datetime | None
    last_time: datetime | None
    ordered: bool
    broken: str | None = None


@dataclass(slots=True)
class Taken:
    """What became of a batch that was delivered and noted, or of a page.

    Attributes:
        stream: its key.
        work: why it was read.
        read: records on the page; 0 for a batch.
        pushed: records of the batch, all acknowledged.
        new: of these, delivered for the first time.
        late: of the new ones, found by a look or a round: Graph had shown them late.
        updated: of the batch, delivered again, because Graph had changed them.
        cut: ids of records that were too long and are delivered in part.
        repaired: ids of records that held bytes that are no UTF-8, which are spelled out in what was delivered.
        refused: ids of records that the intake refuses, with its status; they are kept in ``refused.jsonl``.
        newest_s: creation of the newest record delivered, of those that are not dated in the future; None if none was.
    """

    stream: str
    work: Work
    read: int = 0
    pushed: int = 0
    new: int = 0
    late: int = 0
    updated: int = 0
    cut: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    refused: list[tuple[str, int]] = field(default_factory=list)
    newest_s: int | None = None


def hash64(content: bytes) -> int:
    """64 bits that stand for some bytes."""
    return int.from_bytes(blake2b(content, digest_size=8).digest())
