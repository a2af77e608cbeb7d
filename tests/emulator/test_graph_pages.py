"""Graph's pages: filter, order, size, links, versions of a record."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.emulator import STREAMS, Emulator, Tenant
from tests.emulator.client import PlainClient
from tests.emulator.records import fill

NOW = datetime.now(UTC).replace(microsecond=0)
AT = NOW - timedelta(hours=1)
SECOND = f"{AT:%Y-%m-%dT%H:%M:%S}"


def add(emulator: Emulator, *fractions: str, stream: str = "interactiveUser") -> None:
    """Adds records named after the fraction of one second at which they were created."""
    member = "activityDateTime" if stream == "directoryAudits" else "createdDateTime"
    for fraction in fractions:
        emulator.tenant.add(stream, {"id": fraction, member: f"{SECOND}{fraction}"})


def ids(pages: list[list[dict[str, object]]]) -> list[list[object]]:
    return [[record["id"] for record in page] for page in pages]


def test_bounds_are_inclusive_to_100_ns(client: PlainClient, emulator: Emulator) -> None:
    """`ge` and `le` include their instants, and tell the seventh digit."""
    add(emulator, ".1234566Z", ".1234567Z", ".1234568Z", ".1234569Z")
    low, high = f"createdDateTime ge {SECOND}.1234567Z", f"createdDateTime le {SECOND}.1234568Z"
    found = client.all_pages(client.stream("interactiveUser", low, high, orderby="createdDateTime asc"))
    assert ids(found) == [[".1234567Z", ".1234568Z"]]
    exact = client.stream("interactiveUser", f"createdDateTime eq {SECOND}.1234567Z")
    assert ids(client.all_pages(exact)) == [[".1234567Z"]]


def test_offsets_and_whole_seconds_sort_by_their_instant(client: PlainClient, emulator: Emulator) -> None:
    """A time is an instant, however it is written."""
    add(emulator, ".5Z", "+00:00", ".25+00:00", stream="directoryAudits")
    found = client.all_pages(client.stream("directoryAudits", orderby="activityDateTime"))
    assert ids(found) == [["+00:00", ".25+00:00", ".5Z"]]


def test_newest_first_unless_asked_otherwise(client: PlainClient, emulator: Emulator) -> None:
    """The default is newest first; $orderby alone means ascending, as OData says."""
    add(emulator, ".2Z", ".3Z", ".1Z")
    assert ids(client.all_pages(client.stream("interactiveUser"))) == [[".3Z", ".2Z", ".1Z"]]
    ascending = client.stream("interactiveUser", orderby="createdDateTime")
    assert ids(client.all_pages(ascending)) == [[".1Z", ".2Z", ".3Z"]]
    emulator.graph.honour_orderby = False
    ignored = client.stream("interactiveUser", orderby="createdDateTime asc")
    assert ids(client.all_pages(ignored)) == [[".3Z", ".2Z", ".1Z"]]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_pages_across_ties_miss_and_repeat_nothing(
    client: PlainClient, emulator: Emulator, order: str, size: int
) -> None:
    """Records of one instant that fall on both sides of a page's end come once each."""
    for number in range(11):
        emulator.tenant.add("interactiveUser", {"id": number, "createdDateTime": f"{SECOND}.{number // 4}Z"})
    first = client.stream("interactiveUser", orderby=f"createdDateTime {order}", top=size)
    pages = ids(client.all_pages(first))
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
    flat = [record_id for page in pages for record_id in page]
    assert flat == (list(range(11)) if order == "asc" else list(reversed(range(11))))


def test_pages_stay_right_while_records_are_added(client: PlainClient, emulator: Emulator) -> None:
    """A record added before the position is not shown, and pushes no other one out of its page."""
    add(emulator, ".2Z", ".3Z", ".4Z", ".5Z")
    first = client.stream("interactiveUser", orderby="createdDateTime asc", top=2)
    add(emulator, ".1Z", ".45Z")
    assert ids(client.all_pages(first)) == [[".2Z", ".3Z"], [".4Z", ".45Z"], [".5Z"]]


def test_page_limit_of_the_service(client: PlainClient, emulator: Emulator) -> None:
    """Graph may answer smaller pages than it was asked for."""
    emulator.tenant.page_limit = 2
    add(emulator, ".1Z", ".2Z", ".3Z")
    pages = client.all_pages(client.stream("interactiveUser", top=1000))
    assert [len(page) for page in pages] == [2, 1]


def test_link_stays_on_host_and_version_and_carries_no_header(client: PlainClient, emulator: Emulator) -> None:
    """A nextLink leads to the same host and version; the log tells it from a first page."""
    emulator.tenant.page_limit = 1
    add(emulator, ".1Z", ".2Z", stream="nonInteractiveUser")
    first = client.stream("nonInteractiveUser").json()
    assert first["@odata.nextLink"].startswith("https://graph.microsoft.com/beta/auditLogs/signIns?")
    client.get(first["@odata.nextLink"], Prefer="include-unknown-enum-members")
    one, two = emulator.graph.requests
    assert (one.is_next_link, two.is_next_link) == (False, True)
    assert (one.stream, two.stream) == ("nonInteractiveUser", "nonInteractiveUser")
    assert "prefer" not in one.headers
    assert two.headers["prefer"] == "include-unknown-enum-members"
    assert (two.status, two.records, two.version) == (200, 1, "beta")
    assert two.at >= one.at


def test_each_stream_shows_its_own_records(client: PlainClient, emulator: Emulator) -> None:
    """Every stream is asked for by its own path and filter, and answers exactly what was added to it."""
    made = {s: fill(emulator.tenant, s, 30, AT, AT + timedelta(minutes=5), seed=n) for n, s in enumerate(STREAMS)}
    for stream, texts in made.items():
        response = client.stream(stream, orderby=f"{'activity' if stream == 'directoryAudits' else 'created'}DateTime")
        body = response.raise_for_status().content
        assert sorted(texts) == sorted(emulator.tenant.all_texts(stream))
        assert all(text in body for text in texts)
        assert len(response.json()["value"]) == 30


def test_beta_without_a_type_shows_interactive_sign_ins_only(client: PlainClient, emulator: Emulator) -> None:
    """The filter on signInEventTypes is what brings the other types; several may be asked at once."""
    add(emulator, ".1Z", stream="interactiveUser")
    add(emulator, ".2Z", stream="servicePrincipal")
    add(emulator, ".3Z", stream="managedIdentity")
    assert ids(client.all_pages(client.get("/beta/auditLogs/signIns"))) == [[".1Z"]]
    both = "signInEventTypes/any(t: t eq 'managedIdentity' or t eq 'servicePrincipal')"
    params = {"$filter": both, "$top": 1, "$orderby": "createdDateTime"}
    assert ids(client.all_pages(client.get("/beta/auditLogs/signIns", params))) == [[".2Z"], [".3Z"]]


def test_late_and_changed_records() -> None:
    """A record is shown from `visible_at`, changes at `at`, and keeps its place."""
    tenant, clock = Tenant(), [NOW]
    tenant.add(
        "servicePrincipal", {"id": "a", "createdDateTime": f"{SECOND}.1Z"}, visible_at=NOW + timedelta(minutes=5)
    )
    tenant.add("servicePrincipal", {"id": "b", "createdDateTime": f"{SECOND}.2Z"})
    changed = {"id": "b", "createdDateTime": f"{SECOND}.2Z", "riskState": "atRisk"}
    tenant.change("servicePrincipal", "b", changed, NOW + timedelta(minutes=10))
    with Emulator(tenant, clock=lambda: clock[0]) as emulator, PlainClient(emulator) as client:
        assert ids(client.all_pages(client.stream("servicePrincipal"))) == [["b"]]
        clock[0] += timedelta(minutes=5)
        assert ids(client.all_pages(client.stream("servicePrincipal"))) == [["b", "a"]]
        clock[0] += timedelta(minutes=5)
        [[first, _]] = client.all_pages(client.stream("servicePrincipal"))
        assert first == changed


def test_text_is_delivered_verbatim(client: PlainClient, emulator: Emulator) -> None:
    """A record given as bytes arrives byte for byte, spacing and number spelling included."""
    text = b'{ "id": 1e2, "n": 1.50, "big": 123456789012345678901234567890, "u": "\\u00e9" }'
    emulator.tenant.add("interactiveUser", text, created=AT)
    assert text in client.stream("interactiveUser").content
    assert emulator.tenant.all_texts("interactiveUser") == [text]


def test_latency(client: PlainClient, emulator: Emulator) -> None:
    """An answer can take its time, by a number or by what is asked."""
    emulator.graph.latency_s = lambda request: 0.1 if request.stream == "directoryAudits" else 0.0
    began = time.monotonic()
    client.stream("directoryAudits")
    assert time.monotonic() - began >= 0.1


def test_gzip(client: PlainClient, emulator: Emulator) -> None:
    """Compression can be switched on."""
    emulator.graph.gzip = True
    add(emulator, ".1Z")
    response = client.stream("interactiveUser")
    assert response.headers["Content-Encoding"] == "gzip"
    assert len(response.json()["value"]) == 1
