"""The push: bounded by the bytes as sent, tried until it is acknowledged, and never dropped."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from threading import Event

import pytest

from graph_entra.delivery.intake import AGAIN_S, Delivery, Intake
from graph_entra.delivery.intake_http import IntakeHttp
from graph_entra.errors import IntakeRefused, IntakeTimedOut, IntakeUnavailable, StorageFailed
from graph_entra.records import Record, hash64
from tests.emulator import Fault
from tests.emulator.intake import MAX_BODY_BYTES, SIGNINS_KEY
from tests.emulator.records import one
from tests.emulator.verdict import canonical
from tests.integration.rig import Rig, assert_same

STREAM = "interactiveUser"
OTHER = "servicePrincipal"


def _add(rig: Rig, count: int, text: str, stream: str = STREAM) -> None:
    plain = one(stream, rig.clock.now() - timedelta(hours=1), size=900)
    for number in range(count):
        created = rig.clock.now() - timedelta(minutes=90, seconds=-number)
        members = {"id": f"record-{number}", "createdDateTime": f"{created:%Y-%m-%dT%H:%M:%SZ}", "unknownMember": text}
        rig.emulator.tenant.add(stream, {**plain, **members})


@pytest.mark.parametrize(
    ("count", "text"),
    [(1000, "名" * 6_700), (300, '"\\' * 10_000), (1000, "x" * 20_000), (60, "😀" * 62_000), (3000, "é")],
    ids=["20 KB of Chinese", "20 KB of quotes", "20 KB of ASCII", "250 KB of emoji", "three batches of small ones"],
)
async def test_batches_are_bounded_by_bytes_as_sent(make_rig: Callable[..., Rig], count: int, text: str) -> None:
    """No push is refused as too large, none has more than 1,000 records, few are needed, and all arrive once."""
    rig = make_rig(page_limit=1000)
    _add(rig, count, text)
    async with rig.collecting(STREAM, frequency=3600) as run:
        await run.until(lambda: rig.emulator.intake.count >= count, "all records", patience_s=60)
        assert run.complaints() == []
    requests = rig.emulator.intake.requests
    assert {request.status for request in requests} == {200}
    assert max(request.bytes for request in requests) <= MAX_BODY_BYTES
    assert max(request.count for request in requests) <= 1000
    pages = -(-count // 1000)
    assert len(requests) <= pages + sum(request.bytes for request in requests) / (8 * 1024 * 1024)
    texts = rig.emulator.intake.texts()
    assert sorted(json.loads(text)["id"] for text in texts) == sorted(f"record-{n}" for n in range(count))
    assert all(
        json.loads(text)["unknownMember"] == text_of for text, text_of in zip(texts, [text] * count, strict=True)
    )


async def test_invalid_intake_key(rig: Rig) -> None:
    """It is told at once in plain words, nothing is dropped, and once the key is accepted everything arrives once."""
    rig.fill(STREAM, OTHER)
    rig.emulator.intake.keys.discard(SIGNINS_KEY)
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: run.said("pushing to the intake", "Check intake_key"), "a line about the key")
        assert len(run.said("pushing to the intake", level="error")) == 1
        await run.until(lambda: len(rig.emulator.intake.requests) > 6, "further tries")
        assert rig.emulator.intake.count == 0
        rig.fill(STREAM, OTHER, count=5, hours=0.01, seed=1)
        rig.emulator.intake.keys.add(SIGNINS_KEY)
        await run.complete()
        assert run.said("pushing to the intake", "recovered")
        assert len(run.complaints()) == 1


FAULTS = {
    "500": Fault.status(500),
    "502 from a proxy": Fault.html(502),
    "429": Fault.retry_after(429, "1"),
    "HTML page with 200": Fault.html(200),
    "answer with too few ids": Fault.body(b'{"event_ids": ["1"]}'),
    "answer with no list of ids": Fault.body(b'{"event_ids": 7}'),
    "reset before storing": Fault.reset(),
    "stall before storing": Fault.stall(300),
}
# The intake has the records, and cannot say so: the one batch in flight comes again.
STORED = {
    "reset after storing": Fault.lost_answer(),
    "reset within the answer": Fault.reset(10),
    "truncated answer": Fault.truncate(30),
    "stall within the answer": Fault.stall(300, 30),
    "answer too late": Fault.late(45),
    "answer in drops": Fault.trickle(1),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_intake_fails_before_storing(rig: Rig, fault: Fault) -> None:
    """It is tried until it passes, told when it lasts, and everything arrives once."""
    rig.fill(STREAM, OTHER)
    rig.emulator.intake.faults.inject(fault, times=None, after=2)
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: run.said("The Sekoia intake does not acknowledge", level="warning"), "a line")
        stored = rig.emulator.intake.count
        rig.emulator.intake.faults.clear()
        await run.complete()
        assert stored < rig.emulator.intake.count
        assert run.said("pushing to the intake", "recovered")
        assert all("does not acknowledge" in line for line in run.complaints()), run.complaints()


@pytest.mark.parametrize("fault", STORED.values(), ids=STORED)
async def test_intake_fails_after_storing(rig: Rig, fault: Fault) -> None:
    """Nothing is skipped or altered; only the batches whose acknowledgement was lost come again, each once."""
    rig.fill(STREAM, OTHER)
    for after in (0, 2):
        rig.emulator.intake.faults.inject(fault, after=after)
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: rig.emulator.intake.faults.used == 2, "two lost acknowledgements")
        await run.read_again(times=2)
        pushed = Counter(map(canonical, rig.emulator.intake.texts()))
        assert set(pushed) == set(map(canonical, rig.held(STREAM, OTHER)))
        assert max(pushed.values()) <= 3
        assert pushed.total() - len(pushed) <= 2 * rig.emulator.tenant.page_limit


async def test_backlog_waits_while_the_intake_is_down_and_live_comes_first_afterwards(rig: Rig) -> None:
    """An intake that is down for an hour costs nothing: what came meanwhile and what was waiting arrives once."""
    rig.fill(STREAM, OTHER)
    async with rig.collecting(STREAM, OTHER) as run:
        await run.complete()
        rig.emulator.intake.faults.inject(Fault.status(503), times=None)
        rig.fill(STREAM, OTHER, count=30, hours=0.01, seed=1)
        await run.until(lambda: run.said("does not acknowledge"), "a line")
        rig.clock.jump(3600)
        rig.fill(STREAM, OTHER, count=30, hours=0.9, seed=2)
        rig.emulator.intake.faults.clear()
        await run.complete()


def _kept(rig: Rig, status: int) -> list[str]:
    """The records of refused.jsonl, each with the status that was answered."""
    lines = [json.loads(line) for line in (rig.folder / "refused.jsonl").read_text().splitlines()]
    assert {line["status"] for line in lines} == {status}
    assert all(line["id"] == line["record"]["id"] for line in lines)
    return [json.dumps(line["record"]) for line in lines]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_refused_records_among_others(make_rig: Callable[..., Rig], status: int) -> None:
    """They are found by halving, kept in refused.jsonl and told by id; every other record arrives once."""
    rig = make_rig(page_limit=1000)
    rig.fill(STREAM, OTHER, count=100)
    held = rig.held(STREAM, OTHER)
    bad = [held[index] for index in (0, 41, 42, 99, 150)]
    rig.emulator.intake.refused = {json.loads(text)["id"]: status for text in bad}
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: rig.emulator.intake.count >= 195, "all others")
        await run.until(lambda: len(run.said("the intake refuses record", level="error")) >= 5, "five lines")
        rig.clock.jump(1200)
        await run.read_again()
        told = run.said("the intake refuses record", level="error")
        assert len(told) == 5
        assert all(any(record_id in line for line in told) for record_id in rig.emulator.intake.refused)
        assert not run.said("Check intake_key")
    assert_same(rig.emulator.intake.texts(), [text for text in held if text not in bad])
    assert_same(_kept(rig, status), bad)


async def test_refused_record_alone_on_a_quiet_stream(rig: Rig) -> None:
    """Nothing waits for it: the other stream goes on, and its records are what convicts it."""
    rig.fill(OTHER)
    rig.fill(STREAM, count=1, hours=0.05)
    (bad,) = rig.held(STREAM)
    rig.emulator.intake.refused = {json.loads(bad)["id"]: 400}
    async with rig.collecting(STREAM, OTHER) as run:
        await run.complete(OTHER)
        rig.fill(OTHER, count=1, hours=0.01, seed=1)
        await run.until(lambda: run.said("the intake refuses record"), "a line that names it")
        rig.fill(STREAM, count=5, hours=0.01, seed=2)
        await run.until(lambda: rig.emulator.intake.count >= 56, "what comes after it")
        await run.read_again()
        assert not run.said("Check intake_key")
        assert_same(rig.emulator.intake.texts(), [text for text in rig.held(STREAM, OTHER) if text != bad])
        assert_same(_kept(rig, 400), [bad])


# The delivery alone: the SDK's push and ours, over real HTTP, without Graph.


class Plain(IntakeHttp):
    """A connector that only pushes."""

    def run(self) -> None:
        """Never."""


class Desk:
    """Hands records to an intake and notes what is taken.

    Attributes:
        noted: ids of what was noted.
        note_faults: so many notes fail first, as on a full disk.
        faults: what the intake's owner was told.
    """

    def __init__(self, rig: Rig) -> None:
        environment = rig.emulator.environment(data_path=rig.folder, connector={})
        for name in ("CONNECTOR_CONFIGURATION", "TOKEN", "INTAKE_URL"):
            rig.monkeypatch.setenv(name, environment[name])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.connector = Plain(data_path=rig.folder)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        self.connector.clock = rig.clock
        self.clock = rig.clock
        self.server = rig.emulator.intake
        self.noted: list[str] = []
        self.note_faults = 0
        self.faults: list[IntakeUnavailable] = []
        self.intake = Intake(self._push, clock=rig.clock, stopping=Event(), on_fault=self.faults.append)

    async def deliver(self, *ids: str) -> Delivery:
        """Delivers one record for each id, on a thread, as a page's are."""
        texts = [json.dumps({"id": one, "createdDateTime": "2026-11-26T04:00:00Z", "name": "Zoë"}) for one in ids]
        records = [Record(text, hash64(one.encode()), 0, None, one) for one, text in zip(ids, texts, strict=True)]
        return await asyncio.to_thread(self.intake.deliver, records, self._note)

    def copies(self) -> Counter[str]:
        """How often each record was stored, by id."""
        return Counter(json.loads(text)["id"] for text in self.server.texts())

    def _push(self, events: Sequence[str]) -> int:
        return len(self.connector.push_events_to_intakes(list(events), sync=True))

    def _note(self, taken: Sequence[Record]) -> None:
        if self.note_faults:
            self.note_faults -= 1
            raise StorageFailed("cannot write: no space left on device")
        self.noted += [record.id or "" for record in taken]


IDS = tuple(f"record-{number}" for number in range(900))


@pytest.fixture
async def desk(rig: Rig) -> Desk:
    """The usual one."""
    return Desk(rig)


@pytest.mark.parametrize("records_per_s", [25.0, 10.0])
async def test_an_intake_that_stores_900_and_answers_after_37_s(desk: Desk, records_per_s: float) -> None:
    """Or after 90: smaller batches are answered in time; each record comes twice at most, and is noted."""
    desk.server.records_per_s = records_per_s
    await desk.deliver(*IDS)
    await desk.deliver(*(f"later-{number}" for number in range(900)))
    assert len(desk.noted) == 1800
    assert max(desk.copies().values()) == 2
    assert desk.copies().total() == 1800 + 900
    assert [type(fault) for fault in desk.faults] == [IntakeTimedOut]


async def test_an_intake_that_answers_after_37_s_whatever_the_size(desk: Desk) -> None:
    """Smaller is not quicker there: after a time-out an answer may take longer, too."""
    desk.server.faults.inject(Fault.late(37), times=None)
    await desk.deliver(*IDS)
    assert sorted(desk.noted) == sorted(IDS)
    assert max(desk.copies().values()) == 2
    assert len(desk.faults) == 1


async def test_an_intake_that_has_timed_out_is_waited_for_longer(desk: Desk) -> None:
    """The second time for a minute, however small the push is."""
    desk.server.faults.inject(Fault.late(45), times=3)
    await desk.deliver("a")
    assert len(desk.faults) == 1


async def test_an_intake_that_trickles_its_answer_holds_up_nobody_for_long(desk: Desk) -> None:
    """A byte every 10 s: the limit is on the whole answer, and another stream's record is delivered then."""
    desk.server.faults.inject(Fault.trickle(10))
    started_s = desk.clock.monotonic()
    await asyncio.gather(desk.deliver("a"), desk.deliver("b"))
    assert sorted(desk.noted) == ["a", "b"]
    assert desk.clock.monotonic() - started_s < 35
    assert desk.copies().total() == 3


@pytest.mark.parametrize("body", [b"", b"{}", b'{"status":"ok"}'])
async def test_a_plain_success_without_ids_is_an_acknowledgement(desk: Desk, body: bytes) -> None:
    """Each record is stored once and noted."""
    desk.server.success = body
    await desk.deliver(*IDS)
    assert desk.copies() == Counter(desk.noted) == Counter(IDS)
    assert desk.faults == []


async def test_a_portals_page_is_told_as_what_it_is(desk: Desk) -> None:
    """Status 200 and HTML: nothing is stored, nothing noted, until the intake itself answers."""
    desk.server.faults.inject(Fault.html(200), times=2)
    await desk.deliver("a")
    assert desk.noted == ["a"]
    assert [str(fault) for fault in desk.faults] == [
        "not the intake's answer: 200 with an HTML page: a proxy or a portal on the way"
    ] * 2


async def test_a_refused_record_alone_is_set_aside_after_tries_minutes_apart(desk: Desk) -> None:
    """Three tries over five minutes, while another record is taken; until then it is a suspect and nothing waits."""
    desk.server.refused = {"bad": 400}
    for tries in (1, 2, 3):
        (suspect,) = (await desk.deliver("bad")).suspects
        assert (suspect.tries, suspect.status) == (tries, 400)
        desk.clock.jump(AGAIN_S)
    await desk.deliver("good")
    (refused,) = (await desk.deliver("bad")).refused
    assert (refused.record.id, refused.status) == ("bad", 400)
    assert desk.noted == ["good"]


@pytest.mark.parametrize("status", [400, 422])
async def test_refusing_everything_is_a_persons_business(desk: Desk, status: int) -> None:
    """Nothing is set aside, the status is reported, and few pushes are made to find out."""
    desk.server.faults.inject(Fault.status(status), times=None)
    with pytest.raises(IntakeRefused) as raised:
        await desk.deliver(*IDS)
    assert raised.value.status == status
    assert len(desk.server.requests) <= 40
    desk.server.faults.clear()
    await desk.deliver(*IDS)
    assert desk.copies() == Counter(IDS)


async def test_passing_refusals_convict_nobody(desk: Desk) -> None:
    """A batch of two, two passing 400s: the innocent record is taken a few minutes later."""
    desk.server.faults.inject(Fault.status(400), times=2)
    (suspect,) = (await desk.deliver("a", "b")).suspects
    assert desk.noted == ["b"]
    desk.clock.jump(suspect.again_in_s)
    assert await desk.deliver("a") == Delivery()
    assert desk.copies() == Counter(["a", "b"])


async def test_a_full_disk_and_a_refused_record_repeat_nobody(desk: Desk) -> None:
    """30 tries without room: each neighbour is stored once, and noted when there is room."""
    desk.server.refused = {"record-41": 400}
    desk.note_faults = 30
    for _ in range(30):
        with pytest.raises(StorageFailed):
            await desk.deliver(*IDS[:100])
    await desk.deliver(*IDS[:100])
    assert desk.copies() == Counter(desk.noted) == Counter(set(IDS[:100]) - {"record-41"})


async def test_no_message_holds_the_key(desk: Desk) -> None:
    """Neither an error's text nor what it was raised from: the request that failed has the key in its body."""
    for fault in (Fault.reset(), Fault.html(502), Fault.late(45), Fault.truncate(5)):
        desk.server.faults.inject(fault)
    await desk.deliver("a")
    assert len(desk.faults) == 4
    for told in desk.faults:
        assert SIGNINS_KEY not in str(told)
        assert told.__cause__ is None
        assert told.__context__ is None or told.__suppress_context__
    assert desk.faults[0].host == "127.0.0.1"
