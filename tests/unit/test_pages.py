"""A page's bytes become records: nothing is altered to the letter, and a page that breaks says so."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graph_entra.errors import GraphUnavailable
from graph_entra.microsoft.pages import read_page
from graph_entra.records import Page, Record, hash64
from graph_entra.streams import AUDITS, sign_in_stream

SIGN_INS = sign_in_stream("interactiveUser", beta_only=False)
# A surrogate without its partner makes msgspec refuse the page: it is walked through.
LONE = "\ud800"
QUICK: dict[str, Any] = {}
WALKED = {"@odata.context": LONE}


def body(*records: Any, **envelope: Any) -> bytes:
    """A page as Graph writes it."""
    return json.dumps(
        {"@odata.context": "https://graph/$metadata", **envelope, "value": list(records)}, separators=(",", ":")
    ).encode()


def read(*records: Any, **envelope: Any) -> Page:
    """Read a page of these records."""
    return read_page(SIGN_INS, body(*records, **envelope))


def one(record: Any, **envelope: Any) -> Record:
    """Read a page of one record."""
    return read(record, **envelope).records[0]


NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**300]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e16, 1e22, 5e-324, 1.7976931348623157e308, 0.1 + 0.2]),
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(exclude_categories=()), max_size=8),  # unpaired surrogates included
    st.sampled_from(['"', "\\", '\\"', "]", "}", "[{", '"value":[', "\x00", "\x7f", "\u2028", "\ufeff", "é😀"]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.just("value"), inner, max_size=4),
    max_leaves=8,
)


def as_text(value: Any, ascii_only: bool, indent: int | None) -> bytes:
    """JSON as Graph might write it."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:  # a surrogate can only be escaped
        return json.dumps(value, indent=indent).encode()


@settings(max_examples=100, deadline=None)
@given(
    records=st.lists(VALUES, max_size=4),
    before=st.dictionaries(st.sampled_from(["@odata.context", "@odata.count", "x"]), VALUES, max_size=2),
    after=st.dictionaries(st.sampled_from(["later", "@odata.type"]), VALUES, max_size=2),
    indent=st.sampled_from([None, None, 1]),
    ascii_only=st.booleans(),
    bom=st.booleans(),
)
@example(records=[{"value": [1]}, [{"value": []}]], before={}, after={}, indent=1, ascii_only=True, bom=True)
@example(records=["\ud800", LONE], before={"x": "value"}, after={"later": [{}]}, indent=1, ascii_only=True, bom=False)
def test_records_are_what_graph_wrote(
    records: list[Any], before: dict[str, Any], after: dict[str, Any], indent: int | None, ascii_only: bool, bom: bool
) -> None:
    """Every JSON value comes out byte for byte, whatever stands around it."""
    texts = [as_text(record, ascii_only, indent) for record in records]
    members = [(name, as_text(value, ascii_only, indent)) for name, value in before.items()]
    members.append(("value", b"[ " + b"\n,\t".join(texts) + b"]"))
    members += [(name, as_text(value, ascii_only, indent)) for name, value in after.items()]
    content = b"{" + b" , ".join(b'"%s" : %s' % (name.encode(), text) for name, text in members) + b" }\n"
    page = read_page(SIGN_INS, (b"\xef\xbb\xbf" if bom else b"") + content)
    assert [record.text.encode() for record in page.records] == texts
    assert page.next_link is None
    assert page.broken is None


LETTERS = [
    '{"id":"a","a":1,"a":2}',
    '{"id":"a","n":[0.10,1e-400,1E400,-0,1.0,100000.0,1e5,12345678901234567890123,0.30000000000000000000004]}',
    '{"id":"a" ,\n "n":\t1 }',
    '{"id":"\\u0061","n":"\\/\\u00e9\\ud83d\\ude00\\b"}',
    '{"id":"a","n":"\\ud800"}',
    '{"id":"a","n":' + "[" * 1100 + "]" * 1100 + "}",
    '{"id":"a","n":' + '{"a]":[' * 1100 + '"]"' + "]}" * 1100 + ',"z":"}"}',
    '{"id":"a","n":"' + "\u007f\u2028" + '"}',
]


@pytest.mark.parametrize("text", LETTERS)
@pytest.mark.parametrize("way", ["quick", "walked", "deep", "torn"])
def test_every_letter_is_kept(text: str, way: str) -> None:
    """Members that stand there twice, digits, white space and escapes, whatever its neighbour does to the page."""
    neighbour = {"quick": "{}", "walked": '"\\ud800"', "deep": "[" * 2000 + "]" * 2000, "torn": "{}"}[way]
    page = read_page(SIGN_INS, f'{{"value":[{text},{neighbour},{text}{"" if way == "torn" else "]}"}'.encode())
    assert [record.text for record in page.records] == [text, neighbour, text]
    assert (page.broken is not None) == (way == "torn")


SMALL = [
    body({"id": "a", "createdDateTime": "2026-11-23T08:00:00Z", "x": ["}", {"y": None}]}, {"id": 'é"\\'}),
    body({"id": "a", "n": LONE}, {"id": "b]", "deep": [[{"value": [1, 2]}]]}),
    body({"id": "\ud800"}, "text", 5, 67, **{"@odata.nextLink": "https://graph/next"}),
    b'\xef\xbb\xbf{"value":[]}',
]


@pytest.mark.parametrize("whole", SMALL, ids=["quick", "walked", "surrogate", "bom"])
def test_a_page_cut_off_at_any_byte(whole: bytes) -> None:
    """A connection that breaks: the whole records before the break, none in part, and never taken for a whole page."""
    records = read_page(SIGN_INS, whole).records
    counts = []
    for end in range(len(whole)):
        try:
            page = read_page(SIGN_INS, whole[:end])
        except GraphUnavailable:
            assert b'"value":[' not in whole[:end]
            continue
        assert page.broken is not None
        assert page.broken.startswith(f"Graph's page breaks after {len(page.records)} records: ")
        assert page.next_link is None
        assert page.records == records[: len(page.records)]
        counts.append(len(page.records))
    assert counts == sorted(counts)
    assert set(counts) == set(range(len(records) + 1))


@settings(max_examples=60, deadline=None)
@given(records=st.lists(VALUES, min_size=1, max_size=3), data=st.data())
def test_any_page_cut_off(records: list[Any], data: st.DataObject) -> None:
    """The same for pages of every shape."""
    whole = body(*records)
    page = whole[: data.draw(st.integers(whole.index(b"[") + 1, len(whole) - 1))]
    read = read_page(SIGN_INS, page)
    assert read.broken is not None
    assert read.records == read_page(SIGN_INS, whole).records[: len(read.records)]


ERROR = b'{"error":{"code":"UnknownError","message":"while reading","innerError":{"date":"2026"}}}'


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (b'{"value":[{"id":"a"},{"id":"b","c' + ERROR, 1),
        (b'{"value":[{"id":"a"},{"id":"b"}' + ERROR, 2),
        (b'{"value":[{"id":"a"},' + ERROR, 1),
        (b'{"value":[{"id":"a","x":"' + ERROR, 0),
        (b'{"value":[{"id":"a"}],"@odata.nextLink":"https://a/b"}' + ERROR, 1),
        (b'{"value":[' + ERROR, 0),
        (b'{"value":[{"id":"\\ud800"},{"id":"b","c' + ERROR, 1),
    ],
)
def test_an_error_glued_on(content: bytes, count: int) -> None:
    """Graph fails in the middle of its answer: the records before are kept, the error is told in Graph's words."""
    page = read_page(SIGN_INS, content)
    assert page.broken == f"Graph's page breaks after {count} records: UnknownError: while reading"
    assert len(page.records) == count
    assert page.next_link is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b'"value"',
        b"{}",
        b'{"value":null}',
        b'{"value":{}}',
        b'{"value":"[]"}',
        b'{"error":{"code":"x"}}',
        b'{"a":{"value":[1]}}',
        b"<html><body>Service unavailable</body></html>",
        b'{"n":18446744073709551616}',
        b'{"a":{"value":[18446744073709551616]}}',
        b'{"value":{"a":[18446744073709551616]}}',
        b'{"n":"\\ud800","value":5}',
    ],
)
def test_what_is_not_a_page_is_refused(content: bytes) -> None:
    """An answer of 200 that is no page is Graph's fault of the moment, never an empty page."""
    with pytest.raises(GraphUnavailable, match="not a page"):
        read_page(SIGN_INS, content)


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (b'{"value":[1 2]}', 1),
        (b'{"value":[{"a":1,}]}', 0),
        (b'{"value":[{},]}', 1),
        (b'{"value":[{}}', 1),
        (b'{"value":[]}{"value":[]}', 0),
        (b'{"value":[{"n":1}]} trailing', 1),
        (b'{"value":[{"n":1}],"x":tru}', 1),
        (b'{"value":[{"n":1}],"x"}', 1),
        (b'{"value":[{"n":1},{"x":"a\nb"}]}', 1),
        (b'{"value":[' + b"[" * 1500 + b"]" * 1499, 0),
    ],
)
def test_a_page_that_is_no_json_from_some_byte_on(content: bytes, count: int) -> None:
    """Records before it are kept, and the page is not taken for whole."""
    page = read_page(SIGN_INS, content)
    assert page.broken is not None
    assert len(page.records) == count


# Bytes that are no UTF-8


@pytest.mark.parametrize("way", [QUICK, WALKED], ids=["quick", "walked"])
def test_bytes_that_are_no_utf8(way: dict[str, Any]) -> None:
    """The record is delivered, says what it is, and its neighbours are as they were."""
    content = body({"id": "a"}, {"id": "b", "x": "@@"}, {"id": "c", "x": "é\ufffd"}, **way)
    page = read_page(SIGN_INS, content.replace(b"@@", b"\xff\xed\xa0\x80 \xc3"))
    assert page.broken is None
    assert [record.repaired for record in page.records] == [False, True, False]
    assert [record.id for record in page.records] == ["a", "b", "c"]
    said = json.loads(page.records[1].text)
    assert said == {
        "id": "b",
        "x": r"\xff\xed\xa0\x80 \xc3",
        "graph_entra_repaired": r"bytes that are no UTF-8 stand here as \xNN",
    }
    again = read_page(SIGN_INS, content.replace(b"@@", b"\xff\xed\xa0\x80 \xc3")).records[1]
    assert again == page.records[1]


def test_bytes_that_are_no_utf8_tell_records_apart() -> None:
    """Neither an id nor a content becomes another's by what is spelled out; what is no object stays what it is."""
    page = read_page(SIGN_INS, b'{"value":[{"id":"\xff"},{"id":"\xfe"},"\xff","\xfe",{"x\xff":1},{"x\xfe":1}]}')
    assert len({record.identity for record in page.records}) == 6
    assert all(record.repaired for record in page.records)
    assert [record.text for record in page.records[:3]] == [
        r'{"id":"\\xff","graph_entra_repaired":"bytes that are no UTF-8 stand here as \\xNN"}',
        r'{"id":"\\xfe","graph_entra_repaired":"bytes that are no UTF-8 stand here as \\xNN"}',
        r'"\\xff"',
    ]


@pytest.mark.parametrize("way", [QUICK, WALKED], ids=["quick", "walked"])
@pytest.mark.parametrize("link", [5, True, [], {}, ["https://graph/next"]])
def test_a_next_link_that_is_no_text_breaks_the_page(way: dict[str, Any], link: object) -> None:
    """Taken for the last page, it would end the window early and lose the rest."""
    page = read({"id": "a"}, **way, **{"@odata.nextLink": link})
    assert [record.id for record in page.records] == ["a"]
    assert page.broken is not None
    assert "nextLink" in page.broken


@pytest.mark.parametrize("way", [QUICK, WALKED], ids=["quick", "walked"])
@pytest.mark.parametrize(("link", "expected"), [("https://a/b", "https://a/b"), ("", None), (None, None)])
def test_next_link(way: dict[str, Any], link: str | None, expected: str | None) -> None:
    """The next page is where Graph says; nowhere if it says nothing."""
    assert read(**way, **{"@odata.nextLink": link}).next_link == expected


# Identity and digest


@settings(max_examples=80, deadline=None)
@given(record=VALUES)
def test_identity_and_digest_are_the_same_both_ways(record: Any) -> None:
    """A neighbour that takes the page another way makes no record look new or changed."""
    assert one(record) == one(record, **WALKED)


BASE: dict[str, Any] = {
    "id": "9f2c",
    "createdDateTime": "2026-11-23T08:00:00Z",
    "conditionalAccessStatus": "success",
    "authenticationRequirement": "singleFactorAuthentication",
    "riskDetail": "none",
    "riskLevelAggregated": "none",
    "riskLevelDuringSignIn": "none",
    "riskState": "none",
    "riskEventTypes": ["a", "b"],
    "riskEventTypes_v2": ["a", "b"],
    "status": {"errorCode": 0, "failureReason": "Other.", "additionalDetails": None},
    "userDisplayName": "Zoé",
    "appliedConditionalAccessPolicies": [{"id": "1"}, {"id": "2"}],
}


@pytest.mark.parametrize(
    "change",
    [
        {"conditionalAccessStatus": "failure"},
        {"conditionalAccessStatus": None},
        {"authenticationRequirement": "multiFactorAuthentication"},
        {"riskDetail": "adminDismissedAllRiskForUser"},
        {"riskLevelAggregated": "high"},
        {"riskLevelDuringSignIn": "unknownFutureValue"},
        {"riskState": "atRisk"},
        {"riskEventTypes": ["a"]},
        {"riskEventTypes": ["a", "c"]},
        {"riskEventTypes": None},
        {"riskEventTypes_v2": []},
        {"status": {"errorCode": 50126}},
        {"status": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("way", [QUICK, WALKED], ids=["quick", "walked"])
def test_a_material_change_shows(way: dict[str, Any], change: dict[str, Any]) -> None:
    """Each material member of a sign-in is news when it changes."""
    before, after = one(BASE, **way), one(BASE | change, **way)
    assert before.identity == after.identity
    assert before.digest != after.digest


@pytest.mark.parametrize(
    "change",
    [
        {"riskEventTypes": ["b", "a"]},
        {"riskEventTypes_v2": ["b", "a"]},
        {"userDisplayName": "Zoe"},
        {"status": {"errorCode": 0, "failureReason": "Other", "additionalDetails": "MFA"}},
        {"appliedConditionalAccessPolicies": [{"id": "2"}, {"id": "1"}]},
        {"new member": {"x": 1}},
        {"createdDateTime": "2026-11-23T08:00:00.7Z"},
    ],
    ids=str,
)
def test_an_immaterial_change_does_not_show(change: dict[str, Any]) -> None:
    """An array's order and members that no rule looks at repeat nothing."""
    before, after = one(BASE), one(BASE | change)
    assert (before.identity, before.digest) == (after.identity, after.digest)


def test_the_order_of_members_does_not_show() -> None:
    """Graph may write an object's members in any order."""
    turned = dict(reversed(BASE.items()))
    assert one(BASE).digest == one(turned).digest
    without_id = {name: value for name, value in BASE.items() if name not in ("id", "userDisplayName")}
    assert one(without_id)[1:3] == one(dict(reversed(without_id.items())))[1:3]


@pytest.mark.parametrize("change", [{"result": "failure"}, {"resultReason": "x"}])
def test_audits_have_their_own_material_members(change: dict[str, Any]) -> None:
    """An audit changes by its result; a sign-in's members mean nothing there."""

    def audit(**members: Any) -> Record:
        return read_page(AUDITS, body({"id": "Directory_1", "result": "success", **members})).records[0]

    assert audit().digest != audit(**change).digest
    assert audit().digest == audit(riskState="atRisk").digest


def test_ids_are_told_apart() -> None:
    """Two ids never share an identity, whatever else is equal."""
    ids = [f"Directory_{number}" for number in range(2000)] + ["9f2c", "9F2C", " 9f2c", "\ud800", "\ud801"]
    identities = {record.identity for record in read(*({"id": name} for name in ids)).records}
    assert len(identities) == len(ids)


def test_parts_of_one_audit_are_told_apart() -> None:
    """A large audit comes in parts under one id, which differ in their additionalDetails: on one page or on several."""

    def audit(**members: Any) -> Record:
        members = {"id": "Directory_1", "activityDateTime": "2026-11-23T08:00:00Z", "result": "success", **members}
        return read_page(AUDITS, body(members)).records[0]

    first = audit(additionalDetails=[{"key": "part", "value": "1"}])
    assert first.identity != audit(additionalDetails=[{"key": "part", "value": "2"}]).identity
    assert first.identity != audit().identity
    assert audit(additionalDetails=[])[1:3] == audit(additionalDetails=None)[1:3] == audit()[1:3]
    changed = audit(additionalDetails=[{"key": "part", "value": "1"}], result="failure", loggedByService="x")
    assert first.identity == changed.identity
    assert first.digest != changed.digest


def test_one_id_at_two_seconds_is_two_records() -> None:
    """Whatever an id is shared by, a change of Graph's does not move a record in time."""
    first, second = one(BASE), one(BASE | {"createdDateTime": "2026-11-23T08:00:01Z"})
    assert first.identity != second.identity


def test_records_that_share_everything_but_their_content() -> None:
    """Two different records of one id and second on one page: each has an identity of its own, equal ones share it."""
    first, second, again = read({"id": "a", "x": 1}, {"id": "a"}, {"id": "a"}).records
    assert first.identity != second.identity
    assert second.identity == again.identity
    assert first.identity == one({"id": "a"}).identity


STRANGE: list[Any] = [
    {},
    {"id": None, "x": 1},
    {"id": "", "x": 1},
    {"id": 5},
    {"id": 5.5},
    {"id": True},
    {"id": ["a"]},
    {"id": {"a": 1}},
    {"id": 12345678901234567890},
    {"id": 12345678901234567891},
    {"id": 123456789012345678901234567890},
    {"x": "\ud800"},
    {"x": "\ud801"},
    None,
    5,
    "id",
    [],
    ["id"],
]


def test_records_without_a_usable_id_are_told_apart_by_content() -> None:
    """None of them stands in another's way, and each is itself again on the next page."""
    records = read(*STRANGE).records
    assert len({record.identity for record in records}) == len(STRANGE)
    assert all(record.id is None for record in records)
    assert [one(record).identity for record in STRANGE] == [record.identity for record in records]


LOSSY = [
    ('{"n":12345678901234567890}', '{"n":12345678901234567891}'),
    # As long as what orjson makes of both.
    ('{"n":1234567890123456789012}', '{"n":1234567890123456789013}'),
    ('{"n":0.123456789012345678}', '{"n":0.123456789012345679}'),
    ('{"n":1E400}', '{"n":1E401}'),
    ('{"n":1,"n":2}', '{"n":3,"n":2}'),
    ('{"n":"\\ud800"}', '{"n":"\\ud801"}'),
]


@pytest.mark.parametrize(("one", "other"), LOSSY)
def test_records_without_id_differ_by_what_reading_would_lose(one: str, other: str) -> None:
    """Digits beyond a double's, a member that stands there twice: one of the two must not be taken for the other."""
    first, second = (read_page(SIGN_INS, f'{{"value":[{text}]}}'.encode()).records[0] for text in (one, other))
    assert first.identity != second.identity


def test_a_surrogate_in_a_material_member_shows() -> None:
    """A digest that is the same for all such records would hide each of their changes."""
    first, second, again = (one(BASE | {"riskDetail": text}) for text in ("\ud800", "\ud801", "\ud800"))
    assert first.identity == second.identity
    assert len({first.digest, second.digest, 0}) == 3
    # As in 1.0.0, and never that of a private character.
    assert first.digest == hash64(first.text.encode())
    assert one(BASE | {"riskDetail": "\ue800"}).digest == hash64(one(BASE | {"riskDetail": "\ue800"}).text.encode())
    assert first == again


def test_an_id_with_a_surrogate_is_told_as_it_is() -> None:
    """Escaped pairs are joined, whatever else stands in the record."""
    for name in ("\ud800", "a\ud800😀", "한글", "plain"):
        assert one({"id": name, "x": "\ud800"}).id == name


def test_a_change_makes_a_record_without_id_another() -> None:
    """Nothing else says that it is the same one: both are delivered."""
    assert one({"x": 1}).identity != one({"x": 2}).identity


@pytest.mark.parametrize("depth", [200, 300, 900, 1100, 5000])
def test_deep_records_stay_apart(depth: int) -> None:
    """Records too deep to be parsed or encoded are pushed as they are, each one of them."""
    texts = [f'{{"id":"{name}","a":{"[" * depth}{"]" * depth}}}' for name in ("x", "y")]
    page = read_page(SIGN_INS, ('{"value":[' + ",".join([*texts, '{"id":"z"}']) + "]}").encode())
    assert [record.text for record in page.records] == [*texts, '{"id":"z"}']
    assert len({record.identity for record in page.records}) == 3


@pytest.mark.parametrize("depth", [900, 980, 990, 1000, 1005, 1010, 1015, 1020, 1024])
@pytest.mark.parametrize("member", ["additionalDetails", "result", "resultReason"])
def test_depth_in_a_member_that_is_read_costs_nothing(depth: int, member: str) -> None:
    """However deep, and whichever library gives up first: the record and its neighbour are there."""
    deep = b"[" * depth + b"]" * depth
    content = b'{"value":[{"id":"a","' + member.encode() + b'":[' + deep + b']},{"id":"b"}]}'
    assert len(read_page(AUDITS, content).records) == 2


@pytest.mark.parametrize("link", [b'"https://a/\\ud800"', b"[" * 3000 + b"]" * 3000, b"1e999", b"{}"], ids=str)
def test_a_next_link_that_cannot_be_read_breaks_the_page_and_no_more(link: bytes) -> None:
    """The records of the page are delivered; no error but the page's own."""
    page = read_page(SIGN_INS, b'{"value":[{"id":"a"}],"@odata.nextLink":' + link + b"}")
    assert len(page.records) == 1
    assert page.next_link is None
    assert page.broken is not None


def test_nineteen_digits_are_kept() -> None:
    """The page's own text is pushed where a number may not fit."""
    page = read_page(SIGN_INS, b'{"value": [ {"id":"a", "n": 1234567890123456789, "m": 1.23456789012345678901} ] }')
    assert page.records[0].text == '{"id":"a", "n": 1234567890123456789, "m": 1.23456789012345678901}'


# Times


@pytest.mark.parametrize(
    ("stated", "created_s"),
    [
        ("2026-11-23T08:00:00Z", 1795420800),
        ("2026-11-23T08:00:00.1Z", 1795420800),
        ("2026-11-23T08:00:00.9999999Z", 1795420800),
        ("2026-11-23T08:00:00.123456789Z", 1795420800),
        ("2026-11-23T09:30:00+01:30", 1795420800),
        ("2026-11-23T00:00:00-08:00", 1795420800),
        ("1969-12-31T23:59:59.5Z", -1),
        ("1601-01-01T00:00:00Z", -11644473600),
        ("2099-01-01T00:00:00Z", 4070908800),
        ("0001-01-01T00:00:00Z", -62135596800),
        ("9999-12-31T23:59:59Z", 253402300799),
        ("2026-11-23T08:00:00", None),  # no offset: it could be any zone's
        ("2026-11-23", None),
        ("2026-11-23T08:00:00+99:99", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        (1795420800, None),
        (["2026-11-23T08:00:00Z"], None),
    ],
)
def test_creation_time(stated: object, created_s: int | None) -> None:
    """The second of creation, rounded down; None where Graph states none that can be read."""
    record = one({"id": "a", "createdDateTime": stated})
    assert record.created_s == created_s
    assert json.loads(record.text)["createdDateTime"] == stated


def test_each_stream_has_its_own_time_member() -> None:
    """An audit is dated by its activity."""
    page = read_page(AUDITS, body({"id": "a", "activityDateTime": "2026-11-23T08:00:00Z", "createdDateTime": "x"}))
    assert page.records[0].created_s == 1795420800


@pytest.mark.parametrize(
    ("seconds", "ordered"),
    [
        ([], True),
        ([5], True),
        ([1, 2, 3], True),
        ([1, 1, 1], True),
        ([1, 3, 2], False),
        ([2, 1], False),
        ([1, None, 2], False),
        ([None], False),
    ],
)
def test_order(seconds: list[int | None], ordered: bool) -> None:
    """The cursor follows a page only if every record is dated and none is before the one ahead of it."""
    page = read(*({"createdDateTime": None if s is None else f"2026-11-23T08:00:0{s}Z"} for s in seconds))
    assert page.ordered is ordered
    if ordered and seconds:
        assert page.first_time is not None
        assert page.last_time is not None
        assert (page.first_time.second, page.last_time.second) == (seconds[0], seconds[-1])
    else:
        assert (page.first_time, page.last_time) == (None, None)


def test_order_within_a_second() -> None:
    """Fractions count for the order."""
    late, early = "2026-11-23T08:00:00.2Z", "2026-11-23T08:00:00.1Z"
    assert not read({"createdDateTime": late}, {"createdDateTime": early}).ordered
    assert read({"createdDateTime": early}, {"createdDateTime": late}).ordered
