"""Virtual time stands still while anything real goes on, and time-outs in it are exact."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
import requests

from tests.emulator import Emulator, Fault
from tests.emulator.intake import SIGNINS_KEY
from tests.virtual import VirtualClock, VirtualLoop
from tests.virtual.loop import VirtualLock

REAL_S = 0.2


@pytest.fixture
async def clock() -> VirtualClock:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return VirtualClock(loop)


@pytest.fixture
async def emulator(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Emulator]:
    clock.loop.network.adopt(monkeypatch)
    running = Emulator(clock=clock.now, network=clock.loop.network)
    running.adopt(monkeypatch)
    yield running
    await running.leave()


async def test_a_day_of_sleep_takes_no_time(clock: VirtualClock) -> None:
    """A sleep ends when it was to end, and no real time passes."""
    began_s, real_s = clock.time(), time.monotonic()
    await asyncio.sleep(86_400)
    assert clock.time() - began_s == pytest.approx(86_400)
    assert time.monotonic() - real_s < 60


async def test_time_stands_still_while_a_thread_works(clock: VirtualClock) -> None:
    """A timer of a millisecond waits for a job that really takes much longer."""
    began_s = clock.monotonic()
    job = asyncio.create_task(asyncio.to_thread(time.sleep, REAL_S))
    timer = asyncio.create_task(asyncio.sleep(0.001))
    await job
    assert clock.monotonic() == began_s
    assert not timer.done()
    await timer


async def test_an_abandoned_thread_still_counts(clock: VirtualClock) -> None:
    """Whoever no longer waits for a job does not make it idle."""
    done = threading.Event()

    def work() -> None:
        time.sleep(REAL_S)
        done.set()

    job = asyncio.create_task(asyncio.to_thread(work))
    await asyncio.sleep(0)
    job.cancel()
    await asyncio.sleep(1)
    assert done.is_set()


async def test_a_thread_waits_in_virtual_time(clock: VirtualClock) -> None:
    """Until the time is over, or until somebody sets the event, on the loop or on another thread."""
    event = threading.Event()
    began_s = clock.monotonic()
    assert not await asyncio.to_thread(clock.wait, event, 3600)
    assert clock.monotonic() - began_s == pytest.approx(3600)
    waiting = asyncio.create_task(asyncio.to_thread(clock.wait, event, 3600))
    await asyncio.sleep(60)
    await asyncio.to_thread(event.set)
    assert await waiting
    assert clock.monotonic() - began_s == pytest.approx(3660)
    assert await asyncio.to_thread(clock.wait, event, 3600)
    assert clock.monotonic() - began_s == pytest.approx(3660)


async def test_threads_that_wait_for_a_lock_do_not_work(clock: VirtualClock) -> None:
    """One holds the lock for an hour of virtual time, and the other gets it then."""
    lock, event = VirtualLock(clock.loop), threading.Event()
    took_s: list[float] = []

    def hold() -> None:
        with lock:
            took_s.append(clock.monotonic())
            clock.wait(event, 3600)

    await asyncio.gather(asyncio.to_thread(hold), asyncio.to_thread(hold))
    assert took_s[1] - took_s[0] == pytest.approx(3600)
    assert lock.acquire(blocking=False)
    assert not lock.acquire(blocking=False)


async def test_the_loops_own_thread_cannot_wait(clock: VirtualClock) -> None:
    """It would wait for itself for ever: that is said."""
    with pytest.raises(RuntimeError, match="own thread"):
        clock.wait(threading.Event(), 1)


@pytest.mark.parametrize("after_bytes", [0, 40])
async def test_time_outs_on_the_loop_are_exact(clock: VirtualClock, emulator: Emulator, after_bytes: int) -> None:
    """httpx through the proxy and TLS gives up after its sixty seconds, whenever the stall would end."""
    emulator.login.faults.inject(Fault.stall(300, after_bytes))
    url = "https://login.microsoftonline.com/common/discovery/instance"
    began_s = clock.monotonic()
    async with httpx.AsyncClient(timeout=60) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get(url)
        assert clock.monotonic() - began_s == pytest.approx(60)
        assert (await client.get(url)).status_code == 200
    assert clock.monotonic() - began_s == pytest.approx(60)


@pytest.mark.parametrize(("stall_s", "takes_s", "status"), [(29, 29, 200), (31, 30, None)])
async def test_time_outs_on_a_thread_are_exact(
    clock: VirtualClock, emulator: Emulator, stall_s: float, takes_s: float, status: int | None
) -> None:
    """requests gives up after its thirty seconds, and not a moment before."""
    emulator.intake.faults.inject(Fault.stall(stall_s))
    url, body = f"{emulator.intake_url}/batch", {"intake_key": SIGNINS_KEY, "jsons": ["x" * 200_000] * 9}

    def push() -> int | None:
        try:
            return requests.post(url, json=body, timeout=(10, 30)).status_code
        except requests.ReadTimeout:
            return None

    began_s = clock.monotonic()
    assert await asyncio.to_thread(push) == status
    assert clock.monotonic() - began_s == pytest.approx(takes_s)


async def test_a_reset_is_a_reset(emulator: Emulator) -> None:
    """What stands for a TCP RST is the same error, on the loop behind TLS and on a thread."""
    emulator.intake.faults.inject(Fault.reset())
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        await asyncio.to_thread(requests.post, f"{emulator.intake_url}/batch", json={"intake_key": "", "jsons": []})
    emulator.login.faults.inject(Fault.reset())
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ReadError):
            await client.get("https://login.microsoftonline.com/common/discovery/instance")


async def test_the_emulator_has_the_same_time(clock: VirtualClock, emulator: Emulator) -> None:
    """What Graph writes down is the clock's time."""
    await asyncio.sleep(3600)
    async with httpx.AsyncClient() as client:
        await client.get("https://graph.microsoft.com/v1.0/auditLogs/signIns")
    (request,) = emulator.graph.requests
    assert request.time == datetime.fromtimestamp(clock.time(), UTC)
