"""Graph as it really is: late, slow, incomplete, wrong. One story for each row of what version 1.0.0 could not do.

Everything arrives exactly once, but for the place that Graph does not serve; what is told is true; bounds are virtual.
"""

from collections.abc import Callable
from datetime import timedelta

import orjson
import pytest

from graph_entra.reading import outcomes
from graph_entra.streams import graph_time
from tests.emulator import Fault, GraphRequest
from tests.emulator.instants import parse_ticks, ticks_of
from tests.emulator.quirks import Spoils, slow
from tests.emulator.records import fill, one
from tests.integration.rig import Rig, Run, assert_same
from tests.virtual import VirtualClock

STREAM = "nonInteractiveUser"
OTHER = "interactiveUser"
MINUTE_S = 60
HOUR_S = 3600
DAY_S = 24 * HOUR_S
NOT_READ = "cannot be read at present"

MakeRig = Callable[..., Rig]


def id_of(text: bytes) -> str:
    """A record's id."""
    return str(orjson.loads(text)["id"])


def second_of(text: bytes) -> int:
    """The second of its creation."""
    return (parse_ticks(orjson.loads(text)["createdDateTime"]) - parse_ticks("1970-01-01T00:00:00Z")) // 10**7


def all_but(held: list[bytes], *missing: bytes) -> list[bytes]:
    """Everything else."""
    return [text for text in held if text not in missing]


async def arrived(run: Run, wanted: list[bytes], within_s: float) -> None:
    """Waits for as many records as these, and then asserts that it is these and no others, each once."""
    await run.until(lambda: run.rig.emulator.intake.count >= len(wanted), f"{len(wanted)} records", within_s)
    assert_same(run.rig.emulator.intake.texts(), wanted)


# A record that no page can hold


@pytest.mark.parametrize(("at", "how"), [(0, "500"), (1500, "400"), (2999, "glued")])
async def test_one_record_of_three_thousand_spoils_its_pages(make_rig: MakeRig, at: int, how: Spoils) -> None:
    """In 20 h of history: all others come within the hour, new and late ones too; its second alone is named, once."""
    rig = make_rig(page_limit=1000)
    texts = rig.fill(STREAM, count=3000, hours=20, until_s=600)
    bad = texts[at]
    rig.emulator.graph.quirks.spoil(id_of(bad), how)
    late = one(STREAM, rig.clock.now() - timedelta(minutes=70), seed=70)
    rig.emulator.tenant.add(STREAM, late, visible_at=rig.clock.now() + timedelta(minutes=80))
    async with rig.collecting(STREAM, start_time=24) as run:
        await arrived(run, all_but(texts, bad), HOUR_S)
        new = one(STREAM, rig.clock.now(), seed=71)
        rig.emulator.tenant.add(STREAM, new)
        await run.until(lambda: rig.emulator.intake.count == 3000, "the new record", 3 * MINUTE_S)
        await run.until(lambda: rig.emulator.intake.count == 3001, "the late record", 3 * HOUR_S)
        (line,) = run.said(NOT_READ, level="error")
        assert f"from {graph_time(second_of(bad))} to {graph_time(second_of(bad) + 1)}" in line
        assert "UnknownError" in line
        assert not run.said("nothing was lost")
        assert not run.said("lost", level="error")
        rig.emulator.graph.quirks.mend(id_of(bad))
        await run.until(lambda: rig.emulator.intake.count == 3002, "what is served again", 65 * MINUTE_S)
        await run.until(lambda: run.said("are read now"), "a line that it is over", MINUTE_S)
        assert_same(rig.emulator.intake.texts(), rig.held(STREAM))


@pytest.mark.parametrize("how", ["500", "400", "glued"])
async def test_a_record_that_spoils_the_newest_pages(make_rig: MakeRig, how: Spoils) -> None:
    """New records stop for minutes at most, and each that follows comes in time; its second alone is named."""
    rig = make_rig(page_limit=1000)
    texts = rig.fill(STREAM, count=100, hours=2, until_s=120)
    async with rig.collecting(STREAM) as run:
        await arrived(run, texts, 10 * MINUTE_S)
        bad = orjson.dumps(one(STREAM, rig.clock.now(), seed=80))
        rig.emulator.tenant.add(STREAM, bad)
        rig.emulator.graph.quirks.spoil(id_of(bad), how)
        for seed in range(30):
            await run.pass_time(MINUTE_S)
            rig.emulator.tenant.add(STREAM, one(STREAM, rig.clock.now(), seed=81 + seed))
        await arrived(run, all_but(rig.held(STREAM), bad), 3 * MINUTE_S)
        await run.until(lambda: run.said(NOT_READ), "a line about its second", HOUR_S)
        (line,) = run.said(NOT_READ)
        assert graph_time(second_of(bad)) in line


async def test_neighbours_of_a_spoiled_record_in_its_very_second_arrive(make_rig: MakeRig) -> None:
    """A hundred records of one second, one of which cannot be served: ninety-nine come."""
    rig = make_rig(page_limit=1000)
    end = rig.clock.now().replace(microsecond=0) - timedelta(hours=2)
    texts = fill(rig.emulator.tenant, STREAM, 100, end, end + timedelta(milliseconds=900), 5)
    rig.emulator.graph.quirks.spoil(id_of(texts[50]))
    async with rig.collecting(STREAM) as run:
        await arrived(run, all_but(texts, texts[50]), HOUR_S)
        await run.until(lambda: run.said(NOT_READ), "a line about the second", HOUR_S)


async def test_the_intake_refuses_one_record_that_is_alone(rig: Rig) -> None:
    """Nothing stops for it; when others were taken it is kept in refused.jsonl, and told with its id."""
    texts = rig.fill(STREAM, OTHER, count=60)
    bad = texts[30]
    rig.emulator.intake.refused[id_of(bad)] = 400
    async with rig.collecting(STREAM, OTHER) as run:
        await run.until(lambda: rig.emulator.intake.count >= 119, "all others", 20 * MINUTE_S)
        rig.emulator.tenant.add(STREAM, one(STREAM, rig.clock.now(), seed=90))
        await run.until(lambda: run.said("refused.jsonl", id_of(bad), level="error"), "a line about it", 30 * MINUTE_S)
        await run.pass_time(2 * HOUR_S)
        assert_same(rig.emulator.intake.texts(), all_but(rig.held(STREAM, OTHER), bad))
        assert len(run.said("refused.jsonl")) == 1
        assert len((rig.folder / "refused.jsonl").read_bytes().splitlines()) == 1
        assert not run.said(NOT_READ)


# Answers that are wrong


def _older_than_a_week(request: GraphRequest) -> bool:
    return request.window is None and "$filter" in request.query and request.query["$filter"].split()[2] < _WEEK_AGO


_WEEK_AGO = graph_time(1_795_000_000 - 7 * DAY_S)


async def test_400s_for_a_minute_on_history_drop_nothing(make_rig: MakeRig) -> None:
    """Of 20 days, with questions about all but the last week refused for a minute: all of it comes."""
    rig = make_rig(page_limit=1000)
    rig.fill(STREAM, count=2000, hours=20 * 24)
    rig.emulator.graph.faults.inject(Fault.unsupported_query(), times=None, match=_older_than_a_week, after=3)
    async with rig.collecting(STREAM, start_time=20 * 24) as run:
        await run.pass_time(MINUTE_S)
        rig.emulator.graph.faults.clear()
        assert rig.emulator.graph.faults.used
        await arrived(run, rig.held(STREAM), HOUR_S)
        assert not run.said("lost", level="error")
        assert not run.said("no longer keeps")


async def test_questions_that_are_refused_at_random(make_rig: MakeRig) -> None:
    """One in five is a 400, polls included, for as long as it lasts: everything comes."""
    rig = make_rig(page_limit=100)
    rig.emulator.graph.quirks.unsupported = 0.2
    rig.fill(STREAM, OTHER, count=500, hours=40)
    async with rig.collecting(STREAM, OTHER, start_time=48) as run:
        await arrived(run, rig.held(STREAM, OTHER), 2 * HOUR_S)
        assert not run.said("lost", level="error")


@pytest.mark.parametrize(("page_limit", "share"), [(1000, 0.3), (400, 0.1)])
async def test_chains_that_end_early(make_rig: MakeRig, page_limit: int, share: float) -> None:
    """Some pages have no nextLink, in history of 30 to 70 h: all 4,000 come, though every answer looked whole.

    Also where Graph's pages are smaller than was asked for: how full they are is learned from those that go on.
    """
    rig = make_rig(page_limit=page_limit)
    now = rig.clock.now()
    fill(rig.emulator.tenant, STREAM, 4000, now - timedelta(hours=70), now - timedelta(hours=30), 7, size=600)
    rig.emulator.graph.quirks.ends_early = share
    async with rig.collecting(STREAM, start_time=72) as run:
        await arrived(run, rig.held(STREAM), 2 * HOUR_S)
        assert run.complaints() == []


async def test_answers_that_leave_records_out(make_rig: MakeRig) -> None:
    """Each leaves out a tenth, another each time: all come, because what brought something new is read again."""
    rig = make_rig(page_limit=1000)
    rig.emulator.graph.quirks.left_out = 0.1
    rig.fill(STREAM, count=300, hours=30)
    async with rig.collecting(STREAM, start_time=48) as run:
        await arrived(run, rig.held(STREAM), 26 * HOUR_S)
        assert run.complaints() == []


# Answers that do not come


async def test_a_minute_that_graph_cannot_serve_whole(make_rig: MakeRig) -> None:
    """504 above 200 records, of which one minute holds 900: windows get as narrow as it takes."""
    rig = make_rig(page_limit=100)
    rig.emulator.graph.quirks.widest = 200
    rig.fill(STREAM, count=200, hours=20, until_s=4 * HOUR_S, seed=1)
    rig.fill(STREAM, count=900, hours=1 / 60, until_s=3 * HOUR_S, seed=2)
    async with rig.collecting(STREAM, start_time=24) as run:
        await arrived(run, rig.held(STREAM), HOUR_S)
        assert not run.said(NOT_READ)


async def test_newest_first_with_skip_tokens_that_die(make_rig: MakeRig) -> None:
    """Pages in the wrong order whose chains are answered for five pages only: windows get as small as it takes."""
    rig = make_rig(page_limit=50)
    rig.emulator.graph.honour_orderby = False
    rig.emulator.graph.quirks.token_pages = 5
    rig.fill(STREAM, count=2500, hours=40, size=600)
    async with rig.collecting(STREAM, start_time=48) as run:
        await arrived(run, rig.held(STREAM), 2 * HOUR_S)
        assert not run.said("lost", level="error")


@pytest.mark.parametrize(("answer_s", "within_s"), [(5.0, 350), (200.0, 7200)])
async def test_slow_answers(make_rig: MakeRig, answer_s: float, within_s: float) -> None:
    """Slow is not broken: a hundred pages of history come in half the time that they would take one by one, or less."""
    rig = make_rig(page_limit=100)
    rig.emulator.graph.latency_s = slow(0.8 * answer_s, answer_s)
    rig.fill(STREAM, count=5000, hours=100, size=600)
    # Pages are a tenth of Graph's here, and so are windows.
    rig.monkeypatch.setattr(outcomes, "MOST_RECORDS", 300)
    async with rig.collecting(STREAM, start_time=120) as run:
        await run.until(lambda: run.connector._schedule, "the schedule")
        assert run.connector._schedule is not None
        run.connector._schedule._readers[0].target_records = 300
        await arrived(run, rig.held(STREAM), within_s)
        assert run.complaints() == []


async def test_a_connection_that_says_nothing_is_not_waited_for_as_long(make_rig: MakeRig) -> None:
    """Where others answer at once it is given up after a minute, and its window asked for again."""
    rig = make_rig(page_limit=100)
    rig.fill(STREAM, count=500, hours=40)
    rig.emulator.graph.faults.inject(Fault.stall(DAY_S), times=2, after=8)
    async with rig.collecting(STREAM, start_time=48) as run:
        await arrived(run, rig.held(STREAM), 6 * MINUTE_S)


async def test_a_storm_of_429s(make_rig: MakeRig) -> None:
    """Three minutes of them: nothing is asked in vain for long, and afterwards the limit is used again at once."""
    rig = make_rig(page_limit=100)
    rig.fill(STREAM, count=20_000, hours=200, size=400)
    async with rig.collecting(STREAM, start_time=240) as run:
        await run.pass_time(MINUTE_S)
        rig.emulator.graph.faults.inject(Fault.retry_after(429, "2"), times=None)
        await run.pass_time(3 * MINUTE_S)
        rig.emulator.graph.faults.clear()
        await run.pass_time(3 * MINUTE_S)
        asked = len(rig.graph_requests)
        await run.pass_time(MINUTE_S)
        assert len(rig.graph_requests) - asked >= 0.85 * 60 / 2.02
        await arrived(run, rig.held(STREAM), HOUR_S)
        assert not run.said("lost", level="error")


# Late records


async def delays(
    rig: Rig, run: Run, kinds: tuple[str, ...], minutes: int, late_s: Callable[[int], float]
) -> list[float]:
    """New records of some minutes, five a minute, each shown so late; returns how long after that each came."""
    shown: dict[str, float] = {}
    for number in range(minutes * 5):
        await run.pass_time(12)
        kind = kinds[number % len(kinds)]
        record = one(kind, rig.clock.now(), seed=1000 + number)
        at_s = rig.clock.time() + late_s(number)
        shown[record["id"]] = at_s
        rig.emulator.tenant.add(kind, record, visible_at=rig.clock.now() + timedelta(seconds=late_s(number)))
    count = len(rig.held(*kinds))
    await run.until(lambda: rig.emulator.intake.count >= count, "all of them", 3 * HOUR_S)
    assert_same(rig.emulator.intake.texts(), rig.held(*kinds))
    came = {orjson.loads(event.text)["id"]: event.at.timestamp() for event in rig.emulator.intake.events}
    return sorted(came[record_id] - at_s for record_id, at_s in shown.items())


async def test_records_that_are_shown_minutes_late(rig: Rig) -> None:
    """One to five minutes after their creation, of two types: each comes within a period and a little."""
    kinds = (STREAM, OTHER)
    rig.fill(*kinds)
    async with rig.collecting(*kinds) as run:
        late = await delays(rig, run, kinds, 20, lambda number: 60 + 240 * (number * 37 % 100) / 100)
        assert late[len(late) // 2] <= 40
        assert late[-1] <= 75


async def test_records_that_are_shown_up_to_an_hour_late_on_a_quiet_tenant(rig: Rig) -> None:
    """They do not wait for the look at two hours: looking back that far is free there."""
    rig.fill(STREAM)
    async with rig.collecting(STREAM) as run:
        late = await delays(rig, run, (STREAM,), 6, lambda number: 900 + 2700 * (number * 37 % 100) / 100)
        assert late[-1] <= 75


@pytest.mark.parametrize(("page_limit", "within_s"), [(1000, 40), (20, 150)])
async def test_after_a_burst_it_is_quick_again(make_rig: MakeRig, page_limit: int, within_s: float) -> None:
    """A burst that came late teaches to look back far; minutes later single records are as quick as before.

    Where pages hold fewer records than are asked for, looking back takes many pages: it still comes to the present.
    """
    rig = make_rig(page_limit=page_limit)
    rig.fill(STREAM)
    async with rig.collecting(STREAM, frequency=30) as run:
        await run.pass_time(5 * MINUTE_S)
        rig.fill(STREAM, count=600, hours=0.1, seed=3)
        await run.pass_time(20 * MINUTE_S)
        late = await delays(rig, run, (STREAM,), 5, lambda _: 60.0)
        assert late[-1] <= within_s


# Clocks


class WrongClock(VirtualClock):
    """A machine whose wall clock is wrong, and may step while it runs."""

    wrong_s = 0.0

    def time(self) -> float:
        """See VirtualClock."""
        return super().time() + self.wrong_s


@pytest.mark.parametrize("wrong_s", [3 * HOUR_S, -3 * HOUR_S, 2 * DAY_S, 40 * DAY_S, -10 * DAY_S])
async def test_a_machine_whose_clock_is_wrong(rig: Rig, wrong_s: float) -> None:
    """History and new records come as ever; the difference is told once, with its size and no word of loss."""
    texts = rig.fill(STREAM, count=200, hours=20)
    clock = WrongClock(rig.clock.loop, rig.clock.time())
    clock.wrong_s = wrong_s
    rig.monkeypatch.setattr(rig, "clock", clock)
    async with rig.collecting(STREAM, start_time=24) as run:
        await arrived(run, texts, 15 * MINUTE_S)
        new = one(STREAM, rig.emulator.clock(), seed=4)
        rig.emulator.tenant.add(STREAM, new)
        await run.until(lambda: rig.emulator.intake.count == 201, "the new record", 70)
        (line,) = run.said("This machine's clock")
        assert "ahead of" in line if wrong_s > 0 else "behind" in line
        assert abs(int(line.split()[4]) - abs(wrong_s)) <= 2
        await run.pass_time(HOUR_S)
        assert len(run.complaints()) == 1


async def test_a_clock_that_steps_while_it_runs(rig: Rig) -> None:
    """Days ahead for hours, days back for minutes, then right: nothing is lost, late or repeated."""
    rig.fill(STREAM, count=100, hours=20)
    clock = WrongClock(rig.clock.loop, rig.clock.time())
    rig.monkeypatch.setattr(rig, "clock", clock)
    async with rig.collecting(STREAM, start_time=24) as run:
        await arrived(run, rig.held(STREAM), 15 * MINUTE_S)
        for seed, (wrong_s, lasts_s) in enumerate(
            [(2 * DAY_S, 3 * HOUR_S), (-10 * DAY_S, 10 * MINUTE_S), (40 * DAY_S, 2 * MINUTE_S), (0.0, HOUR_S)]
        ):
            clock.wrong_s = wrong_s
            await run.pass_time(lasts_s)
            rig.emulator.tenant.add(STREAM, one(STREAM, rig.emulator.clock(), seed=200 + seed))
            await arrived(run, rig.held(STREAM), 70)
        assert not run.said("lost", level="error")


async def test_a_restart_on_a_machine_whose_clock_has_stepped(rig: Rig) -> None:
    """What was read two days ahead of time is known; it goes on from Graph's clock."""
    rig.fill(STREAM, count=100, hours=20)
    clock = WrongClock(rig.clock.loop, rig.clock.time())
    rig.monkeypatch.setattr(rig, "clock", clock)
    for seed, wrong_s in enumerate([2 * DAY_S, -2 * DAY_S, 0.0]):
        clock.wrong_s = wrong_s
        async with rig.collecting(STREAM, start_time=24) as run:
            rig.emulator.tenant.add(STREAM, one(STREAM, rig.emulator.clock(), seed=300 + seed))
            await arrived(run, rig.held(STREAM), 15 * MINUTE_S)
            await run.pass_time(10 * MINUTE_S)
            assert ticks_of(rig.emulator.clock()) > 0
    assert_same(rig.emulator.intake.texts(), rig.held(STREAM))
