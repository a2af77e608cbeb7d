"""What both connectors share: from the configuration to running lanes, the push, and what the lanes tell."""

# No `from __future__ import annotations` here: the SDK reads the annotation of `configuration` as a class.
import asyncio
import gc
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final

import requests

from graph_entra.clock import Clock, SystemClock
from graph_entra.delivery.intake import Intake
from graph_entra.errors import GraphEntraError, IntakeRefused, IntakeUnavailable
from graph_entra.microsoft.certificate import ClientCertificate
from graph_entra.microsoft.clouds import CLOUDS, Cloud
from graph_entra.microsoft.graph import Graph
from graph_entra.microsoft.login import ClientSecret, Login
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.microsoft.secret_expiry import Warnings, ends_s, until_next_s
from graph_entra.reading.collector import Collector
from graph_entra.reading.lanes import LIVE
from graph_entra.reading.schedule import StreamSchedule
from graph_entra.records import Taken
from graph_entra.sekoia.configuration import EntraConnectorConfiguration
from graph_entra.sekoia.lifecycle import HEARTBEAT_EVERY_S, RESTART_AFTER_S, Lifecycle
from graph_entra.state.context import ContextStore
from graph_entra.state.files import Files
from graph_entra.streams import HOUR_S, Stream
from graph_entra.telling import metrics
from graph_entra.telling.problem_log import ProblemLog

SECRET_EVERY_S: Final = 86_400.0
SECRET_FIRST_S: Final = 5.0
INTAKE_TIMEOUT_S: Final = (10.0, 30.0)
# Statuses of the intake that pass by themselves; every other 4xx needs a person.
_PASSING: Final = frozenset({408, 425, 429})


class EntraConnector(Lifecycle):
    """What both connectors share."""

    configuration: EntraConnectorConfiguration  # type: ignore[override]

    # The one clock; whoever runs a connector in another time than the machine's gives it another before it collects.
    clock: Clock = SystemClock()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._problems = ProblemLog(self.write, self.clock)
        self._schedules: list[StreamSchedule] = []
        self._lag = metrics.Lag(0.0, self.clock)

    @abstractmethod
    def streams(self, cloud: Cloud) -> list[Stream]:
        """The streams that the configuration asks for."""

    async def collect(self, told_to_stop: asyncio.Event) -> None:
        """Run every lane of every stream until told to stop.

        Raises:
            StorageFailed: the data path does not answer.
        """
        # What the imports made stays for good. Frozen, it is not walked through every few pages: a fifth of the CPU.
        gc.collect()
        gc.freeze()
        settings, application = self.configuration, self.module.configuration
        cloud = CLOUDS[application.cloud]
        files = Files(self.data_path, self.clock)
        store = ContextStore(files, application.tenant_id, self._tell_damage)
        rate_limiter = RateLimiter(self.clock)
        credential = self.module.credential()
        login = Login(
            cloud,
            application.tenant_id,
            application.client_id,
            credential,
            graph_time=self.clock.time,
            on_date=lambda _date_s: None,
        )
        graph = Graph(
            cloud,
            login,
            application.client_id,
            rate_limiter=rate_limiter,
            clock=self.clock,
            on_answer=self._note_answer,
        )
        intake = Intake(self._push, self._stop_event, self._note_intake_fault, self.clock)
        self._lag = metrics.Lag(settings.frequency, self.clock)
        self._schedules = [
            StreamSchedule(
                Collector(
                    stream,
                    files=files,
                    store=store,
                    source=graph,
                    intake=intake,
                    history_s=settings.start_time * HOUR_S,
                    forward_updates=settings.forward_updates,
                    clock=self.clock,
                    on_taken=self._note_taken,
                    on_damage=self._tell_damage,
                ),
                period_s=settings.frequency,
                budget=rate_limiter,
                clock=self.clock,
                problems=self._problems,
                log=self.write,
                lag=self._lag,
            )
            for stream in self.streams(cloud)
        ]
        self._begin_metrics()
        self.write(
            f"Collecting {', '.join(s.collector.stream.key for s in self._schedules)} from {cloud.graph_host} every "
            f"{settings.frequency} s",
            "info",
        )
        note = self.module.credential_note()
        if note is not None:
            self.write(note, "info")
        work = [asyncio.create_task(lane) for s in self._schedules for lane in (s.live(), s.rest())]
        work.append(asyncio.create_task(self._beat(rate_limiter)))
        work.append(asyncio.create_task(self._watch_credential(graph, credential)))
        stop = asyncio.create_task(told_to_stop.wait())
        try:
            await asyncio.wait([stop, *work], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stop, *work):
                task.cancel()
            ended = await asyncio.gather(*work, return_exceptions=True)
            await graph.close()
        for result in ended:
            if isinstance(result, Exception):
                raise result

    def failed_to_start(self, error: GraphEntraError) -> None:
        """Say why no lane runs yet."""
        self._problems.failed(error, None, None, RESTART_AFTER_S)

    async def _beat(self, rate_limiter: RateLimiter) -> None:
        """Heartbeats say that the loop turns and that no live lane is stuck."""
        while True:
            if not any(schedule.stuck for schedule in self._schedules):
                self.heartbeat()
            metrics.SPACING.set(rate_limiter.spacing_s)
            metrics.problems(self._problems.open())
            self.put_events_lag(self.configuration.intake_key, self._lag.value_s())
            await self.clock.sleep(HEARTBEAT_EVERY_S)

    async def _watch_credential(self, graph: Graph, credential: ClientSecret | ClientCertificate) -> None:
        """Once a day, see when the secret or certificate ends: a secret's end is Graph's to tell, if we may ask."""
        warnings = Warnings()
        while True:
            # After the first polls, which are more urgent.
            await self.clock.sleep(SECRET_FIRST_S)
            now_s = self.clock.time()
            if isinstance(credential, ClientCertificate):
                end_s: float | None = credential.ends_s
            else:
                end_s = ends_s(await graph.password_credentials(), credential.hint, now_s)
            warning = None
            if end_s is not None:
                metrics.credential_end("certificate" if isinstance(credential, ClientCertificate) else "secret", end_s)
                warning = warnings.due(credential.what, end_s, now_s)
            if warning is not None:
                self.write(warning, "warning")
            next_s = SECRET_EVERY_S if end_s is None else min(SECRET_EVERY_S, until_next_s(end_s, now_s))
            await self.clock.sleep(max(0.0, next_s - SECRET_FIRST_S))

    # Delivery

    def _push(self, events: Sequence[str]) -> list[str]:
        # One after the other, on the lane's own thread: the SDK's executor would outlive a stop.
        started_s = self.clock.monotonic()
        event_ids: list[str] = self.push_events_to_intakes(list(events), sync=True)
        self.put_forward_events_duration(self.configuration.intake_key, self.clock.monotonic() - started_s)
        if len(event_ids) >= len(events):
            self._problems.pushed()
        return event_ids

    def _send_chunk(
        self, batch_api: str, chunk_index: int, chunk: list[Any], collect_ids: dict[int, list[str]]
    ) -> None:
        """Push one chunk, once. The SDK's own retries 4xx for an hour and then swallows the failure."""
        try:
            response = self._http_session.post(
                batch_api,
                json={"intake_key": self.configuration.intake_key, "jsons": chunk},
                timeout=INTAKE_TIMEOUT_S,
            )
            status = response.status_code
            if 400 <= status < 500 and status not in _PASSING:
                metrics.push_failed("content" if status in (400, 413, 422) else "person")
                raise IntakeRefused(status)
            if not response.ok:
                raise IntakeUnavailable(f"the intake answered {status}")
            collect_ids[chunk_index] = list(response.json()["event_ids"])
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            # `from None`: the request holds the intake's key.
            raise IntakeUnavailable(f"the intake did not answer properly: {type(error).__name__}") from None

    # What the lanes tell

    def _begin_metrics(self) -> None:
        key = self.configuration.intake_key
        self.put_forwarded_events(key, 0)
        self.put_discarded_events(key, 0)
        self.put_events_lag(key, 0.0)
        if self.forward_events_duration is not None:
            self.forward_events_duration.labels(intake_key=key)
        for schedule in self._schedules:
            metrics.begin(schedule.collector.stream.key)
            self._lag.begin(schedule.collector.stream.key)

    def _note_answer(self, stream: str, status: int) -> None:
        metrics.answered(stream, status)

    def _note_intake_fault(self, fault: IntakeUnavailable) -> None:
        for schedule in self._schedules:
            schedule.alive()
        metrics.push_failed("passes")
        self._problems.failed(fault, None, None, 20)

    def _note_taken(self, taken: Taken) -> None:
        metrics.count(taken)
        for schedule in self._schedules:
            if schedule.collector.stream.key == taken.stream:
                schedule.took(taken)
        key = self.configuration.intake_key
        self.put_forwarded_events(key, taken.new + taken.updated - len(taken.refused))
        self.put_discarded_events(key, len(taken.refused))
        if taken.newest_s is not None and taken.lane == LIVE:
            self._lag.came(taken.stream, self.clock.time() - taken.newest_s)
            self.put_events_lag(key, self._lag.value_s())
        for record_id in taken.cut:
            self.write(
                f"{taken.stream}: record {record_id} is longer than the 250,000 characters that an intake takes; "
                "its largest members were cut and marked with their size and SHA-256.",
                "warning",
            )
        for record_id in taken.refused:
            self.write(
                f"{taken.stream}: the intake refuses record {record_id} while it takes others; it is kept in "
                "refused.jsonl on the connector's data path.",
                "error",
            )

    def _tell_damage(self, name: str, why: str) -> None:
        self.write(
            f"{name}: {why}: set aside. What it said is read again from Graph, at least the last 24 h where cursors "
            "were lost: records may be repeated, none is lost.",
            "error" if why != "other-tenant" else "warning",
        )
