"""Records as they should not be: delivered as they are, once, and never in the way of the others."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from hashlib import sha256
from typing import Any

import orjson
import pytest

from tests.emulator.records import one
from tests.emulator.tenant import AUDITS
from tests.integration.rig import Rig, assert_same

STREAM = "interactiveUser"
OTHER = "servicePrincipal"
MAX_CHARS = 250_000
MARKER = re.compile(r"\[graph_entra cut this: (\d+) characters of JSON, SHA-256 ([0-9a-f]{64})\]")
# By then the settle lane of 15 minutes, or all of them, have passed a record of an hour ago.
LATER_S = (20 * 60, 25 * 3600)


def _plain(rig: Rig, **members: Any) -> dict[str, Any]:
    return one(STREAM, rig.clock.now() - timedelta(hours=1), seed=7, size=900, **members)


def _without(rig: Rig, name: str) -> dict[str, Any]:
    return {key: value for key, value in _plain(rig).items() if key != name}


def _with_text(rig: Rig, value: str) -> bytes:
    """A record one of whose members is this text, as it stands."""
    return orjson.dumps(_plain(rig, unknownMember="@@"), option=0).replace(b'"@@"', value.encode())


STRANGE: dict[str, Callable[[Rig], Any]] = {
    "no id": lambda rig: _without(rig, "id"),
    "null id": lambda rig: _plain(rig, id=None),
    "empty id": lambda rig: _plain(rig, id=""),
    "a number as id": lambda rig: _plain(rig, id=4711),
    "a list as id": lambda rig: _plain(rig, id=["a", {"b": 1}]),
    "an id of 5,000 characters": lambda rig: _plain(rig, id="é" * 5000),
    "no time": lambda rig: _without(rig, "createdDateTime"),
    "null time": lambda rig: _plain(rig, createdDateTime=None),
    "a number as time": lambda rig: _plain(rig, createdDateTime=1700000000),
    "no instant as time": lambda rig: _plain(rig, createdDateTime="2025-02-30T25:61:00Z"),
    "a time without a zone": lambda rig: _plain(rig, createdDateTime="2025-02-03T01:02:03"),
    "the year 2099": lambda rig: _plain(rig, createdDateTime="2099-01-01T00:00:00Z"),
    "the year 9999": lambda rig: _plain(rig, createdDateTime="9999-12-31T23:59:59.9999999Z"),
    "the year 1999": lambda rig: _plain(rig, createdDateTime="1999-12-31T23:59:59Z"),
    "the year 1601": lambda rig: _plain(rig, createdDateTime="1601-01-01T00:00:00Z"),
    "the year 1": lambda rig: _plain(rig, createdDateTime="0001-01-01T00:00:00Z"),
    "neither id nor time": lambda rig: {"appDisplayName": "x"},
    "an empty object": lambda rig: b"{}",
    "a text": lambda rig: b'"text"',
    "an empty text": lambda rig: b'""',
    "a number": lambda rig: b"42",
    "a large number": lambda rig: b"123456789012345678901234567890",
    "null": lambda rig: b"null",
    "true": lambda rig: b"true",
    "a list": lambda rig: b'[1,{"id":"x"},[]]',
    "300 levels": lambda rig: _with_text(rig, "[" * 300 + "1" + "]" * 300),
    "1500 levels": lambda rig: _with_text(rig, '{"a":' * 1500 + "1" + "}" * 1500),
    "an unpaired surrogate": lambda rig: _with_text(rig, r'"\ud83d and \udc00\ud800"'),
    "integers beyond 64 bits": lambda rig: _with_text(
        rig, "[18446744073709551616,-9223372036854775809,123456789012345678901234567890]"
    ),
    "digits that say nothing": lambda rig: _with_text(rig, "[0.10,1e-400,-0,-0.0,100000.0,1e5,0.1e1,1E+2]"),
    "escapes": lambda rig: _with_text(rig, r'"\/\u0041\u00e9\ud83d\ude00\b\f"'),
    "white space": lambda rig: _with_text(rig, '{ "a" :\t[ 1,\r\n2 ] }'),
    "a long fraction": lambda rig: _with_text(rig, "[0.1,1e-7,1E400,3.14159265358979323846264338327950288]"),
    "the same member twice": lambda rig: _with_text(rig, '1,"unknownMember":2'),
    "control characters": lambda rig: _plain(rig, unknownMember="".join(map(chr, range(32))) + "\x7f\u2028\ufeff"),
    "brackets in texts": lambda rig: _with_text(rig, r'"]}],\"value\":[{\\\"\\\\\", \ud800"'),
    "a member named value": lambda rig: _plain(rig, value=[{"id": "inner"}, 12345678901234567890123]),
    "a member named @odata.nextLink": lambda rig: _plain(rig, **{"@odata.nextLink": "https://evil.example"}),
    "non-ASCII near the limit": lambda rig: _near_the_limit(rig, "名"),
    "beyond the BMP near the limit": lambda rig: _near_the_limit(rig, "😀"),
    "quotes near the limit": lambda rig: _near_the_limit(rig, '"\\', width=4),
}


def _near_the_limit(rig: Rig, text: str, width: int | None = None) -> dict[str, Any]:
    room = MAX_CHARS - len(orjson.dumps(_plain(rig, unknownMember="")).decode())
    return _plain(rig, unknownMember=text * (room // (width or len(text))))


def _to_the_letter(rig: Rig, *streams: str) -> None:
    """What was pushed is what Graph wrote, byte for byte."""
    held = [text.decode() for text in rig.held(*streams)]
    assert Counter(rig.emulator.intake.texts()) == Counter(held)


def _add_strange(rig: Rig, names: Iterable[str]) -> None:
    """Adds the strange records of these names, of an hour ago, each with an id of its own where it has one."""
    usual_id = _plain(rig)["id"]
    for number, name in enumerate(names):
        record = STRANGE[name](rig)
        if isinstance(record, dict) and record.get("id") == usual_id:
            record["id"] = f"strange-{number}"
        if isinstance(record, bytes):
            record = record.replace(orjson.dumps(usual_id), b'"strange-%d"' % number)
        created = rig.clock.now() - timedelta(hours=1, seconds=number)
        rig.emulator.tenant.add(STREAM, record, created=created)


# Some of them would hide what others do to a page: neighbours of one kind, such as the wrong times, are in other parts.
PARTS = 8


@pytest.mark.parametrize("part", range(PARTS))
async def test_strange_records(rig: Rig, part: int) -> None:
    """Each arrives as it is with its neighbours, once, though it is read several times, before and after a restart."""
    rig.fill(STREAM, OTHER, count=15)
    _add_strange(rig, list(STRANGE)[part::PARTS])
    async with rig.collecting(STREAM, OTHER) as run:
        await run.complete()
        await run.pass_time(LATER_S[0])
        await run.complete()
    rig.clock.jump(LATER_S[1])
    async with rig.collecting(STREAM, OTHER) as run:
        await run.complete()
        assert not [line for line in run.complaints() if "nothing was read from" not in line], run.complaints()
    _to_the_letter(rig, STREAM, OTHER)


LARGE: dict[str, tuple[Callable[[Rig], Any], bool]] = {
    # a record, and whether its largest member can be cut alone
    "one text of 2 MB": (lambda rig: _plain(rig, unknownMember="x" * 2_000_000), True),
    "one non-ASCII text of 2 MB": (lambda rig: _plain(rig, unknownMember="名é😀" * 250_000), True),
    "one list of 2 MB": (lambda rig: _plain(rig, unknownMember=[{"n": n, "t": "y" * 90} for n in range(20_000)]), True),
    "one object of 2 MB": (lambda rig: _plain(rig, unknownMember={f"m{n}": "z" * 90 for n in range(20_000)}), True),
    "countless small members": (lambda rig: _plain(rig, **{f"m{n}": n for n in range(150_000)}), False),
    "2 MB with an unpaired surrogate": (
        lambda rig: _with_text(rig, '"' + r"\ud800" * 10 + "x" * 2_000_000 + '"'),
        True,
    ),
    "2 MB with an integer beyond 64 bits": (
        lambda rig: _with_text(rig, '"' + "x" * 2_000_000 + '","big":123456789012345678901234567890'),
        True,
    ),
    # Newer Pythons read 1,500 levels; none reads these.
    "2 MB 100,000 levels deep": (
        lambda rig: _with_text(rig, "[" * 100_000 + '"' + "x" * 2_000_000 + '"' + "]" * 100_000),
        False,
    ),
    "a text of 2 MB": (lambda rig: b'"' + b"x" * 2_000_000 + b'"', False),
}


@pytest.mark.parametrize(("make", "by_member"), LARGE.values(), ids=LARGE)
async def test_record_that_is_too_long(rig: Rig, make: Callable[[Rig], Any], by_member: bool) -> None:
    """It is cut, marked with size and SHA-256, told with its id, and arrives once with its neighbours whole."""
    emulator = rig.emulator
    neighbours = rig.fill(STREAM, OTHER, count=15)
    record = make(rig)
    text = record if isinstance(record, bytes) else orjson.dumps(record)
    emulator.tenant.add(STREAM, text, created=rig.clock.now() - timedelta(hours=1))
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: emulator.intake.count >= 31, "31 records")
        await run.read_again()
        await run.pass_time(LATER_S[0])
        await run.read_again()
        warnings = run.said("longer than the 250,000 characters", level="warning")
        assert len(warnings) == 1
    (pushed,) = [one for one in emulator.intake.texts() if MARKER.search(one)]
    assert_same([one for one in emulator.intake.texts() if one != pushed], neighbours)
    assert len(pushed) <= MAX_CHARS
    (marker,) = MARKER.finditer(pushed)
    if not by_member:
        assert (int(marker[1]), marker[2]) == (len(text.decode()), sha256(text).hexdigest())
        return
    before, after = json.loads(text), json.loads(pushed)
    assert before["id"] in warnings[0]
    assert list(before) == list(after)
    assert {name for name in before if before[name] != after[name]} == {"unknownMember"}
    original, kept = before["unknownMember"], after["unknownMember"]
    if isinstance(original, str) and original.isascii():
        assert original.startswith(kept.removesuffix(marker[0]))
        assert len(pushed) > MAX_CHARS * 0.7
    if isinstance(original, list):
        assert original[: len(kept) - 1] == kept[:-1]
    if not any("\ud800" <= sign <= "\udfff" for sign in json.dumps(original, ensure_ascii=False)):
        member = orjson.dumps(original)
        assert (int(marker[1]), marker[2]) == (len(member.decode()), sha256(member).hexdigest())


@pytest.mark.parametrize("material", [True, False], ids=["materially", "immaterially"])
async def test_one_id_for_two_records(rig: Rig, material: bool) -> None:
    """Two records share an id: both arrive, whatever they differ in, and neither comes again with every reading."""
    rig.fill(STREAM, OTHER, count=30)
    other = {"errorCode": 50126 if material else 0, "failureReason": "Other."}
    for seconds, status in ((3600, {"errorCode": 0}), (3599, other), (3598, {"errorCode": 0})):
        created = rig.clock.now() - timedelta(seconds=seconds)
        rig.emulator.tenant.add(STREAM, one(STREAM, created, seed=7, id="shared", status=status))
    rig.emulator.tenant.page_limit = 1000
    async with rig.collecting(STREAM, OTHER) as run:
        for later_s in (0, *LATER_S):
            rig.clock.jump(later_s)
            await run.complete()


@pytest.mark.parametrize("page_limit", [1, 1000], ids=["a page each", "one page"])
async def test_parts_of_one_audit(rig: Rig, page_limit: int) -> None:
    """A large audit comes in parts of one id that differ in additionalDetails only: each arrives, each once."""
    rig.emulator.tenant.page_limit = page_limit
    created = rig.clock.now() - timedelta(hours=1)
    for part in range(4):
        details = [{"key": "part", "value": str(part)}]
        record = one(AUDITS, created, seed=7, id="Directory_split", additionalDetails=details)
        rig.emulator.tenant.add(AUDITS, record, created=created + timedelta(milliseconds=part))
    async with rig.collecting(AUDITS) as run:
        await run.complete()
        rig.clock.jump(LATER_S[0])
        await run.complete()
    rig.clock.jump(LATER_S[1])
    async with rig.collecting(AUDITS) as run:
        await run.complete()
    _to_the_letter(rig, AUDITS)


async def test_bytes_that_are_no_utf8(rig: Rig) -> None:
    """The record arrives once, says what it is, and its neighbours are as they were."""
    neighbours = rig.fill(STREAM, OTHER, count=15)
    text = _with_text(rig, '"@@"').replace(b"@@", b"\xff \xed\xa0\x80 \xc3")
    rig.emulator.tenant.add(STREAM, text, created=rig.clock.now() - timedelta(hours=1))
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: rig.emulator.intake.count >= 31, "31 records")
        await run.read_again()
        rig.clock.jump(LATER_S[0])
        await run.read_again()
    texts = Counter(rig.emulator.intake.texts())
    (pushed,) = texts - Counter(text.decode() for text in neighbours)
    assert texts.total() == 31
    said = json.loads(pushed)
    assert said["unknownMember"] == r"\xff \xed\xa0\x80 \xc3"
    assert said["graph_entra_repaired"] == r"bytes that are no UTF-8 stand here as \xNN"
    assert {**said, "unknownMember": "@@"} == {
        **_plain(rig, unknownMember="@@"),
        "createdDateTime": said["createdDateTime"],
        "graph_entra_repaired": said["graph_entra_repaired"],
    }


async def test_many_strange_records_on_one_page(rig: Rig) -> None:
    """All of them together, in every stream's way at once, and plain ones between them: each arrives once."""
    rig.emulator.tenant.page_limit = 1000
    rig.fill(STREAM, OTHER, count=100)
    _add_strange(rig, STRANGE)
    async with rig.collecting(STREAM, OTHER) as run:
        await run.complete()
        await run.pass_time(LATER_S[0])
        await run.complete()


@pytest.mark.parametrize("name", [name for name in STRANGE if "time" in name or "year" in name])
async def test_strange_time_on_the_first_page(rig: Rig, name: str) -> None:
    """It is remembered from the first page on, and by the first page after a restart."""
    async with rig.collecting(STREAM, start_time=0):
        pass
    rig.emulator.tenant.add(STREAM, STRANGE[name](rig), created=rig.clock.now())
    for _ in range(2):
        async with rig.collecting(STREAM) as run:
            await run.complete()
