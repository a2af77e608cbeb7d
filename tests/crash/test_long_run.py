"""Hours and days of a tenant in seconds: what arrives, how late, how often, and what a plain cursor reader gets.

``LONG_RUN_HOURS=72 pytest -s tests/crash/test_long_run.py`` runs a longer one. Pages hold 10 records and not 1,000, and
rates are a hundredth of what the table says, so that all of the schedule's proportions are the real ones.
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import pytest

from graph_entra.streams import DAY_S, HOUR_S, PAGE_RECORDS
from tests.crash.model import GraphModel
from tests.crash.world import World

HOURS: Final = float(os.environ.get("LONG_RUN_HOURS", "1"))
WARM_S: Final = 1800
PERIOD_S: Final = 60
CHANGED: Final = 0.02
LEFT_OUT: Final = 0.005
SMALL_PAGE: Final = 10
SCALE: Final = SMALL_PAGE / PAGE_RECORDS
# Records a second: the longest that 95 % of those shown within 5 minutes may wait.
P95_S: Final = {1.0: 65.0, 10.0: 90.0, 40.0: 360.0}


@dataclass(frozen=True, slots=True)
class Figures:
    """What a reader made of the tenant."""

    reader: str
    records: int
    lost: int
    repeated: int
    updates_missed: int
    requests: int
    waited_s: tuple[float, ...]

    def waited(self, share: float) -> float:
        """So long at most did so large a share wait, from shown to delivered."""
        return self.waited_s[min(len(self.waited_s) - 1, int(share * len(self.waited_s)))]

    def __str__(self) -> str:
        waited = "".join(f"{self.waited(share):8.0f}" for share in (0.5, 0.95, 0.99, 1.0))
        return (
            f"{self.reader:36}{self.records:8}{self.lost:7}{self.repeated:9}{self.updates_missed:8}{self.requests:9}"
            + waited
        )


HEADER: Final = (
    f"{'reader':36}{'records':>8}{'lost':>7}{'repeated':>9}{'missed':>8}{'requests':>9}"
    f"{'p50':>8}{'p95':>8}{'p99':>8}{'max':>8}  s from shown to intake, of those shown within 5 min"
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


def fill(graph: GraphModel, start: float, per_s: float) -> None:
    """A tenant whose rate swells and falls, and that changes 2 % of its records within their first 24 h."""
    dice = random.Random(20261123)
    now = start
    while now < start + WARM_S + HOURS * HOUR_S:
        now += dice.expovariate(2 * per_s)
        if dice.random() > 0.5 + 0.4 * math.sin(2 * math.pi * now / (6 * HOUR_S)):
            continue
        created = round(now, 3)
        record = graph.add(created, created + delay_s(dice))
        if dice.random() < CHANGED:
            graph.change(record, dice.uniform(record.visible, created + DAY_S), material=dice.random() < 0.7)


def ours(per_s: float) -> Figures:
    """graph_entra on a machine whose clock is 3 h fast, with answers of 0.3 to 3 s that leave out one record of 200."""
    with closing(World(period_s=PERIOD_S, page_records=SMALL_PAGE)) as world:
        world.clock.ahead_s = 3 * HOUR_S
        start = world.clock.now
        world.start()
        fill(world.graph, start, per_s * SCALE)
        world.graph.mood.answer_s = (0.3, 3.0)
        world.graph.mood.left_out = LEFT_OUT
        world.run(WARM_S + HOURS * HOUR_S)
        requests = len(world.graph.requests)
        counted = [
            one for one in world.graph.records if one.visible >= start + WARM_S and one.visible - one.created <= 300
        ]
        waited = sorted(
            world.delivered_at.get(one.number, math.inf) - one.visible
            for one in counted
            if one.visible < world.clock.now - HOUR_S / 2
        )
        world.run_out(27)
        copies = Counter((pushed.number, pushed.version) for pushed in world.intake.pushed)
        return Figures(
            f"graph_entra, {per_s:g} records/s",
            records=len(world.graph.records),
            lost=len(world.graph.records) - len(world.delivered),
            repeated=sum(copies.values()) - len(copies),
            updates_missed=sum(
                record.at(record.created + DAY_S)[1] > world.delivered.get(record.number, 0)
                for record in world.graph.records
            ),
            requests=requests,
            waited_s=tuple(waited),
        )


def plain(reader: str, per_s: float, overlap_s: float) -> Figures:
    """A reader that keeps one cursor and no ledger, and asks from there, or from a little before."""
    with closing(World()) as world:
        graph, start = world.graph, world.clock.now
        fill(graph, start, per_s * SCALE)
        pushed: Counter[int] = Counter()
        first: dict[int, float] = {}
        requests, cursor, end = 0, start, start + WARM_S + HOURS * HOUR_S
        while world.clock.now < end:
            world.loop.advance(PERIOD_S)
            listed = graph.listed("interactiveUser", cursor - overlap_s, world.clock.now)
            requests += max(1, math.ceil(len(listed) / SMALL_PAGE))
            cursor = world.clock.now
            for record in listed:
                pushed[record.number] += 1
                first.setdefault(record.number, world.clock.now)
        waited = sorted(first[one.number] - one.visible for one in graph.records if one.number in first)
        return Figures(
            reader,
            records=len(graph.records),
            lost=sum(one.visible < end - HOUR_S / 2 and one.number not in first for one in graph.records),
            repeated=sum(pushed.values()) - len(pushed),
            updates_missed=sum(one.versions[-1][1] > 0 for one in graph.records),
            requests=requests,
            waited_s=tuple(waited),
        )


@pytest.mark.parametrize("per_s", P95_S)
def test_hours_of_a_tenant_lose_and_repeat_nothing(per_s: float) -> None:
    """Late, changed and left-out records, slow answers, a wrong clock: none lost or repeated, each update once."""
    figures = ours(per_s)
    rows = [figures]
    if per_s == 1.0:
        rows += [
            plain("cursor = now, no ledger", per_s, 0.0),
            plain("cursor = now, 5 min overlap, no ledger", per_s, 300.0),
        ]
    print(f"\n\n{HOURS:g} h\n{HEADER}", *rows, sep="\n")
    assert (figures.lost, figures.repeated, figures.updates_missed) == (0, 0, 0)
    assert figures.waited(0.95) <= P95_S[per_s]
