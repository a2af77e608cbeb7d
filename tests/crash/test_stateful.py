"""A user's promise against any order of arrivals, changes, moods of Graph's, faults and kills."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from graph_entra.streams import DAY_S, HOUR_S
from tests.crash.model import ORDERS, Mood
from tests.crash.world import BACKGROUND, INTERACTIVE, World

# Delays as Graph has them: none, within a poll's reach, beyond it, up to a day.
DELAYS = st.one_of(
    st.just(0),
    st.integers(1, 120),
    st.integers(121, 300),
    st.integers(301, 3 * HOUR_S),
    st.integers(3 * HOUR_S, DAY_S),
)
DOWNTIMES = st.one_of(st.integers(0, 120), st.integers(600, 4 * HOUR_S), st.integers(4 * HOUR_S, 30 * HOUR_S))
# One page has about ten side effects.
KILLS = st.one_of(st.none(), st.none(), st.integers(0, 14), st.integers(0, 80))
SPOILS = st.sampled_from([None, None, None, None, None, "500", "400", "half"])
STREAMS = (INTERACTIVE, BACKGROUND)


class StreamMachine(RuleBasedStateMachine):
    """One connector, from its installation until a day after the last event."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.broken = False

    @initialize(
        period_s=st.sampled_from([60, 60, 600, 3600]),
        history_s=st.sampled_from([0, 2 * HOUR_S, DAY_S, 40 * HOUR_S, 9 * DAY_S]),
        page_records=st.sampled_from([3, 4, 10, 1000]),
        forward_updates=st.sampled_from([True, True, True, False]),
        streams=st.sampled_from([1, 1, 2]),
        busy=st.sampled_from([False, False, True]),
        ahead_s=st.sampled_from([0.0, 0.0, 3.0 * HOUR_S, -2.0 * DAY_S, 40.0 * DAY_S]),
        past=st.lists(st.tuples(st.integers(0, 41 * HOUR_S), DELAYS, SPOILS), max_size=14),
        order=st.sampled_from(ORDERS),
        seed=st.integers(0, 1000),
        kill=KILLS,
    )
    def install(
        self,
        period_s: int,
        history_s: int,
        page_records: int,
        forward_updates: bool,
        streams: int,
        busy: bool,
        ahead_s: float,
        past: list[tuple[int, int, Any]],
        order: Any,
        seed: int,
        kill: int | None,
    ) -> None:
        self.world = world = World(
            period_s=period_s,
            history_s=history_s,
            page_records=page_records,
            forward_updates=forward_updates,
            streams=STREAMS[:streams],
            busy=busy,
            seed=seed,
        )
        world.clock.ahead_s = ahead_s
        world.graph.mood.order = order
        for age_s, delay_s, spoils in past:
            world.graph.add(world.clock.now - age_s, world.clock.now - age_s + delay_s, spoils=spoils)
        world.start(arm=kill)
        world.wire.disarm()

    @rule(
        delays=st.lists(DELAYS, min_size=1, max_size=10),
        apart_s=st.sampled_from([0.0, 0.0, 0.03, 0.5, 7.0, 50.0]),
        strange=st.sampled_from([None, None, None, "undated", "2099", "twice", "big"]),
        spoils=SPOILS,
        heals_s=st.sampled_from([300.0, 5.0 * HOUR_S, float("inf")]),
        stream=st.integers(0, 1),
        refused=st.sampled_from([False, False, False, False, True]),
        seconds=st.integers(1, 200),
    )
    def arrive(
        self,
        delays: list[int],
        apart_s: float,
        strange: str | None,
        spoils: Any,
        heals_s: float,
        stream: int,
        refused: bool,
        seconds: int,
    ) -> None:
        world = self._world
        key = world.streams[min(stream, len(world.streams) - 1)].key
        for index, delay_s in enumerate(delays):
            at = self._now + index * apart_s
            record = world.graph.add(
                at,
                at + delay_s,
                stream=key,
                states={"undated": "yesterday", "2099": "2099-01-01T00:00:00Z"}.get(strange or ""),
                twice=strange == "twice",
                big=strange == "big",
                spoils=spoils if index == len(delays) // 2 else None,
                heals=self._now + heals_s,
            )
            if refused and index == 0:
                world.intake.refuses.add(record.number)
        self._checked(lambda: world.run(seconds))

    @precondition(lambda self: self._world.graph.records)
    @rule(which=st.integers(0, 7), material=st.booleans())
    def change(self, which: int, material: bool) -> None:
        records = self._world.graph.records
        # The newest are the likeliest to change.
        record = records[-1 - which % len(records)]
        self._world.graph.change(record, max(self._now, record.versions[-1][0]), material=material)

    @rule(
        order=st.sampled_from(ORDERS),
        answer_s=st.sampled_from([(0.3, 0.3), (0.3, 0.3), (0.5, 20.0), (30.0, 90.0), (0.5, 400.0)]),
        left_out=st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.5]),
        ends_early=st.sampled_from([0.0, 0.0, 0.0, 0.3]),
        link_pages=st.sampled_from([None, None, None, 2]),
        most_records=st.sampled_from([None, None, None, 8]),
        refused=st.sampled_from([0.0, 0.0, 0.0, 0.3, 1.0]),
        refused_from_s=st.sampled_from([0.0, 7.0 * DAY_S]),
    )
    def mood(self, **mood: Any) -> None:
        self._world.graph.mood = Mood(**mood)

    @rule(
        down=st.booleans(),
        throttled=st.booleans(),
        fail_after=st.one_of(st.none(), st.integers(0, 4)),
        seconds=st.sampled_from([10, 100, 2000]),
    )
    def bad_time(self, down: bool, throttled: bool, fail_after: int | None, seconds: int) -> None:
        graph = self._world.graph
        graph.mood = replace(graph.mood, down=down, throttled=throttled, fail_after=fail_after)
        self._checked(lambda: self._world.run(seconds))
        graph.mood = replace(graph.mood, down=False, throttled=False)

    @rule(
        push=st.sampled_from([None, "not stored", "no answer", "short", "refused"]),
        down_s=st.sampled_from([0, 0, 60, 3000]),
        refuses_all_s=st.sampled_from([0, 0, 0, 600, 3000]),
        status=st.sampled_from([400, 413, 422, 401]),
        record_s=st.sampled_from([0.0, 0.0, 0.0, 3.5]),
    )
    def intake(self, push: Any, down_s: int, refuses_all_s: int, status: int, record_s: float) -> None:
        intake = self._world.intake
        intake.fault, intake.record_s = push, record_s
        intake.status = status if refuses_all_s else 400
        intake.down_until, intake.refuses_all_until = self._now + down_s, self._now + refuses_all_s

    @rule(full=st.booleans(), stuck=st.booleans(), seconds=st.sampled_from([30, 700]))
    def disk(self, full: bool, stuck: bool, seconds: int) -> None:
        disk = self._world.disk
        disk.full, disk.stuck = full, full and stuck
        self._checked(lambda: self._world.run(seconds))
        disk.full = disk.stuck = False
        self._world.fault_at = self._now

    @rule(ahead_s=st.sampled_from([0.0, 3.0 * HOUR_S, -10.0 * DAY_S, 2.0 * DAY_S]), restarts=st.booleans())
    def clock_steps(self, ahead_s: float, restarts: bool) -> None:
        self._world.clock.ahead_s = ahead_s
        if restarts:
            self._checked(self._world.stop)

    @rule(
        seconds=st.one_of(st.integers(1, 90), st.integers(60, 1200), st.integers(900, 9000)),
        kill=KILLS,
        downtime_s=DOWNTIMES,
    )
    def run(self, seconds: int, kill: int | None, downtime_s: int) -> None:
        self._checked(lambda: self._world.run(seconds, kill, downtime_s))

    @rule(downtime_s=DOWNTIMES, kill=KILLS)
    def killed(self, downtime_s: int, kill: int | None) -> None:
        self._checked(lambda: self._world.kill(downtime_s, kill))

    @rule(downtime_s=DOWNTIMES)
    def stopped(self, downtime_s: int) -> None:
        self._checked(lambda: self._world.stop(downtime_s))

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            if not self.broken and self.world.process is not None:
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

    def _checked(self, job: Any) -> None:
        try:
            job()
        except BaseException:
            self.broken = True
            raise
        self._world.wire.disarm()


EXAMPLES = int(os.environ.get("CRASH_EXAMPLES", "0"))
SETTINGS = settings(
    max_examples=EXAMPLES or 20,
    stateful_step_count=20,
    deadline=None,
    # The suite finds the same every time; CRASH_EXAMPLES=3000 goes looking for what nobody has seen.
    derandomize=not EXAMPLES,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
)


def test_a_connector_keeps_its_promises() -> None:
    """Whatever arrives, changes, fails or dies: nothing lost, altered, repeated without a kill, or falsely told."""
    run_state_machine_as_test(StreamMachine, settings=SETTINGS)  # type: ignore[no-untyped-call]
