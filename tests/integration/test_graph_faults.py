"""What Graph may answer instead of a page: nothing is lost, repeated or altered, and the other streams go on."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from tests.emulator import Fault, GraphRequest
from tests.integration.rig import Rig, assert_same

VICTIM = "nonInteractiveUser"
OTHER = "interactiveUser"
THREE = (VICTIM, OTHER, "servicePrincipal")
DOWN = "Graph does not answer with records"
FORBIDDEN = "Graph forbids the application to read this log"
LICENCE = "no Entra ID P1 or P2 licence"
REFUSED = "Graph does not accept the question"
TOKEN = "Graph refused an access token"


@dataclass(frozen=True)
class Case:
    """A fault, and what the log has to say of it when it lasts."""

    fault: Fault
    cause: str = DOWN
    level: str = "warning"


def graph_error(status: int, code: str, message: str = "something") -> Fault:
    return Fault.status(status, body={"error": {"code": code, "message": message}})


CASES = {
    "500": Case(Fault.status(500)),
    "502": Case(Fault.status(502)),
    "503": Case(Fault.status(503)),
    "503 with Retry-After": Case(Fault.retry_after(503, "1")),
    "504": Case(Fault.status(504)),
    "408": Case(Fault.status(408)),
    "HTML page with 200": Case(Fault.html(200)),
    "HTML page with 502": Case(Fault.html(502)),
    "HTML page with 403": Case(Fault.html(403), FORBIDDEN, "error"),
    "redirect": Case(Fault.status(302, headers={"Location": "https://graph.evil.example/v1.0/auditLogs/signIns"})),
    "truncated JSON": Case(Fault.truncate(1000)),
    "invalid JSON": Case(Fault.body(b'{"value": [,, ]}')),
    "JSON that is no page": Case(Fault.body(b'{"value": {"id": "1"}}')),
    "no body": Case(Fault.body(b"")),
    "not UTF-8": Case(Fault.body(b"\xff\xfe")),
    "reset before the answer": Case(Fault.reset()),
    "reset after the question": Case(Fault.lost_answer()),
    "reset mid-body": Case(Fault.reset(3000)),
    "stall before the answer": Case(Fault.stall(300)),
    "stall mid-body": Case(Fault.stall(300, 3000)),
    "401": Case(Fault.status(401), TOKEN),
    "403 without permission": Case(graph_error(403, "Authentication_MSGraphPermissionMissing"), FORBIDDEN, "error"),
    "403 without licence": Case(
        graph_error(403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant"), LICENCE, "error"
    ),
    "400": Case(graph_error(400, "BadRequest"), REFUSED, "error"),
    "404": Case(graph_error(404, "ResourceNotFound"), REFUSED, "error"),
}


def of_victim(request: GraphRequest) -> bool:
    return request.stream == VICTIM


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_lasting_fault_of_one_stream(rig: Rig, case: Case) -> None:
    """While it lasts the others are read to the end and one line says what it is; when it is over all arrives once."""
    emulator = rig.emulator
    rig.fill(VICTIM, OTHER)
    emulator.graph.faults.inject(case.fault, times=None, match=of_victim, after=1)
    async with rig.collecting(VICTIM, OTHER) as run:
        await run.until(lambda: run.said(VICTIM, case.cause, level=case.level), f"a line: {case.cause}")
        await run.read_again(OTHER)
        assert emulator.intake.count < len(rig.held(VICTIM, OTHER))
        emulator.graph.faults.clear()
        await run.complete()
        await run.until(lambda: run.said(VICTIM, "recovered"), "a line that it is over")
        assert len(run.said(VICTIM, case.cause, level=case.level)) == 1, "once, however many windows met it"
        assert all(VICTIM in line for line in run.complaints()), run.complaints()
    assert emulator.proxy.refused == []


async def test_every_fault_once_on_any_page(rig: Rig) -> None:
    """Each fault strikes once, wherever a reading happens to be: all arrives once all the same."""
    rig.fill(VICTIM, OTHER, count=100)
    random = Random(1)
    for name in random.sample(list(CASES), len(CASES)):
        rig.emulator.graph.faults.inject(CASES[name].fault, match=of_victim, after=random.randrange(3))
    async with rig.collecting(VICTIM, OTHER) as run:
        await run.until(lambda: rig.emulator.graph.faults.used == len(CASES), "all faults")
        await run.complete()
        assert all(VICTIM in line for line in run.complaints()), run.complaints()


async def test_next_link_that_is_a_number(rig: Rig) -> None:
    """For as long as it lasts: what stands before it is delivered, and it goes on from there."""
    rig.fill(VICTIM, count=200)
    number = Fault.page(lambda page: {**page, "@odata.nextLink": 7} if "@odata.nextLink" in page else page)
    rig.emulator.graph.faults.inject(number, times=None, match=of_victim)
    async with rig.collecting(VICTIM) as run:
        await run.until(lambda: rig.emulator.intake.count >= 200, "all records", 3600)
        assert_same(rig.emulator.intake.texts(), rig.held(VICTIM))


def _revoke(rig: Rig) -> None:
    rig.emulator.login.revoke()


def _refuse_once(rig: Rig) -> None:
    rig.emulator.graph.faults.inject(Fault.status(401))


@pytest.mark.parametrize("refuse", [_revoke, _refuse_once])
async def test_token_refused_in_mid_run(rig: Rig, refuse: Callable[[Rig], None]) -> None:
    """A new token is fetched, nobody has to act, and nothing is lost or repeated."""
    rig.fill(*THREE, count=120)
    async with rig.collecting(*THREE) as run:
        await run.until(lambda: rig.emulator.intake.count > 40, "the first pages")
        asked = len(rig.emulator.login.requests)
        refuse(rig)
        await run.complete()
        assert len(rig.emulator.login.requests) > asked
        assert run.complaints() == []


async def test_token_expires_in_mid_run(rig: Rig) -> None:
    """Tokens are renewed as they age, and a poll that meets an old one loses nothing."""
    rig.emulator.login.token_lifetime_s = 360
    rig.fill(*THREE)
    async with rig.collecting(*THREE) as run:
        await run.until(lambda: any(r.status == 401 for r in rig.graph_requests), "a 401")
        rig.fill(*THREE, count=5, hours=0.01, seed=1)
        await run.complete()
        assert not [line for line in run.complaints() if line.startswith("error")], run.complaints()


async def test_network_is_cut(rig: Rig) -> None:
    """A proxy that is down stops everything, is told in one line for each lane, and costs nothing."""
    rig.fill(VICTIM, OTHER)
    async with rig.collecting(VICTIM, OTHER) as run:
        await run.until(lambda: rig.emulator.intake.count > 20, "the first pages")
        rig.emulator.proxy.down = True
        await run.until(lambda: len(run.said(DOWN, level="warning")) >= 2, "a line for each stream")
        rig.fill(VICTIM, OTHER, count=5, hours=0.01, seed=1)
        rig.emulator.proxy.down = False
        await run.complete()


async def test_records_out_of_order_although_ascending_was_asked(rig: Rig) -> None:
    """Every page newest first: the cursor waits for the window's end, and each record arrives once."""
    rig.emulator.graph.honour_orderby = False
    rig.fill(VICTIM, OTHER, count=120)
    rig.emulator.graph.faults.inject(Fault.status(500), match=of_victim, after=3)
    async with rig.collecting(VICTIM, OTHER) as run:
        await run.complete()
        rig.fill(VICTIM, OTHER, count=40, hours=0.02, seed=1)
        await run.complete()
        assert run.complaints() == []


async def test_shuffled_pages(rig: Rig) -> None:
    """Pages whose records come in any order lose nothing, even when a chain of them breaks."""

    def shuffle(page: dict[str, Any]) -> dict[str, Any]:
        return {**page, "value": [*page["value"][1::2], *page["value"][::2]]}

    rig.fill(VICTIM, count=120)
    rig.emulator.graph.faults.inject(Fault.status(500), match=of_victim, after=3)
    rig.emulator.graph.faults.inject(Fault.page(shuffle), times=None, match=of_victim)
    async with rig.collecting(VICTIM) as run:
        await run.complete()


async def test_same_record_on_two_pages(rig: Rig) -> None:
    """Each page begins with the last record of the one before; each record arrives once."""
    last: list[Any] = []

    def repeat(page: dict[str, Any]) -> dict[str, Any]:
        before, last[:] = list(last), page["value"][-1:]
        return {**page, "value": [*before, *page["value"], *page["value"][-1:]]}

    rig.fill(VICTIM, count=150)
    rig.emulator.graph.faults.inject(Fault.page(repeat), times=None, match=of_victim)
    async with rig.collecting(VICTIM) as run:
        await run.complete()
        assert run.complaints() == []


@pytest.mark.parametrize("first_pages_only", [True, False])
async def test_empty_pages_with_a_next_link(rig: Rig, first_pages_only: bool) -> None:
    """An empty page ends nothing; one whose nextLink leads to itself breaks the chain, and loses nothing either."""
    rig.fill(VICTIM, count=100)
    for after in (0, 1, 3):
        rig.emulator.graph.faults.inject(
            Fault.empty_page(),
            match=lambda request: of_victim(request) and not (first_pages_only and request.is_next_link),
            after=after,
        )
    async with rig.collecting(VICTIM) as run:
        await run.complete()
        assert not first_pages_only or run.complaints() == []
