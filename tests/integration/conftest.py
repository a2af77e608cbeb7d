"""A rig for each test: the emulator is reached through its HTTPS proxy, the clock runs 300 times as fast."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.emulator import Emulator, Tenant
from tests.integration.quick_time import QuickTime
from tests.integration.rig import Rig

SPEED = 300.0

# httpcore looks for trio before every request; a search of the whole path is a twelfth of these tests' time.
sys.modules.setdefault("trio", None)  # type: ignore[arg-type]


@pytest.fixture
def make_rig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[..., Rig]]:
    """Makes a rig with a tenant, a speed or hosts of the test's own."""
    caplog.set_level(logging.INFO)
    emulators: list[Emulator] = []

    def make(
        tenant: Tenant | None = None, *, speed: float = SPEED, extra_hosts: tuple[str, ...] = (), page_limit: int = 20
    ) -> Rig:
        clock = QuickTime(speed)
        emulator = Emulator(tenant, clock.now, extra_hosts)
        emulators.append(emulator)
        emulator.graph.limit = None
        emulator.tenant.page_limit = page_limit
        emulator.login.token_lifetime_s = 10**6
        emulator.adopt(monkeypatch)
        return Rig(emulator, clock, tmp_path, monkeypatch, caplog)

    yield make
    for emulator in emulators:
        emulator.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """The usual one."""
    return make_rig()
