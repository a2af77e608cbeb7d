"""Each kind of sign-in is a stream of its own: chosen, refused, added and removed without touching the others."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from tests.emulator import Fault
from tests.emulator.instants import datetime_of
from tests.emulator.records import one
from tests.emulator.tenant import SIGN_IN_TYPES
from tests.integration.rig import Rig, assert_same

GONE = "nonInteractiveUser"
OTHERS = tuple(kind for kind in SIGN_IN_TYPES if kind != GONE)


@pytest.mark.parametrize("kind", SIGN_IN_TYPES)
async def test_one_type_alone(rig: Rig, kind: str) -> None:
    """Only the chosen type is asked for and delivered."""
    rig.fill(*SIGN_IN_TYPES)
    async with rig.collecting(kind) as run:
        await run.complete(kind)
    assert {request.stream for request in rig.graph_requests} - {None} == {kind}


async def test_all_types_by_default(rig: Rig) -> None:
    """Without a choice all four are read, each once."""
    rig.fill(*SIGN_IN_TYPES)
    async with rig.collecting(*SIGN_IN_TYPES) as run:
        await run.complete()
    assert {request.stream for request in rig.graph_requests} - {None} == set(SIGN_IN_TYPES)


@dataclass(frozen=True)
class Refusal:
    """How Graph treats a type, and what the log says of it."""

    fault: Fault | None
    words: tuple[str, ...]
    latency_s: float = 0.0


def _refuse(status: int, code: str, message: str) -> Fault:
    return Fault.status(status, body={"error": {"code": code, "message": message}})


REFUSALS = {
    "400, gone from beta": Refusal(
        _refuse(400, "BadRequest", "Could not find a property named 'signInEventTypes'."),
        ("does not accept the question", "remove the type from sign_in_types", "signInEventTypes"),
    ),
    "403": Refusal(_refuse(403, "Authorization_RequestDenied", "no"), ("forbids", "AuditLog.Read.All")),
    "504": Refusal(Fault.status(504), ("does not answer with records", "504")),
    "slow beyond the time-out": Refusal(None, ("does not answer with records", "in time"), latency_s=300.0),
    "slow, and answered": Refusal(None, (), latency_s=50.0),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_refused_type_does_not_delay_the_others(rig: Rig, refusal: Refusal) -> None:
    """New records of the others arrive no more than a period late, the log says which type and why, nothing is lost."""
    period_s = 60
    emulator = rig.emulator
    rig.fill(*SIGN_IN_TYPES)
    if refusal.fault is not None:
        emulator.graph.faults.inject(refusal.fault, times=None, match=lambda request: request.stream == GONE)
    emulator.graph.latency_s = lambda request: refusal.latency_s if request.stream == GONE else 0.0
    async with rig.collecting(*SIGN_IN_TYPES, frequency=period_s) as run:
        await run.read_again(*OTHERS)
        lateness_s = []
        for seed in range(3):
            for kind in OTHERS:
                emulator.tenant.add(kind, one(kind, rig.clock.now(), seed=100 + seed))
            began_s, wanted = rig.clock.monotonic(), len(rig.held(*OTHERS))
            await run.until(lambda wanted=wanted: _pushed(rig, OTHERS) >= wanted, "the others' new records")
            lateness_s.append(rig.clock.monotonic() - began_s)
        # One period is how long a record waits for its poll; one more is what the refused type may cost.
        assert max(lateness_s) <= 2 * period_s
        if refusal.words:
            await run.until(lambda: run.said(GONE, *refusal.words), "a line about the type")
        assert all(GONE in line for line in run.complaints()), run.complaints()
        emulator.graph.faults.clear()
        emulator.graph.latency_s = 0.0
        await run.complete()


def _pushed(rig: Rig, kinds: tuple[str, ...]) -> int:
    held = {text.decode() for text in rig.held(*kinds)}
    return sum(text in held for text in rig.emulator.intake.texts())


async def test_types_are_added_and_removed(rig: Rig) -> None:
    """A removed type keeps its cursor for its return; an added one begins with start_time; the others never notice."""
    stays, leaves, comes = "interactiveUser", "nonInteractiveUser", "servicePrincipal"
    rig.fill(stays, leaves, comes)
    too_old = [
        one(comes, rig.clock.now() - timedelta(hours=hours), seed=number)
        for number, hours in enumerate((2.5, 4, 20), start=50)
    ]
    for record in too_old:
        rig.emulator.tenant.add(comes, record)
    async with rig.collecting(stays, leaves) as run:
        await run.complete()
    rig.clock.jump(120)
    rig.fill(stays, leaves, comes, count=20, hours=0.04, seed=1)
    asked, began_s = len(rig.graph_requests), rig.clock.time() - 2 * 3600
    async with rig.collecting(stays, comes, start_time=2) as run:
        await run.read_again()
        assert leaves not in {request.stream for request in rig.graph_requests[asked:]}
        assert run.complaints() == []
        origin = datetime_of(min(one.window[0] for one in rig.graph_requests if one.stream == comes and one.window))
        assert -1 < origin.timestamp() - began_s < 300
    # Longer than the history of a new type: only a cursor that was kept leads back to what the returned type missed.
    rig.clock.jump(5 * 3600)
    rig.fill(stays, leaves, comes, count=20, hours=4.9, seed=2)
    async with rig.collecting(stays, leaves, comes, start_time=1) as run:
        await run.read_again()
    before_it_came = rig.emulator.tenant.visible(comes, end=origin - timedelta(microseconds=1))
    assert len(before_it_came) >= len(too_old)
    wanted = [text for text in rig.held(stays, leaves, comes) if text not in before_it_came]
    assert_same(rig.emulator.intake.texts(), wanted)
