"""What both connectors share: from the configuration to a running schedule, the push, and what is told of both."""

# No `from __future__ import annotations` here: the SDK reads the annotation of `configuration` as a class.
import asyncio
import gc
from abc import abstractmethod
from collections.abc import Coroutine, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal, TypeVar

from graph_entra.clock import Clock, SystemClock
from graph_entra.delivery.intake import Intake
from graph_entra.delivery.intake_http import IntakeHttp, meaning
from graph_entra.errors import GraphEntraError, GraphRefused, IntakeRefused, IntakeUnavailable
from graph_entra.microsoft.clouds import CLOUDS, Cloud
from graph_entra.microsoft.graph import Answer, Graph
from graph_entra.microsoft.login import Login, Token
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading.collector import Collector
from graph_entra.reading.graph_clock import WORTH_TELLING_S, GraphClock
from graph_entra.reading.reader import Backoff
from graph_entra.reading.reports import Progress
from graph_entra.reading.schedule import Schedule
from graph_entra.records import Taken
from graph_entra.sekoia import credential_watch
from graph_entra.sekoia.configuration import EntraConnectorConfiguration
from graph_entra.sekoia.lifecycle import HEARTBEAT_EVERY_S, RESTART_AFTER_S, Lifecycle
from graph_entra.state.context import CONTEXT_FILE, ContextStore
from graph_entra.state.files import Files
from graph_entra.state.refused import RefusedRecords
from graph_entra.streams import HOUR_S, LOOK_AGES, Stream
from graph_entra.telling import metrics
from graph_entra.telling.problem_log import ProblemLog

T = TypeVar("T")

_AGES: Final = {age_s: age for age, age_s in LOOK_AGES.items()}


class EntraConnector(IntakeHttp, Lifecycle):
    """What both connectors share."""

    configuration: EntraConnectorConfiguration  # type: ignore[override]

    # The one clock; whoever runs a connector in another time than the machine's gives it another before it is made.
    clock: Clock = SystemClock()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._problems = ProblemLog(self.write, self.clock)
        self._graph_clock = GraphClock(self.clock)
        self.module.clock = self.clock
        self._schedule: Schedule | None = None
        self._lag = metrics.Lag(0.0, self.clock)
        self._clock_told = False

    @abstractmethod
    def streams(self, cloud: Cloud) -> list[Stream]:
        """The streams that the configuration asks for."""

    async def collect(self, told_to_stop: asyncio.Event) -> None:
        """Sign in, then read every stream until told to stop.

        Raises:
            StorageFailed: the data path does not answer, or another process holds it.
        """
        # What the imports made stays for good. Frozen, it is not walked through every few pages: a fifth of the CPU.
        gc.collect()
        gc.freeze()
        application = self.module.configuration
        cloud = CLOUDS[application.cloud]
        files = Files(self.data_path, self.clock)
        login = Login(
            cloud,
            application.tenant_id,
            application.client_id,
            self.module.credential(),
            graph_time=self._graph_clock.now_s,
            on_date=self._graph_clock.seen,
        )
        with files.held():
            # Made after the first login: if this one fails, it is not the configuration that never worked.
            self._problems.worked = files.read(CONTEXT_FILE) is not None
            async with login:
                token = await _unless_stopped(self._sign_in(login), told_to_stop)
                if token is not None:
                    await self._read(files, cloud, login, token, told_to_stop)

    async def _sign_in(self, login: Login) -> Token:
        """The first token: it states which tenant this is, and Entra's answer what time it is."""
        backoff = Backoff()
        while True:
            self.heartbeat()
            try:
                return await login.token()
            except GraphEntraError as error:
                wait_s = backoff.wait_s(error)
                self._problems.failed(error, None, None, wait_s)
                await self.clock.sleep(wait_s)

    async def _read(self, files: Files, cloud: Cloud, login: Login, token: Token, told_to_stop: asyncio.Event) -> None:
        settings, application = self.configuration, self.module.configuration
        limiter = RateLimiter(self.clock)
        tenants = [token.tenant_id or application.tenant_id, application.tenant_id]
        store = ContextStore(files, tenants, self._tell_damage)
        graph = Graph(
            cloud,
            login,
            application.client_id,
            rate_limiter=limiter,
            clock=self.clock,
            on_ask=lambda stream, window: schedule.asks(stream, window),
            on_answer=lambda answer: self._note_answer(schedule, answer),
        )
        intake = Intake(self._push, clock=self.clock, stopping=self._stop_event, on_fault=self._note_intake_fault)
        refused = RefusedRecords(files, self._tell_dropped)
        collectors = [
            Collector(
                stream,
                files=files,
                store=store,
                source=graph,
                intake=intake,
                refused=refused,
                history_s=settings.start_time * HOUR_S,
                forward_updates=settings.forward_updates,
                now_s=self._graph_clock.now_s,
                on_taken=self._note_taken,
                on_new=lambda stream, created_s: schedule.saw_new(stream, created_s),
                on_damage=self._tell_damage,
                on_version=self._tell_version,
            )
            for stream in self.streams(cloud)
        ]
        self._problems.worked = any(collector.coverage.worked for collector in collectors)
        self._lag = metrics.Lag(settings.frequency, self.clock)
        schedule = self._schedule = Schedule(
            collectors,
            period_s=settings.frequency,
            limiter=limiter,
            graph_clock=self._graph_clock,
            clock=self.clock,
            problems=self._problems,
            log=self.write,
            on_progress=self._note_progress,
        )
        self._begin_metrics(collectors)
        names = ", ".join(collector.stream.key for collector in collectors)
        self.write(f"Collecting {names} from {cloud.graph_host} every {settings.frequency} s", "info")
        note = self.module.credential_note()
        if note is not None:
            self.write(note, "info")
        watch = credential_watch.watch(
            graph,
            self.module.credential(),
            clock=self.clock,
            now_s=self._graph_clock.now_s,
            warn=lambda line: self.write(line, "warning"),
        )
        try:
            await _until_stopped([schedule.run(), self._beat(schedule, limiter), watch], told_to_stop)
        finally:
            await graph.close()

    def failed_to_start(self, error: GraphEntraError) -> None:
        """Say why nothing is read yet."""
        self._problems.failed(error, None, None, RESTART_AFTER_S)

    async def _beat(self, schedule: Schedule, limiter: RateLimiter) -> None:
        """Heartbeats say that the loop turns and that no stream is stuck."""
        while True:
            if not schedule.stuck:
                self.heartbeat()
            metrics.SPACING.set(limiter.spacing_s)
            metrics.problems(self._problems.open())
            metrics.CLOCK.set(self._graph_clock.difference_s)
            self._tell_clock()
            self.put_events_lag(self.configuration.intake_key, self._lag.value_s())
            await self.clock.sleep(HEARTBEAT_EVERY_S)

    # Delivery

    def _push(self, events: Sequence[str]) -> int:
        # One after the other, on the page's own thread: the SDK's executor would outlive a stop.
        started_s = self.clock.monotonic()
        try:
            acknowledged = len(self.push_events_to_intakes(list(events), sync=True))
        except IntakeRefused as refusal:
            metrics.push_failed("content" if meaning(refusal.status) == "content" else "person")
            raise
        self.put_forward_events_duration(self.configuration.intake_key, self.clock.monotonic() - started_s)
        if acknowledged >= len(events):
            self._problems.pushed()
            if self._schedule is not None:
                self._schedule.pushed()
        return acknowledged

    # What is told

    def _begin_metrics(self, collectors: Sequence[Collector]) -> None:
        key = self.configuration.intake_key
        self.put_forwarded_events(key, 0)
        self.put_discarded_events(key, 0)
        self.put_events_lag(key, 0.0)
        if self.forward_events_duration is not None:
            self.forward_events_duration.labels(intake_key=key)
        for collector in collectors:
            behind_s = self._graph_clock.now_s() - collector.coverage.edge_s
            metrics.begin(collector.stream.key)
            self._lag.begin(collector.stream.key, max(0.0, behind_s))

    def _note_answer(self, schedule: Schedule, answer: Answer) -> None:
        # Of a page only: what refuses may be a proxy in Graph's place, with a clock of its own.
        if answer.date_s is not None and answer.status == HTTPStatus.OK:
            self._graph_clock.seen(answer.date_s, answer.took_s)
        metrics.answered(answer.stream, answer.status)
        schedule.answered(answer)

    def _note_intake_fault(self, fault: IntakeUnavailable) -> None:
        if self._schedule is not None:
            self._schedule.alive()
        metrics.push_failed("passes")
        self._problems.failed(fault, None, None, fault.next_try_s)

    def _note_progress(self, progress: Progress) -> None:
        stream, coverage = progress.stream, progress.coverage
        metrics.unread(stream, coverage.unread_s)
        metrics.WINDOWS.set(progress.in_flight)
        metrics.troubled(stream, len(coverage.troubled), sum(row.end_s - row.start_s for row in coverage.troubled))
        for age_s, late_s in progress.overdue_s.items():
            metrics.look_overdue(stream, _AGES[age_s], late_s)
        if progress.polled:
            now_s = self._graph_clock.now_s()
            metrics.polled(stream, now_s, coverage.edge_s, progress.reach_s)
            self._lag.reached(stream, now_s - coverage.edge_s)

    def _note_taken(self, taken: Taken) -> None:
        metrics.count(taken)
        if taken.work == "unread" and taken.read and self._schedule is not None:
            self._schedule.page_read(taken.stream, taken.read)
        key = self.configuration.intake_key
        self.put_forwarded_events(key, taken.pushed)
        self.put_discarded_events(key, len(taken.refused))
        if taken.newest_s is not None and taken.work == "edge":
            self._lag.came(taken.stream, self._graph_clock.now_s() - taken.newest_s)
            self.put_events_lag(key, self._lag.value_s())
        for line, level in _lines_of(taken):
            self.write(line, level)

    def _tell_clock(self) -> None:
        ahead_s = self._graph_clock.difference_s
        if abs(ahead_s) < WORTH_TELLING_S:
            self._clock_told = False
        elif not self._clock_told:
            self._clock_told = True
            which = "ahead of" if ahead_s > 0 else "behind"
            self.write(
                f"This machine's clock is {abs(ahead_s):.0f} s {which} Microsoft's. Collection goes by Microsoft's, so "
                "nothing is lost or late by it; set this machine's clock right all the same.",
                "warning",
            )

    def _tell_version(self, stream: Stream, why: GraphRefused | None) -> None:
        if why is None:
            self.write(f"{stream.key}: is read from {stream.version} again, in full detail.", "info")
        else:
            self.write(
                f"{stream.key}: Graph's beta version refuses the question, so {stream.version} is read meanwhile, with "
                f"less detail; beta is asked again every hour. If it lasts, set interactive_detail to standard. "
                f"Details: {why}.",
                "warning",
            )

    def _tell_dropped(self, count: int) -> None:
        self.write(
            f"refused.jsonl is full: the oldest {count} records that the intake refused were dropped from it.", "error"
        )

    def _tell_damage(self, name: str, why: str) -> None:
        what = {"missing": "is gone, though records were delivered from here before", "damaged": "is damaged"}
        aside = "" if why == "missing" else " It was set aside."
        self.write(
            f"{name} {what.get(why, 'is of ' + why.replace('-', ' '))}.{aside} What it said is read again from Graph, "
            "at least the last 24 h where the state was lost: records may be repeated, none is lost.",
            "error" if why != "other-tenant" else "warning",
        )


def _lines_of(taken: Taken) -> list[tuple[str, Literal["warning", "error"]]]:
    lines: list[tuple[str, Literal["warning", "error"]]] = [
        (
            f"{taken.stream}: record {record_id} is longer than the 250,000 characters that an intake takes; "
            "its largest members were cut and marked with their size and SHA-256.",
            "warning",
        )
        for record_id in taken.cut
    ]
    lines += [
        (
            f"{taken.stream}: record {record_id} holds bytes that are no UTF-8; it was delivered with these spelled "
            "out and says so itself.",
            "warning",
        )
        for record_id in taken.repaired
    ]
    lines += [
        (
            f"{taken.stream}: the intake refuses record {record_id} (it answered {status or 'nothing'}) while it takes "
            "others; it is kept in refused.jsonl on the connector's data path.",
            "error",
        )
        for record_id, status in taken.refused
    ]
    return lines


async def _unless_stopped(work: Coroutine[Any, Any, T], told_to_stop: asyncio.Event) -> T | None:
    """The result of some work; None if told to stop before."""
    stop, task = asyncio.create_task(told_to_stop.wait()), asyncio.create_task(work)
    try:
        await asyncio.wait([stop, task], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for pending in (stop, task):
            pending.cancel()
        await asyncio.gather(stop, task, return_exceptions=True)


async def _until_stopped(work: Sequence[Coroutine[Any, Any, None]], told_to_stop: asyncio.Event) -> None:
    """Run side by side until told to stop. What ends by itself ends all, with its error."""
    tasks = [asyncio.create_task(told_to_stop.wait()), *map(asyncio.create_task, work)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
