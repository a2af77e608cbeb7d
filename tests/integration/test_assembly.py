"""What the assembly promises: the configuration reaches the reading, what is told, heartbeats, and how a run ends."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
import pytest

from graph_entra.errors import DataPathInUse
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.reading.schedule import Schedule
from graph_entra.sekoia.assembly import _unless_stopped, _until_stopped
from graph_entra.sekoia.lifecycle import HEARTBEAT_EVERY_S
from graph_entra.state.files import Files
from graph_entra.streams import HOUR_S
from tests.emulator import Fault
from tests.integration.rig import Rig, assert_same

STREAM = "interactiveUser"
MINUTE_S = 60


@pytest.mark.parametrize("forward_updates", [True, False])
async def test_forward_updates_reaches_the_collector(rig: Rig, forward_updates: bool) -> None:
    """A record that Graph has changed in a way that matters is pushed again, or is not."""
    text, *_ = rig.fill(STREAM, count=5, hours=0.05)
    async with rig.collecting(STREAM, forward_updates=forward_updates) as run:
        await run.until(lambda: rig.emulator.intake.count == 5, "all records", 5 * MINUTE_S)
        record = orjson.loads(text)
        record["riskState"] = "confirmedCompromised"
        rig.emulator.tenant.change(STREAM, record["id"], record, rig.clock.now())
        await run.pass_time(30 * MINUTE_S)
        assert rig.emulator.intake.count == (6 if forward_updates else 5)
        assert run.complaints() == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[: len(text) // 2], "context.json.damaged-"),
        (lambda text: text.replace(b'"version": 2', b'"version": 99'), "is of unknown version"),
        (lambda text: text.replace(b'"coverage"', b'"coverag"'), f"{STREAM} in context.json is damaged"),
        (None, "context.json is gone, though records were delivered from here before"),
    ],
)
async def test_damage_is_told_and_costs_nothing(rig: Rig, damage: Callable[[bytes], bytes] | None, words: str) -> None:
    """One line says what was set aside and what follows from it; nothing is lost, and what is known is not repeated."""
    rig.fill(STREAM)
    async with rig.collecting(STREAM) as run:
        await run.complete()
    context = rig.folder / "context.json"
    if damage is None:
        context.unlink()
    else:
        context.write_bytes(damage(context.read_bytes()))
    async with rig.collecting(STREAM) as run:
        await run.read_again()
        (line,) = run.said("What it said is read again from Graph", level="error")
        assert words in line
        assert_same(rig.emulator.intake.texts(), rig.held(STREAM))


async def test_no_heartbeat_while_a_stream_is_stuck(rig: Rig) -> None:
    """So that the platform starts the connector anew; with the next poll they go on."""
    stuck = False
    rig.monkeypatch.setattr(Schedule, "stuck", property(lambda _: stuck))
    async with rig.collecting(STREAM) as run:
        beats: list[float] = []
        rig.monkeypatch.setattr(run.connector, "heartbeat", lambda: beats.append(rig.clock.monotonic()))
        for stuck in (False, True, False):
            await run.pass_time(HEARTBEAT_EVERY_S + 1)
            beats.clear()
            await run.pass_time(10 * HEARTBEAT_EVERY_S)
            assert len(beats) == (0 if stuck else 10)


async def test_a_clock_difference_is_told_once_and_again_after_it_was_right(rig: Rig) -> None:
    """From a minute on; which way, and how much."""
    ahead_s = 59.0
    rig.monkeypatch.setattr(GraphClock, "difference_s", property(lambda _: ahead_s))
    async with rig.collecting(STREAM) as run:
        await run.pass_time(10 * MINUTE_S)
        assert not run.said("clock")
        for ahead_s in (61.0, 90.0, -7200.0, 0.0, -86_400.0):  # noqa: B007 - what the property answers
            await run.pass_time(10 * MINUTE_S)
        assert [line.split(".")[0] for line in run.said("This machine's clock", level="warning")] == [
            "This machine's clock is 61 s ahead of Microsoft's",
            "This machine's clock is 86400 s behind Microsoft's",
        ]


@pytest.mark.parametrize("fault", [Fault.stall(3600), Fault.status(503)])
async def test_a_stop_while_signing_in(rig: Rig, fault: Fault) -> None:
    """It ends at once, whether Entra says nothing or is asked again and again."""
    rig.emulator.login.faults.inject(fault, times=None)
    async with rig.collecting(STREAM) as run:
        await run.pass_time(100)
        began_s = rig.clock.monotonic()
        assert not rig.graph_requests
    assert rig.clock.monotonic() - began_s < 1
    rig.emulator.login.faults.clear()


async def test_heartbeats_go_on_while_signing_in_fails(rig: Rig) -> None:
    """The loop turns; a restart would not help."""
    rig.emulator.login.faults.inject(Fault.status(503), times=None)
    async with rig.collecting(STREAM) as run:
        beats: list[float] = []
        rig.monkeypatch.setattr(run.connector, "heartbeat", lambda: beats.append(rig.clock.monotonic()))
        await run.pass_time(1800)
        assert len(beats) >= 1800 / 70
    rig.emulator.login.faults.clear()


async def test_a_clock_that_is_not_graphs_is_not_believed(rig: Rig) -> None:
    """What answers 503 in Graph's place may be a proxy whose clock is years ahead."""
    rig.fill(STREAM, count=5)
    graph = rig.emulator.graph
    async with rig.collecting(STREAM) as run:
        await run.complete()
        dates, graph.dates = graph.dates, lambda: rig.clock.now() + timedelta(days=800)
        graph.faults.inject(Fault.status(503), times=None)
        await run.pass_time(10 * MINUTE_S)
        assert abs(run.connector._graph_clock.difference_s) < 2
        graph.dates = dates
        graph.faults.clear()
        await run.complete()


async def test_the_sdks_figures_tell_refused_records_apart(rig: Rig) -> None:
    """Five records, one of them refused: four are forwarded, one is discarded, and a line names it."""

    *_, bad = [orjson.loads(text)["id"] for text in rig.fill(STREAM, count=5)]
    rig.emulator.intake.refused = {bad: 400}
    counted: Counter[str] = Counter()
    async with rig.collecting(STREAM) as run:
        for what in ("forwarded", "discarded"):
            count = partial(lambda what, _key, number: counted.update({what: number}), what)
            rig.monkeypatch.setattr(run.connector, f"put_{what}_events", count)
        await run.until(lambda: run.said("the intake refuses record", bad, level="error"), "a line", HOUR_S)
        assert counted == {"forwarded": 4, "discarded": 1}


async def test_a_task_that_dies_ends_the_run_with_its_error(rig: Rig) -> None:
    """Not in silence: whoever runs the connector says it, and starts it again."""

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    rig.monkeypatch.setattr(Schedule, "run", broken)

    async def run_it() -> None:
        async with rig.collecting(STREAM) as run:
            assert run.task is not None
            await asyncio.wait([run.task], timeout=60)
            assert run.task.done()

    with pytest.raises(ZeroDivisionError):
        await run_it()


async def test_a_data_path_that_another_process_holds_is_left_alone(rig: Rig) -> None:
    """Both would deliver the same records: nothing is asked and nothing is written."""

    async def run_it() -> None:
        async with rig.collecting(STREAM) as run:
            assert run.task is not None
            await asyncio.wait([run.task], timeout=60)
            assert run.task.done()

    with Files(rig.folder, rig.clock).held(), pytest.raises(DataPathInUse):
        await run_it()
    assert rig.graph_requests == []
    assert not (rig.folder / "context.json").exists()


async def test_a_tenant_that_is_named_otherwise_goes_on(rig: Rig) -> None:
    """By its domain instead of its id: the token states which it is, and nothing is read or delivered again."""
    rig.fill(STREAM)
    async with rig.collecting(STREAM) as run:
        await run.complete()
    environment, domain = rig.emulator.environment, rig.emulator.tenant.domain
    rig.monkeypatch.setattr(
        rig.emulator, "environment", lambda **given: environment(**given | {"module": {"tenant_id": domain}})
    )
    async with rig.collecting(STREAM) as run:
        assert run.connector.module.configuration.tenant_id == domain
        await run.complete()
        assert run.complaints() == []


async def test_a_restart_reads_on(rig: Rig) -> None:
    """An hour without it: the gap is read, nothing is repeated, and it is told."""
    rig.fill(STREAM)
    async with rig.collecting(STREAM) as run:
        await run.complete()
    rig.clock.jump(3600)
    rig.fill(STREAM, count=40, hours=1, seed=1)
    async with rig.collecting(STREAM) as run:
        await run.complete()
        (line,) = run.complaints()
        assert "New records flow again" in line


# How things that run side by side end


async def _for_ever(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("cancelled")


async def _fails() -> None:
    await asyncio.sleep(1)
    raise ZeroDivisionError


async def test_what_fails_ends_all_with_its_error() -> None:
    """The others are cancelled and waited for."""
    ended: list[str] = []
    with pytest.raises(ZeroDivisionError):
        await _until_stopped([_for_ever(ended), _fails()], asyncio.Event())
    assert ended == ["cancelled"]


async def test_a_stop_ends_all() -> None:
    """Without an error."""
    ended: list[str] = []
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(5, stop.set)
    await _until_stopped([_for_ever(ended), _for_ever(ended)], stop)
    assert ended == ["cancelled", "cancelled"]


async def test_work_is_left_at_a_stop_and_its_result_given_otherwise() -> None:
    """None means that it was stopped."""
    ended: list[str] = []
    stop = asyncio.Event()
    assert await _unless_stopped(asyncio.sleep(1, "done"), stop) == "done"
    with pytest.raises(ZeroDivisionError):
        await _unless_stopped(_fails(), stop)
    asyncio.get_running_loop().call_later(5, stop.set)
    assert await _unless_stopped(_for_ever(ended), stop) is None
    assert ended == ["cancelled"]
