"""Health: the liveness check is 200 while the connector does what it can, and 500 when it is stuck. In virtual time."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from sekoia_automation import trigger

from graph_entra.microsoft.rate_limit import RateLimiter
from tests.emulator import Emulator, Fault
from tests.integration.rig import Rig, Run

HOUR_S = 3600.0
STREAM = "interactiveUser"


@pytest.fixture(autouse=True)
def _heartbeats_in_virtual_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK dates them by the wall clock."""

    def now(_zone: Any = None) -> datetime:
        return rig.clock.now()

    monkeypatch.setattr(trigger, "datetime", SimpleNamespace(now=now))


async def health(run: Run, seconds: float, every_s: float = 60.0) -> set[int]:
    """Lets time pass; returns the statuses that `/health` had meanwhile."""
    seen = set()
    for _ in range(int(seconds / every_s)):
        await asyncio.sleep(every_s)
        seen.add(200 if run.connector.is_alive() else 500)
    return seen


@pytest.mark.parametrize(("frequency", "hours"), [(1, 0.25), (300, 8), (3600, 12)])
async def test_a_quiet_tenant_is_healthy(rig: Rig, frequency: int, hours: float) -> None:
    """Without a record for hours, at the shortest and the longest wait between two polls."""
    async with rig.collecting(frequency=frequency, start_time=0) as run:
        assert await health(run, hours * HOUR_S) == {200}


def login_down(emulator: Emulator) -> None:
    """Entra refuses the secret."""
    emulator.login.error = 7000215
    emulator.login.revoke()


TROUBLES: dict[str, Callable[[Emulator], Any]] = {
    "Graph is down": lambda emulator: emulator.graph.faults.inject(Fault.status(503), times=None),
    "the secret is refused": login_down,
    "the intake is down": lambda emulator: emulator.intake.faults.inject(Fault.status(503), times=None),
    "Graph asks to wait for an hour": lambda emulator: emulator.graph.faults.inject(Fault.retry_after(429, "3600")),
    "Graph asks to wait again and again": lambda emulator: emulator.graph.faults.inject(
        Fault.retry_after(429, "3600"), times=None
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_healthy_while_others_fail(rig: Rig, trouble: Callable[[Emulator], Any]) -> None:
    """Six hours of it: a restart would mend nothing."""
    async with rig.collecting(STREAM) as run:
        await health(run, 600)
        trouble(rig.emulator)
        rig.fill(STREAM, count=3, hours=0.01)
        assert await health(run, 6 * HOUR_S) == {200}


async def test_unhealthy_when_it_is_stuck_and_healthy_once_it_moves(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that never comes: 500 within half an hour, not within a quarter; 200 again when it comes after all."""
    turn = RateLimiter.turn

    async def never(self: RateLimiter, *arguments: Any, **options: Any) -> None:
        await asyncio.sleep(2 * HOUR_S)
        await turn(self, *arguments, **options)

    async with rig.collecting(STREAM) as run:
        await health(run, 600)
        with monkeypatch.context() as patched:
            patched.setattr(RateLimiter, "turn", never)
            assert await health(run, 900) == {200}
            await health(run, 900)
            assert await health(run, HOUR_S) == {500}
        await health(run, HOUR_S)
        assert run.connector.is_alive()


async def test_unhealthy_when_the_loop_is_stuck(rig: Rig) -> None:
    """Without a turn of the loop there is no heartbeat: 500 after five minutes, and 200 at the next one."""
    async with rig.collecting(STREAM) as run:
        await health(run, 600)
        rig.clock.jump(280)  # the loop is held for so long
        assert run.connector.is_alive()
        rig.clock.jump(25)
        assert not run.connector.is_alive()
        await asyncio.sleep(60)
        assert run.connector.is_alive()
