"""One installed stream in the model: what a person would do with it, and what a person would complain about."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from graph_entra.reading.lanes import RETENTION_MARGIN_S, RETENTION_S

from graph_entra.delivery.intake import Intake
from graph_entra.errors import GraphEntraError
from graph_entra.reading import collector, lanes
from graph_entra.reading.schedule import WIDEST_S
from graph_entra.state import context as store
from graph_entra.streams import DAY_S, HOUR_S, sign_in_stream
from tests.crash.model import (
    VISIBLE_WITHIN_S,
    Clock,
    Crash,
    GraphModel,
    IntakeModel,
    Shown,
    Stopping,
    Tripwire,
    canonical,
    wired_path,
)

STREAM: Final = sign_in_stream("interactiveUser", beta_only=False)
START_S: Final = 1_790_000_000.25
# A flush to a real disk takes a millisecond.
_MEMORY: Final = Path("/dev/shm")


class Broken(AssertionError):
    """A promise was broken.

    Attributes:
        check: which one.
    """

    def __init__(self, check: str, detail: str) -> None:
        super().__init__(f"{check}: {detail}")
        self.check = check


class AtOnce(ThreadPoolExecutor):
    """Does the work where it stands: handing 3,000 pages to a thread and back takes longer than all the rest."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - as a thread does
            done.set_exception(error)
        return done


class World:
    """The real collector on a model of everything around it.

    Args:
        period_s: seconds between two live passes.
        history_s: what the first start reads.
        page_records: records on one of Graph's pages.
        forward_updates: as in the connector's configuration.
    """

    def __init__(
        self, *, period_s: int = 60, history_s: int = 0, page_records: int = 3, forward_updates: bool = True
    ) -> None:
        self.clock = Clock(START_S)
        self.wire = Tripwire()
        self.graph = GraphModel(self.clock, self.wire, page_records)
        self.intake = IntakeModel(self.clock, self.wire)
        self.period_s = period_s
        self.history_s = history_s
        self.forward_updates = forward_updates
        self.span_s = DAY_S
        self.folder = tempfile.mkdtemp(prefix="graph_entra-", dir=_MEMORY if _MEMORY.is_dir() else None)
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(AtOnce())
        self.origin_s: int | None = None
        self.crashes = 0
        self.lost_before_s = 0
        self.damaged: list[tuple[str, str]] = []
        self.copies: Counter[tuple[int, int]] = Counter()
        self.delivered: dict[int, int] = {}
        self._checked = 0
        self.collector: collector.Collector

    def close(self) -> None:
        """Leave nothing behind."""
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """A new process on the old folder.

        Raises:
            Crash: it was killed while it started.
        """
        files = store.Files(wired_path(self.folder, self.wire))
        self.collector = collector.Collector(
            STREAM,
            files=files,
            store=store.ContextStore(files, ["tenant"], self._on_damage),
            source=self.graph,
            intake=Intake(self.intake.push, Stopping(self.clock), lambda fault: None),  # type: ignore[arg-type]
            history_s=self.history_s,
            forward_updates=self.forward_updates,
            clock=self.clock,
            on_taken=lambda taken: self.intake.noted(),
            on_damage=self._on_damage,
        )
        if self.origin_s is None:
            self.origin_s = self.collector.state.origin_s
        elif self.collector.state.origin_s != self.origin_s:
            raise Broken("origin", f"{self.collector.state.origin_s} after a restart, {self.origin_s} before")

    def restart(self, downtime_s: float = 0.0, arm: int | None = None) -> None:
        """Everything is thrown away, time passes, and a new process starts; it may be killed as well."""
        while True:
            self.crashes += 1
            self.intake.crashed()
            self.wire.disarm()
            self.clock.now += downtime_s
            if arm is not None:
                self.wire.arm(arm)
                arm = None
            try:
                return self.start()
            except Crash:
                continue

    def live(self, downtime_s: float = 0.0, arm: int | None = None) -> bool:
        """A live pass, and what it promises; False if it did not get through."""
        asked = self.clock.now
        if not self._run(self._live, downtime_s, arm):
            return False
        self.check_fresh(asked)
        return True

    def rest(self, downtime_s: float = 0.0, arm: int | None = None) -> bool:
        """One window of backlog or of a settle lane, if one is due; False if it did not get through."""
        return self._run(self._rest, downtime_s, arm)

    def both(self, downtime_s: float = 0.0, arm: int | None = None) -> bool:
        """A live pass while a window of backlog or of a settle lane is being read, as the two tasks of a stream do."""

        async def together() -> None:
            rest, live = await asyncio.gather(self._rest(), self._live(), return_exceptions=True)
            for outcome in (rest, live):
                if isinstance(outcome, Crash):
                    raise outcome
            for outcome in (rest, live):
                if isinstance(outcome, BaseException):
                    raise outcome

        return self._run(together, downtime_s, arm)

    def catch_up(self, downtime_s: float = 0.0, arm: int | None = None) -> bool:
        """A live pass and then everything else that is due, and what that promises; False if it did not get there."""
        if not self.live(downtime_s, arm):
            return False
        for _ in range(300):
            if lanes.rest_window(self.collector.state, int(self.clock.now), self.span_s) is None:
                self.check_settled()
                return True
            if not self.rest(downtime_s):
                return False
        # Slow answers and narrow windows: as much falls due as is read.
        return False

    def run_out(self, hours: float = 25.0) -> None:
        """Let it run without faults until every lane has passed what there is, and ask for everything."""
        self.graph.heal()
        self.intake.fault = None
        self.wire.disarm()
        # The longest period that can be configured: more of the clock for each pass.
        self.period_s = step_s = HOUR_S
        self.span_s = WIDEST_S
        until = self.clock.now + hours * HOUR_S + 2 * step_s
        self.catch_up()
        while self.clock.now < until:
            self.clock.now += step_s
            self.catch_up()
        if not self.catch_up():
            raise Broken("progress", "the lanes do not come to an end")
        self.check_all()

    def check_pushed(self) -> None:
        """What was pushed since the last look is what Graph said, and is not there too often."""
        for pushed in self.intake.pushed[self._checked :]:
            record = self.graph.records[pushed.number]
            said = canonical(pushed.text)
            if all(canonical(text) != said for at, _, text in record.versions if at <= pushed.at):
                raise Broken("altered", f"record {pushed.number}: {pushed.text}")
            version = pushed.version if self.forward_updates else 0
            key = (pushed.number, version)
            self.copies[key] += 1
            allowed = sum(
                count
                for (number, old), count in self.intake.allowed.items()
                if number == pushed.number and (old == version or not self.forward_updates)
            )
            if self.copies[key] > 1 + allowed:
                raise Broken(
                    "repeated",
                    f"record {pushed.number}, version {version}: pushed {self.copies[key]} times, "
                    f"{1 + allowed} allowed, {(self.clock.now - record.created) / 60:.0f} min after its creation",
                )
            self.delivered[pushed.number] = max(self.delivered.get(pushed.number, 0), pushed.version)
        self._checked = len(self.intake.pushed)

    def check_fresh(self, asked: float) -> None:
        """What Graph shows within 5 minutes is in after the next live pass, unless it waits in the backlog."""
        gaps = self.collector.state.gaps
        for record in self._missing():
            if (
                record.created <= int(asked)
                and record.visible <= asked
                and record.visible - record.created <= 300
                and not any(start <= record.created <= end for start, end in gaps)
            ):
                raise Broken("fresh", f"{self._about(record)}, and a live pass has gone by")

    def check_settled(self) -> None:
        """What Graph shows within 15 min, 2 h or 24 h is in once that lane had its turn."""
        now_s = int(self.clock.now)
        for record in self._missing():
            for age_s, step_s in ((900, 300), (7200, 1800), (86400, 3600)):
                passed = record.created < min(now_s - age_s, self.collector.state.live_s) - step_s
                if passed and record.visible - record.created <= age_s:
                    raise Broken("settled", f"{self._about(record)}, and the lane of {age_s // 60} min has gone by")

    def check_all(self) -> None:
        """Everything that Graph showed within 24 h of its creation is in, with its last version as of then."""
        for record in self._missing():
            if record.visible - record.created <= VISIBLE_WITHIN_S:
                raise Broken("lost", self._about(record))
        if not self.forward_updates:
            return
        for record in self.graph.records:
            wanted = record.at(record.created + VISIBLE_WITHIN_S)[1]
            if record.number in self.delivered and self.delivered[record.number] < wanted:
                raise Broken(
                    "update missed", f"{self._about(record)}: version {wanted}, but {self.delivered[record.number]}"
                )

    def _missing(self) -> list[Shown]:
        origin_s = self.origin_s or 0
        return [
            record
            for record in self.graph.records
            if record.number not in self.delivered and record.created >= max(origin_s, self.lost_before_s)
        ]

    def _about(self, record: Shown) -> str:
        now = self.clock.now
        return (
            f"record {record.number}, created {(now - record.created) / 60:.1f} min ago, "
            f"visible after {(record.visible - record.created) / 60:.1f} min"
        )

    def _on_damage(self, name: str, why: str) -> None:
        self.damaged.append((name, why))
        if "context.json" in name:
            raise Broken("torn", f"{name}: {why}")

    def _run(self, job: Callable[[], Awaitable[Any]], downtime_s: float, arm: int | None) -> bool:
        if arm is not None:
            self.wire.arm(arm)
        try:
            self.loop.run_until_complete(job())
        except Crash:
            self.restart(downtime_s)
            return False
        except GraphEntraError:
            return False
        else:
            return True
        finally:
            self.check_pushed()

    async def _live(self) -> None:
        while True:
            now_s = int(self.clock.now)
            resumed = await self.collector.resume(self.period_s)
            for lost in resumed.lost:
                if lost[1] > now_s - RETENTION_S + RETENTION_MARGIN_S:
                    raise Broken("given up", f"{lost} at {now_s}")
                self.lost_before_s = max(self.lost_before_s, lost[1])
            window = lanes.live_window(self.collector.state, now_s, span_s=WIDEST_S)
            await self.collector.read(window)
            if window.end_s >= now_s:
                return

    async def _rest(self) -> None:
        window = lanes.rest_window(self.collector.state, int(self.clock.now), self.span_s)
        if window is not None:
            await self.collector.read(window)
