"""The push: bounded by the bytes as sent, tried until it is acknowledged, and never dropped."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.emulator import Fault
from tests.emulator.intake import MAX_BODY_BYTES, SIGNINS_KEY
from tests.emulator.records import one
from tests.emulator.service import Answer
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
        await run.until(lambda: rig.emulator.intake.count >= count, "all records")
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
    "answer without ids": Fault.body(b"{}"),
    "answer with too few ids": Fault.body(b'{"event_ids": ["1"]}'),
    "answer with no list of ids": Fault.body(b'{"event_ids": 7}'),
    "reset before storing": Fault.reset(),
    "stall before storing": Fault.stall(60),
}
# The intake has the records, and cannot say so: the one batch in flight comes again.
STORED = {
    "reset after storing": Fault.lost_answer(),
    "reset within the answer": Fault.reset(10),
    "truncated answer": Fault.truncate(30),
    "stall within the answer": Fault.stall(60, 30),
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
        await run.pass_time(3600)
        rig.fill(STREAM, OTHER, count=30, hours=0.9, seed=2)
        rig.emulator.intake.faults.clear()
        await run.complete()


def _poison(rig: Rig, *ids: str, status: int = 400) -> None:
    """Makes the intake refuse every batch that holds one of these records."""
    store = rig.emulator.intake._store

    def refuse(info: Any, jsons: list[Any]) -> Answer:
        if any(json.loads(text)["id"] in ids for text in jsons):
            return Answer(status, b'{"message":"poison"}')
        return store(info, jsons)

    rig.monkeypatch.setattr(rig.emulator.intake, "_store", refuse)


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_poisonous_records_among_others(make_rig: Callable[..., Rig], status: int) -> None:
    """They are found by halving, kept in refused.jsonl and told by id; every other record arrives once."""
    rig = make_rig(page_limit=1000)
    rig.fill(STREAM, OTHER, count=100)
    held = rig.held(STREAM, OTHER)
    bad = [held[index] for index in (0, 41, 42, 99, 150)]
    _poison(rig, *(json.loads(text)["id"] for text in bad), status=status)
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: rig.emulator.intake.count >= 195, "all others")
        await run.read_again()
        await run.pass_time(1200)
        await run.read_again()
        told = run.said("the intake refuses record", level="error")
        assert len(told) == len(run.complaints()) == 5
        assert all(any(json.loads(text)["id"] in line for line in told) for text in bad)
    assert_same(rig.emulator.intake.texts(), [text for text in held if text not in bad])
    assert_same((rig.folder / "refused.jsonl").read_text().splitlines(), bad)


async def test_only_record_of_a_batch_is_poisonous(rig: Rig) -> None:
    """Alone, it could be the key's fault: it waits, is told, and blocks no other stream; a neighbour convicts it."""
    rig.fill(OTHER)
    rig.fill(STREAM, count=1, hours=0.05)
    (bad,) = rig.held(STREAM)
    _poison(rig, json.loads(bad)["id"])
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: run.said("The Sekoia intake refuses the records", level="error"), "a line")
        await run.complete(OTHER)
        assert not (rig.folder / "refused.jsonl").exists()
        rig.fill(STREAM, count=5, hours=0.01, seed=1)
        await run.until(lambda: run.said("the intake refuses record"), "a line that names it")
        await run.until(lambda: rig.emulator.intake.count >= 55, "its neighbours")
        await run.read_again()
        assert_same(rig.emulator.intake.texts(), [text for text in rig.held(STREAM, OTHER) if text != bad])
        assert_same((rig.folder / "refused.jsonl").read_text().splitlines(), [bad])
