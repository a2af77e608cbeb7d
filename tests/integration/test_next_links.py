"""Where a nextLink may lead: on, in a circle, to a page that is gone, or to somebody who wants the token."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.emulator import Fault
from tests.integration.rig import Rig

STREAM = "interactiveUser"
OTHER = "servicePrincipal"
FOREIGN = "graph.evil.example"
GRAPH = "graph.microsoft.com"
LOGIN = "login.microsoftonline.com"
BROKEN = "Graph broke off a chain of pages"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[httpx.URL]:
    """Every address that this process asks through httpx, sent or not, and with it whether a token was attached."""
    addresses: list[httpx.URL] = []
    send = httpx.AsyncClient.send

    async def note(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        addresses.append(request.url)
        return await send(client, request, **options)

    monkeypatch.setattr(httpx.AsyncClient, "send", note)
    return addresses


def _link(text: str) -> Fault:
    return Fault.page(lambda page: {**page, "@odata.nextLink": text})


PATH = "/v1.0/auditLogs/signIns?$skiptoken=stolen"


@pytest.mark.parametrize(
    "link",
    [
        f"https://{FOREIGN}{PATH}",
        f"http://{GRAPH}{PATH}",
        f"http://{FOREIGN}{PATH}",
        f"https://{GRAPH}.{FOREIGN}{PATH}",
        f"https://{GRAPH}@{FOREIGN}{PATH}",
        f"https://{GRAPH}:444{PATH}",
        f"https://graph.microsoft.us{PATH}",
        f"{PATH}",
        "https://[broken",
        "nothing at all",
    ],
)
async def test_link_that_leaves_the_cloud(make_rig: Callable[..., Rig], asked: list[httpx.URL], link: str) -> None:
    """It is never asked, gets no token, is told in a line without its address, and costs no record."""
    rig = make_rig(extra_hosts=(FOREIGN, f"{GRAPH}.{FOREIGN}"))
    rig.monkeypatch.setenv("HTTP_PROXY", rig.emulator.proxy_url)
    rig.fill(STREAM, OTHER)
    rig.emulator.graph.faults.inject(_link(link), times=None, match=lambda request: request.stream == STREAM)
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: run.said(STREAM, BROKEN, level="warning"), "a line")
        assert rig.emulator.graph.faults.used >= 2
        rig.emulator.graph.faults.clear()
        await run.complete()
        assert not run.said("stolen")
        assert all(STREAM in line for line in run.complaints()), run.complaints()
    assert rig.emulator.extra_requests == []
    assert rig.emulator.proxy.refused == []
    assert {url.scheme for url in asked} == {"https"}
    assert {url.host for url in asked} == {GRAPH, LOGIN}
    assert {url.port for url in asked} == {None}


async def test_link_that_repeats_itself(rig: Rig) -> None:
    """The circle is left after one turn; what it holds arrives once."""
    rig.fill(STREAM, OTHER, count=240)
    rig.emulator.graph.faults.inject(Fault.repeated_link(), times=None, match=lambda request: request.stream == STREAM)
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: run.said(STREAM, BROKEN, level="warning"), "a line")
        await run.complete()


async def test_two_links_that_lead_to_each_other(rig: Rig) -> None:
    """A circle of two pages is left as well."""
    links: list[str] = []

    def circle(page: dict[str, Any]) -> dict[str, Any]:
        if not links and "@odata.nextLink" not in page:
            return page
        links.append(page.get("@odata.nextLink") or links[0])
        return {**page, "@odata.nextLink": links[-3] if len(links) > 2 else links[-1]}

    rig.fill(STREAM, count=100)
    rig.emulator.graph.faults.inject(Fault.page(circle), times=12)
    async with rig.collecting(STREAM) as run:
        await run.until(lambda: rig.emulator.graph.faults.used == 12, "twelve such links")
        await run.complete()


@pytest.mark.parametrize("status", [400, 404, 410])
async def test_expired_skip_token(rig: Rig, status: int) -> None:
    """The window begins again at the last record delivered, at once, with every page; nothing arrives twice."""
    expired = Fault.expired_skip_token()
    fault = Fault(kind="answer", code=status, payload=expired.payload, next_link_only=True)
    rig.fill(STREAM, OTHER, count=100)
    rig.emulator.graph.faults.inject(fault, times=3, match=lambda request: request.stream == STREAM)
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: rig.emulator.graph.faults.used == 3, "three expired tokens")
        await run.complete()
        assert not [line for line in run.complaints() if BROKEN not in line], run.complaints()


async def test_skip_token_that_always_expires(rig: Rig) -> None:
    """Even if no second page is ever answered, every record arrives: each first page moves the cursor."""
    rig.fill(STREAM, count=100)
    rig.emulator.graph.faults.inject(Fault.expired_skip_token(), times=None)
    async with rig.collecting(STREAM) as run:
        await run.complete()
