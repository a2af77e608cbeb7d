"""Days of a tenant in seconds: what arrives, how often, and what it costs, beside what a plain cursor reader gets.

``LONG_RUN_DAYS=30 LONG_RUN_PER_S=1 pytest -s tests/crash/test_long_run.py`` runs a larger one.
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from statistics import quantiles
from typing import Final

from graph_entra.streams import DAY_S, HOUR_S
from tests.crash.model import GraphModel, Shown
from tests.crash.world import START_S, World

DAYS: Final = float(os.environ.get("LONG_RUN_DAYS", "3"))
PER_S: Final = float(os.environ.get("LONG_RUN_PER_S", "0.05"))
PERIOD_S: Final = 60
CHANGED: Final = 0.02
# What is still on its way when the last record is created.
AFTERWARDS_S: Final = 26 * HOUR_S


@dataclass(frozen=True, slots=True)
class Figures:
    """What a reader made of the tenant."""

    reader: str
    delivered: int
    lost: int
    repeated: int
    updates: int
    updates_missed: int
    requests: int

    def __str__(self) -> str:
        return (
            f"{self.reader:44} {self.delivered:9} {self.lost:6} {self.repeated:9} {self.updates:8} "
            f"{self.updates_missed:7} {self.requests:9} {self.requests / self.delivered:12.3f}"
        )


HEADER: Final = (
    f"{'reader':44} {'delivered':>9} {'lost':>6} {'repeated':>9} {'updates':>8} {'missed':>7} {'requests':>9} "
    f"{'per record':>12}"
)


def delay_s(dice: random.Random) -> float:
    """Half within 2 min, 95 % within 5 min, 99 % within 30 min, the rest up to 20 h."""
    share = dice.random()
    for least, most, from_s, to_s in (
        (0.0, 0.5, 5, 120),
        (0.5, 0.95, 120, 300),
        (0.95, 0.99, 300, 1800),
        (0.99, 1.0, 1800, 20 * HOUR_S),
    ):
        if share < most:
            return from_s + (to_s - from_s) * (share - least) / (most - least)
    raise AssertionError


def fill(graph: GraphModel) -> None:
    """A tenant that sleeps at night and changes 2 % of its records afterwards, within their first 24 h."""
    dice = random.Random(20261123)
    now = START_S + 1
    while now < START_S + DAYS * DAY_S:
        now += dice.expovariate(2 * PER_S)
        if dice.random() > 0.55 + 0.45 * math.sin(2 * math.pi * now / DAY_S):
            continue
        created = round(now, 3)
        record = graph.add(created, created + delay_s(dice))
        if dice.random() < CHANGED:
            latest = created + DAY_S
            graph.change(record, dice.uniform(record.visible, latest), material=dice.random() < 0.7)


def count(reader: str, pushed: list[tuple[int, int]], records: list[Shown], requests: int) -> Figures:
    """What of the records was pushed, as (number, version)."""
    copies = Counter(pushed)
    delivered = {number for number, _ in copies}
    wanted = {(record.number, record.versions[-1][1]) for record in records if record.versions[-1][1]}
    return Figures(
        reader,
        delivered=len(delivered),
        lost=len(records) - len(delivered),
        repeated=sum(copies.values()) - len(copies),
        updates=sum(1 for _, version in copies if version),
        updates_missed=len(wanted - set(copies)),
        requests=requests,
    )


def plain(reader: str, graph: GraphModel, window: Callable[[float, float, float], tuple[float, float]]) -> Figures:
    """A reader that keeps one cursor and no ledger.

    Args:
        reader: its name in the table.
        graph: what it reads.
        window: from the cursor, the newest creation seen, and now to the window's bounds; the next cursor is now.
    """
    clock = graph._clock
    clock.now = cursor = newest = START_S
    pushed: list[tuple[int, int]] = []
    requests = 0
    while clock.now < START_S + DAYS * DAY_S + AFTERWARDS_S:
        clock.now += PERIOD_S
        listed = graph.listed(*window(cursor, newest, clock.now))
        requests += max(1, math.ceil(len(listed) / graph.page_records))
        pushed += [(record.number, record.at(clock.now)[1]) for record in listed]
        newest = max((record.created for record in listed), default=newest)
        cursor = clock.now
    return count(reader, pushed, graph.records, requests)


def test_days_of_a_tenant_lose_and_repeat_nothing() -> None:
    """Over days of late and changing records: none lost, none repeated, every update within 24 h once."""
    with closing(World(period_s=PERIOD_S, page_records=1000)) as world:
        fill(world.graph)
        world.restart()
        while world.clock.now < START_S + DAYS * DAY_S + AFTERWARDS_S:
            world.clock.now += PERIOD_S
            world.loop.run_until_complete(world._live())
            world.loop.run_until_complete(world._rest())
        ours = count(
            "graph_entra",
            [(pushed.number, pushed.version) for pushed in world.intake.pushed],
            world.graph.records,
            world.graph.requests,
        )
        wait_s: list[float] = []
        arrived: set[int] = set()
        for pushed in world.intake.pushed:
            record = world.graph.records[pushed.number]
            if pushed.number not in arrived and record.visible - record.created <= 300:
                wait_s.append(pushed.at - record.visible)
            arrived.add(pushed.number)
        tables = [
            ours,
            plain("cursor = newest record, gt", world.graph, lambda cursor, newest, now: (newest + 0.001, now)),
            plain("cursor = now", world.graph, lambda cursor, newest, now: (cursor, now)),
            plain(
                "cursor = now, 5 min overlap, no ledger", world.graph, lambda cursor, newest, now: (cursor - 300, now)
            ),
            (
                plain("24 h again each time, no ledger", world.graph, lambda cursor, newest, now: (now - DAY_S, now))
                if os.environ.get("LONG_RUN_DAYS")
                else None
            ),
        ]
        changed = sum(1 for record in world.graph.records if record.versions[-1][1])
        print(f"\n\n{DAYS:g} days, {len(world.graph.records)} records, {changed} of them materially changed\n{HEADER}")
        for row in tables:
            if row is not None:
                print(row)
        print(
            f"from visible to delivered, where Graph took 5 min or less: median {quantiles(wait_s)[1]:.0f} s, "
            f"longest {max(wait_s):.0f} s at one pass every {PERIOD_S} s"
        )
        assert (ours.lost, ours.repeated, ours.updates_missed) == (0, 0, 0)
        assert ours.updates == changed
        # Fresh within one period.
        assert max(wait_s) <= PERIOD_S + 1
        # The price of it all: a quarter more questions than a reader that asks once a period and loses half.
        assert ours.requests <= 1.4 * tables[2].requests  # type: ignore[union-attr]
