"""A user's promise against any order of arrivals, changes, passes, faults and kills."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from graph_entra.streams import DAY_S, HOUR_S
from tests.crash.model import ORDERS, Order
from tests.crash.world import World

# Delays as Graph has them: none, within the live lane's reach, beyond it, up to a day.
DELAYS = st.one_of(
    st.just(0),
    st.integers(1, 120),
    st.integers(121, 300),
    st.integers(301, 3 * HOUR_S),
    st.integers(3 * HOUR_S, DAY_S),
)
DOWNTIMES = st.one_of(st.integers(0, 120), st.integers(600, 4 * HOUR_S), st.integers(4 * HOUR_S, 30 * HOUR_S))
# One page has about ten side effects.
KILLS = st.one_of(st.none(), st.integers(0, 12), st.integers(0, 60))


class StreamMachine(RuleBasedStateMachine):
    """One stream, from its installation until a day after the last event.

    Attributes:
        steps: how many rules have run in this example.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.steps = 0
        self.broken = False

    @initialize(
        period_s=st.sampled_from([60, 60, 600, 3600]),
        history_s=st.sampled_from([0, 2 * HOUR_S, DAY_S, 40 * HOUR_S]),
        page_records=st.integers(1, 4),
        forward_updates=st.sampled_from([True, True, True, False]),
        past=st.lists(st.tuples(st.integers(0, 41 * HOUR_S), DELAYS), max_size=12),
        order=st.sampled_from(ORDERS),
        kill=KILLS,
    )
    def install(
        self,
        period_s: int,
        history_s: int,
        page_records: int,
        forward_updates: bool,
        past: list[tuple[int, int]],
        order: Order,
        kill: int | None,
    ) -> None:
        world = World(
            period_s=period_s, history_s=history_s, page_records=page_records, forward_updates=forward_updates
        )
        self.world = world
        world.graph.order = order
        for age_s, delay_s in past:
            world.graph.add(world.clock.now - age_s, world.clock.now - age_s + delay_s)
        world.restart(arm=kill)
        world.wire.disarm()

    @rule(
        delays=st.lists(DELAYS, min_size=1, max_size=8),
        apart_s=st.sampled_from([0.0, 0.0, 0.5, 7.0, 50.0, 400.0]),
        strange=st.sampled_from([None, None, None, "undated", "twice", "big"]),
    )
    def arrive(self, delays: list[int], apart_s: float, strange: str | None) -> None:
        for delay_s in delays:
            self._world.graph.add(
                self._now,
                self._now + delay_s,
                dated=strange != "undated",
                twice=strange == "twice",
                big=strange == "big",
            )
            self._world.clock.now += apart_s

    @precondition(lambda self: self._world.graph.records)
    @rule(which=st.integers(0, 7), material=st.booleans())
    def change(self, which: int, material: bool) -> None:
        records = self._world.graph.records
        # The newest are the likeliest to change.
        record = records[-1 - which % len(records)]
        self._world.graph.change(record, max(self._now, record.versions[-1][0]), material=material)

    @rule(seconds=st.one_of(st.integers(1, 90), st.integers(60, 1200), st.integers(900, 9000)))
    def wait(self, seconds: int) -> None:
        self._world.clock.now += seconds

    @rule(
        order=st.sampled_from(ORDERS),
        latency_s=st.sampled_from([0.0, 0.0, 1.25, 400.0, 3000.0]),
        span_s=st.sampled_from([HOUR_S, DAY_S, 7 * DAY_S]),
    )
    def mood(self, order: Order, latency_s: float, span_s: int) -> None:
        self._world.graph.order = order
        self._world.graph.latency_s = latency_s
        self._world.span_s = span_s

    @rule(pages=st.one_of(st.none(), st.integers(0, 4)), push=st.sampled_from([None, "refused", "no answer", "short"]))
    def fault(self, pages: int | None, push: Any) -> None:
        self._world.graph.fail_after = pages
        self._world.intake.fault = push

    @rule(kill=KILLS, downtime_s=DOWNTIMES)
    def live(self, kill: int | None, downtime_s: int) -> None:
        self._checked(self._world.live, downtime_s, kill)

    @rule(kill=KILLS, downtime_s=DOWNTIMES)
    def rest(self, kill: int | None, downtime_s: int) -> None:
        self._checked(self._world.rest, downtime_s, kill)

    @rule(kill=KILLS, downtime_s=DOWNTIMES)
    def both(self, kill: int | None, downtime_s: int) -> None:
        self._checked(self._world.both, downtime_s, kill)

    @rule(kill=KILLS, downtime_s=DOWNTIMES)
    def catch_up(self, kill: int | None, downtime_s: int) -> None:
        self._checked(self._world.catch_up, downtime_s, kill)

    @rule(downtime_s=DOWNTIMES, kill=KILLS)
    def restart(self, downtime_s: int, kill: int | None) -> None:
        self._world.restart(downtime_s, kill)

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            if not self.broken and hasattr(self.world, "collector"):
                self.steps += 1
                self.world.run_out()
        finally:
            self.world.close()

    @property
    def _world(self) -> World:
        assert self.world is not None
        return self.world

    @property
    def _now(self) -> float:
        return self._world.clock.now

    def _checked(self, job: Any, downtime_s: int, kill: int | None) -> None:
        self.steps += 1
        try:
            job(downtime_s, kill)
        except BaseException:
            self.broken = True
            raise
        self._world.wire.disarm()


EXAMPLES = int(os.environ.get("CRASH_EXAMPLES", "0"))
SETTINGS = settings(
    max_examples=EXAMPLES or 60,
    stateful_step_count=40,
    deadline=None,
    # The suite finds the same every time; CRASH_EXAMPLES=2000 goes looking for what nobody has seen.
    derandomize=not EXAMPLES,
    database=None,
    suppress_health_check=list(HealthCheck),
)
QUICK = settings(SETTINGS, phases=[Phase.generate], derandomize=True, report_multiple_bugs=False)


def test_a_stream_keeps_its_promises() -> None:
    """Whatever arrives, changes, fails or dies: nothing lost, nothing altered, nothing repeated without a kill."""
    run_state_machine_as_test(StreamMachine, settings=SETTINGS)  # type: ignore[no-untyped-call]
