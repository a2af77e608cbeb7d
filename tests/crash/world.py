"""One installed connector in the model: what a person would do with it, and what a person would complain about.

The real Schedule, plan, shares, rate limiter, Collector, coverage, ledger, files, Intake and problem log run in virtual
time; Graph, the intake behind the push, the disk and the clocks are models. A kill throws all away but the folder.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import orjson

from graph_entra.delivery.intake import Intake
from graph_entra.errors import GraphEntraError, IntakeUnavailable
from graph_entra.microsoft.graph import Answer
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import collector as collecting
from graph_entra.reading import coverage as coverage_rules
from graph_entra.reading import outcomes, polls, reader, schedule
from graph_entra.reading.collector import Collector
from graph_entra.reading.coverage import LOOKS, RETENTION_MARGIN_S, RETENTION_S, Coverage, Row, Trouble
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.reading.schedule import Schedule
from graph_entra.records import Taken
from graph_entra.state import files
from graph_entra.state.context import ContextStore
from graph_entra.state.refused import REFUSED_FILE, RefusedRecords
from graph_entra.streams import DAY_S, HOUR_S, PAGE_RECORDS, Stream, Window, graph_time, sign_in_stream
from graph_entra.telling.problem_log import ProblemLog
from graph_entra.telling.stretch_log import REPEAT_S
from tests.crash.model import (
    VISIBLE_WITHIN_S,
    Clock,
    Crash,
    Disk,
    GraphModel,
    IntakeModel,
    Loop,
    Shown,
    Tripwire,
    WiredOs,
)

INTERACTIVE: Final = sign_in_stream("interactiveUser", beta_only=False)
BACKGROUND: Final = sign_in_stream("nonInteractiveUser", beta_only=False)
# A flush to a real disk takes a millisecond.
_MEMORY: Final = Path("/dev/shm")
# So long after the last fault everything is asked again: the longest pause of a stream (reader.Backoff), and a poll.
RECOVERS_S: Final = 400.0
# What a look waits for, at most, until it is worth a request (plan.STEP_S), and a poll or two.
LOOK_WITHIN_S: Final = dict(zip(LOOKS, (900, 2700, 4500), strict=True))
_TIMES: Final = re.compile(r"from (\S+Z) to (\S+Z)")


class Broken(AssertionError):
    """A promise was broken.

    Attributes:
        check: which one.
    """

    def __init__(self, check: str, detail: str) -> None:
        super().__init__(f"{check}: {detail}")
        self.check = check


class Process:
    """What one process has: made anew with each start, on the folder of the one before."""

    def __init__(self, world: World) -> None:
        clock = world.clock
        self.world = world
        self.limiter = RateLimiter(clock)
        self.limiter._chance.seed(world.seed)
        self.graph_clock = GraphClock(clock)
        # As Entra dates the token.
        self.graph_clock.seen(float(int(clock.now)))
        data_path = files.Files(world.disk.folder(world.folder), clock)
        store = ContextStore(data_path, ["tenant"], world.on_damage)
        intake = Intake(world.intake.push, clock=clock, stopping=world.stopping, on_fault=self._on_fault)
        refused = RefusedRecords(data_path, lambda _count: None)
        self.problems = ProblemLog(world.log, clock)
        self.collectors = [
            Collector(
                stream,
                files=data_path,
                store=store,
                source=world.graph,
                intake=intake,
                refused=refused,
                history_s=world.history_s,
                forward_updates=world.forward_updates,
                now_s=self.graph_clock.now_s,
                on_taken=self._on_taken,
                on_new=lambda key, created_s: self.schedule.saw_new(key, created_s),
                on_damage=world.on_damage,
            )
            for stream in world.streams
        ]
        for collector in self.collectors:
            self._watch(collector)
        self.schedule = Schedule(
            self.collectors,
            period_s=world.period_s,
            limiter=self.limiter,
            graph_clock=self.graph_clock,
            clock=clock,
            problems=self.problems,
            log=world.log,
        )
        self.task: asyncio.Task[None] | None = None

    def asks(self, stream: str, window: Window) -> None:
        """As the assembly of a connector."""
        self.schedule.asks(stream, window)

    def answered(self, answer: Answer) -> None:
        """As the assembly of a connector."""
        if answer.date_s is not None:
            self.graph_clock.seen(answer.date_s)
        self.schedule.answered(answer)

    def _on_fault(self, fault: IntakeUnavailable) -> None:
        self.schedule.alive()
        self.problems.failed(fault, None, None, 20)

    def _on_taken(self, taken: Taken) -> None:
        if taken.work == "unread" and taken.read:
            self.schedule.page_read(taken.stream, taken.read)
        if taken.pushed:
            self.problems.pushed()
        self.world.refused_told.update(record_id for record_id, _ in taken.refused)

    def _watch(self, collector: Collector) -> None:
        """Have the intake know what was noted."""
        write, records = collector._ledger._write, self.world.graph.records

        def watched() -> None:
            write()
            self.world.intake.noted(lambda number: records[number].stream == collector.stream.key)

        collector._ledger._write = watched  # type: ignore[method-assign]


class World:
    """The real connector, from Schedule to Files, in a model of everything around it.

    Args:
        period_s: seconds between two polls.
        history_s: what the first start reads.
        page_records: records on one of Graph's pages.
        forward_updates: as in the connector's configuration.
        streams: what is read.
        busy: the limit leaves nothing for rounds, and no poll looks back for nothing: as on a tenant with so many
            records that all of the limit is used.
        seed: of all chances.
    """

    def __init__(
        self,
        *,
        period_s: int = 60,
        history_s: int = 0,
        page_records: int = PAGE_RECORDS,
        forward_updates: bool = True,
        streams: Sequence[Stream] = (INTERACTIVE,),
        busy: bool = False,
        seed: int = 0,
    ) -> None:
        self.loop = Loop()
        self.loop.set_exception_handler(lambda _loop, _context: None)
        self.clock = Clock(self.loop)
        self.wire = Tripwire()
        self.disk = Disk(self.wire)
        self.graph = GraphModel(self.clock, self.wire, seed)
        self.intake = IntakeModel(self.clock, self.loop, self.wire)
        self.stopping = _Never()
        self.period_s = period_s
        self.history_s = history_s
        self.forward_updates = forward_updates
        self.streams = streams
        self.page_records = page_records
        self.seed = seed
        self.folder = tempfile.mkdtemp(prefix="graph_entra-", dir=_MEMORY if _MEMORY.is_dir() else None)
        self.origins_s: dict[str, int] = {}
        self.crashes = self.starts = 0
        self.fault_at = self.clock.now
        self.lost_before_s = 0
        self.lines: list[tuple[float, str, str]] = []
        self.damaged: list[tuple[str, str]] = []
        self.damage_allowed = False
        self.refused_told: set[str] = set()
        self.copies: Counter[tuple[int, int]] = Counter()
        self.delivered: dict[int, int] = {}
        self.delivered_at: dict[int, float] = {}
        self._checked = 0
        self._checked_lines = 0
        self._false: list[Broken] = []
        self._said_at: dict[tuple[str, str, int], float] = {}
        self._patches = ExitStack()
        self._patches.enter_context(patch.object(files, "os", WiredOs(self.disk)))
        if page_records != PAGE_RECORDS:
            self._small_pages(page_records)
        if busy:
            self._patches.enter_context(patch.object(schedule, "ROUND_EVERY_S", 1e9))
            self._patches.enter_context(patch.object(polls, "_FREE_PAGE_RECORDS", 0.0))
            # Most of a long story's time would be looks at the clock.
            self._patches.enter_context(patch.object(schedule, "_NOTHING_DUE_S", 30.0))
        self.process: Process | None = None

    def _small_pages(self, page_records: int) -> None:
        """Pages of so few records that a handful of them fills several, and everything else in proportion."""
        scale = page_records / PAGE_RECORDS
        change = self._patches.enter_context
        for module in (
            collecting,
            coverage_rules,
            reader,
        ):
            change(patch.object(module, "PAGE_RECORDS", page_records))
        for made, pages in ((Window, 1), (Trouble, 1), (reader.Reader, reader.MOST_RECORDS // PAGE_RECORDS)):
            before, after = PAGE_RECORDS * pages, page_records * pages
            defaults = tuple(after if value == before else value for value in made.__init__.__defaults__ or ())
            change(patch.object(made.__init__, "__defaults__", defaults))
        most = int(reader.MOST_RECORDS * scale)
        for module in (
            reader,
            outcomes,
        ):
            change(patch.object(module, "MOST_RECORDS", most))
        change(patch.object(outcomes, "FEWEST_RECORDS", max(1, int(outcomes.FEWEST_RECORDS * scale))))
        change(patch.object(polls, "_FREE_PAGE_RECORDS", polls._FREE_PAGE_RECORDS * scale))
        # Down to one record, as from 1,000.
        change(patch.object(coverage_rules, "_PAGE_STEP", 2))

    def close(self) -> None:
        """Leave nothing behind."""
        try:
            if self.wire.dead_at is None:
                self.wire.kill("closed")
            with suppress(Exception):
                self._end()
        finally:
            self._patches.close()
            self.loop.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # What a person does

    def start(self, arm: int | None = None) -> None:
        """A new process on the old folder; it may be killed while it starts, and is then started again."""
        while True:
            if arm is not None:
                self.wire.arm(arm)
                arm = None
            self.fault_at = self.clock.now
            self.starts += 1
            try:
                self.process = process = Process(self)
            except Crash:
                self._buried()
                continue
            self.graph.asker = process
            for collector in process.collectors:
                self._check_origin(collector)
            return

    def kill(self, downtime_s: float = 0.0, arm: int | None = None) -> None:
        """``kill -9`` at this moment; time passes, and a new process starts, which may be killed at a side effect."""
        if self.wire.dead_at is None:
            self.wire.kill("between two effects")
        self._end()
        self._buried()
        self.loop.advance(downtime_s)
        self.start(arm)

    def stop(self, downtime_s: float = 0.0) -> None:
        """Stopped as the platform does, and started again."""
        self._end()
        # What a full disk left unnoted is known to the process only.
        self.intake.crashed()
        self.loop.advance(downtime_s)
        self.start()

    def run(self, seconds: float, arm: int | None = None, downtime_s: float = 0.0) -> None:
        """Let it run so long; killed at a side effect if that comes before, it is started again after its downtime."""
        if self.process is None:
            self.start()
        if arm is not None:
            self.wire.arm(arm)
        until = self.clock.now + seconds
        while (left_s := until - self.clock.now) > 0:
            self.loop.run_until_complete(self._run(left_s))
            self.check()
            if self.wire.dead_at is not None:
                self.kill(downtime_s)
        self.wire.disarm()
        self.check_fresh()

    def run_out(self, hours: float = 26.0) -> None:
        """Let it run without faults until every look has passed what there is, and ask for everything.

        What spoils a page and what the intake refuses stays as it is.
        """
        self.graph.heal()
        self.intake.fault = None
        self.intake.down_until = self.intake.refuses_all_until = self.intake.record_s = 0.0
        self.disk.full = self.disk.stuck = False
        self.wire.disarm()
        # The longest period that can be configured, and fewer rounds: more of the clock for each page.
        self.period_s = HOUR_S
        with (
            patch.object(schedule, "_NOTHING_DUE_S", 900.0),
            patch.object(schedule, "ROUND_EVERY_S", max(schedule.ROUND_EVERY_S, 4.0 * HOUR_S)),
        ):
            self.stop()
            self.run(hours * HOUR_S)
        # What is in trouble is asked for within seconds of what the plan says.
        self.run(HOUR_S)
        self.check_all()

    # What a person would complain about

    def check(self) -> None:
        """What was pushed and said since the last look is true, and not there too often."""
        self._check_pushed()
        self._check_lines()

    def _check_pushed(self) -> None:
        for pushed in self.intake.pushed[self._checked :]:
            record = self.graph.records[pushed.number]
            said = pushed.text.encode()
            if all(text != said for at, _, text in record.versions if at <= pushed.at):
                raise Broken("altered", f"record {pushed.number}: {pushed.text}")
            version = pushed.version if self.forward_updates else 0
            key = (pushed.number, version)
            self.copies[key] += 1
            allowed = sum(
                count
                for (number, old), count in self.intake.allowed.items()
                if number == pushed.number and (old == version or not self.forward_updates)
            )
            allowed += sum(number == pushed.number for number, _ in self.intake.in_flight)
            if self.copies[key] > 1 + allowed and not self.damage_allowed:
                raise Broken(
                    "repeated",
                    f"record {pushed.number}, version {version}: pushed {self.copies[key]} times, "
                    f"{1 + allowed} allowed, {(self.clock.now - record.created) / 60:.0f} min after its creation",
                )
            self.delivered[pushed.number] = max(self.delivered.get(pushed.number, 0), pushed.version)
            self.delivered_at.setdefault(pushed.number, pushed.at)
        self._checked = len(self.intake.pushed)

    def _check_lines(self) -> None:
        if self._false:
            raise self._false[0]
        for at, line, _ in self.lines[self._checked_lines :]:
            if "are lost" in line or "lost:" in line:
                for _, end in _TIMES.findall(line):
                    if datetime.fromisoformat(end).timestamp() > at - RETENTION_S + RETENTION_MARGIN_S:
                        raise Broken("false line", line)
                    self.lost_before_s = max(self.lost_before_s, int(datetime.fromisoformat(end).timestamp()))
            if "are read now" in line:
                self._check_readable(line, at)
        self._checked_lines = len(self.lines)

    def _check_readable(self, line: str, at: float) -> None:
        if self.graph.mood.ends_early or self.graph.mood.left_out:
            return  # whether Graph holds back the very record that it cannot serve, nothing tells
        for start, end in _TIMES.findall(line):
            bounds = datetime.fromisoformat(start).timestamp(), datetime.fromisoformat(end).timestamp()
            for record in self._missing():
                if record.number in self.refused_kept():
                    continue
                if bounds[0] <= record.created < bounds[1] and record.visible < at - 600 and at < record.heals:
                    raise Broken("false line", f"{line!r}, but {self._about(record)}")

    def check_fresh(self) -> None:
        """While all is well: what Graph shows is in after a poll or two, and what it shows late after the next look."""
        now = self.clock.now
        faults = (self.fault_at, self.graph.fault_at, self.intake.fault_at)
        if max(faults) + RECOVERS_S > now or self.graph.mood.left_out or self.disk.full:
            return
        well_since = max(faults)
        # More than a page: then the few that are shown latest wait for a look.
        crowded = len(self.graph.records) - len(self.graph.created_before(now - 900)) > self.page_records * 0.8
        slack_s = 4 * self.graph.mood.answer_s[1] + 60
        for record in self._missing():
            shown = max(record.visible, record.left_out_at)
            late_s = shown - record.created
            since = max(shown, well_since + RECOVERS_S)
            row = self._row(record)
            waits = row is None or row.looked_s is None or row.trouble is not None
            if waits or record.left_out_old or record.number in self.intake.refuses:
                continue
            if late_s <= (0 if crowded else 300) and now - since > 2 * self.period_s + slack_s:
                raise Broken("fresh", f"{self._about(record)}, and polls have gone by")
            for age_s in LOOKS:
                by = max(since, record.created + age_s)
                if late_s <= age_s and now - by > LOOK_WITHIN_S[age_s] + 2 * self.period_s + slack_s:
                    raise Broken("looked at", f"{self._about(record)}, and the look at {age_s // 60} min has gone by")

    def check_all(self) -> None:
        """Everything that Graph showed within 24 h of its creation is in, with its last version as of then."""
        kept = self.refused_kept()
        for number in kept:
            if number not in self.intake.refused_once:
                raise Broken("convicted", f"the intake never refused record {number} by itself")
        for record in self._missing():
            if record.visible - record.created > VISIBLE_WITHIN_S or record.left_out_old or record.number in kept:
                continue
            if self._waits_for_a_person(record):
                continue
            if record.spoils is not None and self.clock.now < record.heals:
                self._check_named(record)
            elif not self._is_spoiled_neighbour(record):
                raise Broken("lost", self._about(record))
        if self.forward_updates:
            self._check_updates()

    def _waits_for_a_person(self, record: Shown) -> bool:
        """Whether the intake refuses all that there is, a person was told, and the record is still to be read.

        Nobody is convicted then, and what is due waits until another record is taken. One refused record is named with
        its second; of several it is told hourly that it must be the intake.
        """
        row = self._row(record)
        if row is None or row.settled:
            return False
        named = row.trouble is not None and row.trouble.told
        if record.number in self.intake.refuses and named:
            return True
        lately = self.clock.now - 2 * HOUR_S
        return any(at >= lately and "The Sekoia intake refuses the records" in line for at, line, _ in self.lines)

    def _check_updates(self) -> None:
        for record in self.graph.records:
            wanted = record.at(record.created + VISIBLE_WITHIN_S)[1]
            spoiled = record.spoils is not None or self._is_spoiled_neighbour(record)
            if record.number in self.delivered and self.delivered[record.number] < wanted and not spoiled:
                raise Broken(
                    "update missed", f"{self._about(record)}: version {wanted}, but {self.delivered[record.number]}"
                )

    def _check_named(self, record: Shown) -> None:
        """A record that cannot be served is named with its second, and nothing else is set aside for it."""
        row = self._row(record)
        if row is None or row.trouble is None or not row.trouble.told or row.end_s - row.start_s > 1:
            raise Broken("unnamed", f"{self._about(record)}: {row}")
        # Of many, a line names the first ones and counts the others.
        named = [line for line in self.said("cannot be read at present") if graph_time(row.start_s) in line]
        if not named and not self.said(" stretches, of which the first are "):
            raise Broken("unnamed", f"{self._about(record)}: no line")

    def _is_spoiled_neighbour(self, record: Shown) -> bool:
        """Whether it lies between two records of its second that cannot be served, or in an order that hides it."""
        bad = [
            other.created
            for other in self.graph.records
            if other.spoils is not None
            and other.stream == record.stream
            and self.clock.now < other.heals
            and int(other.created) <= record.created <= int(other.created) + 1
        ]
        if bad and self.graph.mood.order == "shuffled":
            return True
        return bool(bad) and min(bad) <= record.created <= max(bad)

    def refused_kept(self) -> set[int]:
        """The numbers of the records in refused.jsonl, each as Graph wrote it."""
        path = Path(self.folder) / REFUSED_FILE
        found = set()
        for line in path.read_bytes().splitlines() if path.exists() else []:
            with suppress(orjson.JSONDecodeError):  # a kill's half line
                number = orjson.loads(line)["record"]["number"]
                if not any(text in line for _, _, text in self.graph.records[number].versions):
                    raise Broken("altered", f"record {number} in {REFUSED_FILE}")
                found.add(number)
        return found

    def coverage(self, stream: str = INTERACTIVE.key) -> Coverage:
        """What is known of a stream."""
        assert self.process is not None
        return next(one.coverage for one in self.process.collectors if one.stream.key == stream)

    def said(self, words: str) -> list[str]:
        """The lines that hold these words."""
        return [line for _, line, _ in self.lines if words in line]

    def log(self, line: str, level: str) -> None:
        """A line of the connector's."""
        self.lines.append((self.clock.now, line, level))
        if "nothing was lost" in line and (told := self._aside(line)):
            self._false.append(Broken("false line", f"{line!r}, while {told} is set aside"))
        asked = sum(request.at > self.clock.now - 1800 for request in self.graph.requests[-1000:])
        for kind in ("cannot be read at present: ", "are refused by Graph"):
            if kind in line:
                said_at = self._said_at.get(said := (line.partition(":")[0], kind, self.starts), float("-inf"))
                if self.clock.now - said_at < REPEAT_S - 1:
                    self._false.append(Broken("noise", f"{line!r}, {self.clock.now - said_at:.0f} s after another"))
                self._said_at[said] = self.clock.now
        if "the rate limit does not suffice" in line and asked < 400:
            self._false.append(Broken("false line", f"{line!r}, after {asked} requests in half an hour"))

    def on_damage(self, name: str, why: str) -> None:
        """A file was set aside."""
        self.damaged.append((name, why))
        if "context.json" in name and not self.damage_allowed:
            raise Broken("torn", f"{name}: {why}")

    def _row(self, record: Shown) -> Row | None:
        """The row of a record; None if nothing is known of its time, or nothing was to be read there."""
        rows = self.coverage(record.stream).rows
        return next((row for row in rows if row.start_s <= record.created < row.end_s), None)

    def _aside(self, line: str) -> list[Row]:
        """What is set aside of the streams that a line names; of all, if it names none."""
        collectors = self.process.collectors if self.process is not None else []
        named = [one for one in collectors if one.stream.key in line.partition(":")[0]] or collectors
        troubled = [row for collector in named for row in collector.coverage.troubled]
        return [row for row in troubled if row.trouble is not None and row.trouble.told]

    def _missing(self) -> list[Shown]:
        return [
            record
            for record in self.graph.records
            if record.number not in self.delivered
            and record.visible <= self.clock.now
            and record.created >= max(self.origins_s.get(record.stream, 0), self.lost_before_s)
        ]

    def _about(self, record: Shown) -> str:
        now = self.clock.now
        return (
            f"record {record.number}, created {(now - record.created) / 60:.1f} min ago ({record.created:.3f}), "
            f"visible after {(record.visible - record.created) / 60:.1f} min"
        )

    def _check_origin(self, collector: Collector) -> None:
        key, origin_s = collector.stream.key, collector.coverage.origin_s
        expected_s = self.origins_s.setdefault(key, origin_s)
        clipped_s = self.clock.now - RETENTION_S + RETENTION_MARGIN_S + 60
        if origin_s > max(expected_s, clipped_s) or (origin_s < expected_s and not self.damage_allowed):
            raise Broken("origin", f"{origin_s} after a restart, {expected_s} before")

    # The machinery

    async def _run(self, seconds: float) -> None:
        assert self.process is not None
        process = self.process
        if process.task is None:
            process.task = asyncio.ensure_future(process.schedule.run())
        dead = asyncio.get_running_loop().create_future()
        self.wire.on_death = lambda: None if dead.done() else dead.set_result(None)
        await asyncio.wait([process.task, dead], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        self.wire.on_death = lambda: None
        dead.cancel()
        if process.task.done() and self.wire.dead_at is None:
            raise Broken("ended", repr(process.task.exception()))

    def _end(self) -> None:
        """The process ends: by a stop, or with a dead wire by a kill."""
        process, self.process = self.process, None
        if process is not None and process.task is not None:
            process.task.cancel()
            with suppress(asyncio.CancelledError, Crash, GraphEntraError):
                self.loop.run_until_complete(process.task)
        others = asyncio.all_tasks(self.loop)
        for task in others:
            task.cancel()
        if others:
            self.loop.run_until_complete(asyncio.wait(others))
        if process is not None:
            self.process = process
            self.check()
            self.process = None

    def _buried(self) -> None:
        self.crashes += 1
        self.intake.crashed()
        self.wire.disarm()


class _Never:
    """The stop event of a connector that is never stopped."""

    def is_set(self) -> bool:
        return False


def add_many(world: World, count: int, first_s: float, step_s: float, **kwargs: Any) -> list[Shown]:
    """Records at an even distance, the first ``first_s`` before now; shown when they are created."""
    return [world.graph.add(world.clock.now - first_s + index * step_s, **kwargs) for index in range(count)]


__all__ = ["BACKGROUND", "DAY_S", "HOUR_S", "INTERACTIVE", "Broken", "World", "add_many"]
