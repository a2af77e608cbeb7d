"""Delivery returns only when the intake has acknowledged every record; what it cannot take is cut, never dropped."""

import json
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from threading import Event, Timer
from typing import Any

import pytest
import tenacity.nap
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graph_entra.delivery import intake as intake_module
from graph_entra.delivery.intake import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    MAX_RECORD_CHARS,
    Intake,
    batches,
    bytes_as_sent,
    fit,
)
from graph_entra.errors import IntakeRefused, IntakeUnavailable
from graph_entra.records import Record


def record(text: str) -> Record:
    """A record of which only the text matters."""
    return Record(text, 0, 0, None, text)


# bytes_as_sent, batches

# What a record's text may hold: a JSON text has no bare control characters but the four of white space, and DEL.
TEXTS = st.one_of(
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"])),
    st.text('"\\\x7f\n\r\t aé€😀\u2028'),
    st.text(st.characters(min_codepoint=32, max_codepoint=127)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5))
@example(['"\\\x7f'])
@example(['{ "a":\n\t1\r\n}'])
def test_the_size_counted_is_the_size_sent(texts: list[str]) -> None:
    """Body and envelope as requests encodes them, to the byte (a separator too many for the list's end)."""
    envelope = len(json.dumps({"intake_key": "k", "jsons": []}))
    body = json.dumps({"intake_key": "k", "jsons": texts}).encode()
    assert sum(map(bytes_as_sent, texts)) + envelope == len(body) + 2


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_batches_are_bounded_whole_and_in_order(data: st.DataObject) -> None:
    """No batch is over a bound, none could have taken the next one's first record, none is empty."""
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(intake_module, "MAX_BATCH_RECORDS", 5)
        bounds.setattr(intake_module, "MAX_BATCH_BYTES", 100)
        records = [record(text) for text in data.draw(st.lists(st.text('aé"', max_size=40), max_size=30))]
        made = list(batches(records))
    assert [one for batch in made for one in batch] == records
    sizes = [sum(bytes_as_sent(one.text) for one in batch) for batch in made]
    for at, (batch, size) in enumerate(zip(made, sizes, strict=True)):
        assert 1 <= len(batch) <= 5
        assert size <= 100 or len(batch) == 1
        if at + 1 < len(made):
            assert len(batch) == 5 or size + bytes_as_sent(made[at + 1][0].text) > 100


def test_the_bounds_are_those_of_the_intake() -> None:
    """1,000 records; and a batch of non-ASCII text stays under 10 MiB although its characters are few."""
    assert [len(batch) for batch in batches(record("{}") for _ in range(2001))] == [1000, 1000, 1]
    assert (MAX_BATCH_RECORDS, MAX_BATCH_BYTES, MAX_RECORD_CHARS) == (1000, 9 * 1024 * 1024, 250_000)
    made = list(batches(record("é" * 100_000) for _ in range(40)))
    assert [len(batch) for batch in made] == [15, 15, 10]
    for batch in made:
        assert len(json.dumps({"intake_key": "k" * 40, "jsons": [one.text for one in batch]})) < 10_485_760


# fit


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


# deliver


class Sekoia:
    """An intake that answers as it is told to, and keeps what it acknowledged."""

    def __init__(self, *answers: Callable[[Sequence[str]], Sequence[str]] | Exception | int) -> None:
        self.answers = list(answers)
        self.pushes: list[list[str]] = []
        self.taken: list[str] = []
        self.poison: set[str] = set()
        self.status = 400
        self.faults: list[IntakeUnavailable] = []
        self.stopping = Event()

    def __call__(self, events: Sequence[str]) -> Sequence[str]:
        self.pushes.append(list(events))
        answer = self.answers.pop(0) if self.answers else len(events)
        if isinstance(answer, Exception):
            raise answer
        if self.poison & set(events):
            raise IntakeRefused(self.status)
        assert isinstance(answer, int)
        self.taken += events[:answer]
        return list(events[:answer])

    def deliver(self, texts: Sequence[str]) -> list[str]:
        """Deliver a batch; returns the texts that were refused."""
        delivery = Intake(self, self.stopping, self.faults.append)
        return [one.text for one in delivery.deliver([record(text) for text in texts])]


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between two tries, which take no time."""
    taken: list[float] = []

    def sleep_using_event(event: Event) -> Callable[[float | None], None]:
        return lambda seconds: taken.append(seconds or 0.0)

    monkeypatch.setattr(intake_module, "sleep_using_event", sleep_using_event)
    return taken


def test_one_push_is_enough_when_all_goes_well(naps: list[float]) -> None:
    """One batch, one request."""
    sekoia = Sekoia()
    assert sekoia.deliver(["a", "b"]) == []
    assert sekoia.pushes == [["a", "b"]]
    assert naps == []
    assert sekoia.faults == []


def test_a_short_acknowledgement_is_no_acknowledgement(naps: list[float]) -> None:
    """The SDK returns fewer ids and says nothing: the batch is pushed again until all of it is acknowledged."""
    sekoia = Sekoia(1, 0)
    assert sekoia.deliver(["a", "b"]) == []
    assert sekoia.pushes == [["a", "b"]] * 3
    assert [str(fault) for fault in sekoia.faults] == [f"the intake acknowledged {n} of 2 records" for n in (1, 0)]


def test_faults_are_retried_with_growing_waits(naps: list[float]) -> None:
    """1, 2, 4, 8, 16, then every 20 seconds, and each is told."""
    faults = [IntakeUnavailable(str(n)) for n in range(8)]
    sekoia = Sekoia(*faults)
    assert sekoia.deliver(["a"]) == []
    assert naps == [1, 2, 4, 8, 16, 20, 20, 20]
    assert sekoia.faults == faults
    assert sekoia.taken == ["a"]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 410])
def test_a_refusal_of_the_key_is_raised_at_once(status: int, naps: list[float]) -> None:
    """No record is to blame: nothing is halved, nothing retried, nothing dropped."""
    sekoia = Sekoia(IntakeRefused(status))
    with pytest.raises(IntakeRefused) as raised:
        sekoia.deliver(["a", "b", "c", "d"])
    assert raised.value.status == status
    assert len(sekoia.pushes) == 1
    assert naps == []


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("poison", [{3}, {0}, {99}, {3, 4}, {0, 50, 99}, set(range(0, 100, 7))])
def test_halving_isolates_the_poison(status: int, poison: set[int], naps: list[float]) -> None:
    """All neighbours are in, once each; the poisonous records alone come back."""
    sekoia = Sekoia()
    texts = [str(n) for n in range(100)]
    sekoia.poison, sekoia.status = {str(n) for n in poison}, status
    assert sekoia.deliver(texts) == [str(n) for n in sorted(poison)]
    assert sorted(sekoia.taken, key=int) == [text for text in texts if text not in sekoia.poison]
    assert len(sekoia.pushes) <= 1 + len(poison) * 14


@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_intake_that_refuses_everything_is_not_the_records_fault(count: int, naps: list[float]) -> None:
    """A wrong address answers 400 too: nothing is set aside as refused, the cursor stays."""
    sekoia = Sekoia()
    texts = [str(n) for n in range(count)]
    sekoia.poison = set(texts)
    with pytest.raises(IntakeRefused) as raised:
        sekoia.deliver(texts)
    assert raised.value.status == 400
    assert sekoia.taken == []


def test_a_key_refused_while_halving_is_raised(naps: list[float]) -> None:
    """What was not pushed is not called refused."""
    sekoia = Sekoia(IntakeRefused(400), 2, IntakeRefused(401))
    with pytest.raises(IntakeRefused) as raised:
        sekoia.deliver(["a", "b", "c", "d"])
    assert raised.value.status == 401


def test_faults_while_halving_are_retried(naps: list[float]) -> None:
    """A poisonous record and an intake that is down for a moment: both are answered."""
    sekoia = Sekoia(IntakeRefused(400), IntakeUnavailable("down"), 1)
    sekoia.poison = {"c"}
    assert sekoia.deliver(["a", "b", "c", "d"]) == ["c"]
    assert set(sekoia.taken) == {"a", "b", "d"}


def test_a_stop_ends_a_wait_at_once() -> None:
    """In the middle of a pause between two tries."""
    sekoia = Sekoia(*[IntakeUnavailable("down")] * 9)
    Timer(0.05, sekoia.stopping.set).start()
    started = time.monotonic()
    with pytest.raises(IntakeUnavailable):
        sekoia.deliver(["a"])
    assert time.monotonic() - started < 0.9
    assert len(sekoia.pushes) <= 2


def test_no_try_follows_a_stop() -> None:
    """The try that is under way when the stop comes is the last."""
    sekoia = Sekoia(IntakeUnavailable("down"))
    sekoia.stopping.set()
    with pytest.raises(IntakeUnavailable):
        sekoia.deliver(["a"])
    assert len(sekoia.pushes) == 1


def test_the_real_wait_listens_to_the_event() -> None:
    """tenacity's own sleep does not: the one used here does."""
    assert vars(intake_module)["sleep_using_event"] is tenacity.nap.sleep_using_event
