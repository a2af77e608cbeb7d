"""Both connectors of one account, as every user has them: two that cannot see each other share Graph's limit.

The bounds are what was measured, with room. How they share for hours, and with what other periods, is in the benchmark
shared_limit.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random
from types import SimpleNamespace

import pytest

from graph_entra.microsoft import rate_limit
from tests.emulator.intake import AUDITS_KEY, SIGNINS_KEY
from tests.emulator.records import one
from tests.emulator.tenant import AUDITS
from tests.integration.rig import Rig, Run, assert_same

MakeRig = Callable[..., Rig]
SIGN_INS = "interactiveUser"
LIMIT = (5, 10.0)
LIMIT_PER_S = 0.5
PAGE_RECORDS = 20
MINUTE_S = 60.0


@pytest.fixture(autouse=True)
def _the_same_chances(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limiter tries its luck. Over thousands of runs some would be unlucky beyond any bound."""
    seeds = iter(range(1, 100))
    monkeypatch.setattr(rate_limit, "random", SimpleNamespace(Random=lambda: Random(next(seeds))))


@asynccontextmanager
async def both(rig: Rig) -> AsyncIterator[tuple[Run, Run]]:
    """The sign-ins and the audits, each with a folder, an intake and a rate limiter of its own, at the same moment."""
    rig.emulator.graph.limit = LIMIT
    folders = {key: rig.folder / key for key in (SIGNINS_KEY, AUDITS_KEY)}
    for folder in folders.values():
        folder.mkdir()
    async with (
        rig.collecting(SIGN_INS, folder=folders[SIGNINS_KEY], intake_key=SIGNINS_KEY, start_time=24) as sign_ins,
        rig.collecting(AUDITS, folder=folders[AUDITS_KEY], intake_key=AUDITS_KEY, start_time=24) as audits,
    ):
        yield sign_ins, audits


def arrived(rig: Rig) -> tuple[int, int]:
    """How many sign-ins and how many audits have arrived."""
    return len(rig.emulator.intake.texts(SIGNINS_KEY)), len(rig.emulator.intake.texts(AUDITS_KEY))


async def all_arrived(rig: Rig, run: Run) -> None:
    """Waits for everything, and asserts that each intake has got its own, once and unaltered."""
    await run.until(lambda: rig.emulator.intake.count >= len(rig.held(SIGN_INS, AUDITS)), "all records")
    assert_same(rig.emulator.intake.texts(SIGNINS_KEY), rig.held(SIGN_INS))
    assert_same(rig.emulator.intake.texts(AUDITS_KEY), rig.held(AUDITS))


def throttled(rig: Rig, from_s: float = 0.0, to_s: float = 10**6) -> tuple[int, int]:
    """Of Graph's answers between two times since its first: how many are 429, and how many there are."""
    began = rig.graph_requests[0].time
    answers = [
        one.status
        for one in rig.graph_requests
        if timedelta(seconds=from_s) <= one.time - began < timedelta(seconds=to_s)
    ]
    return answers.count(429), len(answers)


async def test_quiet_audits_beside_a_history_of_sign_ins(make_rig: MakeRig) -> None:
    """The history uses what the audits leave, and each new audit record is in after a poll all the same."""
    rig = make_rig(page_limit=PAGE_RECORDS)
    rig.fill(SIGN_INS, count=3000, hours=23, size=0)
    async with both(rig) as (_, audits):
        await audits.pass_time(2 * MINUTE_S)
        for seed in range(4):
            rig.emulator.tenant.add(AUDITS, one(AUDITS, rig.clock.now(), seed=seed))
            await audits.until(lambda seed=seed: arrived(rig)[1] > seed, "the new record", 75)
            await audits.pass_time(17)
        assert arrived(rig)[0] < 3000, "the history was over before the limit had to be shared"
        await all_arrived(rig, audits)
        # When the other one polls is learned in the first three minutes.
        refused, answers = throttled(rig, 0, 3 * MINUTE_S)
        assert refused <= 0.3 * answers
        refused, answers = throttled(rig, 3 * MINUTE_S)
        assert refused <= 0.15 * answers


async def test_both_with_history(make_rig: MakeRig) -> None:
    """Neither starves: while both read, each has a share of the limit, little of it is wasted, and few are refused."""
    rig = make_rig(page_limit=PAGE_RECORDS)
    rig.fill(SIGN_INS, AUDITS, count=2000, hours=23, size=0)
    async with both(rig) as (sign_ins, _):
        began_s = rig.clock.monotonic()
        await sign_ins.until(lambda: max(arrived(rig)) >= 2000, "all of one")
        pages = sum(arrived(rig)) / PAGE_RECORDS
        assert pages >= 0.8 * LIMIT_PER_S * (rig.clock.monotonic() - began_s)
        assert min(arrived(rig)) >= 0.3 * sum(arrived(rig))
        # They begin in the same second, and not with a burst.
        assert throttled(rig, 0, MINUTE_S)[0] <= 8
        refused, answers = throttled(rig, MINUTE_S)
        assert refused <= 0.12 * answers
        await all_arrived(rig, sign_ins)
