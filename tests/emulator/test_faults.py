"""Faults of each kind, as a client sees them."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import httpx
import pytest

from tests.emulator import Emulator, Fault, FaultBox
from tests.emulator.client import PlainClient
from tests.emulator.records import fill

NOW = datetime.now(UTC)


@pytest.fixture
def stocked(emulator: Emulator) -> Emulator:
    """An emulator with 40 interactive sign-ins in pages of 10."""
    emulator.tenant.page_limit = 10
    fill(emulator.tenant, "interactiveUser", 40, NOW - timedelta(hours=1), NOW, seed=5)
    return emulator


def test_status_has_the_services_own_body(client: PlainClient, stocked: Emulator) -> None:
    """A status without a body is worded as Graph words it; the next request is well again."""
    stocked.graph.faults.inject(Fault.status(504))
    response = client.stream("interactiveUser")
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "GatewayTimeout"
    assert stocked.graph.requests[-1].status == 504
    assert client.stream("interactiveUser").status_code == 200


def test_status_with_body_and_headers(client: PlainClient, stocked: Emulator) -> None:
    """Body and headers can be given."""
    stocked.graph.faults.inject(Fault.status(418, body={"a": 1}, headers={"X-Odd": "yes"}))
    response = client.stream("interactiveUser")
    assert (response.status_code, response.json(), response.headers["X-Odd"]) == (418, {"a": 1}, "yes")


@pytest.mark.parametrize("value", ["2.128", "Mon, 23 Nov 2026 08:00:00 GMT", None])
def test_retry_after_in_every_form(client: PlainClient, stocked: Emulator, value: str | None) -> None:
    """Retry-After may be a fraction, a date, or absent."""
    stocked.graph.faults.inject(Fault.retry_after(503, value))
    response = client.stream("interactiveUser")
    assert response.status_code == 503
    assert response.headers.get("Retry-After") == value


@pytest.mark.parametrize("after_bytes", [None, 0, 1, 5000])
def test_reset_cuts_the_connection(client: PlainClient, stocked: Emulator, after_bytes: int | None) -> None:
    """A reset is an error of the transport, before or inside the body, through the proxy too."""
    client.log_in()
    stocked.graph.faults.inject(Fault.reset(after_bytes))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.stream("interactiveUser")
    assert stocked.graph.requests[-1].status == 0
    assert client.stream("interactiveUser").status_code == 200


def test_reset_lets_the_first_bytes_through(client: PlainClient, stocked: Emulator) -> None:
    """What was sent before the reset arrives."""
    client.log_in()
    stocked.graph.faults.inject(Fault.reset(5000))
    headers = {"Authorization": f"Bearer {client.token}"}
    got: list[bytes] = []
    with client.http.stream("GET", "https://graph.microsoft.com/v1.0/auditLogs/signIns", headers=headers) as response:
        assert response.status_code == 200
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            got.extend(response.iter_raw())
    assert sum(map(len, got)) == 5000


def test_truncated_body_is_a_whole_response_with_half_a_json(client: PlainClient, stocked: Emulator) -> None:
    """HTTP is content; only JSON is not."""
    stocked.graph.faults.inject(Fault.truncate(1000))
    response = client.stream("interactiveUser")
    assert (response.status_code, len(response.content)) == (200, 1000)
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_other_body(client: PlainClient, stocked: Emulator) -> None:
    """Any bytes can be answered with status 200."""
    stocked.graph.faults.inject(Fault.body(b"[]"))
    assert client.stream("interactiveUser").json() == []


@pytest.mark.parametrize("after_bytes", [0, 3000])
def test_stall_outlasts_a_clients_patience_and_then_goes_on(
    client: PlainClient, stocked: Emulator, after_bytes: int
) -> None:
    """A stall is silence: a short timeout breaks off, a long one gets the whole page."""
    client.log_in()
    client.http.timeout = httpx.Timeout(5, read=0.1)
    stocked.graph.faults.inject(Fault.stall(30, after_bytes))
    with pytest.raises(httpx.ReadTimeout):
        client.stream("interactiveUser")
    client.http.timeout = httpx.Timeout(5)
    stocked.graph.faults.inject(Fault.stall(0.05, after_bytes))
    assert len(client.stream("interactiveUser").json()["value"]) == 10


@pytest.mark.parametrize("end", [Emulator.close, lambda emulator: emulator.graph.faults.clear()])
def test_stall_ends_at_once_with_the_emulator_or_the_faults(
    client: PlainClient, stocked: Emulator, end: Callable[[Emulator], None]
) -> None:
    """Closing does not wait for a stall, and clearing the faults releases it."""
    client.log_in()
    stocked.graph.faults.inject(Fault.stall(60))
    outcome: list[object] = []

    def ask() -> None:
        try:
            outcome.append(client.stream("interactiveUser").status_code)
        except httpx.TransportError as error:
            outcome.append(error)

    thread = Thread(target=ask)
    thread.start()
    while not stocked.graph.faults.used:
        time.sleep(0.005)
    began = time.monotonic()
    end(stocked)
    thread.join(5)
    assert time.monotonic() - began < 1
    assert len(outcome) == 1


def test_foreign_link_leaks_nothing_that_the_proxy_would_not_see(client: PlainClient, stocked: Emulator) -> None:
    """A nextLink can name another host; whoever follows it is refused by the proxy and written down."""
    stocked.graph.faults.inject(Fault.foreign_link("graph.evil.example"))
    link = client.stream("interactiveUser").json()["@odata.nextLink"]
    with pytest.raises(httpx.ProxyError):
        client.http.get(link)
    assert stocked.proxy.refused == ["graph.evil.example"]


def test_empty_page_delays_the_records(client: PlainClient, stocked: Emulator) -> None:
    """An empty page with a nextLink loses nothing for a client that goes on."""
    stocked.graph.faults.inject(Fault.empty_page(), after=1)
    pages = client.all_pages(client.stream("interactiveUser"))
    assert [len(page) for page in pages] == [10, 0, 10, 10, 10]
    assert len({record["id"] for page in pages for record in page}) == 40


def test_link_that_repeats_itself(client: PlainClient, stocked: Emulator) -> None:
    """A nextLink can be the very link that was asked."""
    stocked.graph.faults.inject(Fault.repeated_link())
    link = client.stream("interactiveUser").json()["@odata.nextLink"]
    assert client.get(link).json()["@odata.nextLink"] == link
    assert client.get(link).json()["@odata.nextLink"] != link


def test_expired_skip_token_concerns_links_only(client: PlainClient, stocked: Emulator) -> None:
    """A first page is never refused for its skip token."""
    stocked.graph.faults.inject(Fault.expired_skip_token())
    first = client.stream("interactiveUser")
    assert first.status_code == 200
    assert client.get(first.json()["@odata.nextLink"]).status_code == 400
    assert client.get(first.json()["@odata.nextLink"]).status_code == 200


def _twice(page: dict[str, Any]) -> dict[str, Any]:
    return {**page, "value": [*page["value"], page["value"][0]]}


def _strange(page: dict[str, Any]) -> dict[str, Any]:
    return {**page, "value": ["text", None, *page["value"]]}


@pytest.mark.parametrize(("mutate", "length"), [(_twice, 11), (_strange, 12)])
def test_page_can_be_rewritten(
    client: PlainClient, stocked: Emulator, mutate: Callable[[dict[str, Any]], dict[str, Any]], length: int
) -> None:
    """A page can hold a record twice, in another order, or things that are no records."""
    stocked.graph.faults.inject(Fault.page(mutate))
    assert len(client.stream("interactiveUser").json()["value"]) == length
    assert len(client.stream("interactiveUser").json()["value"]) == 10


def test_match_after_times_and_clear() -> None:
    """A fault takes the requests it is meant for, so often, after so many, and can be taken back."""
    box, fault, other = FaultBox(), Fault.status(500), Fault.status(503)
    box.inject(fault, times=2, match=lambda info: info == "x", after=1)
    box.inject(other, times=None, match=lambda info: info == "y")
    taken = [box.take(info) for info in ("x", "y", "z", "x", "x", "x", "y")]
    assert taken == [None, other, None, fault, fault, None, other]
    assert (box.used, box.waiting) == (4, 1)
    box.clear()
    assert box.take("y") is None
