"""Short stories with a fixed course, each ending a day later with every question asked: see ``World.run_out``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Final

from graph_entra.streams import HOUR_S
from tests.crash.world import World


def shown_two_minutes_late() -> None:
    """What Graph shows 2 min after its creation is in after the next live pass."""
    with closing(World()) as world:
        world.restart()
        for _ in range(5):
            world.graph.add(world.clock.now, world.clock.now + 120, big=True)
            world.clock.now += 60
            world.live()
        world.run_out()


def shown_late_by_each_lane() -> None:
    """What Graph shows 10 min, 1 h and 20 h after its creation is in once the lane of that age has gone by."""
    with closing(World()) as world:
        world.restart()
        for late_s in (600, HOUR_S, 20 * HOUR_S):
            world.graph.add(world.clock.now, world.clock.now + late_s)
            world.clock.now += 60
            world.catch_up()
        world.run_out()


def killed_at_every_side_effect() -> None:
    """Kills at one side effect after the other, with an hour of downtime, while records arrive."""
    with closing(World(history_s=2 * HOUR_S)) as world:
        for age_s in range(0, 7200, 900):
            world.graph.add(world.clock.now - age_s, world.clock.now - age_s)
        world.restart()
        for kill in range(24):
            for _ in range(5):
                world.graph.add(world.clock.now, world.clock.now)
            world.clock.now += 30
            world.live(HOUR_S, kill)
            world.catch_up(0, kill)
        world.run_out()


def killed_in_old_history() -> None:
    """Kills at one side effect after the other in history that no settle lane will read again."""
    with closing(World(history_s=40 * HOUR_S, page_records=3)) as world:
        for minutes in range(25 * 60, 40 * 60, 10):
            world.graph.add(world.clock.now - minutes * 60, world.clock.now - minutes * 60)
        world.span_s = 4 * HOUR_S
        world.restart()
        for kill in range(24):
            world.rest(60, kill)
            world.wire.disarm()
        world.run_out()


def killed_twice_in_an_hour_of_the_ledger() -> None:
    """A batch is half noted when the process dies; the next one dies at each step of reading what was noted."""
    with closing(World(page_records=100)) as world:
        world.restart()
        for _ in range(20):
            world.graph.add(world.clock.now, world.clock.now)
            world.clock.now += 1
            world.live()
        for kill in range(12):
            world.graph.add(world.clock.now, world.clock.now)
            world.clock.now += 1
            # Before the page, before the push, after it, before the ledger is opened, half written.
            world.live(0, 4)
            world.live(0, kill)
            world.wire.disarm()
            world.live()
        world.run_out()


def killed_before_the_first_save() -> None:
    """The first process dies at each step of its start; the beginning stays where the first that lived put it."""
    with closing(World(history_s=HOUR_S)) as world:
        for kill in range(6):
            world.restart(downtime_s=600, arm=kill)
            world.wire.disarm()
        world.run_out()


def backlog_in_the_wrong_order() -> None:
    """Graph lists 40 h of history newest first and fails in the middle of it."""
    with closing(World(history_s=40 * HOUR_S, page_records=3)) as world:
        world.graph.order = "newest first"
        world.span_s = 7 * 24 * HOUR_S
        for hours in range(1, 40, 2):
            world.graph.add(world.clock.now - hours * HOUR_S, world.clock.now - hours * HOUR_S)
        world.restart()
        world.live()
        world.graph.fail_after = 3
        world.rest()
        world.run_out()


def old_backlog_twice() -> None:
    """Graph fails late in 40 h of unordered history and the process begins anew: what it had read is not repeated."""
    with closing(World(history_s=40 * HOUR_S, page_records=3)) as world:
        world.graph.order = "newest first"
        world.span_s = 7 * 24 * HOUR_S
        for minutes in range(10, 40 * 60, 10):
            world.graph.add(world.clock.now - minutes * 60, world.clock.now - minutes * 60)
        world.restart()
        world.live()
        world.graph.fail_after = 70
        world.rest()
        world.restart()
        world.run_out()


def ties_across_pages() -> None:
    """A failure between two pages of old history that share a second costs none of that second's records."""
    with closing(World(history_s=40 * HOUR_S, page_records=3)) as world:
        now = world.clock.now
        world.graph.add(now - 36 * HOUR_S, now)
        for _ in range(7):
            world.graph.add(now - 35 * HOUR_S, now - 35 * HOUR_S)
        world.restart()
        world.graph.fail_after = 2
        world.rest()
        world.run_out()


def changed_and_changed_again() -> None:
    """Changes that matter come once, those that do not come never."""
    with closing(World()) as world:
        world.restart()
        records = [world.graph.add(world.clock.now, world.clock.now) for _ in range(4)]
        world.clock.now += 60
        world.live()
        for after_s, record, material in (
            (600, records[0], True),
            (HOUR_S, records[1], False),
            (3 * HOUR_S, records[1], True),
            (20 * HOUR_S, records[2], True),
            (23 * HOUR_S, records[3], False),
        ):
            world.graph.change(record, world.clock.now + after_s, material=material)
        for _ in range(25 * 6):
            world.clock.now += 600
            world.catch_up()
        world.run_out()


def undated_and_changed() -> None:
    """A record without a time changes in another hour, and the process begins anew."""
    with closing(World()) as world:
        world.restart()
        record = world.graph.add(world.clock.now, world.clock.now, dated=False)
        world.clock.now += 60
        world.catch_up()
        world.graph.change(record, world.clock.now + HOUR_S, material=True)
        world.clock.now += 3 * HOUR_S
        world.catch_up()
        world.restart()
        world.run_out()


def busy_hours() -> None:
    """Fifty records in three hours, read over and over for a day."""
    with closing(World(period_s=600)) as world:
        world.restart()
        for _ in range(50):
            world.graph.add(world.clock.now, world.clock.now + 60)
            world.clock.now += 220
            world.catch_up()
        world.run_out()


def night_without_power() -> None:
    """Twelve hours of downtime in which records arrive, on time and late."""
    with closing(World()) as world:
        world.restart()
        world.live()
        for hour in range(1, 12):
            world.graph.add(world.clock.now + hour * HOUR_S, world.clock.now + hour * HOUR_S)
            world.graph.add(world.clock.now + hour * HOUR_S, world.clock.now + hour * HOUR_S + 3 * HOUR_S)
        world.restart(downtime_s=12 * HOUR_S)
        world.live()
        world.run_out()


def slow_backlog() -> None:
    """Each page of the backlog takes 50 min to be delivered, while Graph shows more of the same stretch."""
    with closing(World(history_s=24 * HOUR_S, page_records=1)) as world:
        now = world.clock.now
        for hours in (5.0, 4.0, 0.2):
            world.graph.add(now - hours * HOUR_S, now - hours * HOUR_S)
        # Not there yet when the window is asked for; 13 min late.
        world.graph.add(now - 720, now + 60)
        world.restart()
        world.graph.latency_s = 3000
        world.rest()
        world.graph.latency_s = 0
        world.catch_up()
        world.run_out()


def intake_in_trouble() -> None:
    """The intake refuses, loses its answer, and takes less than it was sent."""
    with closing(World()) as world:
        world.restart()
        for fault in ("refused", "no answer", "short"):
            for _ in range(3):
                world.graph.add(world.clock.now, world.clock.now)
            world.clock.now += 60
            world.intake.fault = fault
            world.live()
        world.run_out()


SCENARIOS: Final[tuple[Callable[[], None], ...]] = (
    shown_two_minutes_late,
    shown_late_by_each_lane,
    killed_at_every_side_effect,
    killed_in_old_history,
    killed_twice_in_an_hour_of_the_ledger,
    killed_before_the_first_save,
    backlog_in_the_wrong_order,
    old_backlog_twice,
    ties_across_pages,
    changed_and_changed_again,
    undated_and_changed,
    busy_hours,
    night_without_power,
    slow_backlog,
    intake_in_trouble,
)
