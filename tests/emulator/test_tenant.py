"""The tenant's store, and the generator of records."""

from datetime import UTC, datetime, timedelta
from threading import Thread

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.emulator import STREAMS, Tenant
from tests.emulator.instants import FAR_FUTURE, datetime_of, instant_text, parse_ticks, ticks_of
from tests.emulator.records import fill, fill_all, one

AT = datetime(2026, 11, 23, 8, tzinfo=UTC)
STREAM = "nonInteractiveUser"


@given(st.integers(0, 4_000_000_000 * 10**7))
def test_instants_go_both_ways(ticks: int) -> None:
    """A tick survives its text; a datetime is right to its microsecond."""
    assert parse_ticks(instant_text(ticks)) == ticks
    assert ticks_of(datetime_of(ticks)) == ticks - ticks % 10


@pytest.mark.parametrize(
    "text", ["", "2026-11-23", "2026-13-01T00:00:00Z", "2026-11-23T08:00:00", "2026-11-23T08:00:00.Z"]
)
def test_nonsense_is_no_instant(text: str) -> None:
    """Only a whole OData literal counts."""
    with pytest.raises(ValueError, match=r"."):
        parse_ticks(text)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=40),
    st.integers(1, 7),
    st.booleans(),
    st.integers(0, 3),
)
def test_pages_agree_with_a_sorted_list(records: list[tuple[int, int]], limit: int, descending: bool, now: int) -> None:
    """Whatever the ties and the delays, the pages are the sorted list of what is visible, cut in pieces."""
    tenant = Tenant()
    tenant.add_many(STREAM, [(created, b"%d" % n, visible) for n, (created, visible) in enumerate(records)])
    expected = sorted(
        (created, n) for n, (created, visible) in enumerate(records) if visible <= now and 2 <= created <= 7
    )
    got: list[bytes] = []
    after = None
    while True:
        texts, after = tenant.page([STREAM], 2, 7, now=now, limit=limit, descending=descending, after=after)
        got += texts
        if after is None:
            break
        assert len(texts) == limit
    wanted = [b"%d" % n for _, n in expected]
    assert got == (wanted[::-1] if descending else wanted)


def test_all_texts_has_every_version_that_was_shown() -> None:
    """A version that was replaced before anyone could see it is not among them."""
    tenant = Tenant()
    hour = timedelta(hours=1)
    tenant.add(STREAM, {"id": "a", "createdDateTime": AT.isoformat()}, visible_at=AT + hour)
    tenant.change(STREAM, "a", b'"never seen"', AT + hour / 2)
    tenant.change(STREAM, "a", b'"second"', AT + hour / 3)
    tenant.change(STREAM, "a", b'"third"', AT + 2 * hour)
    assert tenant.all_texts(STREAM) == [b'"never seen"', b'"third"']
    assert tenant.all_texts(STREAM, now=AT + hour) == [b'"never seen"']
    assert tenant.visible(STREAM, now=AT) == []
    assert tenant.visible(STREAM, AT, AT, AT + 2 * hour) == [b'"third"']
    assert (tenant.count(STREAM), tenant.count(STREAM, now=AT)) == (1, 0)
    with pytest.raises(KeyError):
        tenant.change(STREAM, "b", b"{}", AT)


def test_id_added_later_can_be_changed() -> None:
    """Ids are learnt when they are needed, records without one included."""
    tenant = Tenant()
    tenant.add(STREAM, b"not JSON", created=AT)
    for record_id in ("a", "b"):
        tenant.add(STREAM, {"id": record_id, "createdDateTime": AT.isoformat()})
        tenant.change(STREAM, record_id, record_id.upper().encode(), AT)
    assert tenant.visible(STREAM) == [b"not JSON", b"A", b"B"]


def test_records_may_be_added_while_pages_are_read() -> None:
    """A reader and a writer in two threads lose nothing."""
    tenant = Tenant()

    def write() -> None:
        for n in range(3000):
            tenant.add_many(STREAM, [(n * 7919 % 3000, b"%d" % n, 0)])

    writer = Thread(target=write)
    writer.start()
    while writer.is_alive():
        texts, _ = tenant.page([STREAM], 0, FAR_FUTURE, now=1, limit=5000)
        assert len(texts) == len(set(texts))
    assert tenant.count(STREAM) == 3000


@pytest.mark.parametrize("stream", STREAMS)
def test_generated_records_are_realistic(stream: str) -> None:
    """Records are JSON of about the size asked, with ids of their own, in the window, and varied."""
    tenant = Tenant()
    texts = fill(tenant, stream, 2000, AT, AT + timedelta(hours=1), seed=3, size=2000)
    records = [orjson.loads(text) for text in texts]
    member = "activityDateTime" if stream == "directoryAudits" else "createdDateTime"
    times = [parse_ticks(record[member]) for record in records]
    assert 1700 < sum(map(len, texts)) / len(texts) < 2400
    assert len({record["id"] for record in records}) == 2000
    assert ticks_of(AT) <= min(times)
    assert max(times) < ticks_of(AT + timedelta(hours=1))
    assert len(set(times)) < 2000
    assert any(text.endswith(b"}") and not text.isascii() for text in texts)
    assert tenant.visible(stream, now=AT + timedelta(hours=2)) != []
    assert fill(Tenant(), stream, 2000, AT, AT + timedelta(hours=1), seed=3) == texts
    assert fill(Tenant(), stream, 2000, AT, AT + timedelta(hours=1), seed=4) != texts


def test_sizes_and_delays() -> None:
    """Records can be ten times as large, and be shown late by a drawn delay."""
    tenant = Tenant()
    texts = fill(tenant, STREAM, 20, AT, AT, seed=1, delay=lambda rng: rng.uniform(60, 120), size=20_000)
    assert min(map(len, texts)) > 17_000
    assert tenant.count(STREAM, now=AT + timedelta(seconds=59)) == 0
    assert tenant.count(STREAM, now=AT + timedelta(seconds=121)) == 20


def test_fill_all_gives_each_stream_its_own_records() -> None:
    """Streams filled together differ in number and content, and end before the given time."""
    tenant = Tenant()
    made = fill_all(tenant, {"servicePrincipal": 3, "managedIdentity": 2}, AT, hours=1)
    assert {stream: tenant.count(stream, now=AT) for stream in made} == {"servicePrincipal": 3, "managedIdentity": 2}
    assert tenant.visible("servicePrincipal", AT - timedelta(hours=1), AT, AT) == made["servicePrincipal"]


def test_one_record_of_ones_own() -> None:
    """A single record takes members from the test."""
    record = one("directoryAudits", AT, id="mine", result=None)
    assert (record["id"], record["result"]) == ("mine", None)
    assert record["activityDateTime"] == "2026-11-23T08:00:00.0000000Z"
