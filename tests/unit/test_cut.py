"""What is too long for the SDK is cut and marked, never dropped."""

import json
import time
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_entra.delivery.cut import MAX_RECORD_CHARS, fit


def marker(value: Any) -> str:
    """The marker that stands for a value that was cut."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return f"[graph_entra cut this: {len(text)} characters of JSON, SHA-256 {sha256(text.encode()).hexdigest()}]"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=50))
def test_what_fits_is_untouched(text: str) -> None:
    """The same object: no work is done for it, and nothing can change."""
    assert fit(text) is text


def test_the_bound_itself_fits() -> None:
    """250,000 characters are taken, one more is not."""
    text = '{"a":"' + "x" * (MAX_RECORD_CHARS - 8) + '"}'
    assert len(text) == MAX_RECORD_CHARS
    assert fit(text) is text
    longer = text.replace('{"a', '{"aa')
    assert len(fit(longer)) <= MAX_RECORD_CHARS
    assert json.loads(fit(longer)).keys() == {"aa"}


def test_the_beginning_of_a_text_is_kept() -> None:
    """As much as fits, then the marker; everything else is as it was."""
    for sign, number in (("é", 2**63), ("x", 2**70 + 1)):  # the latter is more than orjson can tell
        value = {"id": "a", "n": number, "x": None, "big": sign * 300_000}
        cut = fit(json.dumps(value, ensure_ascii=False))
        found = json.loads(cut)
        assert 0.99 * MAX_RECORD_CHARS < len(cut) <= MAX_RECORD_CHARS
        assert {name: found[name] for name in ("id", "n", "x")} == {"id": "a", "n": number, "x": None}
        kept = found["big"].removesuffix(marker(value["big"]))
        assert kept != found["big"]
        assert set(kept) == {sign}


def test_a_text_full_of_escapes_is_measured_as_it_is_written() -> None:
    """Each quote takes two characters: at least half of the room is used all the same."""
    cut = fit(json.dumps({"id": "a", "big": '"' * 200_000}))
    assert 0.5 * MAX_RECORD_CHARS < len(cut) <= MAX_RECORD_CHARS


def test_the_first_items_of_a_list_are_kept() -> None:
    """Whole items, then the marker."""
    items = [{"displayName": f"policy {n}"} for n in range(20_000)]
    cut = fit(json.dumps({"id": "a", "appliedConditionalAccessPolicies": items}))
    found = json.loads(cut)["appliedConditionalAccessPolicies"]
    assert 0.99 * MAX_RECORD_CHARS < len(cut) <= MAX_RECORD_CHARS
    assert found[-1] == marker(items)
    assert found[:-1] == items[: len(found) - 1]


def test_any_other_value_gives_way_to_the_marker() -> None:
    """An object has no beginning."""
    big = {f"m{n}": "x" * 100 for n in range(4000)}
    assert json.loads(fit(json.dumps({"id": "a", "big": big}))) == {"id": "a", "big": marker(big)}


def test_the_largest_go_first() -> None:
    """A second member is cut only if the first was not enough."""
    value = {"id": "a", "small": "s" * 1000, "big": {"x": "x" * 200_000}, "bigger": {"x": "x" * 210_000}}
    found = json.loads(fit(json.dumps(value)))
    assert found == value | {"bigger": marker(value["bigger"])}
    both = value | {"big": {"x": "x" * 260_000}, "bigger": {"x": "x" * 270_000}}
    assert json.loads(fit(json.dumps(both))) == both | {name: marker(both[name]) for name in ("big", "bigger")}


LARGE = [
    '"' + "x" * 300_000 + '"',
    json.dumps(["x" * 1000] * 300),
    json.dumps({f"m{n}": n for n in range(40_000)}),
    json.dumps({"x" * 300_000: 1}),
    json.dumps({"id": "x" * 300_000}),
    '{"a":' + "[" * 130_000 + "]" * 130_000 + "}",
    '{"id":"a","deep":' + "[" * 1000 + "]" * 1000 + ',"b":"' + "x" * 300_000 + '"}',
    '{"id":"a","deep":' + "[" * 500 + "]" * 500 + ',"b":"' + "x" * 300_000 + '"}',
    json.dumps({"id": "\ud800", "b": "\udfff" * 60_000}),
    json.dumps({"id": "a", "b": "\x01" * 60_000}),
    '{"id":"a","b":"' + "\x01" * 300_000 + '"}',
    '{"id":"a","b":"' + "\\" * 300_000 + '"}',
    '{"id":"a","b":' + "1" * 300_000 + "}",
    "[" * 300_000,
    "not JSON " * 40_000,
    json.dumps({"id": "a", "b": "😀" * 300_000}, ensure_ascii=False),
    json.dumps({"id": "a", "b": '"' * 200_000}),
]


@pytest.mark.parametrize("text", LARGE, ids=lambda text: text[:12])
def test_whatever_is_too_long_is_cut_to_valid_json_with_a_marker(text: str) -> None:
    """The SDK would discard it and say so in an info line; and it takes no noticeable time."""
    started = time.monotonic()
    cut = fit(text)
    assert time.monotonic() - started < 2
    assert len(cut) <= MAX_RECORD_CHARS
    assert isinstance(json.loads(cut), dict)
    assert "[graph_entra cut this: " in cut
    cut.encode()


def test_what_has_no_members_keeps_its_beginning() -> None:
    """The marker states the size and SHA-256 of the whole."""
    text = json.dumps(["x" * 1000] * 300)
    found = json.loads(fit(text))
    assert f"{len(text)} characters" in found["graph_entra_cut"]
    assert sha256(text.encode()).hexdigest() in found["graph_entra_cut"]
    assert text.startswith(found["beginning"])
    assert len(found["beginning"]) > 30_000


@settings(max_examples=25, deadline=None)
@given(
    members=st.dictionaries(
        st.text(max_size=5),
        st.one_of(
            st.none(),
            st.text(st.characters(exclude_categories=()), max_size=5),
            st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=3), st.integers(1, 200_000)),
            st.builds(lambda text, times: [text] * times, st.text(max_size=9), st.integers(1, 40_000)),
            st.builds(lambda times: {str(n): n for n in range(times)}, st.integers(1, 20_000)),
        ),
        max_size=5,
    ),
    ascii_only=st.booleans(),
)
def test_fit_always_fits(members: dict[str, Any], ascii_only: bool) -> None:
    """Valid JSON of at most 250,000 characters; members that were not cut are unchanged, none is missing."""
    text = json.dumps(members, ensure_ascii=ascii_only)
    cut = fit(text)
    assert len(cut) <= MAX_RECORD_CHARS
    found = json.loads(cut)
    assert found.keys() == members.keys()
    for name, value in found.items():
        if value != members[name]:
            assert "[graph_entra cut this: " in json.dumps(value)
