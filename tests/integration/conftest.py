"""A rig for each test: the emulator is reached through its HTTPS proxy, and all of it runs in virtual time."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.emulator import Emulator, Tenant
from tests.integration.rig import Rig
from tests.virtual import VirtualClock, VirtualLoop

# httpcore looks for sniffio at every request; a search of the whole path is a twelfth of these tests' time.
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Whoever asks for a rig runs on a virtual loop; what the others talk to keeps the machine's time."""
    if "make_rig" in getattr(item, "fixturenames", ()):
        return {"virtual": VirtualLoop}
    return {"real": asyncio.new_event_loop}


@pytest.fixture
async def make_rig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Callable[..., Rig]]:
    """Makes a rig with a tenant or hosts of the test's own, or with a Graph whose clock is ahead of the machine's."""
    caplog.set_level(logging.INFO)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.network.adopt(monkeypatch)
    loop.adopt_locks(monkeypatch, "graph_entra")
    emulators: list[Emulator] = []

    def make(
        tenant: Tenant | None = None,
        *,
        extra_hosts: tuple[str, ...] = (),
        page_limit: int = 20,
        graph_ahead_s: float = 0.0,
    ) -> Rig:
        clock = VirtualClock(loop)
        ahead = timedelta(seconds=graph_ahead_s)
        emulator = Emulator(tenant, lambda: clock.now() + ahead, extra_hosts, loop.network)
        emulators.append(emulator)
        emulator.graph.limit = None
        emulator.tenant.page_limit = page_limit
        emulator.login.token_lifetime_s = 10**6
        emulator.adopt(monkeypatch)
        return Rig(emulator, clock, tmp_path, monkeypatch, caplog)

    yield make
    for emulator in emulators:
        await emulator.leave()


@pytest.fixture
async def rig(make_rig: Callable[..., Rig]) -> Rig:
    """The usual one."""
    return make_rig()
