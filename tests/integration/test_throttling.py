"""429: nobody asks before the time that Graph named is over, whatever the form in which it was named."""

from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime

import pytest

from tests.emulator import Fault
from tests.integration.rig import Rig, assert_same

TWO = ("interactiveUser", "servicePrincipal")


@pytest.mark.parametrize(
    ("value", "pause_s"),
    [
        ("2.128", 2.128),
        ("3", 3.0),
        ("a date", 28.5),  # half a minute ahead; a date has whole seconds
        (None, 10.0),
        ("soon", 10.0),
        ("200", 200.0),
        ("900", 900.0),
    ],
    ids=["fractional", "whole", "date", "absent", "unreadable", "200 s", "15 min"],
)
async def test_nobody_asks_before_it_is_over(make_rig: Callable[..., Rig], value: str | None, pause_s: float) -> None:
    """After a 429 no stream asks until the pause is over; then all go on and nothing is lost or repeated."""
    rig = make_rig(page_limit=10)
    rig.fill(*TWO, count=100)
    if value == "a date":
        # Asked when four requests have had their turn.
        value = format_datetime(rig.clock.now() + timedelta(seconds=40), usegmt=True)
    rig.emulator.graph.faults.inject(Fault.retry_after(429, value), after=4)
    async with rig.collecting(*TWO, frequency=3600) as run:
        await run.until(lambda: run.rig.emulator.intake.count >= 200, "all records")
        times_s = [(one.time.timestamp(), one.status) for one in rig.graph_requests]
        refused_s = next(time_s for time_s, status in times_s if status == 429)
        assert min(time_s for time_s, _ in times_s if time_s > refused_s) >= refused_s + pause_s
        assert_same(rig.emulator.intake.texts(), rig.held(*TWO))
        # A pause of minutes is told; a short one is nothing that anybody need know.
        assert len(run.complaints()) <= (pause_s > 60) * len(TWO)
        assert all("answers fewer requests" in line for line in run.complaints()), run.complaints()


async def test_lasting_throttling_is_told(rig: Rig) -> None:
    """Throttled again and again, one line for each lane says so, and afterwards all arrives once."""
    rig.fill(*TWO)
    rig.emulator.graph.faults.inject(Fault.retry_after(429, "0.5"), times=None, after=2)
    async with rig.collecting(*TWO) as run:
        await run.until(lambda: run.said("Graph answers fewer requests", level="warning"), "a line")
        rig.emulator.graph.faults.clear()
        await run.complete()
        await run.until(lambda: run.said("recovered"), "a line that it is over")
        assert all("answers fewer requests" in line for line in run.complaints()), run.complaints()


async def test_throttled_in_mid_chain(rig: Rig) -> None:
    """Every third request throttled: no page of a chain is skipped or delivered twice."""
    rig.fill(*TWO, count=120)
    for after in range(2, 40, 2):
        rig.emulator.graph.faults.inject(Fault.retry_after(429, "0.2"), after=after)
    async with rig.collecting(*TWO) as run:
        await run.until(lambda: rig.emulator.graph.faults.used >= 8, "several 429")
        await run.complete()


async def test_throttled_while_signing_in(rig: Rig) -> None:
    """Entra's own 429 and 503 are no fault of the credential: they pass, and nothing is lost."""
    rig.fill(*TWO)
    for status in (429, 503, 500):
        rig.emulator.login.faults.inject(Fault.status(status))
    rig.emulator.login.faults.inject(Fault.html(502))
    rig.emulator.login.faults.inject(Fault.reset())
    async with rig.collecting(*TWO) as run:
        await run.complete()
        assert all("signing in to Entra" in line for line in run.complaints()), run.complaints()
        assert run.said("The secret is not the reason") or not run.complaints()
