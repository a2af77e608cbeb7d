"""A page's bytes become records: nothing is altered, and a page that is not whole is no page."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graph_entra.errors import GraphUnavailable
from graph_entra.microsoft.pages import read_page
from graph_entra.records import Page, Record
from graph_entra.streams import AUDITS, sign_in_stream

SIGN_INS = sign_in_stream("interactiveUser", beta_only=False)
BIG = 2**64  # an integer that takes a page the verbatim way
QUICK: dict[str, Any] = {}
VERBATIM = {"@odata.context": BIG}


def body(*records: Any, **envelope: Any) -> bytes:
    """A page as Graph writes it."""
    return json.dumps({"@odata.context": "https://graph/$metadata", **envelope, "value": list(records)}).encode()


def read(*records: Any, **envelope: Any) -> Page:
    """Read a page of these records."""
    return read_page(SIGN_INS, body(*records, **envelope))


def one(record: Any, **envelope: Any) -> Record:
    """Read a page of one record."""
    return read(record, **envelope).records[0]


def exact(value: Any) -> str:
    """A text that tells apart what ``==`` does not: 1 and 1.0, 1 and true."""
    return json.dumps(value, sort_keys=True)


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
@example(records=["\ud800", BIG], before={"x": "value"}, after={"later": [{}]}, indent=1, ascii_only=True, bom=False)
def test_records_are_what_graph_stated(
    records: list[Any], before: dict[str, Any], after: dict[str, Any], indent: int | None, ascii_only: bool, bom: bool
) -> None:
    """Every JSON value comes out as the same JSON value, whatever stands around it."""
    page = {**before, "value": records, **after}
    text = json.dumps(page, indent=indent, ensure_ascii=ascii_only)
    try:
        content = text.encode()
    except UnicodeEncodeError:  # a surrogate can only be escaped
        content = json.dumps(page, indent=indent).encode()
    read = read_page(SIGN_INS, (b"\xef\xbb\xbf" if bom else b"") + content)
    assert [exact(json.loads(record.text)) for record in read.records] == [exact(record) for record in records]
    assert read.next_link is None


SMALL = [
    body({"id": "a", "createdDateTime": "2026-11-23T08:00:00Z", "x": ["}", {"y": None}]}, {"id": 'é"\\'}),
    body({"id": "a", "n": BIG}, {"id": "b]", "deep": [[{"value": [1, 2]}]]}),
    body({"id": "\ud800"}, "text", 5, **{"@odata.nextLink": "https://graph/next"}),
    b'\xef\xbb\xbf{"value":[]}',
]


@pytest.mark.parametrize("whole", SMALL, ids=["quick", "big integer", "surrogate", "bom"])
def test_a_page_cut_off_at_any_byte_is_refused(whole: bytes) -> None:
    """A connection that breaks delivers no part of a page: the cursor would pass what is missing."""
    read_page(SIGN_INS, whole)
    for end in range(len(whole)):
        with pytest.raises(GraphUnavailable):
            read_page(SIGN_INS, whole[:end])


@settings(max_examples=60, deadline=None)
@given(records=st.lists(VALUES, min_size=1, max_size=3), data=st.data())
def test_any_page_cut_off_is_refused(records: list[Any], data: st.DataObject) -> None:
    """The same for pages of every shape."""
    whole = body(*records)
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(GraphUnavailable):
        read_page(SIGN_INS, whole[:end])


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
        b'{"value":[18446744073709551616 1]}',
        b'{"value":[{"a":18446744073709551616,}]}',
        b'{"value":[]}{"value":[]}',
        b'{"value":[{"n":18446744073709551616}]} trailing',
        b'{"value":[{"x":"\xff"}]}',
    ],
)
def test_what_is_not_a_page_is_refused(content: bytes) -> None:
    """An answer of 200 that is no page is Graph's fault of the moment, never an empty page."""
    with pytest.raises(GraphUnavailable):
        read_page(SIGN_INS, content)


@pytest.mark.parametrize("way", [QUICK, VERBATIM], ids=["quick", "verbatim"])
@pytest.mark.parametrize("link", [5, True, [], {}, ["https://graph/next"]])
def test_a_next_link_that_is_no_text_is_refused(way: dict[str, Any], link: object) -> None:
    """Taken for the last page, it would end the window early and lose the rest."""
    with pytest.raises(GraphUnavailable, match="nextLink"):
        read({"id": "a"}, **way, **{"@odata.nextLink": link})


@pytest.mark.parametrize("way", [QUICK, VERBATIM], ids=["quick", "verbatim"])
@pytest.mark.parametrize(("link", "expected"), [("https://a/b", "https://a/b"), ("", None), (None, None)])
def test_next_link(way: dict[str, Any], link: str | None, expected: str | None) -> None:
    """The next page is where Graph says; nowhere if it says nothing."""
    assert read(**way, **{"@odata.nextLink": link}).next_link == expected


# Identity and digest


@settings(max_examples=80, deadline=None)
@given(record=VALUES)
def test_identity_and_digest_are_the_same_both_ways(record: Any) -> None:
    """A neighbour that takes the page the verbatim way makes no record look new or changed."""
    quick, verbatim = one(record), one(record, **VERBATIM)
    assert (quick.identity, quick.digest, quick.id) == (verbatim.identity, verbatim.digest, verbatim.id)
    assert quick.created_s == verbatim.created_s


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
@pytest.mark.parametrize("way", [QUICK, VERBATIM], ids=["quick", "verbatim"])
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
        {"createdDateTime": "2026-11-23T08:00:01Z"},
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
    without_id = {name: value for name, value in BASE.items() if name != "id"}
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


def test_records_that_share_an_id_can_be_told_apart_by_content() -> None:
    """Two different records under one id: each has an identity of its own, and equal ones still one."""
    first, second, again = (
        record.by_content() for record in read({"id": "a", "x": 1}, {"id": "a"}, {"id": "a"}).records
    )
    assert first.identity != second.identity
    assert second.identity == again.identity
    assert first.text == '{"id":"a","x":1}'


@pytest.mark.parametrize(
    "number",
    [
        "12345678901234567890",
        "-12345678901234567890",
        " 12345678901234567890 ",
        "[12345678901234567890]",
        "[1,12345678901234567890]",
        "[1, 12345678901234567890]",
    ],
)
def test_a_long_number_is_seen_wherever_it_stands(number: str) -> None:
    """Whatever stands before its digits."""
    text = f'{{"id":"a","n":{number}}}'
    assert read_page(SIGN_INS, f'{{"value":[{text}]}}'.encode()).records[0].text == text


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
