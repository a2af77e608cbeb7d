"""What lasts at Graph: each way as a client sees it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from random import Random

import pytest

from tests.emulator import Emulator, Fault, Tenant
from tests.emulator.client import PlainClient, error_code
from tests.emulator.entra_faults import PASSING, mistaken
from tests.emulator.quirks import slow
from tests.emulator.records import fill, lateness

STREAM = "interactiveUser"
NOW = datetime.now(UTC)
COUNT = 40


@pytest.fixture
def stocked(emulator: Emulator) -> Emulator:
    """An emulator with 40 interactive sign-ins in pages of 10."""
    emulator.tenant.page_limit = 10
    fill(emulator.tenant, STREAM, COUNT, NOW - timedelta(hours=1), NOW, seed=5)
    return emulator


@pytest.fixture
def held(stocked: Emulator) -> list[str]:
    """The ids, oldest first."""
    return [json.loads(text)["id"] for text in stocked.tenant.all_texts(STREAM)]


def ask(client: PlainClient, *clauses: str, **options: object) -> list[str]:
    """The ids of all pages, in their order."""
    pages = client.all_pages(client.stream(STREAM, *clauses, orderby="createdDateTime asc", **options))
    return [record["id"] for page in pages for record in page]


@pytest.mark.parametrize(("how", "status"), [("500", 500), ("400", 400)])
def test_a_record_spoils_each_page_that_holds_it(
    client: PlainClient, stocked: Emulator, held: list[str], how: str, status: int
) -> None:
    """Every time, whatever the page's size; pages before it and behind it are whole, and it can be mended."""
    stocked.graph.quirks.spoil(held[14], how)
    first = client.stream(STREAM, orderby="createdDateTime asc")
    assert len(first.json()["value"]) == 10
    link = first.json()["@odata.nextLink"]
    for _ in range(3):
        assert client.get(link).status_code == status
    assert error_code(client.get(link)) == "UnknownError"
    assert client.stream(STREAM, orderby="createdDateTime asc", top=4).status_code == 200
    stocked.graph.quirks.mend(held[14])
    assert client.get(link).status_code == 200


def test_half_a_record_and_an_error_glued_on(client: PlainClient, stocked: Emulator, held: list[str]) -> None:
    """Status 200, the records before it whole, half of the record, and an error where the rest should be."""
    stocked.graph.quirks.spoil(held[4], "glued")
    response = client.stream(STREAM, orderby="createdDateTime asc")
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()
    texts = stocked.tenant.all_texts(STREAM)
    assert all(text in response.content for text in texts[:4])
    assert not any(text in response.content for text in texts[4:])
    assert response.content.endswith(b'{"error":{"code":"UnknownError","message":"","innerError":{}}}')


def test_a_record_is_spoiled_for_a_while() -> None:
    """Until an instant of Graph's clock."""
    clock = [NOW]
    with Emulator(clock=lambda: clock[0]) as emulator, PlainClient(emulator) as client:
        fill(emulator.tenant, STREAM, 1, NOW - timedelta(hours=1), NOW, seed=1)
        (text,) = emulator.tenant.all_texts(STREAM)
        emulator.graph.quirks.spoil(json.loads(text)["id"], "500", NOW + timedelta(minutes=1))
        assert client.stream(STREAM).status_code == 500
        clock[0] += timedelta(minutes=1)
        assert client.stream(STREAM).status_code == 200


@pytest.mark.parametrize("cue", ["fault", "quirk"])
def test_a_chain_ends_early(client: PlainClient, stocked: Emulator, held: list[str], cue: str) -> None:
    """Without a nextLink, as if it were complete; the next time it goes on."""
    if cue == "fault":
        stocked.graph.faults.inject(Fault.early_end(), after=1)
        expected = 20
    else:
        stocked.graph.quirks.ends_early = 1.0
        expected = 10
    assert ask(client) == held[:expected]
    stocked.graph.quirks.ends_early = 0.0
    assert ask(client) == held


def test_answers_leave_records_out(client: PlainClient, stocked: Emulator, held: list[str]) -> None:
    """A share of them, different ones each time, while the chain goes on to its end."""
    stocked.graph.quirks.left_out = 0.3
    answers = [ask(client) for _ in range(20)]
    assert all(set(answer) < set(held) for answer in answers)
    assert len(set(map(tuple, answers))) == 20
    assert 0.6 * COUNT * 20 < sum(map(len, answers)) < 0.8 * COUNT * 20
    assert set().union(*answers) == set(held)


def test_what_is_left_out_can_be_had_again(stocked: Emulator) -> None:
    """Equal seeds leave the same records out."""
    stocked.graph.quirks.left_out = 0.5
    thinned = []
    for _ in range(2):
        stocked.graph.quirks.random = Random(7)
        thinned.append(stocked.graph.quirks.thin_out(stocked.tenant.all_texts(STREAM)))
    assert thinned[0] == thinned[1]


def test_a_400_that_passes(client: PlainClient, stocked: Emulator) -> None:
    """On cue or at random, a question that is answered the next time; never a nextLink."""
    stocked.graph.faults.inject(Fault.unsupported_query())
    refused = client.stream(STREAM)
    assert (refused.status_code, error_code(refused)) == (400, "UnknownError")
    assert "Unsupported Query" in refused.json()["error"]["message"]
    link = client.stream(STREAM).json()["@odata.nextLink"]
    stocked.graph.quirks.unsupported = 0.5
    assert {client.stream(STREAM).status_code for _ in range(20)} == {200, 400}
    assert {client.get(link).status_code for _ in range(20)} == {200}


def test_wide_windows_time_out(client: PlainClient, stocked: Emulator) -> None:
    """A window of more records than Graph manages is a 504, further pages included; half of it is answered."""
    stocked.graph.quirks.widest = COUNT - 1
    refused = client.stream(STREAM)
    assert (refused.status_code, error_code(refused)) == (504, "GatewayTimeout")
    half = f"createdDateTime ge {NOW - timedelta(minutes=30):%Y-%m-%dT%H:%M:%SZ}"
    assert client.stream(STREAM, half).status_code == 200
    stocked.graph.quirks.widest = COUNT
    assert client.stream(STREAM).status_code == 200


def test_skip_tokens_live_so_many_pages(client: PlainClient, stocked: Emulator, held: list[str]) -> None:
    """The third page of a chain is the last; a chain that begins there has three of its own."""
    stocked.graph.quirks.token_pages = 3
    response = client.stream(STREAM, orderby="createdDateTime asc")
    for _ in range(2):
        response = client.get(response.json()["@odata.nextLink"])
    last = response.json()
    expired = client.get(last["@odata.nextLink"])
    assert expired.status_code == 400
    assert "skip token has expired" in expired.json()["error"]["message"]
    assert ask(client, f"createdDateTime ge {last['value'][-1]['createdDateTime']}") == held[29:]


def test_the_date_is_the_emulators(client: PlainClient) -> None:
    """Every answer of Graph and of the login states Graph's clock, which differs from the machine's."""
    ahead = timedelta(minutes=7)
    with Emulator(clock=lambda: datetime.now(UTC) + ahead) as emulator, PlainClient(emulator) as other:
        other.log_in()
        emulator.graph.faults.inject(Fault.status(503))
        emulator.login.faults.inject(Fault.html(502))
        answers = [other.stream(STREAM), other.stream(STREAM), other.get("/v1.0/nothing"), other.ask_token()]
        answers += [other.ask_token(), other.ask_token(client_secret="wrong")]
    assert [answer.status_code for answer in answers] == [503, 200, 404, 502, 200, 401]
    for answer in answers:
        off_s = (parsedate_to_datetime(answer.headers["Date"]) - datetime.now(UTC) - ahead).total_seconds()
        assert abs(off_s) < 30


def test_the_limit_of_the_application_over_all_tenants(emulator: Emulator, client: PlainClient) -> None:
    """122 requests in 10 s for the application: what it asks in other tenants counts."""
    now_s = [100.0]
    emulator.graph.stopwatch = lambda: now_s[0]
    emulator.graph.limit = (5, 10.0)
    emulator.graph.asked_elsewhere(121)
    assert client.stream(STREAM).status_code == 200
    throttled = client.stream(STREAM)
    assert throttled.status_code == 429
    assert float(throttled.headers["Retry-After"]) == pytest.approx(10)
    now_s[0] += 10.1
    assert client.stream(STREAM).status_code == 200


def test_latency_is_drawn(emulator: Emulator) -> None:
    """Each answer takes its own time between the bounds; a refusal for the limit is quick."""
    drawn = [slow(0.5, 90)(None) for _ in range(1)]
    latency = slow(0.5, 90, seed=3)
    drawn += [latency(None) for _ in range(200)]
    assert all(0.5 <= one <= 90 for one in drawn)
    assert min(drawn) < 10
    assert max(drawn) > 80


def test_lateness_follows_its_distribution() -> None:
    """The shares that were asked for are shown within their bounds, and none later than the last."""
    delay, rng = lateness((0.95, 120), (0.99, 300), (1, 4 * 3600)), Random(1)
    drawn = [delay(rng) for _ in range(20_000)]
    for share, bound_s in ((0.95, 120), (0.99, 300)):
        assert sum(one <= bound_s for one in drawn) / 20_000 == pytest.approx(share, abs=0.01)
    assert 300 < max(drawn) <= 4 * 3600
    tenant = Tenant()
    fill(tenant, STREAM, 400, NOW - timedelta(seconds=10), NOW, seed=1, delay=lateness((0.5, 60), (1, 3600)))
    assert 120 < tenant.count(STREAM, NOW + timedelta(seconds=60)) < 280
    assert tenant.count(STREAM, NOW + timedelta(hours=1)) == 400


@pytest.fixture
def passing(emulator: Emulator, client: PlainClient) -> Iterator[PlainClient]:
    """A client whose next token request goes through whatever is not injected."""
    yield client
    assert client.ask_token().status_code == 200


@pytest.mark.parametrize("name", PASSING)
def test_entras_passing_faults(emulator: Emulator, passing: PlainClient, name: str) -> None:
    """Each is answered once, and the next request gets its token."""
    emulator.login.faults.inject(PASSING[name])
    assert passing.ask_token().status_code in (400, 429, 500, 502, 503)


@pytest.mark.parametrize("code", [90002, 700016])
def test_entra_takes_back_what_it_said(emulator: Emulator, passing: PlainClient, code: int) -> None:
    """A tenant or an application that exists is denied for a while."""
    emulator.login.faults.inject(mistaken(code, NOW, app="a", tenant="t"))
    response = passing.ask_token()
    assert response.status_code == 400
    assert response.json()["error_codes"] == [code]


def test_order_and_size_as_documented(client: PlainClient, stocked: Emulator, held: list[str]) -> None:
    """Descending order and any page size up to 1,000; pages newest first in spite of what was asked."""
    descending = client.all_pages(client.stream(STREAM, orderby="createdDateTime desc", top=7))
    assert [record["id"] for page in descending for record in page] == held[::-1]
    assert [len(page) for page in descending] == [7, 7, 7, 7, 7, 5]
    stocked.graph.honour_orderby = False
    assert ask(client) == held[::-1]
