"""One page's bytes -> records: the text of each, byte for byte as Graph wrote it, and who it is.

The page is cut into records at its own bytes; of each record only a few members are read, to know who it is:

| what | from |
|---|---|
| identity | ``id``, second of creation, and an audit's ``additionalDetails``: parts of one large audit share an id |
| | the content, if it has no usable ``id``, or if another record of the page has the same identity |
| digest | the material members (streams.py): same identity, other digest means that Graph changed it |

Both follow from the record's own bytes, so its neighbours play no part. Two records that differ in neither are one.
Bytes that are no UTF-8 cannot be sent to anyone: each is spelled ``\\xNN``, and a member that is ours says so.

msgspec cuts and reads a page in two passes of C. It refuses one that holds an unpaired surrogate, is nested some 1,000
levels deep or is not whole: that one is walked through, record by record. Surrogates are hidden from msgspec by a
*shadow*: the same bytes, in which each escape of a surrogate is that of a private character of equal length.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from math import floor
from operator import attrgetter
from typing import Any, Final

import msgspec
import orjson
from msgspec import Raw

from graph_entra.errors import GraphUnavailable
from graph_entra.records import Page, Record, hash64
from graph_entra.streams import Stream

_BOM: Final = b"\xef\xbb\xbf"
_NEXT_LINK: Final = "@odata.nextLink"
# Members beside the id that tell records apart. Split audits: parts of one id differ in their additionalDetails.
_PARTS: Final = {"signIns": (), "directoryAudits": ("additionalDetails",)}
# What a record says of itself when bytes of it were no UTF-8.
_REPAIRED: Final = ',"graph_entra_repaired":"bytes that are no UTF-8 stand here as \\\\xNN"}'
_CUT_OFF: Final = "it is cut off"
# Graph's own words, where an error is glued on.
_ERROR_CHARS: Final = 300


class _Envelope(msgspec.Struct):
    value: list[Raw]
    next_link: str | None = msgspec.field(default=None, name=_NEXT_LINK)


def read_page(stream: Stream, body: bytes) -> Page:
    """Read one page.

    Args:
        stream: whose page it is.
        body: the answer's body.

    Returns:
        The page. If it breaks off, the whole records before the break, and why in ``broken``.

    Raises:
        GraphUnavailable: it is no page at all.
    """
    if body.startswith(_BOM):
        body = body[len(_BOM) :]
    try:
        envelope = _ENVELOPE.decode(body)
    except (ValueError, RecursionError):
        walk = _Walk(body)
        walk.page()
        return _page(stream, walk.records, walk.next_link, walk.broken)
    return _page(stream, envelope.value, envelope.next_link, None)


def _page(stream: Stream, slices: Iterable[Raw | bytes], next_link: str | None, broken: str | None) -> Page:
    read = _Reader.of(stream).read
    records: list[Record] = []
    texts: dict[int, str] = {}
    first: datetime | None = None
    last: datetime | None = None
    ordered = True
    for content in slices:
        record, time = read(content)
        if texts.setdefault(record.identity, record.text) != record.text:
            # By its id, either would seem to be a change of the other in every reading.
            record = record.by_content()
        if time is None or (last is not None and time < last):
            ordered = False
        if time is not None:
            first, last = first or time, time
        records.append(record)
    if not ordered:
        first = last = None
    return Page(records, next_link or None, first, last, ordered, broken)


# One record


class _Reader:
    """Reads the records of one stream: of each, only the members that say who it is."""

    def __init__(self, stream: Stream) -> None:
        paths = [path.split(".") for path in stream.material]
        self._material = attrgetter(*(path[0] for path in paths))
        self._inner = [(at, path[1:]) for at, path in enumerate(paths) if len(path) > 1]
        self._parts = _PARTS[stream.collection]
        self._time_member = stream.time_member
        self._names = tuple(dict.fromkeys(("id", stream.time_member, *self._parts, *(path[0] for path in paths))))
        members = msgspec.defstruct("Members", [(name, Any, None) for name in self._names], gc=False)
        self._decoder = msgspec.json.Decoder(members)

    @staticmethod
    @lru_cache
    def of(stream: Stream) -> _Reader:
        """The reader of a stream."""
        return _Reader(stream)

    def read(self, content: Raw | bytes) -> tuple[Record, datetime | None]:
        """A record, and the instant of its creation if it states one."""
        try:
            text, repaired = str(content, "utf-8"), False
        except UnicodeDecodeError:
            text, repaired = _repair(bytes(content)), True
            content = text.encode()
        deep = False
        try:
            members = self._decoder.decode(content)
        except ValueError:
            members = self._from_shadow(bytes(content))
        except RecursionError:
            deep, members = True, self._from_deep(bytes(content))
        time = _time(getattr(members, self._time_member, None))
        created_s = None if time is None else floor(time.timestamp())
        record_id = getattr(members, "id", None)
        if not isinstance(record_id, str) or not record_id:
            identity, digest = _by_content(bytes(content), deep=deep)
            return Record(text, identity, digest, created_s, None, repaired), time
        try:
            identity, digest = self._identity(members, record_id, created_s), self._digest(members, text)
        except RecursionError:
            identity, digest = _by_content(bytes(content), deep=True)
        return Record(text, identity, digest, created_s, record_id, repaired), time

    def _identity(self, members: Any, record_id: str, created_s: int | None) -> int:
        known_by = f"{record_id}\n{created_s}"
        for name in self._parts:
            if part := getattr(members, name):
                known_by += _dumps(part)
        return hash64(known_by.encode(errors="surrogatepass"))

    def _digest(self, members: Any, text: str) -> int:
        found = list(self._material(members))
        for at, names in self._inner:
            for name in names:
                found[at] = found[at].get(name) if isinstance(found[at], dict) else None
        try:
            return _material_hash64(*[_unordered(member) if type(member) is list else member for member in found])
        except TypeError:
            # An object where a text is expected, a number beyond 64 bits, or what may stand for a surrogate.
            return hash64(text.encode())

    def _from_shadow(self, content: bytes) -> Any:
        """The members of a record with an unpaired surrogate; None if it is no object."""
        try:
            members: Any = self._decoder.decode(_shadow(content))
        except RecursionError:
            return self._from_deep(content)
        except ValueError:
            return None
        members.id = _lit(members.id)
        return members

    def _from_deep(self, content: bytes) -> Any:
        """The members of a record that is too deep for msgspec; None if it is no object, or too deep for anyone."""
        try:
            value = orjson.loads(content)
        except ValueError:
            try:
                value = orjson.loads(_shadow(content))
            except ValueError:
                return None
            if isinstance(value, dict):
                value["id"] = _lit(value.get("id"))
        if not isinstance(value, dict):
            return None
        return self._decoder.type(**{name: value.get(name) for name in self._names})


def _by_content(content: bytes, *, deep: bool) -> tuple[int, int]:
    """Identity and digest of a record without a usable id.

    The order of its members says nothing, as long as nothing else of it is lost by putting them in order: a number's
    digits, or a member that stands there twice.
    """
    try:
        in_order = content if deep else orjson.dumps(orjson.loads(content), option=orjson.OPT_SORT_KEYS)
    except (ValueError, TypeError):
        in_order = content
    if len(in_order) != len(content) or _LONG_NUMBER in content.translate(_DIGITS):
        in_order = content
    whole = blake2b(in_order, digest_size=16).digest()
    return int.from_bytes(whole[:8]), int.from_bytes(whole[8:])


def _repair(content: bytes) -> str:
    """A record's text in which each byte that is no UTF-8 is spelled out."""
    text = content.decode(errors=_SPELLED)
    if text.startswith("{") and not text[1:].lstrip().startswith("}"):
        return text[:-1] + _REPAIRED
    return text


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    # An escaped backslash: such bytes can only stand within a JSON text.
    return "".join(f"\\\\x{byte:02x}" for byte in error.object[error.start : error.end]), error.end


def _dumps(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return json.dumps(value)


@lru_cache(maxsize=1024, typed=True)  # a tenant's records have few combinations of material members
def _material_hash64(*members: object) -> int:
    """The digest of these members.

    Raises:
        TypeError: they have none (orjson's and the cache's refusals are of this kind).
    """
    material = orjson.dumps(members)
    if _PRIVATE in material:
        raise TypeError
    return hash64(material)


def _unordered(members: list[Any]) -> tuple[str, ...]:
    """The order in which Graph lists, say, risk event types says nothing."""
    return tuple(sorted(map(str, members)))


def _time(text: object) -> datetime | None:
    """An instant as Graph writes it; the seventh digit of the second plays no part in any cursor."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else None


# A page that msgspec refuses


@dataclass
class _Walk:
    """Walks through a page from its first byte, one value at a time, up to its end or to where it breaks.

    Attributes:
        body: the page.
        records: the whole records so far.
        next_link: where the next page is.
        broken: where and why the page breaks; None if it is whole.
    """

    body: bytes
    records: list[bytes] = field(default_factory=list)
    next_link: str | None = None
    broken: str | None = None

    def page(self) -> None:
        """Walk.

        Raises:
            GraphUnavailable: there is no beginning of a page.
        """
        self._shadow = memoryview(_shadow(self.body))
        self._position = 0
        self._in_page = self._link_is_wrong = False
        try:
            self._object()
        except _Break as end:
            if not self._in_page:
                raise GraphUnavailable("Graph's answer is not a page: it has no list named value") from None
            # Whatever it says of a next page, this one comes first.
            self.next_link = None
            self.broken = f"Graph's page breaks after {len(self.records)} records: {end}"

    def _object(self) -> None:
        sign = self._take("{", "")
        while sign != "}":
            name = self._value()
            self._take(":", "")
            if name == b'"value"' and self._peek() == "[":
                self._in_page = True
                self._list()
            elif name == b'"%s"' % _NEXT_LINK.encode():
                self._link(self._value())
            else:
                self._value()
            sign = self._take(",}", _CUT_OFF)
        if self._peek():
            raise _Break(self._glued_on() or "something stands behind its end")
        if self._link_is_wrong or not self._in_page:
            raise _Break("its nextLink is not a text")

    def _list(self) -> None:
        self._take("[", "")
        if self._peek() == "]":
            self._take("]", "")
            return
        sign = ","
        while sign != "]":
            self._peek()
            start = self._position
            record = self._value()
            if self._position == len(self.body):
                # A number may go on behind the end of what came, and an object may be the error that ended it.
                self._position = start
                if words := self._glued_on():
                    raise _Break(words)
                self._position = len(self.body)
                if record[:1] not in b'{["':
                    raise _Break(_CUT_OFF)
            self.records.append(record)
            sign = self._take(",]", _CUT_OFF)

    def _link(self, text: bytes) -> None:
        link: Any = False
        # Half of a surrogate pair is in no address.
        with suppress(ValueError):
            link = msgspec.json.decode(text) if text[:1] == b'"' else None if text == b"null" else False
        if link is None or isinstance(link, str):
            self.next_link = link
        else:
            self._link_is_wrong = True

    def _value(self) -> bytes:
        """The next value, as it stands in the page."""
        self._peek()
        start = self._position
        try:
            _RAW.decode(self._shadow[start:])
            end = len(self.body)
        except RecursionError:
            end = self._deep_end(start)
        except msgspec.DecodeError as error:
            behind = _BEHIND.search(str(error))
            if behind is None:
                raise _Break(self._glued_on() or "it is cut off, or no JSON from there on") from None
            end = start + int(behind[1]) - 1
        self._position = end
        return self.body[start:end].rstrip()

    def _deep_end(self, start: int) -> int:
        """The end of a value that is too deep for msgspec."""
        depth = 0
        for token in _BRACKETS.finditer(self._shadow, start):
            run = token[0]
            depth += run.count(b"[") + run.count(b"{") if token.lastgroup == "opening" else 0
            if token.lastgroup == "closing":
                closed = run.count(b"]") + run.count(b"}")
                if closed >= depth:
                    signs = (at for at, sign in enumerate(run) if sign in b"]}")
                    return token.start() + next(islice(signs, depth - 1, None)) + 1
                depth -= closed
        raise _Break(_CUT_OFF)

    def _peek(self) -> str:
        """The next sign, to which this goes on; empty at the page's end."""
        while (sign := self.body[self._position : self._position + 1]) in _SPACES and sign:
            self._position += 1
        return sign.decode("latin-1")

    def _take(self, signs: str, why: str) -> str:
        sign = self._peek()
        if not sign or sign not in signs:
            raise _Break(self._glued_on() or why)
        self._position += 1
        return sign

    def _glued_on(self) -> str | None:
        """Graph's own words, if the page goes over into an error."""
        start = self.body.rfind(b'{"error"', self._position)
        with suppress(ValueError, RecursionError, TypeError, KeyError):
            error = msgspec.json.decode(self.body[start:])["error"]
            return f"{error.get('code')}: {str(error.get('message'))[:_ERROR_CHARS]}"
        return None


class _Break(Exception):
    """The page breaks here."""


def _shadow(content: bytes) -> bytes:
    """The same bytes, with private characters for surrogates."""
    return content.replace(b"\\ud", b"\\ue").replace(b"\\uD", b"\\ue")


def _lit(value: Any) -> Any:
    """A text of a shadow as it was."""
    if not isinstance(value, str) or value.isascii():
        return value
    signs = (chr(ord(sign) - 0x1000) if "\ue000" <= sign <= "\uefff" else sign for sign in value)
    return "".join(signs).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_RAW: Final = msgspec.json.Decoder(Raw)
# The first byte of every private character that a shadow can hold, and of no other character.
_PRIVATE: Final = b"\xee"
# Digits of which some may be lost when they are read; a text that looks like them does no harm.
_DIGITS: Final = bytes.maketrans(b"0123456789", b"0" * 10)
_LONG_NUMBER: Final = b"0" * 19
_BEHIND: Final = re.compile(r"trailing characters \(byte (\d+)\)")
_SPACES: Final = b" \t\r\n"
# Brackets of one kind and what stands between them, as far as no bracket is part of a text; any other text.
_BRACKETS: Final = re.compile(
    rb"""(?P<opening>(?:[\[{]+|[^\[\]{}"]+|"[^"\\\[\]{}]*"){1,200})|(?P<closing>(?:[\]}]+,?){1,200})"""
    rb"""|"[^"\\]*(?:\\.[^"\\]*)*\"""",
    re.DOTALL,
)
_SPELLED: Final = "graph_entra_spelled"
codecs.register_error(_SPELLED, _spell)
