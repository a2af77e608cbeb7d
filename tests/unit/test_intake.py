"""Delivery: everything is taken once and noted at once; refusals pass, so nobody is convicted by one of them."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from threading import Event, Lock, Thread, Timer

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graph_entra.clock import SystemClock
from graph_entra.delivery import intake as intake_module
from graph_entra.delivery.intake import (
    AGAIN_S,
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    TRIES,
    Delivery,
    Intake,
    batch_end,
    bytes_as_sent,
)
from graph_entra.delivery.intake_http import body
from graph_entra.errors import IntakeRefused, IntakeTimedOut, IntakeUnavailable, StorageFailed
from graph_entra.records import Record, hash64
from tests.clocks import ManualClock


def record(text: str) -> Record:
    """A record of which only the text matters."""
    return Record(text, hash64(text.encode(errors="surrogatepass")), 0, None, text)


# bytes_as_sent, batch_end

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.text('"\\\x7f\n\r\t aé€😀\u2028\ud800'),
    st.text(st.characters(min_codepoint=32, max_codepoint=127)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5))
@example(['"\\\x7f'])
@example(['{ "a":\n\t1\r\n}'])
@example(["\ud800", "é"])
def test_the_size_counted_is_the_size_sent(texts: list[str]) -> None:
    """Body and envelope to the byte (a separator too many for the list's end); and the body says what was meant."""
    sent = body("k", texts)
    assert sum(map(bytes_as_sent, texts)) + len(body("k", [])) == len(sent) + 1
    assert json.loads(sent) == {"intake_key": "k", "jsons": texts}


def test_what_is_sent_is_utf_8() -> None:
    """Letters beyond ASCII are not escaped: half as many bytes for a name in Chinese."""
    assert body("k", ["名"]) == '{"intake_key":"k","jsons":["名"]}'.encode()


def test_half_a_surrogate_pair_is_sent_as_the_half_that_it_is() -> None:
    """UTF-8 has no bytes for it: it is escaped, and what stands beside it is not."""
    assert body("k", ["\ud800名", "名"]) == '{"intake_key":"k","jsons":["\\ud800名","名"]}'.encode()


def split(records: list[Record]) -> list[list[Record]]:
    """All batches of some records, when nothing goes wrong."""
    made, start = [], 0
    while start < len(records):
        end = batch_end(records, start)
        made.append(records[start:end])
        start = end
    return made


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text('aé"', max_size=40), max_size=30), most=st.integers(1, 7))
def test_batches_are_bounded_and_as_large_as_they_may_be(texts: list[str], most: int) -> None:
    """No batch is over a bound, none could have taken the next record, none is empty."""
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(intake_module, "MAX_BATCH_BYTES", 100)
        records = list(map(record, texts))
        for start in range(len(records)):
            end = batch_end(records, start, most)
            size = sum(bytes_as_sent(one.text) for one in records[start:end])
            assert 1 <= end - start <= most
            assert size <= 100 or end - start == 1
            if end < len(records):
                assert end - start == most or size + bytes_as_sent(records[end].text) > 100


def test_the_bounds_are_those_of_the_intake() -> None:
    """1,000 records; and a batch of non-ASCII text stays under 10 MiB although its characters are few."""
    assert [len(batch) for batch in split([record("{}")] * 2001)] == [1000, 1000, 1]
    assert (MAX_BATCH_RECORDS, MAX_BATCH_BYTES) == (1000, 9 * 1024 * 1024)
    made = split([record("é" * 100_000)] * 60)
    assert [len(batch) for batch in made] == [47, 13]
    assert all(len(body("k" * 40, [one.text for one in batch])) < 10_485_760 for batch in made)


# deliver

Answer = Exception | int | None


class Sekoia:
    """An intake that answers as it is told to, and its client.

    Attributes:
        answers: what the next pushes meet: an error, a number of records acknowledged, or None for all.
        bad: by text, the status that a push of it is refused with.
        all_refused: the status that every push is refused with.
        fails_at: by text, what a push of it always meets.
        down_until_s: until then every push is answered with 500.
        records_per_s: a push is stored, and answered within 30 s or not at all.
        stored: every text stored, in order.
        noted: every text noted, in order.
    """

    def __init__(self, *answers: Answer) -> None:
        self.clock = ManualClock()
        self.answers = list(answers)
        self.bad: dict[str, int] = {}
        self.all_refused: int | None = None
        self.fails_at: dict[str, IntakeUnavailable] = {}
        self.down_until_s = 0.0
        self.records_per_s = float("inf")
        self.pushes: list[list[str]] = []
        self.stored: list[str] = []
        self.noted: list[str] = []
        self.note_faults = 0
        self.faults: list[IntakeUnavailable] = []
        self.stopping = Event()
        self.intake = Intake(self._push, clock=self.clock, stopping=self.stopping, on_fault=self.faults.append)

    def _push(self, events: Sequence[str]) -> int:
        self.pushes.append(list(events))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if self.all_refused is not None:
            raise IntakeRefused(self.all_refused)
        if self.clock.passed_s < self.down_until_s:
            raise IntakeUnavailable("the intake answered 500", status=500)
        for text in events:
            if text in self.fails_at:
                raise self.fails_at[text]
            if text in self.bad:
                raise IntakeRefused(self.bad[text])
        self.stored += events[:answer]
        took_s = len(events) / self.records_per_s
        self.clock.advance(min(30.0, took_s))
        if took_s > 30.0:
            raise IntakeTimedOut("30 s")
        return len(events) if answer is None else answer

    def _note(self, taken: Sequence[Record]) -> None:
        if self.note_faults:
            self.note_faults -= 1
            raise StorageFailed("the disk is full")
        self.noted += [one.text for one in taken]

    def deliver(self, texts: Sequence[str]) -> Delivery:
        """Delivers some texts, noting what is taken."""
        return self.intake.deliver(list(map(record, texts)), self._note)

    def settle(self, texts: Sequence[str], within_s: float = 3600.0) -> list[str]:
        """Delivers until no suspect is left, as often as the suspects ask; returns the texts that were convicted."""
        deadline_s = self.clock.passed_s + within_s
        convicted: list[str] = []
        while texts:
            found = self.deliver(texts)
            convicted += [one.record.text for one in found.refused]
            texts = [one.record.text for one in found.suspects]
            if texts:
                self.clock.advance(min(one.again_in_s for one in found.suspects))
            assert self.clock.passed_s <= deadline_s, f"still suspected: {texts}"
        return convicted


def test_one_push_is_enough_when_all_goes_well() -> None:
    """One batch, one request, one note."""
    sekoia = Sekoia()
    assert sekoia.deliver(["a", "b"]) == Delivery()
    assert sekoia.pushes == [["a", "b"]]
    assert sekoia.noted == ["a", "b"]
    assert sekoia.clock.passed_s == 0
    assert sekoia.deliver([]) == Delivery()
    assert len(sekoia.pushes) == 1


def test_a_short_acknowledgement_is_no_acknowledgement() -> None:
    """The SDK returns fewer ids and says nothing: the batch is pushed again until all of it is acknowledged."""
    sekoia = Sekoia(1, 0)
    assert sekoia.deliver(["a", "b"]) == Delivery()
    assert sekoia.pushes == [["a", "b"]] * 3
    assert sekoia.noted == ["a", "b"]
    assert [str(fault) for fault in sekoia.faults] == [f"the intake acknowledged {n} of 2 records" for n in (1, 0)]


def test_faults_are_retried_with_growing_waits() -> None:
    """1, 2, 4, 8, 16, then every 20 seconds, and each is told."""
    faults = [IntakeUnavailable(str(n)) for n in range(8)]
    sekoia = Sekoia(*faults)
    sekoia.deliver(["a"])
    assert sekoia.clock.passed_s == 1 + 2 + 4 + 8 + 16 + 20 + 20 + 20
    assert sekoia.faults == faults
    assert sekoia.noted == ["a"]


@pytest.mark.parametrize(("asked_s", "waited_s"), [(None, 1), (0.0, 1), (17.5, 17.5), (60.0, 60), (3600.0, 60)])
def test_a_wait_that_the_intake_asks_for_is_kept(asked_s: float | None, waited_s: float) -> None:
    """Up to a minute."""
    sekoia = Sekoia(IntakeUnavailable("429", asked_s))
    sekoia.deliver(["a"])
    assert sekoia.clock.passed_s == waited_s


# Time-outs


@pytest.mark.parametrize("records_per_s", [25.0, 16.0])
def test_a_slow_intake_is_sent_each_record_twice_at_most(records_per_s: float) -> None:
    """It stores 900, and answers after 37 s or more: smaller batches are answered in time, and stay as small."""
    sekoia = Sekoia()
    sekoia.records_per_s = records_per_s
    texts = [str(n) for n in range(5000)]
    for start in range(0, 5000, 900):
        sekoia.deliver(texts[start : start + 900])
    assert sekoia.noted == texts
    copies = Counter(sekoia.stored)
    assert max(copies.values()) == 2
    assert sum(copies.values()) == 5000 + 900  # the first batch again, and none of the others
    assert len(sekoia.faults) == 1


def test_batches_grow_back_when_the_intake_is_quick_again() -> None:
    """Twice as large after each quick answer to a batch that was as large as it might be, up to 1,000 records."""
    sekoia = Sekoia(*[IntakeTimedOut("x")] * 4)
    sekoia.deliver([str(n) for n in range(4000)])
    assert [len(batch) for batch in sekoia.pushes] == [1000, 500, 250, 125, 62, 124, 248, 496, 992, 1000, 1000, 78]


def test_other_faults_leave_the_batch_as_it_is() -> None:
    """A 503 says nothing about its size."""
    sekoia = Sekoia(IntakeUnavailable("503"))
    sekoia.deliver(["a", "b"])
    assert sekoia.pushes == [["a", "b"]] * 2


def test_a_record_that_times_out_alone_is_tried_on() -> None:
    """There is no less than one record."""
    sekoia = Sekoia(*[IntakeTimedOut("x")] * 3)
    sekoia.deliver(["a", "b"])
    assert sekoia.pushes == [["a", "b"], ["a"], ["a"], ["a"], ["b"]]
    assert sekoia.noted == ["a", "b"]


# Refusals


@pytest.mark.parametrize("status", [401, 403, 404, 405, 410, 301])
def test_a_refusal_of_the_key_is_raised_at_once(status: int) -> None:
    """No record is to blame: nothing is halved, nothing retried, nothing dropped."""
    sekoia = Sekoia(IntakeRefused(status))
    with pytest.raises(IntakeRefused) as raised:
        sekoia.deliver(["a", "b", "c", "d"])
    assert raised.value.status == status
    assert len(sekoia.pushes) == 1
    assert sekoia.clock.passed_s == 0


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("bad", [{3}, {0}, {99}, {3, 4}, {0, 50, 99}, set(range(0, 100, 7)), set(range(41))])
def test_halving_isolates_what_is_refused(status: int, bad: set[int]) -> None:
    """All neighbours are in, once each; who is refused alone is convicted after several tries, minutes apart."""
    sekoia = Sekoia()
    texts = [str(n) for n in range(100)]
    sekoia.bad = {str(n): status for n in bad}
    first = sekoia.deliver(texts)
    assert {one.record.text for one in first.suspects} == set(sekoia.bad)
    assert {(one.status, one.tries, one.again_in_s) for one in first.suspects} == {(status, 1, AGAIN_S)}
    assert first.refused == []
    assert Counter(sekoia.noted) == Counter(text for text in texts if text not in sekoia.bad)
    assert len(sekoia.pushes) <= 1 + len(bad) * 14
    assert set(sekoia.settle([one.record.text for one in first.suspects])) == set(sekoia.bad)
    assert max(Counter(sekoia.stored).values()) == 1
    assert sekoia.clock.passed_s == (TRIES - 1) * AGAIN_S


def test_a_suspect_is_not_pushed_before_it_is_due() -> None:
    """However often it is handed in, as a poll a minute does: minutes lie between two tries."""
    sekoia = Sekoia()
    sekoia.bad = {"b": 400}
    tries = []
    for _ in range(12):
        found = sekoia.deliver(["b", str(sekoia.clock.passed_s)])
        tries += [one.tries for one in found.suspects]
        if found.refused:
            break
        sekoia.clock.advance(60)
    assert tries == [1, 1, 1, 2, 2, 2]
    assert sekoia.clock.passed_s == 360
    assert sum(push == ["b"] for push in sekoia.pushes) == TRIES
    assert [one.status for one in found.refused] == [400]


def test_two_passing_refusals_convict_nobody() -> None:
    """A batch of two, a 400 for both and a 400 for the first: it is suspected, and taken at the next try."""
    sekoia = Sekoia(IntakeRefused(400), IntakeRefused(400))
    (suspect,) = sekoia.deliver(["a", "b"]).suspects
    assert suspect.record.text == "a"
    assert sekoia.noted == ["b"]
    sekoia.clock.advance(suspect.again_in_s)
    assert sekoia.deliver(["a", "c"]) == Delivery()
    assert sekoia.noted == ["b", "c", "a"]
    assert sekoia.intake._doubts == {}


def test_a_record_alone_on_a_quiet_stream_is_a_suspect_until_another_is_taken() -> None:
    """It might be the key: it is not convicted without a neighbour, and nothing else waits for it."""
    sekoia = Sekoia()
    sekoia.bad = {"b": 422}
    for tries in range(1, 7):
        found = sekoia.deliver(["b"])
        assert [(one.tries, one.status) for one in found.suspects] == [(tries, 422)]
        assert found.refused == []
        sekoia.clock.advance(AGAIN_S)
    sekoia.deliver(["a neighbour, of another stream perhaps"])
    assert [(one.record.text, one.status) for one in sekoia.deliver(["b"]).refused] == [("b", 422)]


@pytest.mark.parametrize("count", [2, 7, 1000, 3000])
@pytest.mark.parametrize("status", [400, 422])
def test_an_intake_that_refuses_everything_is_a_persons_business(count: int, status: int) -> None:
    """A wrong address answers 400 too: nothing is set aside, the status is told, and few pushes are needed."""
    sekoia = Sekoia()
    sekoia.all_refused = status
    texts = [str(n) for n in range(count)]
    for _ in range(10):
        before = len(sekoia.pushes)
        with pytest.raises(IntakeRefused) as raised:
            sekoia.deliver(texts)
        assert raised.value.status == status
        assert len(sekoia.pushes) - before <= 40
        sekoia.clock.advance(300)
    assert sekoia.noted == []
    sekoia.all_refused = None
    assert sekoia.deliver(texts) == Delivery()
    assert sekoia.noted == texts


def test_refusals_while_everything_was_refused_convict_nobody_afterwards() -> None:
    """An hour of 400s, then one more passing 400 for an innocent record."""
    sekoia = Sekoia()
    sekoia.all_refused = 400
    for _ in range(20):
        with pytest.raises(IntakeRefused):
            sekoia.deliver(["a", "b"])
        sekoia.clock.advance(AGAIN_S)
    sekoia.all_refused = None
    sekoia.deliver(["c"])
    sekoia.answers = [IntakeRefused(400)]
    found = sekoia.deliver(["a"])
    assert found.refused == []
    assert sekoia.settle(["a"]) == []
    assert "a" in sekoia.noted


def test_quiet_streams_do_not_hide_an_intake_that_refuses_everything() -> None:
    """One record a stream: the second that is refused, with none taken between, says that it is the intake."""
    sekoia = Sekoia()
    sekoia.all_refused = 400
    assert len(sekoia.deliver(["a"]).suspects) == 1
    for text in ("b", "a", "b"):
        with pytest.raises(IntakeRefused):
            sekoia.deliver([text])
    sekoia.all_refused = None
    assert sekoia.deliver(["a"]) == Delivery()
    assert sekoia.deliver(["b"]) == Delivery()


def test_refusals_seconds_apart_count_once() -> None:
    """A suspect that is pushed early, because the intake itself was in doubt, is not convicted earlier for it."""
    sekoia = Sekoia()
    sekoia.bad = {"a": 400, "b": 400}
    sekoia.deliver(["a"])
    sekoia.clock.advance(10)
    with pytest.raises(IntakeRefused):
        sekoia.deliver(["b"])
    sekoia.clock.advance(10)
    (suspect,) = sekoia.deliver(["a", "c"]).suspects
    assert (suspect.record.text, suspect.tries) == ("a", 1)
    assert sekoia.settle(["a"]) == ["a"]
    assert sekoia.clock.passed_s >= 300


def test_two_bad_records_alone_on_a_quiet_stream_are_convicted() -> None:
    """Once another stream's records are taken, the two hold nothing up."""
    sekoia = Sekoia()
    sekoia.bad = {"a": 400, "b": 413}
    with pytest.raises(IntakeRefused):
        sekoia.deliver(["a", "b"])
    sekoia.deliver(["of another stream"])
    assert sorted(sekoia.settle(["a", "b"])) == ["a", "b"]


def test_a_convict_that_could_not_be_kept_is_convicted_at_once() -> None:
    """The disk was full: the caller hands it in again."""
    sekoia = Sekoia()
    sekoia.bad = {"b": 400}
    sekoia.deliver(["b"])
    sekoia.deliver(["a"])
    assert sekoia.settle(["b"]) == ["b"]
    assert [one.record.text for one in sekoia.deliver(["b"]).refused] == ["b"]


def test_a_key_refused_while_halving_is_raised() -> None:
    """What was not pushed is not called refused, and what was taken is noted."""
    sekoia = Sekoia(IntakeRefused(400), None, IntakeRefused(401))
    with pytest.raises(IntakeRefused) as raised:
        sekoia.deliver(["a", "b", "c", "d"])
    assert raised.value.status == 401
    assert sekoia.noted == ["a", "b"]


def test_faults_while_halving_are_retried() -> None:
    """A record that is refused and an intake that is down for a moment: both are answered."""
    sekoia = Sekoia(IntakeRefused(400), IntakeUnavailable("down"), 1)
    sekoia.bad = {"c": 400}
    assert [one.record.text for one in sekoia.deliver(["a", "b", "c", "d"]).suspects] == ["c"]
    assert set(sekoia.noted) == {"a", "b", "d"}


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_everything_is_taken_or_convicted_whatever_happens(data: st.DataObject) -> None:
    """Faults, time-outs, passing refusals and full disks: only the bad are convicted, and all others are noted."""
    count = data.draw(st.integers(2, 60))
    texts = [str(n) for n in range(count)]
    answers: st.SearchStrategy[Answer] = st.sampled_from(
        [None, IntakeUnavailable("503"), IntakeTimedOut("x"), IntakeRefused(400), IntakeRefused(401)]
    )
    sekoia = Sekoia(*data.draw(st.lists(answers, max_size=30)))
    sekoia.bad = dict.fromkeys(data.draw(st.sets(st.sampled_from(texts), max_size=count // 2)), 413)
    sekoia.note_faults = data.draw(st.integers(0, 3))
    waiting, convicted = set(texts), set()
    for turn in range(200):
        if not waiting:
            break
        try:
            found = sekoia.deliver([text for text in texts if text in waiting] + [f"live {turn}"])
            convicted |= {one.record.text for one in found.refused}
        except (IntakeRefused, StorageFailed):
            pass
        waiting -= {*sekoia.noted, *convicted}
        sekoia.clock.advance(60)
    assert waiting == set()
    assert convicted == set(sekoia.bad)
    assert max(Counter(sekoia.noted).values()) == 1
    assert max(Counter(sekoia.stored).values()) == 1


# Noting


def test_each_part_is_noted_before_anything_else_is_pushed() -> None:
    """Push, note, push, note: never two pushes in a row."""
    order: list[tuple[str, int]] = []
    sekoia = Sekoia()

    def push(events: Sequence[str]) -> int:
        order.append(("push", len(events)))
        return len(events)

    intake = Intake(push, clock=sekoia.clock, stopping=sekoia.stopping, on_fault=sekoia.faults.append)
    intake.deliver([record(str(n)) for n in range(2500)], lambda taken: order.append(("note", len(taken))))
    assert order == [(what, size) for size in (1000, 1000, 500) for what in ("push", "note")]


@pytest.mark.parametrize("bad", [[], ["b"]])
def test_a_full_disk_repeats_nobody(bad: list[str]) -> None:
    """30 tries without room, one record of the batch refused: each neighbour is pushed once."""
    sekoia = Sekoia()
    sekoia.bad = dict.fromkeys(bad, 400)
    sekoia.note_faults = 30
    texts = ["a", "b", "c", "d"]
    for _ in range(30):
        with pytest.raises(StorageFailed):
            sekoia.deliver(texts)
        sekoia.clock.advance(60)
    pushes = len(sekoia.pushes)
    assert pushes <= 3
    sekoia.deliver(texts)
    assert Counter(sekoia.stored) == Counter(sekoia.noted) == Counter(set(texts) - set(bad))


def test_nothing_is_pushed_while_noting_fails() -> None:
    """Also for a caller that has noted its records in memory and does not hand them in again."""
    sekoia = Sekoia()
    sekoia.note_faults = 3
    for text in ("a", "b", "c"):
        with pytest.raises(StorageFailed):
            sekoia.deliver([text])
    assert sekoia.pushes == [["a"]]
    sekoia.deliver(["b", "c"])
    assert sekoia.pushes == [["a"], ["b", "c"]]


def test_a_change_of_what_was_not_noted_is_pushed() -> None:
    """The same record under another digest is another version of it."""
    sekoia = Sekoia()
    sekoia.note_faults = 1
    one = record("a")
    with pytest.raises(StorageFailed):
        sekoia.intake.deliver([one], sekoia._note)
    sekoia.intake.deliver([one, one._replace(text="a, changed", digest=1)], sekoia._note)
    assert sekoia.stored == sekoia.noted == ["a", "a, changed"]


# Threads, and the stop


def test_one_batch_is_in_flight_in_the_whole_process() -> None:
    """Two streams at once: from a push until its note, no other push begins. A kill would repeat one batch."""
    inside, most, lock = 0, 0, Lock()

    def enter(step: int) -> None:
        nonlocal inside, most
        with lock:
            inside += step
            most = max(most, inside)

    def push(events: Sequence[str]) -> int:
        enter(1)
        time.sleep(0.002)
        return len(events)

    def note(taken: Sequence[Record]) -> None:
        time.sleep(0.002)
        enter(-1)

    intake = Intake(push, clock=SystemClock(), stopping=Event(), on_fault=lambda fault: None)
    streams = [Thread(target=lambda: [intake.deliver([record("a")], note) for _ in range(10)]) for _ in range(2)]
    for stream in streams:
        stream.start()
    for stream in streams:
        stream.join()
    assert most == 1


def test_a_stop_ends_a_wait_at_once() -> None:
    """In the middle of a pause between two tries."""
    sekoia = Sekoia(*[IntakeUnavailable("down")] * 9)
    intake = Intake(sekoia._push, clock=SystemClock(), stopping=sekoia.stopping, on_fault=sekoia.faults.append)
    Timer(0.05, sekoia.stopping.set).start()
    started = time.monotonic()
    with pytest.raises(IntakeUnavailable):
        intake.deliver([record("a")], sekoia._note)
    assert time.monotonic() - started < 0.9
    assert len(sekoia.pushes) <= 2


def test_no_push_follows_a_stop() -> None:
    """The one that is under way when the stop comes is the last, is noted if it is taken, and the rest is not begun."""
    sekoia = Sekoia()

    def push(events: Sequence[str]) -> int:
        sekoia.stopping.set()
        return sekoia._push(events)

    intake = Intake(push, clock=sekoia.clock, stopping=sekoia.stopping, on_fault=sekoia.faults.append)
    texts = [str(n) for n in range(1500)]
    with pytest.raises(IntakeUnavailable):
        intake.deliver(list(map(record, texts)), sekoia._note)
    assert sekoia.noted == texts[:1000]
    assert len(sekoia.pushes) == 1


@pytest.mark.parametrize(
    "fault",
    [
        IntakeUnavailable("the intake answered 500", status=500),
        IntakeUnavailable("the intake acknowledged 0 of 1 records", status=200),
        IntakeTimedOut("the intake took more than 30 s for its answer"),
    ],
    ids=str,
)
@pytest.mark.parametrize("place", [0, 500, 999])
def test_a_record_that_the_intake_fails_at_costs_itself(fault: IntakeUnavailable, place: int) -> None:
    """All others are taken within minutes, and once; it is asked again for a day, and only then kept as refused."""
    sekoia = Sekoia()
    texts = [str(n) for n in range(1000)]
    sekoia.fails_at = {str(place): fault}
    found = sekoia.deliver(texts)
    assert [one.record.text for one in found.suspects] == [str(place)]
    assert sekoia.clock.passed_s < 720
    others = [text for text in texts if text != str(place)]
    assert sorted(sekoia.stored) == sorted(sekoia.noted) == sorted(others)
    sekoia.deliver(["a later one"])
    began_s = sekoia.clock.passed_s
    assert sekoia.settle([str(place)], 30 * 3600.0) == [str(place)]
    assert sekoia.clock.passed_s - began_s > 20 * 3600
    assert sum(text in sekoia.fails_at for push in sekoia.pushes for text in push) < 80


def test_an_outage_is_no_records_fault() -> None:
    """An hour of 500s: a few records are tried again later, nobody is convicted, and everything is taken once."""
    sekoia = Sekoia()
    sekoia.down_until_s = 3600.0
    texts = [str(n) for n in range(1000)]
    found = sekoia.deliver(texts)
    assert found.refused == []
    assert len(found.suspects) <= 8
    assert sekoia.settle([one.record.text for one in found.suspects]) == []
    assert sorted(sekoia.noted) == sorted(sekoia.stored) == sorted(texts)


def test_an_outage_of_a_quiet_stream_is_no_persons_business() -> None:
    """Three records and nothing else: no refusal is raised, and they are taken when it is over."""
    sekoia = Sekoia()
    sekoia.down_until_s = 3600.0
    assert sekoia.settle(["a", "b", "c"], 2 * 3600.0) == []
    assert sorted(sekoia.noted) == ["a", "b", "c"]


def test_an_intake_that_is_overloaded_says_nothing_of_a_record() -> None:
    """503 and 429: the same batch is pushed until it is taken."""
    sekoia = Sekoia(*[IntakeUnavailable("x", status=status) for status in (503, 429) * 20])
    assert sekoia.deliver(["a", "b"]) == Delivery()
    assert sekoia.pushes == [["a", "b"]] * 41


def test_a_record_that_changes_back_after_a_full_disk_is_pushed_again() -> None:
    """Its first state could not be noted at once; that it was acknowledged says nothing of a third state like it."""
    sekoia = Sekoia()
    first, second = record("a"), record("a")._replace(text="b", digest=1)
    sekoia.note_faults = 1
    with pytest.raises(StorageFailed):
        sekoia.intake.deliver([first], sekoia._note)
    for state in (second, first):
        sekoia.intake.deliver([state], sekoia._note)
    assert sekoia.stored == ["a", "b", "a"]
