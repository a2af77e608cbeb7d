"""One page's bytes -> records: their text as it will be pushed, and who they are.

A record is pushed as Graph states it. The quick way parses the page once and encodes each record again, which keeps
every member, null and digit that JSON can tell apart. Where that would alter or lose something (an integer beyond
64 bits, an unpaired surrogate, nesting deeper than the encoder allows), the page's own text is cut into records and
pushed verbatim.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import orjson

from graph_entra.errors import GraphUnavailable
from graph_entra.records import Page, Record, hash64
from graph_entra.streams import Stream

# orjson reads integers of up to 64 bits and doubles of up to 17 digits exactly; a run of 19 digits may be more.
_DIGITS: Final = bytes.maketrans(b"0123456789", b"0" * 10)
_LONG_NUMBER: Final = b"0" * 19
# What can stand before the digits of a number, or of its fraction. A run behind anything else is part of a text: an
# id, a token, the hexadecimal skip token of every nextLink.
_BEFORE_DIGITS: Final = b":[,-. \t\r\n"
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},]', re.DOTALL)
_BOM: Final = b"\xef\xbb\xbf"


def read_page(stream: Stream, body: bytes) -> Page:
    """Read one page.

    Args:
        stream: whose page it is.
        body: the answer's body.

    Raises:
        GraphUnavailable: it is not a whole page of JSON.
    """
    if body.startswith(_BOM):
        body = body[len(_BOM) :]
    # Before the page is parsed: this copies it.
    verbatim = _has_long_number(body)
    try:
        envelope = orjson.loads(body)
    except orjson.JSONDecodeError:
        envelope, verbatim = None, True
    if not verbatim:
        if not isinstance(envelope, dict) or not isinstance(envelope.get("value"), list):
            raise GraphUnavailable("Graph's answer is not a page: it has no list named value")
        with suppress(orjson.JSONEncodeError):
            return _page(stream, _encode(envelope["value"]), envelope.get("@odata.nextLink"))
    envelope, slices = _cut(body)
    return _page(stream, map(_read_slice, slices), envelope.get("@odata.nextLink"))


def _page(stream: Stream, items: Iterable[tuple[Any, str]], next_link: object) -> Page:
    records: list[Record] = []
    first: datetime | None = None
    last: datetime | None = None
    ordered = True
    for value, text in items:
        time = _time(value.get(stream.time_member)) if isinstance(value, dict) else None
        if time is None or (last is not None and time < last):
            ordered = False
        if time is not None:
            first, last = first or time, time
        records.append(_record(stream, value, text, time))
    if next_link is not None and not isinstance(next_link, str):
        raise GraphUnavailable("Graph's answer is not a page: its nextLink is not a text")
    if not ordered:
        first = last = None
    return Page(records, next_link or None, first, last, ordered)


def _record(stream: Stream, value: Any, text: str, time: datetime | None) -> Record:
    created_s = None if time is None else int(time.timestamp() // 1)
    record_id = value.get("id") if isinstance(value, dict) else None
    if isinstance(record_id, str) and record_id:
        try:
            digest = _material_hash64(orjson.dumps(_material(value, stream.material)))
        except orjson.JSONEncodeError:
            digest = hash64(text.encode())
        return Record(text, hash64(record_id.encode(errors="surrogatepass")), digest, created_s, record_id)
    try:
        content = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        content = text.encode()
    whole = blake2b(content, digest_size=16).digest()
    return Record(text, int.from_bytes(whole[:8]), int.from_bytes(whole[8:]), created_s, None)


def _encode(values: list[Any]) -> Iterator[tuple[Any, str]]:
    """Encode each value and let go of it: a page is never held both parsed and encoded."""
    values.reverse()
    while values:
        value = values.pop()
        yield value, orjson.dumps(value).decode()


def _read_slice(text: bytes) -> tuple[Any, str]:
    """What a verbatim record says, as far as it can be read."""
    if not _has_long_number(text):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(text), text.decode()
    try:
        value = json.loads(text, strict=False, parse_int=_whole_number)
    except RecursionError:
        value = text.decode(errors="replace")  # too deep to read: its text stands for it
    except ValueError as error:
        raise GraphUnavailable("Graph's answer holds a record that is not JSON") from error
    return value, text.decode(errors="replace")


def _whole_number(digits: str) -> int | list[str]:
    """A number that orjson might round is kept as its digits: two records must not become one by it."""
    return int(digits) if len(digits) < len(_LONG_NUMBER) else [digits]


def _has_long_number(body: bytes) -> bool:
    """Whether there may be a number that orjson rounds; a text that looks like one only costs time."""
    zeros = body.translate(_DIGITS)
    run = zeros.find(_LONG_NUMBER)
    while run >= 0:
        if run == 0 or zeros[run - 1] in _BEFORE_DIGITS:
            return True
        run = zeros.find(_LONG_NUMBER, run + len(_LONG_NUMBER))
    return False


def _cut(body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Cut the page's text into the texts of its records, without parsing them.

    Raises:
        GraphUnavailable: the page is not whole.
    """
    depth = 0
    start = end = item = -1
    before: bytes | None = None
    slices: list[bytes] = []
    for token in _TOKEN.finditer(body):
        sign = token[0]
        if sign in b"[{":
            if sign == b"[" and depth == 1 and before == b'"value"' and end < 0:
                start = item = token.end()
            depth += 1
        elif sign in b"]}":
            depth -= 1
            if start >= 0 and end < 0 and depth == 1:
                end = token.start()
                if body[item:end].strip():
                    slices.append(body[item:end].strip())
        elif sign == b"," and depth == 2 and start >= 0 and end < 0:
            slices.append(body[item : token.start()].strip())
            item = token.end()
        if depth == 1:
            before = sign
    try:
        envelope = orjson.loads(body[:start] + body[end:] if end >= 0 else body)
    except orjson.JSONDecodeError as error:
        raise GraphUnavailable("Graph's answer is not a whole page of JSON") from error
    if not isinstance(envelope, dict) or end < 0:
        raise GraphUnavailable("Graph's answer is not a page: it has no list named value")
    return envelope, slices


@lru_cache
def _paths(dotted: tuple[str, ...]) -> tuple[tuple[str, list[str]], ...]:
    return tuple((first, rest) for first, *rest in (path.split(".") for path in dotted))


def _material(value: dict[str, Any], dotted: tuple[str, ...]) -> list[Any]:
    """The members at these paths."""
    found: list[Any] = []
    for first, rest in _paths(dotted):
        member = value.get(first)
        for name in rest:
            member = member.get(name) if isinstance(member, dict) else None
        # The order in which Graph lists, say, risk event types says nothing.
        found.append(sorted(map(str, member)) if isinstance(member, list) else member)
    return found


def _time(text: object) -> datetime | None:
    """An instant as Graph writes it; the seventh digit of the second plays no part in any cursor."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else None


# A tenant's records have few combinations of material members: the same int object for each spares the ledger memory.
_material_hash64: Final = lru_cache(maxsize=1024)(hash64)
