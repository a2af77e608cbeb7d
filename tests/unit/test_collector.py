"""The order of effects, and what each error, page and refusal leaves: real ledger, state and intake, scripted pages."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import orjson
import pytest

from graph_entra.delivery.intake import AGAIN_S, Intake
from graph_entra.errors import GraphUnavailable, IntakeRefused, IntakeUnavailable, PagingBroken, StorageFailed
from graph_entra.microsoft.pages import read_page
from graph_entra.reading import collector as collector_module
from graph_entra.reading import plan
from graph_entra.reading.collector import MOST_PAGES, Collector, Reading
from graph_entra.records import Page, Taken
from graph_entra.state.context import ContextStore
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from graph_entra.state.refused import REFUSED_FILE, RefusedRecords
from graph_entra.streams import DAY_S, HOUR_S, Stream, Window, sign_in_stream
from tests.clocks import START_S, ManualClock

STREAM = sign_in_stream("interactiveUser", beta_only=False)
NOW = int(START_S)
# Two days of history, of which the first three hours are read here.
FROM = NOW - 2 * DAY_S
UNREAD = Window("unread", FROM, FROM + 3 * HOUR_S)
# An hour that is never settled here: the ledger knows all of it.
FRESH = NOW - 5 * HOUR_S
RECENT = Window("unread", FRESH, FRESH + HOUR_S)

# What a source answers: pages, each with whether it is the last, or an error.
Step = tuple[Page, bool] | Exception


class Killed(Exception):
    """The process ends here."""


def made(number: int, at_s: float, **members: Any) -> dict[str, Any]:
    """A record of a moment."""
    created = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"id": f"id-{number}", "createdDateTime": created, **members}


def page(*records: dict[str, Any], last: bool = False, broken: str | None = None) -> Step:
    """A page as Graph writes it."""
    read = read_page(STREAM, orjson.dumps({"value": list(records)}))
    return read._replace(broken=broken), last


@dataclass
class Bench:
    """A collector between a scripted Graph and an intake that takes what it is told to.

    Attributes:
        script: what each window that is asked for is answered.
        bad: ids that the intake refuses, with 400.
        down: what every push raises.
    """

    folder: Path
    clock: ManualClock = field(default_factory=ManualClock)
    forward_updates: bool = True
    script: list[list[Step]] = field(default_factory=list)
    bad: set[str] = field(default_factory=set)
    down: Exception | None = None
    asked: list[Window] = field(default_factory=list)
    pushed: list[list[str]] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    seen_s: list[int] = field(default_factory=list)
    damage: list[tuple[str, str]] = field(default_factory=list)

    def start(self) -> Collector:
        """A collector as after a start of the process."""
        files = Files(self.folder, self.clock)
        return Collector(
            STREAM,
            files=files,
            store=ContextStore(files, ["tenant"], lambda name, why: self.damage.append((name, why))),
            source=self,
            intake=Intake(self._push, clock=self.clock, stopping=Event(), on_fault=lambda _: None),
            refused=RefusedRecords(files, lambda _: None),
            history_s=2 * DAY_S,
            forward_updates=self.forward_updates,
            now_s=self.clock.time,
            on_taken=self.taken.append,
            on_new=lambda _, created_s: self.seen_s.extend(created_s),
            on_damage=lambda name, why: self.damage.append((name, why)),
        )

    async def pages(self, stream: Stream, window: Window) -> AsyncGenerator[tuple[Page, bool]]:
        """What the script says."""
        assert stream is STREAM
        self.asked.append(window)
        for step in self.script.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step

    def _push(self, texts: Sequence[str]) -> int:
        ids = [orjson.loads(text)["id"] for text in texts]
        if self.down is not None:
            raise self.down
        if self.bad & set(ids):
            raise IntakeRefused(400)
        self.pushed.append(ids)
        return len(texts)

    def read(self, collector: Collector, *steps: Step, window: Window = UNREAD) -> Reading:
        """Reads one window that is answered so."""
        self.script.append(list(steps))
        return asyncio.run(collector.read(window))

    @property
    def delivered(self) -> list[str]:
        """Ids in the order of their delivery."""
        return [record_id for batch in self.pushed for record_id in batch]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def ago(collector: Collector) -> list[tuple[int, int | None, bool, bool]]:
    """Each row: where it ends, looked at, brought, in trouble; in seconds from FROM."""
    return [(row.end_s - FROM, row.looked_s, row.brought, row.trouble is not None) for row in collector.coverage.rows]


def test_a_window_is_read_and_delivered(bench: Bench) -> None:
    """Every record once, in Graph's order; the map says what was read, and that it brought something."""
    collector = bench.start()
    reading = bench.read(collector, page(made(1, FROM + 5), made(2, FROM + 9)), page(made(3, FROM + 900), last=True))
    assert bench.delivered == ["id-1", "id-2", "id-3"]
    assert (reading.pages, reading.records, reading.new, reading.error) == (2, 3, 3, None)
    assert reading.reached_s == UNREAD.end_s
    assert ago(collector)[0] == (3 * HOUR_S, DAY_S, True, False)


def test_the_second_reading_repeats_nothing_and_settles(bench: Bench) -> None:
    """Known records are dropped, whoever reads them; a reading that brings nothing says so."""
    collector = bench.start()
    for again in (False, True):
        reading = bench.read(collector, page(made(1, FROM + 5), last=True))
        assert reading.new == (0 if again else 1)
    assert bench.delivered == ["id-1"]
    assert collector.coverage.rows[0].settled


def test_order_of_effects(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Push, then note it in the ledger, then save how far; for each page by itself."""
    effects: list[str] = []
    collector = bench.start()
    push, add, save = bench._push, Ledger.add, ContextStore.save_stream

    def pushing(texts: Sequence[str]) -> int:
        effects.append("push")
        return push(texts)

    def adding(ledger: Ledger, *given: Any) -> None:
        effects.append("ledger")
        add(ledger, *given)

    def saving(store: ContextStore, *given: Any) -> None:
        effects.append("context")
        save(store, *given)

    collector._intake._push = pushing
    monkeypatch.setattr(Ledger, "add", adding)
    monkeypatch.setattr(ContextStore, "save_stream", saving)
    bench.read(collector, page(made(1, FROM + 5), made(2, FROM + 9)), page(made(3, FROM + 900), last=True))
    assert effects == ["push", "ledger", "context"] * 2


@pytest.mark.parametrize(
    ("where", "repeated"),
    [("before the push", []), ("before the ledger", ["id-3", "id-4"]), ("before the context", [])],
)
def test_what_a_crash_leaves(bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str, repeated: list[str]) -> None:
    """Nothing is lost, and at most the batch in flight is repeated."""
    first = page(made(1, FROM + 5), made(2, FROM + 9))
    second = page(made(3, FROM + 900), made(4, FROM + 901), last=True)
    with monkeypatch.context() as patched:
        collector = bench.start()
        bench.script.append([first, second])
        place, name = {
            "before the push": (Intake, "deliver"),
            "before the ledger": (Ledger, "add"),
            "before the context": (ContextStore, "save_stream"),
        }[where]
        real, calls = getattr(place, name), 0

        def dying(*given: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise Killed
            return real(*given)

        patched.setattr(place, name, dying)
        with pytest.raises(Killed):
            asyncio.run(collector.read(UNREAD))
    before = list(bench.delivered)
    collector = bench.start()
    assert collector.coverage.rows[0].end_s == FROM + 9
    bench.read(collector, second, window=Window("unread", FROM + 9, UNREAD.end_s))
    after = bench.delivered[len(before) :]
    assert set(before + after) == {"id-1", "id-2", "id-3", "id-4"}
    assert [one for one in after if one in before] == repeated


@pytest.mark.parametrize(
    "error",
    [GraphUnavailable("Graph answered 500"), PagingBroken("the token has expired"), StorageFailed("full")],
)
def test_an_error_leaves_what_was_read_before_it(bench: Bench, error: Exception) -> None:
    """The pages before it count; the rest is as it was, and is told as what was not read."""
    collector = bench.start()
    reading = bench.read(collector, page(made(1, FROM + 5), made(2, FROM + 60)), error)
    assert reading.error is error
    assert reading.rest == (FROM + 60, UNREAD.end_s)
    assert ago(collector)[:2] == [(60, DAY_S, True, False), (2 * DAY_S - 300, None, False, False)]


def test_what_is_no_error_of_ours_is_raised(bench: Bench) -> None:
    """A fault of this module is not taken for one of Graph's."""
    with pytest.raises(ZeroDivisionError):
        bench.read(bench.start(), ZeroDivisionError())


@pytest.mark.parametrize("error", [IntakeRefused(401), IntakeRefused(403)])
def test_an_intake_that_takes_nothing_leaves_all_of_it(bench: Bench, error: Exception) -> None:
    """A key that is wrong is a person's business: nothing counts as read, and everything comes when it is right."""
    collector = bench.start()
    bench.down = error
    reading = bench.read(collector, page(made(1, FROM + 5), last=True))
    assert reading.error is error
    assert reading.reached_s == FROM
    bench.down = None
    bench.read(collector, page(made(1, FROM + 5), last=True))
    assert bench.delivered == ["id-1"]


def test_a_disk_that_is_full_costs_one_repetition_at_most(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was pushed and could not be noted is remembered: nothing is pushed again when there is room."""
    collector = bench.start()
    with monkeypatch.context() as patched:

        def full(*_: Any) -> None:
            raise StorageFailed("no space left")

        patched.setattr(Ledger, "add", full)
        reading = bench.read(collector, page(made(1, FROM + 5), last=True))
        assert isinstance(reading.error, StorageFailed)
    bench.read(collector, page(made(1, FROM + 5), last=True))
    assert bench.delivered == ["id-1"]


def test_a_place_that_fails_while_the_disk_is_full_is_noted_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory; the disk's fault is met, and told, with the next page."""
    collector = bench.start()

    def full(*_: Any) -> None:
        raise StorageFailed("no space left")

    monkeypatch.setattr(ContextStore, "save_stream", full)
    asyncio.run(collector.fail((FROM, FROM + 60), "Graph answered 500", served_elsewhere=True))
    assert [(row.start_s, row.end_s) for row in collector.coverage.troubled] == [(FROM, FROM + 60)]


# Pages


def test_records_before_a_break_are_delivered(bench: Bench) -> None:
    """A page that goes over into an error gives what it has, and the rest is asked for again."""
    collector = bench.start()
    reading = bench.read(collector, page(made(1, FROM + 5), made(2, FROM + 60), broken="Graph's page breaks"))
    assert bench.delivered == ["id-1", "id-2"]
    assert str(reading.error) == "Graph's page breaks"
    assert reading.rest == (FROM + 60, UNREAD.end_s)


@pytest.mark.parametrize(
    ("records", "reached_s"),
    [
        (1000, 999),  # as many as were asked for: chains have been seen to end early
        (999, 3 * HOUR_S),
        (0, 3 * HOUR_S),
    ],
)
def test_a_full_last_page_is_asked_on_from_its_last_second(bench: Bench, records: int, reached_s: int) -> None:
    """Without a nextLink, a page with as many records as were asked for proves no end."""
    collector = bench.start()
    reading = bench.read(collector, page(*(made(number, FROM + number) for number in range(records)), last=True))
    assert reading.error is None
    assert reading.reached_s == FROM + reached_s


def test_a_full_last_page_of_one_second_is_the_end(bench: Bench) -> None:
    """It would be asked for in vain for ever."""
    collector = bench.start()
    window = Window("unread", FROM, FROM + 1)
    records = [made(number, FROM + number / 2000) for number in range(1000)]
    assert bench.read(collector, page(*records, last=True), window=window).reached_s == FROM + 1


@pytest.mark.parametrize("newest_first", [False, True])
def test_small_pages_of_a_second_are_its_end_only_if_there_is_room_for_one_more(
    bench: Bench, newest_first: bool
) -> None:
    """A full last page of two: three are asked for. What cannot be served may be behind it, and is no chain's end."""
    collector = bench.start()
    window = Window("troubled", FROM, FROM + 1, page_records=2, newest_first=newest_first)
    one, two, three = (made(number, FROM + number / 10) for number in range(3))
    bench.script.append([page(one, two, last=True)])
    reading = bench.read(collector, page(one, two, broken="Graph's page breaks"), window=window)
    assert (str(reading.error), reading.rest) == ("Graph's page breaks", (FROM, FROM + 1))
    bench.script += [[page(one, two, last=True)], [page(one, two, three, last=True)]]
    reading = bench.read(collector, page(one, two, three, last=True), window=window)
    assert (reading.error, reading.reached_s) == (None, FROM + 1)
    assert [asked.page_records for asked in bench.asked] == [2, 3, 2, 3, 4]
    assert bench.delivered == ["id-0", "id-1", "id-2"]
    assert not collector.coverage.rows[0].settled, "it has brought something new"


def test_small_pages_of_a_crowded_second_are_asked_for_in_the_largest(bench: Bench) -> None:
    """More than 1,000 in full small pages: no page has room for one more, and the largest is taken for the end."""
    collector = bench.start()
    records = [made(number, FROM + number / 2000) for number in range(1200)]
    small = [page(*records[at : at + 100], last=at == 1100) for at in range(0, 1200, 100)]
    bench.script.append(small)
    window = Window("troubled", FROM, FROM + 1, page_records=100)
    reading = bench.read(collector, page(*records[:1000]), page(*records[1000:], last=True), window=window)
    assert (reading.error, reading.reached_s) == (None, FROM + 1)
    assert [asked.page_records for asked in bench.asked] == [100, 1000]
    assert len(bench.delivered) == 1200


def test_a_chain_that_ends_early_is_read_again(bench: Bench) -> None:
    """What a short last page says is believed, but not for good: the stretch brought something, and is not settled."""
    collector = bench.start()
    bench.read(collector, page(made(1, FROM + 5), last=True))
    assert not collector.coverage.rows[0].settled
    bench.read(collector, page(made(1, FROM + 5), made(2, FROM + 7), last=True))
    assert not collector.coverage.rows[0].settled
    bench.read(collector, page(made(1, FROM + 5), made(2, FROM + 7), last=True))
    assert collector.coverage.rows[0].settled
    assert bench.delivered == ["id-1", "id-2"]


def test_a_long_chain_is_left_and_planned_anew(bench: Bench) -> None:
    """After fifteen pages in order; what is left is still to be read."""
    collector = bench.start()
    steps = [page(made(number, FROM + 10 * number), made(-number, FROM + 10 * number + 5)) for number in range(1, 40)]
    reading = bench.read(collector, *steps)
    assert (reading.pages, reading.error) == (MOST_PAGES, None)
    assert reading.reached_s == FROM + 155


def test_a_long_chain_within_one_second_is_followed_to_its_end(bench: Bench) -> None:
    """Left after fifteen pages it would be begun anew for ever: there is no second to go on from."""
    collector = bench.start()
    window = Window("troubled", FROM, FROM + 1, page_records=1)
    records = [made(number, FROM + number / 100) for number in range(60)]
    bench.script.append([page(record, last=record is records[-1]) for record in records])
    reading = bench.read(collector, page(*records, last=True), window=window)
    assert (reading.pages, reading.reached_s) == (61, FROM + 1)
    assert len(bench.delivered) == 60


@pytest.mark.parametrize(
    ("first", "reached_s"),
    [
        ([(1, 5), (2, 60)], 60),
        ([(1, 60), (2, 5)], 0),  # newest first
        ([(1, 5), (2, 5)], 0),  # one time proves no order
        ([(1, 5), (2, 4 * HOUR_S)], 0),  # one beyond the window: not what was asked for
        ([(1, -5), (2, 60)], 0),
        ([], 0),
    ],
)
def test_only_pages_in_order_count_before_the_last(bench: Bench, first: list[tuple[int, int]], reached_s: int) -> None:
    """Whatever order Graph answers in, the records are delivered; only ascending ones say how far it is read."""
    collector = bench.start()
    records = [made(number, FROM + at_s) for number, at_s in first]
    reading = bench.read(collector, page(*records), GraphUnavailable("500"))
    assert len(bench.delivered) == len(first)
    assert reading.reached_s == FROM + reached_s


def test_two_pages_of_one_second_each_prove_their_order(bench: Bench) -> None:
    """A later second on the second page is ascending, too."""
    collector = bench.start()
    reading = bench.read(collector, page(made(1, FROM + 5)), page(made(2, FROM + 9)), GraphUnavailable("500"))
    assert reading.reached_s == FROM + 9


def test_a_window_newest_first_counts_whole_or_not_at_all(bench: Bench) -> None:
    """What was asked for from the other end is read when its last page is."""
    collector = bench.start()
    window = Window("troubled", FROM, FROM + 1, page_records=1, newest_first=True)
    reading = bench.read(collector, page(made(2, FROM + 0.9)), GraphUnavailable("500"), window=window)
    assert (reading.reached_s, bench.delivered) == (FROM, ["id-2"])


# Records


def test_changes_are_pushed_again(bench: Bench) -> None:
    """A material change is news; any other is not."""
    collector = bench.start()
    states = [{"riskState": "none"}, {"riskState": "atRisk"}, {"riskState": "atRisk", "appDisplayName": "x"}]
    for state in states:
        bench.read(collector, page(made(1, FRESH + 5, **state), last=True), window=RECENT)
    assert bench.delivered == ["id-1", "id-1"]
    assert [(taken.new, taken.updated) for taken in bench.taken if taken.pushed] == [(1, 0), (0, 1)]


def test_without_forward_updates_nothing_is_pushed_again(tmp_path: Path) -> None:
    """forward_updates false: what a record said first is all that is pushed; new records are."""
    bench = Bench(tmp_path, forward_updates=False)
    collector = bench.start()
    bench.read(collector, page(made(1, FRESH + 5, riskState="none"), last=True), window=RECENT)
    changed = made(1, FRESH + 5, riskState="atRisk")
    bench.read(collector, page(changed, made(2, FRESH + 6), last=True), window=RECENT)
    # Also after a restart.
    bench.read(bench.start(), page(changed, made(2, FRESH + 6, riskState="atRisk"), last=True), window=RECENT)
    assert bench.delivered == ["id-1", "id-2"]


def test_one_record_twice_on_a_page_is_pushed_once(bench: Bench) -> None:
    """Pages have been seen to overlap within themselves."""
    collector = bench.start()
    bench.read(collector, page(made(1, FROM + 5), made(1, FROM + 5), last=True))
    assert bench.delivered == ["id-1"]


def test_two_records_under_one_id_are_pushed_once_each(bench: Bench) -> None:
    """By their content, in every reading."""
    collector = bench.start()
    two = page(made(1, FRESH + 5, appDisplayName="a"), made(1, FRESH + 5, appDisplayName="b"), last=True)
    for _ in range(3):
        bench.read(collector, two, window=RECENT)
    assert bench.delivered == ["id-1", "id-1"]


def test_a_record_of_the_year_2099_moves_nothing(bench: Bench) -> None:
    """It is delivered once, however often and after whatever restart it is read; the map and the lateness stay."""
    collector = bench.start()
    far = made(9, datetime(2099, 1, 1, tzinfo=UTC).timestamp())
    edge = Window("edge", NOW - 300, NOW)
    for restarts in (False, True, False):
        collector = bench.start() if restarts else collector
        reading = bench.read(collector, page(made(1, NOW - 200), far), page(far, last=True), window=edge)
        assert reading.reached_s == NOW
        bench.clock.advance(HOUR_S)
    assert bench.delivered == ["id-1", "id-9"]
    assert collector.coverage.edge_s == NOW
    assert bench.seen_s == [NOW - 200]
    assert [taken.newest_s for taken in bench.taken if taken.pushed] == [NOW - 200]


@pytest.mark.parametrize(
    "text", ['{"id":"x"}', '{"id":"x","createdDateTime":null}', '{"id":"x","createdDateTime":"?"}']
)
def test_a_record_without_a_time_counts_for_all_of_the_window(bench: Bench, text: str) -> None:
    """It is delivered once, and all of what it may belong to is read once more."""
    collector = bench.start()
    strange = read_page(STREAM, b'{"value":[' + text.encode() + b"]}"), True
    bench.read(collector, strange)
    bench.read(collector, strange)
    assert bench.delivered == ["x"]
    assert collector.coverage.rows[0].settled


def test_lateness_is_learned_from_polls_and_looks_only(bench: Bench) -> None:
    """History is old when it is first read: that says nothing of how late Graph shows it."""
    collector = bench.start()
    bench.read(collector, page(made(1, FROM + 5), last=True))
    assert bench.seen_s == []
    bench.read(collector, page(made(2, NOW - 60), last=True), window=Window("edge", NOW - 300, NOW))
    assert bench.seen_s == [NOW - 60]


# Refusals of the intake


def convict(bench: Bench, collector: Collector, records: list[dict[str, Any]], tries: int) -> list[Reading]:
    """Reads the same place so often, as far apart as a suspect waits."""
    readings = []
    for _ in range(tries):
        readings.append(bench.read(collector, page(*records, last=True), window=RECENT))
        bench.clock.advance(AGAIN_S + 1)
    return readings


def test_a_refused_record_waits_by_itself(bench: Bench) -> None:
    """Its neighbours are delivered, only its second is in trouble, and nothing was told yet."""
    collector = bench.start()
    bench.bad = {"id-2"}
    records = [made(1, FRESH + 5), made(2, FRESH + 60.5), made(3, FRESH + 90)]
    reading = bench.read(collector, page(*records, last=True), window=RECENT)
    assert sorted(bench.delivered) == ["id-1", "id-3"]
    assert (reading.error, reading.aside) == (None, [])
    (row,) = collector.coverage.troubled
    assert (row.start_s, row.end_s) == (FRESH + 60, FRESH + 61)
    assert row.trouble is not None
    assert row.trouble.why == "the intake answered 400 to record id-2"
    assert row.trouble.again_s == NOW + AGAIN_S


def test_a_record_that_is_refused_again_and_again_is_kept(bench: Bench) -> None:
    """At the third try, minutes apart, it goes to refused.jsonl, is told once, noted, and not read for ever."""
    collector = bench.start()
    bench.bad = {"id-2"}
    convict(bench, collector, [made(1, FRESH + 5), made(2, FRESH + 60.5)], 3)
    kept = [orjson.loads(line) for line in (bench.folder / REFUSED_FILE).read_bytes().splitlines()]
    assert [(line["status"], line["id"]) for line in kept] == [(400, "id-2")]
    assert [taken.refused for taken in bench.taken if taken.refused] == [[("id-2", 400)]]
    assert not collector.coverage.troubled
    convict(bench, collector, [made(1, FRESH + 5), made(2, FRESH + 60.5)], 2)
    assert len((bench.folder / REFUSED_FILE).read_bytes().splitlines()) == 1
    assert bench.delivered == ["id-1"]


def test_an_intake_that_relents_gets_it(bench: Bench) -> None:
    """What it took in the end is delivered once, and is in trouble no more."""
    collector = bench.start()
    bench.bad = {"id-2"}
    records = [made(1, FRESH + 5), made(2, FRESH + 60.5)]
    convict(bench, collector, records, 2)
    bench.bad = set()
    convict(bench, collector, records, 2)
    assert sorted(bench.delivered) == ["id-1", "id-2"]
    assert not collector.coverage.troubled


@pytest.mark.parametrize("refused", ["id-1", "id-2", "id-3", "id-4"])
def test_a_refused_record_on_a_page_that_is_not_the_last_still_waits(bench: Bench, refused: str) -> None:
    """The pages after it, which begin in the same second, do not make its second read."""
    collector = bench.start()
    bench.bad = {refused}
    pages = [
        page(made(1, FRESH + 5), made(2, FRESH + 60.2)),
        page(made(3, FRESH + 60.7), made(4, FRESH + 90.9)),
        page(last=True),
    ]
    for _ in range(2):
        bench.read(collector, *pages, window=RECENT)
        at_s = {"id-1": 5, "id-2": 60, "id-3": 60, "id-4": 90}[refused]
        assert [(row.start_s, row.end_s) for row in collector.coverage.troubled] == [(FRESH + at_s, FRESH + at_s + 1)]
        bench.clock.advance(AGAIN_S + 1)
    bench.read(collector, *pages, window=RECENT)
    assert (bench.folder / REFUSED_FILE).exists()
    assert not collector.coverage.troubled


def test_several_refused_records_each_wait_by_themselves(bench: Bench) -> None:
    """On one page and on another: each second is in trouble, and nothing between them."""
    collector = bench.start()
    bench.bad = {"id-1", "id-2", "id-3"}
    first = page(made(1, FRESH + 5), made(4, FRESH + 20), made(2, FRESH + 60.2))
    second = page(made(5, FRESH + 70), made(3, FRESH + 90), last=True)
    bench.read(collector, first, second, window=RECENT)
    assert [row.start_s - FRESH for row in collector.coverage.troubled] == [5, 60, 90]


def test_a_kind_of_record_that_is_refused_is_no_thousand_places(bench: Bench) -> None:
    """Every fifth record of ten pages: a few rows of the map and a few requests; all are kept, all others taken."""
    collector = bench.start()
    bench.bad = {f"id-{number}" for number in range(0, 1000, 5)}
    pages = [[made(number, FROM + number) for number in range(at, at + 100)] for at in range(0, 1000, 100)]
    for records in pages:
        end_s = FROM + int(records[-1]["id"][3:]) + 1
        window = Window("unread", end_s - 100, end_s)
        bench.read(collector, page(*records, last=True), window=window)
    assert len(collector.coverage.troubled) <= 60
    requests = 0
    while (window := plan.troubled_window(collector.coverage, int(bench.clock.time()) + 200, [])) is not None:
        bench.clock.advance(AGAIN_S / 10)
        held = [one for records in pages for one in records if window.start_s - FROM <= int(one["id"][3:])]
        held = [one for one in held if int(one["id"][3:]) <= window.end_s - FROM]
        bench.read(collector, page(*held, last=True), window=window)
        requests += 1
    kept = (bench.folder / REFUSED_FILE).read_bytes().splitlines()
    assert {orjson.loads(line)["id"] for line in kept} == bench.bad
    assert sorted(bench.delivered) == sorted({f"id-{number}" for number in range(1000)} - bench.bad)
    assert requests < 250


def test_a_record_that_is_refused_alone_is_told_when_it_lasts(bench: Bench) -> None:
    """While the intake takes nothing else it may be the intake: the place waits, and is set aside at the fourth try."""
    collector = bench.start()
    bench.bad = {"id-2"}
    readings = convict(bench, collector, [made(2, FRESH + 60.5)], 6)
    assert [len(reading.aside) for reading in readings] == [0, 0, 0, 1, 1, 1]
    assert collector.coverage.troubled


# State


def test_the_map_survives_a_restart(bench: Bench) -> None:
    """Also what is in trouble, and why."""
    collector = bench.start()
    bench.read(collector, page(made(1, FROM + 5), last=True))
    asyncio.run(collector.fail((FROM + 3600, FROM + 7200), "Graph answered 500", served_elsewhere=True))
    assert bench.start().coverage == collector.coverage


def test_the_beginning_is_saved_before_the_first_page(bench: Bench) -> None:
    """A crash, or a day without the network, must not move it."""
    bench.start()
    bench.clock.advance(DAY_S)
    assert bench.start().coverage.origin_s == FROM


def test_a_damaged_map_begins_where_the_ledger_does(bench: Bench) -> None:
    """What it said is read again, a day at least; the ledger still knows what was delivered."""
    collector = bench.start()
    bench.read(collector, page(made(1, FROM + 5), last=True))
    context = bench.folder / "context.json"
    state = orjson.loads(context.read_bytes())
    state["streams"][STREAM.key] = {"coverage": "?"}
    context.write_bytes(orjson.dumps(state))
    collector = bench.start()
    assert bench.damage == [(f"{STREAM.key} in context.json", "damaged")]
    assert collector.coverage.origin_s <= FROM + 5
    bench.read(collector, page(made(1, FROM + 5), last=True))
    assert bench.delivered == ["id-1"]


def test_a_clock_that_steps_by_weeks_and_back_drops_nothing(bench: Bench) -> None:
    """Answers dated 40 days ahead for some minutes: no history is dropped or called lost; if it stays, it is."""
    collector = bench.start()
    asyncio.run(collector.catch_up(60))
    bench.clock.now += 40 * DAY_S
    for _ in range(5):
        bench.clock.advance(60)
        _, clipped = asyncio.run(collector.catch_up(60))
        assert (clipped.lost, clipped.unlooked) == ((), ())
    bench.read(collector, page(last=True), window=Window("edge", int(bench.clock.now) - 300, int(bench.clock.now)))
    bench.clock.now -= 40 * DAY_S
    for _ in range(90):
        bench.clock.advance(60)
        _, clipped = asyncio.run(collector.catch_up(60))
        assert (clipped.lost, clipped.unlooked) == ((), ())
    assert collector.coverage.origin_s == FROM
    assert collector.coverage.unread_s >= 2 * DAY_S
    bench.clock.now += 40 * DAY_S
    for _ in range(62):
        bench.clock.advance(60)
        _, clipped = asyncio.run(collector.catch_up(60))
    assert clipped.lost


def test_an_outage_leaves_a_gap_that_is_read_in_the_background(bench: Bench) -> None:
    """Before a poll; and what Graph no longer keeps is left out and named."""
    collector = bench.start()
    bench.read(collector, page(last=True), window=Window("edge", NOW - 300, NOW))
    bench.clock.advance(HOUR_S)
    gap, clipped = asyncio.run(collector.catch_up(60))
    assert gap == (NOW, NOW + HOUR_S - 300)
    assert clipped.lost == ()
    bench.clock.advance(30 * DAY_S)
    gap, clipped = asyncio.run(bench.start().catch_up(60))
    assert clipped.lost == ((FROM, NOW - 300), (NOW, NOW + HOUR_S + 600))


# A stop


@pytest.mark.parametrize(("takes_s", "noted"), [(0.05, True), (0.6, False)])
def test_a_stop_waits_a_moment_for_a_push(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, takes_s: float, noted: bool
) -> None:
    """A push that is under way is acknowledged and noted, so that it is not repeated; one that hangs is left."""
    monkeypatch.setattr(collector_module, "STOP_GRACE_S", 0.3)
    collector = bench.start()
    began, push = Event(), bench._push

    def slowly(texts: Sequence[str]) -> int:
        began.set()
        Event().wait(takes_s)
        return push(texts)

    collector._intake._push = slowly
    bench.script.append([page(made(1, FROM + 5), last=True)])
    was_noted = None

    async def stop() -> None:
        nonlocal was_noted
        task = asyncio.create_task(collector.read(UNREAD))
        await asyncio.to_thread(began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        was_noted = bool(bench.taken)

    asyncio.run(stop())
    assert was_noted is noted


def test_a_page_is_as_large_as_it_is_in_memory(bench: Bench) -> None:
    """One sign beyond the basic plane makes a text four times as large as its letters."""
    collector = bench.start()
    plain = bench.read(collector, page(made(1, FROM + 5, note="a" * 10_000), last=True))
    signed = bench.read(collector, page(made(2, FROM + 5, note="a" * 10_000 + "\U0001f600"), last=True))
    assert plain.size_bytes < 11_000
    assert signed.size_bytes > 40_000


def test_two_windows_that_hold_one_record_push_it_once(bench: Bench) -> None:
    """Windows of a stream are in flight together, and take turns with what they bring."""
    collector = bench.start()
    steps = [page(*(made(number, FRESH + number) for number in range(200)), last=True)]
    bench.script += [list(steps), list(steps), list(steps)]

    async def together() -> None:
        await asyncio.gather(*(collector.read(RECENT) for _ in range(3)))

    asyncio.run(together())
    assert len(bench.delivered) == 200


def test_new_records_do_not_queue_behind_history_for_a_slow_intake(bench: Bench) -> None:
    """Five pages of history wait to be delivered when a poll's comes: it is next."""

    async def read_all() -> None:
        collector = bench.start()
        async with collector._turn.of("edge"):
            for number in range(5):
                bench.script.append([page(made(number, FROM + number * 60 + 5), last=True)])
            windows = [Window("unread", FROM + number * 60, FROM + number * 60 + 59) for number in range(5)]
            bench.script.append([page(made(9, NOW - 20), last=True)])
            reads = [
                asyncio.create_task(collector.read(window)) for window in (*windows, Window("edge", NOW - 60, NOW))
            ]
            await asyncio.sleep(0.05)
        await asyncio.gather(*reads)

    asyncio.run(read_all())
    assert bench.delivered[0] == "id-9"
    assert sorted(bench.delivered) == [f"id-{number}" for number in (0, 1, 2, 3, 4, 9)]


def test_an_intake_that_is_down_is_waited_for(bench: Bench) -> None:
    """It is tried again in place; nothing is lost and nothing is read twice."""
    collector = bench.start()
    faults: list[Callable[[], Exception]] = [lambda: IntakeUnavailable("503")] * 3
    push = bench._push

    def flaky(texts: Sequence[str]) -> int:
        if faults:
            raise faults.pop()()
        return push(texts)

    collector._intake._push = flaky
    assert bench.read(collector, page(made(1, FROM + 5), last=True)).error is None
    assert bench.delivered == ["id-1"]
