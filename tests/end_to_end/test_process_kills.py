"""kill -9 at random moments: nothing is lost, and each kill repeats one batch at most."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from tests.emulator import Emulator, Fault, Tenant
from tests.emulator.records import fill, one
from tests.end_to_end.conftest import Start, forms, until

# Twenty kills in all, in five parts that can run side by side.
ROUNDS = 4
BATCH = 1000


@pytest.mark.timeout(200)
@pytest.mark.parametrize("seed", [20, 21, 22, 23, 24])
def test_kills_lose_nothing_and_repeat_a_batch_each_at_most(
    emulator: Emulator, tenant: Tenant, start: Start, now: datetime, seed: int
) -> None:
    """Killed before and after the intake answers, while the state is written, and whenever else chance has it."""
    rng = Random(seed)
    tenant.page_limit = 300
    fill(tenant, "interactiveUser", 2000, now - timedelta(hours=20), now, seed=2)
    repeats_before = 0
    for round_number in range(ROUNDS):
        tenant.add("interactiveUser", one("interactiveUser", datetime.now(UTC), seed=100_000 + round_number))
        pushes = len(emulator.intake.requests)
        if round_number == 0:  # before the intake has stored the batch
            emulator.intake.faults.inject(Fault.stall(3), times=1)
        elif round_number == 1:  # after it has stored it, before the answer: this batch will come again
            emulator.intake.faults.inject(Fault.lost_answer(), times=1)
        connector = start(frequency=1)
        until(lambda before=pushes: len(emulator.intake.requests) > before, 30)
        if round_number >= 2:
            time.sleep(rng.uniform(0, 1.5))
        connector.kill()
        emulator.intake.faults.clear()
        counts = Counter(forms(emulator.intake.texts()))
        repeats = sum(counts.values()) - len(counts)
        assert repeats - repeats_before <= BATCH
        repeats_before = repeats
    connector = start(frequency=1)
    until(lambda: len(set(emulator.intake.texts())) >= len(tenant.all_texts("interactiveUser")), 120)
    assert connector.stop() == 0
    counts = Counter(forms(emulator.intake.texts()))
    held = set(forms(tenant.all_texts("interactiveUser")))
    repeated = sum(counts.values()) - len(counts)
    print(f"{ROUNDS} kills: {len(held - set(counts))} lost, {repeated} repeated of {len(held)} records")
    assert set(counts) == held
    assert repeated <= ROUNDS * BATCH
