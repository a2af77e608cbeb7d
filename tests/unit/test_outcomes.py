"""What the end of a window changes: for its place, or for its stream; and who is told."""

import asyncio

import pytest

from graph_entra.errors import (
    GraphRefused,
    GraphUnavailable,
    IntakeRefused,
    PagingBroken,
    StorageFailed,
    Throttled,
    TokenRefused,
    WindowTooWide,
)
from graph_entra.reading import coverage as coverage_rules
from graph_entra.reading.collector import Reading
from graph_entra.reading.outcomes import FEWEST_RECORDS, PROBE_AFTER, REFUSED_TIMES
from graph_entra.reading.reader import MOST_RECORDS, Backoff
from graph_entra.streams import HOUR_S, Window, Work
from tests.unit.readers import NOW, Desk

START = NOW - 2 * HOUR_S
PLACE = (START, START + 600)


@pytest.fixture
def desk() -> Desk:
    return Desk(streams=2)


def over(desk: Desk, work: Work = "unread", error: Exception | None = None, **seen: int) -> Reading:
    """A window of ten minutes is over."""
    window = Window(work, *PLACE)
    reading = Reading(window, NOW, seen.get("reached_s", START if error else PLACE[1]), error=error)
    reading.pages, reading.records = seen.get("pages", 0 if error else 1), seen.get("records", 0)
    asyncio.run(desk.outcomes.ended(desk.reader, reading))
    return reading


@pytest.mark.parametrize(
    "error",
    [
        GraphUnavailable("500"),
        WindowTooWide("504"),
        PagingBroken("the token has expired"),
        GraphRefused(400, "UnknownError", "Unsupported Query."),
        GraphRefused(404, "", ""),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("work", ["unread", "look", "again", "troubled"])
def test_what_may_be_the_places_fault_costs_the_place(desk: Desk, work: Work, error: Exception) -> None:
    """It waits by itself, with Graph's own words; the stream goes on."""
    over(desk, work, error)
    assert desk.collectors[0].failed == [(PLACE, str(error), False)]
    assert desk.reader.paused_until_s == 0.0
    (row,) = desk.reader.coverage.troubled
    assert (row.start_s, row.end_s) == PLACE


def test_only_what_was_not_read_waits(desk: Desk) -> None:
    """The pages before the failure count."""
    over(desk, error=GraphUnavailable("500"), reached_s=START + 300)
    assert desk.collectors[0].failed == [((START + 300, PLACE[1]), "500", False)]


@pytest.mark.parametrize(
    ("error", "first_wait_s"),
    [
        (GraphRefused(401, "", ""), 15.0),
        (GraphRefused(403, "Authentication_MSGraphPermissionMissing", ""), 15.0),
        (IntakeRefused(401), 15.0),
        (StorageFailed("full"), 1.0),
        (ZeroDivisionError(), 1.0),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("work", ["edge", "unread", "troubled"])
def test_what_is_no_places_fault_costs_the_stream(
    desk: Desk, work: Work, error: Exception, first_wait_s: float
) -> None:
    """A permission, the intake and the disk are the same everywhere: the stream waits, twice as long each time."""
    for wait_s in (first_wait_s, 2 * first_wait_s, 4 * first_wait_s):
        over(desk, work, error)
        assert desk.reader.paused_until_s == desk.clock.monotonic() + wait_s
    assert desk.collectors[0].failed == []
    assert desk.readers[1].paused_until_s == 0.0
    assert [wait_s for _, wait_s in desk.problems.waits] == [first_wait_s, 2 * first_wait_s, 4 * first_wait_s]


@pytest.mark.parametrize("work", ["edge", "unread", "look"])
def test_the_limit_is_nobodys_fault(desk: Desk, work: Work) -> None:
    """What was asked for is due as before; the limiter waits."""
    over(desk, work, Throttled("429", 3.0))
    assert desk.collectors[0].failed == []
    assert desk.reader.paused_until_s == 0.0
    assert desk.reader.backoff.tries == 0


def test_tokens_that_are_refused_for_hours_are_asked_for_ever_more_seldom(desk: Desk) -> None:
    """The place is not blamed, and Entra is not asked every other second."""
    for _ in range(12):
        over(desk, "unread", TokenRefused("401", 1))
    assert desk.collectors[0].failed == []
    assert desk.problems.waits[-1][1] == 60.0


def test_a_wait_that_graph_asks_for_is_kept(desk: Desk) -> None:
    """A 503 that names its time: a poll's is the stream's; another's is the places', and a poll tells whose it is."""
    over(desk, "look", GraphUnavailable("503", 120.0))
    assert desk.reader.places_until_s == desk.clock.monotonic() + 120.0
    assert (desk.reader.paused_until_s, desk.reader.poll_due_s) == (0.0, 0.0)
    over(desk, "edge", GraphUnavailable("503", 120.0))
    assert desk.reader.paused_until_s == desk.clock.monotonic() + 120.0


def test_a_chain_that_breaks_behind_what_it_brought_goes_on(desk: Desk) -> None:
    """The rest is due as before: nothing is wrong with the place."""
    over(desk, error=PagingBroken("the token has expired", 0), reached_s=START + 300, records=900)
    assert desk.collectors[0].failed == []


@pytest.mark.parametrize(
    ("error", "target"),
    [
        (WindowTooWide("504"), MOST_RECORDS / 2),
        (PagingBroken("expired"), MOST_RECORDS / 2),
        (GraphUnavailable("500"), MOST_RECORDS),
        (Throttled("429"), MOST_RECORDS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_windows_get_smaller_after_those_that_were_too_wide(desk: Desk, error: Exception, target: float) -> None:
    """And only after those; down to a hundred records."""
    over(desk, error=error)
    assert desk.reader.target_records == target
    for _ in range(20):
        over(desk, error=WindowTooWide("504"))
    assert desk.reader.target_records == FEWEST_RECORDS


def test_windows_grow_back(desk: Desk) -> None:
    """While windows of about the size that was asked for are answered; a small one says nothing."""
    desk.reader.target_records = 1000
    over(desk, records=499)
    assert desk.reader.target_records == 1000
    for _ in range(30):
        over(desk, records=20_000)
    assert desk.reader.target_records == MOST_RECORDS


# The edge


def test_a_poll_that_fails_makes_the_stream_wait_and_then_asks_for_less(desk: Desk) -> None:
    """What the first two asked for is remembered: if the last second is served, it is a place in there."""
    for number in range(1, 5):
        over(desk, "edge", GraphUnavailable(f"500 number {number}"))
        assert desk.reader.polls_failed == number
        assert desk.reader.failed_poll == (PLACE, f"500 number {min(number, PROBE_AFTER)}")
    assert desk.collectors[0].failed == []
    assert desk.reader.down


def test_a_refused_application_is_no_place(desk: Desk) -> None:
    """A 403 between two failures of a place forgets them."""
    over(desk, "edge", GraphUnavailable("500"))
    over(desk, "edge", GraphRefused(403, "", ""))
    assert (desk.reader.polls_failed, desk.reader.failed_poll) == (0, None)


def test_what_is_mended_here_may_be_mended_for_all(desk: Desk) -> None:
    """The other streams need not wait for their next try, and begin anew with their waits."""
    for reader in desk.readers:
        reader.backoff.wait_s(GraphRefused(403, "", ""))
        reader.paused_until_s = reader.poll_due_s = 300.0
    desk.clock.advance(10)
    over(desk, "edge")
    assert [reader.paused_until_s for reader in desk.readers] == [0.0, 0.0]
    assert desk.readers[1].poll_due_s == 10.0
    assert desk.reader.backoff.tries == 0


def test_a_wait_that_graph_asked_for_is_ended_by_nobody(desk: Desk) -> None:
    """Another stream that is served again, or an earlier window of the same, says nothing of it."""
    desk.reader.backoff.wait_s(GraphRefused(403, "", ""))
    busy = desk.readers[1]
    busy.paused_until_s = busy.asked_until_s = 600.0
    over(desk, "edge", GraphUnavailable("503", 300.0))
    over(desk, "edge")
    assert [reader.paused_until_s for reader in desk.readers] == [300.0, 600.0]


# Trouble


def test_it_is_the_place_if_the_stream_is_served_meanwhile(desk: Desk) -> None:
    """A poll is brought forward to see; if it is answered, the next failure divides the place."""
    desk.reader.poll_due_s = 50.0
    over(desk, error=GraphUnavailable("500"))
    assert desk.reader.poll_due_s == 0.0
    assert desk.problems.waits == [(GraphUnavailable, 1.0)]
    desk.clock.advance(5)
    desk.reader.served_s = desk.clock.monotonic()
    desk.clock.advance(5)
    over(desk, "troubled", GraphUnavailable("500"))
    assert desk.collectors[0].failed[-1] == (PLACE, "500", True)
    assert len(desk.reader.coverage.troubled) == 2
    over(desk, "troubled", GraphUnavailable("500"))
    assert desk.collectors[0].failed[-1] == (PLACE, "500", False)


def test_a_second_that_is_never_served_is_told_once(desk: Desk) -> None:
    """With its bounds and Graph's own words; and again when it is over."""
    window = Window("troubled", START, START + 1)
    for _ in range(12):
        desk.clock.advance(HOUR_S)
        desk.reader.served_s = desk.clock.monotonic()
        desk.clock.advance(1)
        failed = Reading(window, NOW, START, error=GraphUnavailable("Graph answered 500"))
        asyncio.run(desk.outcomes.ended(desk.reader, failed))
    ((stream, stretch, why, again_s),) = desk.problems.of("troubled")
    assert (stream, stretch, why) == ("interactiveUser", (START, START + 1), "Graph answered 500")
    assert again_s == pytest.approx(HOUR_S, abs=2)
    collector = desk.collectors[0]
    collector.coverage = coverage_rules.read(collector.coverage, (START, START + 1), int(desk.clock.time()), [])
    asyncio.run(desk.outcomes.ended(desk.reader, Reading(window, NOW, START + 1, pages=1)))
    assert desk.problems.of("readable") == [("interactiveUser", (START, START + 1), [])]


def test_each_window_that_is_read_may_tell_what_was_read_before(desk: Desk) -> None:
    """A line about a stretch may have waited for the hour; what is in trouble now is told with it."""
    collector = desk.collectors[0]
    collector.coverage, _ = coverage_rules.failed(
        collector.coverage, (START, START + 60), NOW, "500", served_elsewhere=True
    )
    over(desk, "look")
    assert desk.problems.of("readable") == [("interactiveUser", PLACE, [(START, START + 60)])]


def test_a_place_whose_record_the_intake_still_refuses_is_not_called_read(desk: Desk) -> None:
    """It was read, and it still waits."""
    collector = desk.collectors[0]
    collector.coverage = coverage_rules.undelivered(
        collector.coverage, (START, START + 1), NOW + 150, 5, "the intake answered 400", told=True
    )
    window = Window("troubled", START, START + 1)
    asyncio.run(desk.outcomes.ended(desk.reader, Reading(window, NOW, START + 1, pages=1)))
    assert desk.problems.of("readable") == [("interactiveUser", (START, START + 1), [(START, START + 1)])]


def test_what_has_been_due_since_before_a_stop_is_due_now(desk: Desk) -> None:
    """Never in less than no time."""
    trouble = coverage_rules.Trouble(9, int(NOW - HOUR_S), "it broke", told=True)
    row = coverage_rules.Row(START, START + 1, trouble=trouble)
    asyncio.run(desk.outcomes.ended(desk.reader, Reading(Window("unread", *PLACE), NOW, PLACE[1], aside=[row])))
    ((*_, again_s),) = desk.problems.of("troubled")
    assert again_s == 0


def test_a_record_that_the_intake_refuses_for_long_is_told_as_set_aside(desk: Desk) -> None:
    """Neither in silence, nor as lost."""
    collector = desk.collectors[0]
    collector.coverage = coverage_rules.undelivered(
        collector.coverage, (START, START + 1), NOW + 150, 4, "the intake answered 400 to record a", told=True
    )
    reading = Reading(Window("unread", *PLACE), NOW, PLACE[1], pages=1, aside=[*collector.coverage.troubled])
    asyncio.run(desk.outcomes.ended(desk.reader, reading))
    ((stream, stretch, why, _),) = desk.problems.of("troubled")
    assert (stream, stretch, why) == (desk.reader.key, (START, START + 1), "the intake answered 400 to record a")
    assert desk.problems.of("lost") == []


# Waiting


@pytest.mark.parametrize(
    ("errors", "waits_s"),
    [
        ([GraphUnavailable("500")] * 8, [1, 2, 4, 8, 16, 32, 60, 60]),
        ([GraphRefused(403, "", "")] * 6, [15, 30, 60, 120, 240, 300]),
        ([GraphUnavailable("503", 7.5)] * 5, [7.5, 7.5, 7.5, 8, 16]),  # as asked, then longer
        ([GraphUnavailable("503", 200.0)] * 5, [200] * 5),
        ([GraphRefused(403, "a", ""), GraphRefused(403, "a", ""), GraphRefused(403, "b", "")], [15, 30, 15]),
        ([GraphUnavailable("500"), WindowTooWide("504"), WindowTooWide("504")], [1, 1, 2]),
    ],
)
def test_waits(errors: list[Exception], waits_s: list[float]) -> None:
    """As long as the other side asked for, or twice as long each time; another problem begins anew."""
    backoff = Backoff()
    assert [backoff.wait_s(error) for error in errors] == waits_s
    first_s = Backoff().wait_s(errors[-1])
    backoff.over()
    assert backoff.wait_s(errors[-1]) == first_s


def test_a_place_that_is_refused_for_hours_is_said_to_be_refused(desk: Desk) -> None:
    """Set aside, then told by its own name after some hourly refusals; never called lost, and 500s do not count."""
    second = (PLACE[0], PLACE[0] + 1)

    def fail(error: Exception) -> None:
        desk.reader.served_s = desk.clock.monotonic() + 1
        desk.reader.place_failed_s = desk.clock.monotonic()
        reading = Reading(Window("troubled", *second), NOW, second[0], error=error)
        asyncio.run(desk.outcomes.ended(desk.reader, reading))

    for _ in range(31):  # until it is set aside
        fail(GraphUnavailable("500"))
    assert desk.problems.of("refused_stretch") == []
    # Each hour in pages of 1,000, 100, 10 and 1, and of 1 from the other end.
    for _ in range(REFUSED_TIMES * 5):
        assert desk.problems.of("refused_stretch") == []
        fail(GraphRefused(400, "BadRequest", "no"))
    assert desk.problems.of("refused_stretch") == [("interactiveUser", second)]
    assert desk.problems.of("lost") == []
