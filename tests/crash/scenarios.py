"""Stories with a fixed course: each row of issue G's first table, what a kill, a disk and an intake can do, and looks.

Most end a day later with every question asked: see ``World.run_out``.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from statistics import median
from typing import Any, Final

import orjson

from graph_entra.microsoft.pages import read_page
from graph_entra.microsoft.rate_limit import SPACING_S
from graph_entra.reading import coverage as coverage_rules
from graph_entra.reading import plan
from graph_entra.reading.coverage import LOOKS
from graph_entra.streams import DAY_S, HOUR_S, Window, graph_time
from tests.crash.model import START_S, Spoils
from tests.crash.world import BACKGROUND, INTERACTIVE, Broken, World, add_many
from tests.unit import test_intake, test_rate_limit

Story = Callable[[], None]


def _must(check: str, holds: bool, detail: object = "") -> None:
    if not holds:
        raise Broken(check, str(detail))


def _arrive(
    world: World, minutes: int, *, late_s: float = 0.0, per_minute: int = 1, stream: str = "interactiveUser"
) -> None:
    """Records arrive for so long, and are read meanwhile."""
    for _ in range(minutes):
        for index in range(per_minute):
            at = world.clock.now + 60 * index / per_minute
            world.graph.add(at, at + late_s, stream=stream)
        world.run(60)


def _waited_s(world: World, since: float = 0.0) -> list[float]:
    """From shown to intake, of each record that was shown since."""
    return sorted(
        world.delivered_at[record.number] - record.visible
        for record in world.graph.records
        if record.visible >= since and record.number in world.delivered_at
    )


def _share(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


# Graph as it really is


def _one_record_spoils_history(spoils: Spoils) -> None:
    with closing(World(history_s=20 * HOUR_S, page_records=50)) as world:
        add_many(world, 600, 20 * HOUR_S - 60, 118)
        bad = world.graph.add(world.clock.now - 9 * HOUR_S + 0.5, spoils=spoils, heals=world.clock.now + 3 * HOUR_S)
        late = world.graph.add(world.clock.now - 8 * HOUR_S, world.clock.now + 1.2 * HOUR_S)
        world.start()
        world.run(HOUR_S)
        missing = [record.number for record in world._missing() if record is not bad]
        _must("lost", not missing, f"{missing} wait for {bad.number}; {world.coverage().troubled}")
        world._check_named(bad)
        _must("once", len(world.said("cannot be read at present:")) == 1, world.lines)
        (line,) = world.said("cannot be read at present:")
        _must("words", ("it broke" if spoils == "half" else "UnknownError") in line, line)
        world.run(HOUR_S)
        _must("late", late.number in world.delivered)
        world.run(2 * HOUR_S + 600)
        _must("healed", bad.number in world.delivered, world.lines[-3:])
        _must("told when it is over", len(world.said("are read now")) == 1, world.lines)
        world.run_out()


def one_record_spoils_history_with_500() -> None:
    """A record of 600 is answered 500: it is named and waited for, all others come, and it comes when it is healed."""
    _one_record_spoils_history("500")


def one_record_spoils_history_with_400() -> None:
    """The same with 400, which Graph answers for much else."""
    _one_record_spoils_history("400")


def one_record_spoils_history_with_half_a_page() -> None:
    """The same with 200, half a record and an error glued on: what came before it is delivered."""
    _one_record_spoils_history("half")


def several_records_are_refused_by_graph() -> None:
    """Seconds apart from each other, for hours: each is told as refused once, and not before it was so for hours."""
    with closing(World(history_s=9 * HOUR_S)) as world:
        for hours in (2, 4, 6):
            world.graph.add(world.clock.now - hours * HOUR_S + 0.5, spoils="400")
        world.start()
        world.run(3 * HOUR_S)
        _must("hours", not world.said("are refused by Graph"), world.said("are refused by Graph"))
        world.run(6 * HOUR_S)
        refused = world.said("are refused by Graph")
        _must("each once", sum(line.count("from 2026") for line in refused) == 3, refused)


def _one_record_spoils_polls(spoils: Spoils) -> None:
    with closing(World(page_records=50)) as world:
        world.start()
        _arrive(world, 20)
        bad = world.graph.add(world.clock.now + 0.3, spoils=spoils, heals=world.clock.now + 5 * HOUR_S)
        since = world.clock.now
        _arrive(world, 90)
        late = world.graph.add(world.clock.now - 4 * HOUR_S, world.clock.now)
        _arrive(world, 30)
        world._check_named(bad)
        _must("fresh", max(_waited_s(world, since)) < 300, max(_waited_s(world, since)))
        _must("late", late.number in world.delivered or late.created < world.origins_s["interactiveUser"])
        world.run(5 * HOUR_S)
        _must("healed", bad.number in world.delivered, world.lines[-3:])
        world.run_out()


def one_record_spoils_polls_with_500() -> None:
    """A record that cannot be served is created now: what follows it is in within minutes."""
    _one_record_spoils_polls("500")


def one_record_spoils_polls_with_400() -> None:
    """The same with 400."""
    _one_record_spoils_polls("400")


def one_record_spoils_polls_with_half_a_page() -> None:
    """The same with half a page."""
    _one_record_spoils_polls("half")


def one_record_spoils_a_crowded_second() -> None:
    """Of forty records of one second, one cannot be served: the others come, from both ends."""
    with closing(World(history_s=20 * HOUR_S, page_records=50)) as world:
        at = math.floor(world.clock.now) - 9 * HOUR_S
        for index in range(40):
            world.graph.add(at + 0.001 + index * 0.02, spoils="500" if index == 25 else None)
        world.start()
        world.run(2 * HOUR_S)
        _must("neighbours", len(world._missing()) == 1, len(world._missing()))
        world.run_out(2)


def a_refused_record_and_one_that_spoils_in_one_second() -> None:
    """Of three records of one second the intake refuses one and Graph cannot serve the next: the third comes."""
    with closing(World()) as world:
        world.start()
        at = math.floor(world.clock.now)
        refused, spoiled, good = (
            world.graph.add(at + 0.1 + index * 0.1, spoils="500" if index == 1 else None) for index in range(3)
        )
        world.intake.refuses = {refused.number}
        world.run(2 * HOUR_S)
        _must("neighbour", good.number in world.delivered, world.coverage().troubled)
        _must("spoiled", spoiled.number not in world.delivered)


def a_refused_record_without_a_time_and_one_that_spoils() -> None:
    """All that was asked for waits for a record that tells no time, and is divided for Graph's sake all the same."""
    with closing(World(history_s=6 * HOUR_S)) as world:
        world.graph.mood.order = "newest first"
        at = math.floor(world.clock.now) - 3 * HOUR_S
        refused = world.graph.add(at + 600, states="yesterday")
        spoiled = world.graph.add(at + 0.5, spoils="half")
        for behind_s in (7, 3000):
            world.graph.add(at - behind_s)
        world.intake.refuses = {refused.number}
        world.start()
        world.run(HOUR_S)
        missing = {record.number for record in world._missing()}
        _must("behind", missing == {refused.number, spoiled.number}, missing)
        _must("kept", world.refused_kept() == {refused.number}, world.refused_kept())
        world.run_out(2)


def the_intake_refuses_a_record_that_is_alone() -> None:
    """On a quiet stream one record is refused for its content: it is kept and named, and everything else goes on."""
    with closing(World(history_s=3 * HOUR_S)) as world:
        bad = world.graph.add(world.clock.now - 2 * HOUR_S)
        world.intake.refuses = {bad.number}
        world.start()
        world.run(120)
        _arrive(world, 15)
        late = world.graph.add(world.clock.now - HOUR_S, world.clock.now)
        _arrive(world, 5)
        _must("kept", world.refused_kept() == {bad.number}, world.refused_kept())
        _must("named", world.refused_told == {f"id-{bad.number}"}, world.refused_told)
        _must("late", late.number in world.delivered)
        world.run_out()


def the_intake_refuses_several_records() -> None:
    """Three of thirty are refused, two of them neighbours, and the process is killed at each step of it."""
    for kill in range(4, 60, 4):
        with closing(World(history_s=3 * HOUR_S)) as world:
            records = add_many(world, 30, 2 * HOUR_S, 60)
            world.intake.refuses = {records[number].number for number in (3, 4, 20)}
            world.start()
            world.run(300, arm=kill)
            world.run(900)
            _must("kept", world.refused_kept() == world.intake.refuses, world.refused_kept())
            _must("others", len(world.delivered) == 27, len(world.delivered))


def a_kill_while_a_refused_record_is_kept() -> None:
    """At every side effect from the conviction on: it is in refused.jsonl when the ledger knows it."""
    for kill in range(1, 14):
        with closing(World(history_s=3 * HOUR_S)) as world:
            bad = world.graph.add(world.clock.now - 2 * HOUR_S)
            other = world.graph.add(world.clock.now - HOUR_S)
            world.intake.refuses = {bad.number}
            world.start()
            while not world.refused_kept():
                world.run(5)
                _must("kept", world.clock.now - other.created < 2 * HOUR_S)
            # The same again, with a kill at one of its last effects.
        with closing(World(history_s=3 * HOUR_S)) as again:
            records = [again.graph.add(again.clock.now - 2 * HOUR_S), again.graph.add(again.clock.now - HOUR_S)]
            again.intake.refuses = {records[0].number}
            again.start()
            again.run(world.clock.now - other.created - HOUR_S - 6)
            again.run(30, arm=kill)
            _arrive(again, 20)
            _must(
                "kept",
                again.refused_kept() == {records[0].number},
                (kill, again.refused_kept(), again.coverage().troubled, again.lines),
            )


def the_intake_refuses_the_only_record() -> None:
    """While nothing else comes, nobody is convicted: after some tries it is told, once, and never said to be read."""
    with closing(World(history_s=3 * HOUR_S, busy=True)) as world:
        bad = world.graph.add(world.clock.now - 2 * HOUR_S)
        world.intake.refuses = {bad.number}
        world.start()
        world.run(HOUR_S)
        _must("nobody", not world.refused_kept(), world.refused_kept())
        _must("told", len(world.said("the intake answered 400")) == 1, world.lines)
        _must("false line", not world.said("are read now"), world.lines)
        _arrive(world, 10)
        _must("kept", world.refused_kept() == {bad.number}, world.coverage().troubled)


def refusals_that_pass_convict_nobody() -> None:
    """Two passing 400s for a batch of two, and everything refused for an hour: nobody is kept in refused.jsonl."""
    with closing(World()) as world:
        world.start()
        add_many(world, 4, 0, 0)
        # All of them, the first half, the second, and one by itself, after another was taken.
        world.intake.refuses_next = [True, True, True, False, True]
        world.run(60)
        world.run(600)
        world.intake.refuses_all_until = world.clock.now + HOUR_S
        _arrive(world, 60)
        _arrive(world, 20)
        _must("nobody", not world.refused_kept(), world.refused_kept())
        world.run_out()


def passing_400s_in_old_history() -> None:
    """One 400 on history older than 7 days, then 400s for a minute: nothing is dropped, and nothing called lost."""
    with closing(World(history_s=20 * DAY_S, page_records=20)) as world:
        add_many(world, 480, 20 * DAY_S - 600, HOUR_S)
        world.start()
        world.graph.mood.refused, world.graph.mood.refused_from_s = 1.0, 7 * DAY_S
        world.run(8)
        world.graph.mood.refused = 0.0
        world.run(10)
        world.graph.mood.refused = 1.0
        world.run(60)
        world.graph.mood.refused = 0.0
        world.run(2 * HOUR_S)
        _must("lost", not world._missing(), f"{len(world._missing())} of 480")
        _must("called lost", not world.said("lost:") and not world.said("are lost"), world.lines)
        world.run_out(2)


def every_other_answer_is_400() -> None:
    """Half of all answers are 400, at random, for two hours: history and new records come all the same."""
    with closing(World(history_s=2 * DAY_S, page_records=20)) as world:
        add_many(world, 200, 2 * DAY_S - 600, 800)
        world.start()
        world.graph.mood.refused = 0.5
        _arrive(world, 60)
        world.graph.mood.refused = 0.0
        world.run(HOUR_S)
        _must("lost", not world._missing(), len(world._missing()))
        world.run_out(2)


def _chains_end_early(order: str) -> None:
    with closing(World(history_s=70 * HOUR_S, page_records=20)) as world:
        world.graph.mood.order = order  # type: ignore[assignment]
        add_many(world, 800, 70 * HOUR_S - 600, 180)
        world.start()
        world.graph.mood.ends_early = 0.3
        world.run(4 * HOUR_S)
        _must("lost", not world._missing(), f"{len(world._missing())} of 800")
        world.run_out(2)


def chains_that_end_early() -> None:
    """Three pages of ten are the last of their chain, though full and not the last: nothing is lost."""
    _chains_end_early("ascending")


def chains_that_end_early_newest_first() -> None:
    """The same, newest first, where nothing tells what is left."""
    _chains_end_early("newest first")


def chains_that_end_early_before_a_record_that_spoils() -> None:
    """Of a second that is over a day old one record cannot be served: no early end of a chain hides that."""
    with closing(World(history_s=30 * HOUR_S, page_records=10)) as world:
        at = math.floor(world.clock.now) - 27 * HOUR_S
        for index in range(12):
            world.graph.add(at + 0.01 + index * 0.05, spoils="half" if index == 8 else None)
        world.graph.mood.ends_early = 0.5
        world.start()
        world.run(6 * HOUR_S)
        world.run_out(2)


def a_minute_that_is_too_much() -> None:
    """504 for more than 20 records at once, and a minute that holds 60: it is read in parts."""
    with closing(World(history_s=6 * HOUR_S, page_records=10)) as world:
        add_many(world, 60, 3 * HOUR_S, 0.97)
        add_many(world, 30, 6 * HOUR_S - 60, 700)
        world.graph.mood.most_records = 20
        world.start()
        world.run(HOUR_S)
        _must("stuck", not world._missing(), len(world._missing()))
        _must("named", not world.said("cannot be read"), world.lines)
        world.run_out(2)


def newest_first_and_links_that_expire() -> None:
    """Pages newest first, and links that live for three pages: 400 records of 8 h come within the hour."""
    with closing(World(history_s=8 * HOUR_S, page_records=10)) as world:
        world.graph.mood.order, world.graph.mood.link_pages = "newest first", 3
        add_many(world, 400, 8 * HOUR_S - 60, 70)
        world.start()
        world.run(HOUR_S)
        _must("stuck", not world._missing(), f"{len(world._missing())} of 400")
        world.run_out(2)


def a_burst_in_one_second() -> None:
    """More records in one second than a chain is followed for: it is followed to its end."""
    with closing(World(history_s=2 * HOUR_S, page_records=3)) as world:
        at = math.floor(world.clock.now) - HOUR_S
        for index in range(70):
            world.graph.add(at + 0.001 + index / 100)
        world.graph.add(at + 30)
        world.start()
        world.run(HOUR_S)
        _must("stuck", not world._missing(), f"{len(world._missing())} of 71")
        world.run_out(2)


def a_clock_three_hours_fast() -> None:
    """This machine's clock is 3 h fast: new records are in within a poll or two."""
    with closing(World()) as world:
        world.clock.ahead_s = 3 * HOUR_S
        world.start()
        _arrive(world, 60)
        _must("fresh", max(_waited_s(world), default=9e9) < 120, _waited_s(world)[-3:])
        world.run_out()


def a_clock_that_is_right_after_days() -> None:
    """2 days fast for 36 h, then right; then 10 days back for 10 min; then 40 days fast for a poll."""
    with closing(World(period_s=600, history_s=2 * DAY_S, busy=True)) as world:
        add_many(world, 40, 2 * DAY_S - 600, HOUR_S)
        world.clock.ahead_s = 2.0 * DAY_S
        world.start()
        for hour in range(36):
            world.graph.add(world.clock.now, world.clock.now + 1800 * (hour % 2))
            world.run(HOUR_S)
        for ahead_s, seconds in ((0, HOUR_S), (-10 * DAY_S, 600), (0, HOUR_S), (40 * DAY_S, 700), (0, HOUR_S)):
            world.clock.ahead_s = ahead_s
            world.graph.add(world.clock.now)
            world.run(seconds)
            world.stop()
            world.run(seconds)
        _must("lost", not world._missing(), len(world._missing()))
        world.run_out()


def _slow_answers(answer_s: float, share: float) -> None:
    with closing(World(history_s=6 * DAY_S, page_records=10)) as world:
        world.graph.mood.answer_s = (answer_s, answer_s)
        add_many(world, 9000, 6 * DAY_S - 60, 57)
        world.start()
        world.run(600)
        before = len(world.graph.requests)
        world.run(480)
        per_minute = (len(world.graph.requests) - before) / 8
        _must("slow", per_minute >= share * 60 / SPACING_S, f"{per_minute:.1f} requests a minute")


def answers_after_ten_seconds() -> None:
    """Graph takes 10 s a page: the limit is used all the same."""
    _slow_answers(10.0, 0.92)


def answers_after_twenty_seconds() -> None:
    """Graph takes 20 s a page: the limit is used all the same."""
    _slow_answers(20.0, 0.90)


def answers_after_seventy_seconds() -> None:
    """Every answer takes 70 s: new records come two polls later, and history comes."""
    with closing(World(history_s=6 * HOUR_S, page_records=50)) as world:
        world.graph.mood.answer_s = (60.0, 80.0)
        add_many(world, 300, 6 * HOUR_S - 60, 60)
        world.start()
        world.run(900)
        since = world.clock.now
        _arrive(world, 60)
        world.run(300)
        _must("lost", not world._missing(), len(world._missing()))
        _must("fresh", max(_waited_s(world, since)) < 240, max(_waited_s(world, since)))


def shown_minutes_late_on_a_busy_tenant() -> None:
    """Records shown 1 to 5 min after their creation, 20/s: p50 35 s, p95 62 s."""
    with closing(World(page_records=10)) as world:
        world.start()
        for minute in range(60):
            for index in range(12):
                at = world.clock.now + 5 * index
                world.graph.add(at, at + 60 + (minute * 12 + index) * 37 % 240)
            world.run(60)
        waited = _waited_s(world, world.graph.records[0].created + 1800)
        _must("p50", _share(waited, 0.5) <= 35, _share(waited, 0.5))
        _must("p95", _share(waited, 0.95) <= 62, _share(waited, 0.95))


def a_burst_and_then_quiet() -> None:
    """Sixty pages in a minute at a period of 30 s, and quiet after it: within the hour a record waits half a period."""
    with closing(World(period_s=30, page_records=10)) as world:
        world.start()
        world.run(600)
        for index in range(600):
            world.graph.add(world.clock.now + index / 10)
        world.run(HOUR_S)
        since = world.clock.now
        _arrive(world, 60, late_s=100)
        world.run(60)
        _must("median", median(_waited_s(world, since)) <= 30, median(_waited_s(world, since)))


def shown_an_hour_late_on_a_quiet_tenant() -> None:
    """Records shown 15 to 60 min after their creation are in with the next poll or two."""
    with closing(World()) as world:
        world.start()
        world.run(2 * HOUR_S)
        for index in range(60):
            world.graph.add(world.clock.now, world.clock.now + 900 + index * 45)
            world.run(60)
        world.run(HOUR_S)
        _must("late", max(_waited_s(world)) <= 130, max(_waited_s(world)))


def a_storm_of_429s() -> None:
    """429 to everything for 3 minutes: 3 minutes after its end nine tenths of the limit are used again."""
    with closing(World(history_s=3 * DAY_S, page_records=10)) as world:
        add_many(world, 8000, 3 * DAY_S - 60, 32)
        world.start()
        world.run(120)
        world.graph.mood.throttled = True
        world.run(180)
        world.graph.mood.throttled = False
        world.run(180)
        before = len(world.graph.requests)
        world.run(300)
        per_minute = (len(world.graph.requests) - before) / 5
        _must("storm", per_minute >= 0.9 * 60 / SPACING_S, f"{per_minute:.1f} requests a minute")


def polls_beside_history() -> None:
    """With answers of 10 s and a long history, new records of two streams wait for a poll and not for the history."""
    with closing(World(history_s=5 * DAY_S, page_records=10, streams=(INTERACTIVE, BACKGROUND))) as world:
        world.graph.mood.answer_s = (10.0, 10.0)
        add_many(world, 3000, 5 * DAY_S - 60, 140)
        add_many(world, 3000, 5 * DAY_S - 60, 140, stream=BACKGROUND.key)
        world.start()
        world.run(600)
        since = world.clock.now
        _arrive(world, 10, stream=BACKGROUND.key)
        world.run(90)
        _must("fresh", max(_waited_s(world, since)) <= 90, max(_waited_s(world, since)))
        waited = max(asked.waited_s for asked in world.graph.requests if asked.window.work == "edge")
        _must("turn", waited <= 3 * SPACING_S, f"a poll waited {waited:.0f} s for its turn")


def looks_beside_history() -> None:
    """While history takes all of the limit for hours, what is shown late comes with its look."""
    with closing(World(history_s=25 * DAY_S, page_records=2, busy=True)) as world:
        add_many(world, 3300, 25 * DAY_S - 60, 650)
        world.start()
        world.run(50 * 60)
        _must("history", world.coverage().unread_s > 0, "the history was too short for this story")
        late = max(plan.overdue_s(world.coverage(), int(world.clock.now)).values())
        _must("starved", late < 900, f"a look is {late} s late")


def a_stream_that_is_down() -> None:
    """One stream is answered 503 for an hour, with history: it is asked now and then, and goes on after it."""
    with closing(World(history_s=5 * DAY_S, page_records=10)) as world:
        add_many(world, 500, 5 * DAY_S - 60, 800)
        world.start()
        world.run(60)
        for _ in range(2):
            world.graph.mood.down = True
            before = len(world.graph.requests)
            _arrive(world, 60)
            asked = len(world.graph.requests) - before
            _must("blamed", len(world.coverage().troubled) <= 2, world.coverage().troubled)
            _must("hammered", asked <= 150, f"{asked} requests in an hour")
            world.graph.mood.down = False
            since = world.clock.now
            _arrive(world, 20)
            _must("back", _share(_waited_s(world, since + 120), 0.99) <= 130, _waited_s(world, since)[-3:])
        world.run(HOUR_S)
        _must("lost", not world._missing(), len(world._missing()))
        _must("told", bool(world.said("recovered")), world.lines)
        world.run_out(2)


def beyond_retention() -> None:
    """After 40 days without power, what Graph no longer keeps is called lost with its bounds, and nothing else is."""
    with closing(World(history_s=2 * HOUR_S)) as world:
        world.start()
        _arrive(world, 30)
        add_many(world, 39, -DAY_S, DAY_S)
        world.stop(40 * DAY_S)
        world.run(2 * HOUR_S)
        _must("told", len(world.said("are lost")) == 1, world.lines)
        _must("unlooked", len(world.said("not looked at again")) >= 1, world.lines)
        world.run_out(26)


# Late, changed, strange


def shown_two_minutes_late() -> None:
    """What Graph shows 2 min after its creation is in after the next poll."""
    with closing(World()) as world:
        world.start()
        for _ in range(5):
            world.graph.add(world.clock.now, world.clock.now + 120, big=True)
            world.run(60)
        world.run(180)
        _must("fresh", not world._missing(), len(world._missing()))
        world.run_out()


def shown_late_by_each_look() -> None:
    """On a busy tenant: what is shown 10 min, 1 h and 20 h after its creation is in with the look of that age."""
    with closing(World(period_s=240, busy=True)) as world:
        world.start()
        for minute in range(26 * 3):
            for late_s in (600, HOUR_S, 20 * HOUR_S) if minute < 4 else ():
                world.graph.add(world.clock.now, world.clock.now + late_s)
            world.run(1200)
        world.run_out()


def left_out_of_answers() -> None:
    """Each answer leaves out one record of ten, for 26 h, another one each time; what is left is next to nothing."""
    with closing(World(period_s=600, history_s=DAY_S - 600, busy=True)) as world:
        add_many(world, 300, DAY_S - 1200, 280)
        world.graph.mood.left_out = 0.1
        world.start()
        _arrive(world, 60, per_minute=2)
        world.run(30 * HOUR_S)
        _must("lost", len(world._missing()) <= 1, f"{len(world._missing())} of 420")


def left_out_of_old_history() -> None:
    """History older than a day is read once more, and again while that brings something: next to none is lost."""
    with closing(World(history_s=20 * DAY_S, page_records=50)) as world:
        add_many(world, 1000, 20 * DAY_S - 1200, 1600)
        world.graph.mood.left_out = 0.05
        world.start()
        world.run(3 * HOUR_S)
        _must("lost", len(world._missing()) <= 2, f"{len(world._missing())} of 1000")


def changed_and_changed_again() -> None:
    """Changes that matter come once, those that do not come never."""
    with closing(World(period_s=300, busy=True)) as world:
        world.start()
        records = [world.graph.add(world.clock.now) for _ in range(4)]
        world.run(301)
        for after_s, record, material in (
            (600, records[0], True),
            (HOUR_S, records[1], False),
            (3 * HOUR_S, records[1], True),
            (20 * HOUR_S, records[2], True),
            (23 * HOUR_S, records[3], False),
        ):
            world.graph.change(record, world.clock.now + after_s, material=material)
        world.run(25 * HOUR_S)
        world.run_out()


def changes_that_are_not_asked_for() -> None:
    """Without forward_updates, what Graph changes is not pushed again."""
    with closing(World(forward_updates=False)) as world:
        world.start()
        record = world.graph.add(world.clock.now)
        world.run(60)
        world.graph.change(record, world.clock.now + 600, material=True)
        world.run(HOUR_S)
        world.run_out()


def undated_and_changed() -> None:
    """A record without a time changes in another hour, and the process begins anew."""
    with closing(World()) as world:
        world.start()
        record = world.graph.add(world.clock.now, states="yesterday")
        world.run(120)
        world.graph.change(record, world.clock.now + HOUR_S, material=True)
        world.run(3 * HOUR_S)
        world.kill()
        world.run_out()


def dated_in_2099() -> None:
    """A page's last record states 2099: it moves nothing, and what follows it comes when the chain breaks behind it."""
    for fails in range(1, 4):
        with closing(World(history_s=40 * HOUR_S, page_records=5)) as world:
            for index in range(60):
                states = "2099-01-01T00:00:00Z" if index == 4 else None
                world.graph.add(world.clock.now - 40 * HOUR_S + 600 + 2000 * index, states=states)
            world.start()
            world.graph.mood.fail_after = fails
            for _ in range(60):
                world.run(2)
                edge_s = world.coverage().edge_s
                _must("edge", edge_s <= world.clock.now + 1, graph_time(edge_s))
            world.run(900)
            world.run_out(1)


def in_the_wrong_order() -> None:
    """Graph lists 40 h of history shuffled, and fails in the middle of it."""
    with closing(World(history_s=40 * HOUR_S, page_records=3)) as world:
        world.graph.mood.order = "shuffled"
        add_many(world, 80, 40 * HOUR_S - 600, 1700)
        world.start()
        world.graph.mood.fail_after = 12
        world.run(HOUR_S)
        world.run_out(2)


def ties_across_pages() -> None:
    """A failure between two pages of old history that share a second costs none of that second's records."""
    for fails in range(1, 6):
        with closing(World(history_s=40 * HOUR_S, page_records=3)) as world:
            now = world.clock.now
            world.graph.add(now - 36 * HOUR_S)
            for _ in range(7):
                world.graph.add(now - 35 * HOUR_S)
            world.start()
            world.graph.mood.fail_after = fails
            world.run(HOUR_S)
            world.run_out(1)


def shown_while_a_window_is_read() -> None:
    """A page takes a minute; what Graph shows of the same stretch meanwhile, at the end of its day, comes too."""
    with closing(World(history_s=DAY_S - 900, page_records=2)) as world:
        now = world.clock.now
        add_many(world, 120, DAY_S - 1200, 5)
        for index in range(40):
            at = now - DAY_S + 1201 + 15 * index
            world.graph.add(at, at + DAY_S - 30 - 50 * (index % 5))
        world.start()
        world.run(600)
        world.graph.mood.answer_s = (50.0, 70.0)
        world.run(HOUR_S)
        world.run_out()


def a_poll_that_fails() -> None:
    """On a busy tenant Graph is down for eight minutes: what was created meanwhile is in within minutes after it."""
    with closing(World(busy=True)) as world:
        world.start()
        _arrive(world, 10)
        edge_s = world.coverage().edge_s
        world.graph.mood.down = True
        _arrive(world, 8)
        _must("edge", world.coverage().edge_s == edge_s, world.coverage().edge_s - edge_s)
        world.graph.mood.down = False
        since = world.clock.now
        world.run(180)
        _must("fresh", not world._missing(), len(world._missing()))
        _must("fresh", max(world.delivered_at.values()) < since + 180)
        world.run_out(2)


# Kills


def killed_at_every_side_effect() -> None:
    """Kills at one side effect after the other, with an hour of downtime, while records arrive."""
    with closing(World(history_s=2 * HOUR_S)) as world:
        add_many(world, 8, 7200, 900)
        world.start()
        for kill in range(30):
            add_many(world, 5, 0, 0)
            world.run(100, arm=kill, downtime_s=HOUR_S)
            world.run(100, arm=kill)
        world.run_out()


def killed_in_old_history() -> None:
    """Kills at one side effect after the other in history that no look will read again."""
    with closing(World(history_s=40 * HOUR_S, page_records=3)) as world:
        add_many(world, 90, 40 * HOUR_S - 60, 600)
        world.start()
        for kill in range(40):
            world.run(3, arm=kill % 20)
        world.run_out()


def killed_twice_in_an_hour_of_the_ledger() -> None:
    """A batch is half noted when the process dies; the next one dies at each step of reading what was noted."""
    with closing(World(page_records=100)) as world:
        world.start()
        for _ in range(20):
            world.graph.add(world.clock.now)
            world.run(3)
        for kill in range(24):
            world.graph.add(world.clock.now)
            world.run(61, arm=6 + kill % 4)
            world.kill(arm=kill)
            world.run(61, arm=kill)
        world.run_out()


def killed_before_the_first_save() -> None:
    """The first process dies at each step of its start; the beginning stays where the first that lived put it."""
    with closing(World(history_s=HOUR_S)) as world:
        for kill in range(6):
            world.start(arm=kill)
            world.kill(downtime_s=600, arm=kill)
            world.wire.disarm()
        world.run_out()


def night_without_power() -> None:
    """Twelve hours of downtime in which records arrive, on time and late."""
    with closing(World()) as world:
        world.start()
        world.run(120)
        for hour in range(1, 12):
            world.graph.add(world.clock.now + hour * HOUR_S)
            world.graph.add(world.clock.now + hour * HOUR_S, world.clock.now + hour * HOUR_S + 3 * HOUR_S)
        world.kill(downtime_s=12 * HOUR_S)
        world.run(600)
        _must("told", len(world.said("New records flow again")) == 1, world.lines)
        world.run_out()


def machine_asleep() -> None:
    """The machine sleeps for three hours while a window is read."""
    with closing(World(history_s=5 * HOUR_S, page_records=2)) as world:
        add_many(world, 30, 5 * HOUR_S - 60, 600)
        world.start()
        world.run(9)
        world.loop.advance(3 * HOUR_S)
        world.fault_at = world.clock.now
        _arrive(world, 10)
        world.run_out()


# Intake and disk


def intake_in_trouble() -> None:
    """The intake does not store, loses its answer, takes less than it was sent, and is down for an hour."""
    with closing(World()) as world:
        world.start()
        for fault in ("not stored", "no answer", "short"):
            add_many(world, 3, 0, 0)
            world.intake.fault = fault  # type: ignore[assignment]
            world.run(60)
        world.intake.down_until = world.clock.now + HOUR_S
        _arrive(world, 70)
        world.run(600)
        _must("lost", not world._missing(), len(world._missing()))
        world.run_out()


def a_slow_intake() -> None:
    """An intake that needs 40 ms a record, and stores 900 that it is too late to acknowledge: each twice at most."""
    with closing(World(history_s=HOUR_S)) as world:
        add_many(world, 900, 3000, 2)
        world.intake.record_s = 0.04
        world.start()
        world.run(HOUR_S)
        copies = Counter(pushed.number for pushed in world.intake.pushed)
        _must("twice at most", max(copies.values()) <= 2, max(copies.values()))
        _must("all", len(world.delivered) == 900, len(world.delivered))
        world.run_out(2)


def a_full_disk() -> None:
    """The disk is full for an hour while records arrive, then killed: at most one batch comes twice."""
    for stuck in (False, True):
        with closing(World()) as world:
            world.start()
            _arrive(world, 10)
            world.disk.full, world.disk.stuck = True, stuck
            _arrive(world, 60)
            _must("full", world.disk.faults > 0)
            world.disk.full = world.disk.stuck = False
            world.fault_at = world.clock.now
            _arrive(world, 10)
            world.run(120)
            _must("lost", not world._missing(), len(world._missing()))
            world.disk.full, world.disk.stuck = True, stuck
            _arrive(world, 5)
            world.kill()
            world.disk.full = world.disk.stuck = False
            world.run(600)
            world.run_out()


def a_full_disk_and_a_refused_record() -> None:
    """The disk is full while a record is refused: its neighbours are pushed once."""
    with closing(World(history_s=3 * HOUR_S)) as world:
        records = add_many(world, 10, 2 * HOUR_S, 60)
        world.intake.refuses = {records[4].number}
        world.start()
        world.run(200)
        world.disk.full = True
        world.run(HOUR_S)
        world.disk.full = False
        world.fault_at = world.clock.now
        _arrive(world, 20)
        _must("kept", world.refused_kept() == {records[4].number}, world.refused_kept())
        world.run_out()


def a_full_disk_beside_a_place_in_trouble() -> None:
    """The disk is full while a record cannot be served: nothing ends, and what was pushed is not pushed again."""
    with closing(World(page_records=50)) as world:
        world.start()
        _arrive(world, 20)
        world.disk.full = True
        world.graph.add(world.clock.now, spoils="500")
        _arrive(world, 30)
        world.disk.full = False
        world.fault_at = world.clock.now
        _arrive(world, 60)
        world.run_out()


def set_aside_by_an_earlier_process() -> None:
    """A restart does not forget what is set aside: the end of another problem does not say that nothing was lost."""
    with closing(World(history_s=5 * HOUR_S, page_records=50)) as world:
        add_many(world, 20, 5 * HOUR_S - 60, 600)
        world.graph.add(world.clock.now - 3 * HOUR_S, spoils="500")
        world.start()
        world.run(HOUR_S)
        _must("named", len(world.said("cannot be read at present:")) == 1, world.lines)
        world.stop()
        world.graph.mood.down = True
        world.run(300)
        world.graph.mood.down = False
        world.run(300)
        _must("recovered", len(world.said("recovered")) >= 1, "\n".join(map(str, world.lines)))


def a_stop_while_a_batch_is_pushed() -> None:
    """A stop waits for a push that is under way, so that it is noted and not repeated."""
    with closing(World()) as world:
        record = world.graph.add(world.clock.now - 10)
        world.start()
        assert world.process is not None
        collector = world.process.collectors[0]
        pushing, answered = threading.Event(), threading.Event()

        def push(events: Sequence[str]) -> int:
            pushing.set()
            answered.wait(10)
            return len(events)

        async def one_page(*_: Any) -> Any:
            yield read_page(INTERACTIVE, b'{"value":[' + record.versions[0][2] + b"]}"), True

        async def stopped() -> bool:
            now_s = int(world.clock.now)
            task = asyncio.create_task(collector.read(Window("edge", now_s - 60, now_s)))
            await asyncio.to_thread(pushing.wait, 10)
            task.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
            waits = not task.done()
            answered.set()
            await asyncio.wait([task])
            return waits

        collector._intake._push = push
        collector._source.pages = one_page  # type: ignore[method-assign]
        _must("grace", asyncio.run(stopped()))
        page = read_page(INTERACTIVE, b'{"value":[' + record.versions[0][2] + b"]}")
        _must("noted", collector._ledger.digest(page.records[0], int(world.clock.now)) is not None)


def state_that_is_damaged() -> None:
    """A stream's state is no state: at least 24 h are read again, it is told, and nothing is lost."""
    with closing(World()) as world:
        world.start()
        _arrive(world, 60)
        late = world.graph.add(world.clock.now - 1800, world.clock.now + 300)
        world.damage_allowed = True
        world._end()
        path = next(iter([world.disk.folder(world.folder) / "context.json"]))
        state = orjson.loads(path.read_bytes())
        state["streams"]["interactiveUser"] = {"coverage": []}
        path.write_bytes(orjson.dumps(state))
        world.loop.advance(600)
        world.start()
        _must("told", any("context.json" in name for name, _ in world.damaged), world.damaged)
        world.run(HOUR_S)
        _must("lost", late.number in world.delivered)
        world.run_out()


def two_streams_push_at_once() -> None:
    """Two streams deliver on two threads: one batch is in flight in the whole process."""
    test_intake.test_one_batch_is_in_flight_in_the_whole_process()


def no_evidence_no_blame() -> None:
    """While nothing else is served, no place is divided or named, however often it fails."""
    before = coverage_rules.begin(int(START_S), DAY_S)
    for _ in range(12):
        stretch = before.rows[0].start_s, before.rows[0].end_s
        before, aside = coverage_rules.failed(before, stretch, int(START_S), "503", served_elsewhere=False)
        _must("blamed", len(before.troubled) == 1 and not aside, before.troubled)


def turns_in_their_order() -> None:
    """New records, then chains that have begun, then the rest."""
    test_rate_limit.test_new_records_then_chains_then_the_rest_in_order()


def two_connectors_share_the_limit() -> None:
    """Two processes that cannot see each other, both with backlog, and one beside another's polls."""
    test_rate_limit.test_two_with_backlog_share_evenly()
    test_rate_limit.test_beside_one_that_polls_hardly_anything_is_lost()


def the_youngest_look_gives_way() -> None:
    """Where not all looks fit, the one at 15 min is late, the others hardly, and new records not at all; it is told."""
    with closing(World(page_records=4, busy=True)) as world:
        world.start()
        for _ in range(170):
            add_many(world, 60, 0, 1.0)
            world.run(60)
        late = plan.overdue_s(world.coverage(), int(world.clock.now))
        _must("order", late[LOOKS[0]] > late[LOOKS[1]], late)
        waited = _waited_s(world, world.clock.now - HOUR_S)
        _must("fresh", _share(waited, 0.95) <= 120, _share(waited, 0.95))
        world.run(1)
        _must("told", bool(world.said("late, because the rate limit")), (late, world.lines))


GRAPH_STORIES: Final[tuple[Story, ...]] = (
    one_record_spoils_history_with_500,
    one_record_spoils_history_with_400,
    several_records_are_refused_by_graph,
    a_refused_record_and_one_that_spoils_in_one_second,
    a_refused_record_without_a_time_and_one_that_spoils,
    one_record_spoils_history_with_half_a_page,
    one_record_spoils_polls_with_500,
    one_record_spoils_polls_with_400,
    one_record_spoils_polls_with_half_a_page,
    one_record_spoils_a_crowded_second,
    passing_400s_in_old_history,
    every_other_answer_is_400,
    chains_that_end_early,
    chains_that_end_early_newest_first,
    chains_that_end_early_before_a_record_that_spoils,
    a_minute_that_is_too_much,
    newest_first_and_links_that_expire,
    a_burst_in_one_second,
    a_clock_three_hours_fast,
    a_clock_that_is_right_after_days,
    answers_after_ten_seconds,
    answers_after_twenty_seconds,
    answers_after_seventy_seconds,
    shown_minutes_late_on_a_busy_tenant,
    a_burst_and_then_quiet,
    shown_an_hour_late_on_a_quiet_tenant,
    a_storm_of_429s,
    polls_beside_history,
    looks_beside_history,
    the_youngest_look_gives_way,
    two_connectors_share_the_limit,
    a_stream_that_is_down,
    beyond_retention,
    shown_two_minutes_late,
    shown_late_by_each_look,
    left_out_of_answers,
    left_out_of_old_history,
    changed_and_changed_again,
    changes_that_are_not_asked_for,
    undated_and_changed,
    dated_in_2099,
    in_the_wrong_order,
    ties_across_pages,
    shown_while_a_window_is_read,
    a_poll_that_fails,
)
OTHER_STORIES: Final[tuple[Story, ...]] = (
    killed_at_every_side_effect,
    killed_in_old_history,
    killed_twice_in_an_hour_of_the_ledger,
    killed_before_the_first_save,
    night_without_power,
    machine_asleep,
    the_intake_refuses_a_record_that_is_alone,
    the_intake_refuses_the_only_record,
    the_intake_refuses_several_records,
    a_kill_while_a_refused_record_is_kept,
    refusals_that_pass_convict_nobody,
    intake_in_trouble,
    a_slow_intake,
    a_full_disk,
    a_full_disk_and_a_refused_record,
    a_full_disk_beside_a_place_in_trouble,
    set_aside_by_an_earlier_process,
    a_stop_while_a_batch_is_pushed,
    state_that_is_damaged,
    two_streams_push_at_once,
    no_evidence_no_blame,
    turns_in_their_order,
)
SCENARIOS: Final[tuple[Story, ...]] = GRAPH_STORIES + OTHER_STORIES
