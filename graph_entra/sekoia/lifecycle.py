"""A connector's life in the SDK: configuration, secrets, one event loop, logs, stop.

What the SDK does by itself is left to it. What is overridden here would keep a connector from ending within 5 s of a
SIGTERM, stop collection when the platform's logs cannot be written, or end it over a port that is taken.
"""

# No `from __future__ import annotations` here: the SDK reads the annotations of `module` and `configuration`.
import asyncio
import contextlib
import os
from abc import abstractmethod
from threading import Event, Lock, RLock, Thread, Timer
from typing import Any, Final

import requests
from pydantic import ValidationError
from sekoia_automation.connector import Connector
from sekoia_automation.exceptions import ModuleConfigurationError, TriggerConfigurationError
from sekoia_automation.metrics import PrometheusExporterThread, make_exporter
from sekoia_automation.trigger import Trigger
from tenacity import Retrying, wait_exponential
from tenacity.nap import sleep_using_event
from tenacity.stop import stop_when_event_set

from graph_entra.errors import GraphEntraError
from graph_entra.microsoft import network
from graph_entra.sekoia.configuration import configuration_sentence
from graph_entra.sekoia.library_output import quiet_libraries
from graph_entra.sekoia.module import GraphEntraModule
from graph_entra.telling.problem_log import Level

LOGS_TIMEOUT_S: Final = (5.0, 10.0)
LOGS_EVERY_S: Final = 5.0
# What is kept while the platform's logs cannot be written; the oldest lines go first.
LOGS_KEPT: Final = 1000
HEARTBEAT_EVERY_S: Final = 10.0
# After a SIGTERM: whatever still hangs by then (a push without an answer, a dead logs API) is left as a kill would
# leave it, which loses nothing.
STOP_AFTER_S: Final = 4.0
RESTART_AFTER_S: Final = 10.0


class Lifecycle(Connector):
    """Starts, configures, logs and stops a connector; a subclass collects."""

    # A quiet tenant is not a broken one: alive is who beats.
    seconds_without_events = 0
    last_heartbeat_threshold = 300

    module: GraphEntraModule

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told_to_stop: asyncio.Event | None = None
        self._executing = False
        self._logs_lock = RLock()
        self._sending_logs = Lock()
        self._logs_wanted = Event()
        quiet_libraries()

    @abstractmethod
    async def collect(self, told_to_stop: asyncio.Event) -> None:
        """Collect until told to stop."""

    @abstractmethod
    def failed_to_start(self, error: GraphEntraError) -> None:
        """Say why :meth:`collect` ended; it is called again after :data:`RESTART_AFTER_S`."""

    def execute(self) -> None:
        """Run until told to stop. A configuration that cannot be used is said once, and waited with."""
        self._executing = True
        Thread(target=self._send_logs, name="logs", daemon=True).start()
        try:
            sentence = self._configuration_fault()
            if sentence is None:
                super().execute()
            else:
                self._rest_in_fault(sentence)
        except (ModuleConfigurationError, TriggerConfigurationError, ValidationError) as error:
            # ValidationError: a secret that the platform handed over and that is no text.
            self._rest_in_fault(configuration_sentence(error))
        finally:
            self._flush_logs()

    def run(self) -> None:
        """Collect until told to stop; the SDK calls it again at once if it returns, so waits are in here."""
        sentence = self.module.missing()
        if sentence is not None:
            self._rest_in_fault(sentence)
            return
        try:
            asyncio.run(self._collect())
        except GraphEntraError as error:
            self.failed_to_start(error)
            self._stop_event.wait(RESTART_AFTER_S)
        except Exception as error:  # noqa: BLE001 - the outermost loop
            self.log_exception(error, message=f"{self.name} failed, and starts again in {RESTART_AFTER_S:.0f} s")
            self._stop_event.wait(RESTART_AFTER_S)

    def stop(self, *args: Any, **kwargs: Any) -> None:
        """Stop. As a signal handler (the SDK's use of it) also make sure that the process ends."""
        if args and self._executing:
            last_resort = Timer(STOP_AFTER_S, os._exit, args=(0,))
            last_resort.daemon = True
            last_resort.start()
        Trigger.stop(self, *args, **kwargs)
        self._logs_wanted.set()
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._loop is not None and self._told_to_stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has stopped already
                self._loop.call_soon_threadsafe(self._told_to_stop.set)

    def start_monitoring(self) -> None:
        """As the SDK does; a port that is taken costs that page, not the collection."""
        try:
            super().start_monitoring()
        except OSError as error:
            self.write(f"The liveness or metrics port cannot be opened ({error}); collection goes on.", "warning")
        if self._exporter is None:
            port = self.module.load_config(self.METRICS_PORT_FILE_NAME, non_exist_ok=True) or 8020
            with contextlib.suppress(OSError):
                exporter = make_exporter(PrometheusExporterThread, int(port))
                exporter.start()
                self._exporter = exporter  # type: ignore[assignment]

    async def _collect(self) -> None:
        self._loop, self._told_to_stop = asyncio.get_running_loop(), asyncio.Event()
        if self.running:
            await self.collect(self._told_to_stop)

    def _configuration_fault(self) -> str | None:
        """The sentence about a configuration that cannot be used; None if it can."""
        try:
            if self.module.configuration is None or self.configuration is None:
                return "The configuration cannot be read: it is not a set of named values."
        except (ModuleConfigurationError, TriggerConfigurationError) as error:
            return configuration_sentence(error)
        except Exception as error:  # noqa: BLE001 - text that is not JSON, a missing file: the SDK's own errors vary
            return f"The configuration cannot be read: {type(error).__name__}."
        return network.settle()

    def _rest_in_fault(self, sentence: str) -> None:
        """Say what a person must change, and wait to be stopped: no retry can help."""
        self.write(sentence, "critical")
        while not self._stop_event.wait(HEARTBEAT_EVERY_S):
            self.heartbeat()

    def _get_secrets_from_server(  # type: ignore[override]
        self,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The SDK's own, tried again until the platform answers, in waits that a stop ends."""
        once = Trigger._get_secrets_from_server.__wrapped__  # noqa: SLF001 - the SDK's, without its retries
        for attempt in Retrying(
            wait=wait_exponential(multiplier=1, min=1, max=10),
            sleep=sleep_using_event(self._stop_event),
            stop=stop_when_event_set(self._stop_event),
            before_sleep=lambda _: self._tell_no_secrets(),
        ):
            if not self.running:
                break
            with attempt:
                secrets: tuple[dict[str, Any], dict[str, Any]] = once(self)
                return secrets
        return {}, {}

    def _tell_no_secrets(self) -> None:
        self.heartbeat()
        self.write("The platform does not hand over the client secret; it is asked again.", "warning")

    def write(self, message: str, level: Level) -> None:
        """Write a line to the platform."""
        self.log(message=message, level=level)

    def log(self, message: str, level: Any = "info", *args: Any, **kwargs: Any) -> None:
        """As the SDK does; a logs API that is down or slow stops nothing, and only the newest lines wait for it."""
        with self._logs_lock:
            super().log(message, level, *args, **kwargs)
            del self._logs[:-LOGS_KEPT]

    def _send_logs_to_api(self) -> None:  # type: ignore[override]
        self._logs_wanted.set()

    def _send_logs(self) -> None:
        while True:
            self._logs_wanted.wait()
            self._logs_wanted.clear()
            while not self._flush_logs():
                # A connector that is stopping tries once more and ends.
                if self._stop_event.wait(LOGS_EVERY_S):
                    break

    def _flush_logs(self) -> bool:
        """Send the waiting lines; False if they could not be sent and wait on."""
        with self._sending_logs:
            with self._logs_lock:
                lines, self._logs = self._logs, []
            if not lines:
                return True
            try:
                requests.post(
                    self.logs_url, json={"logs": lines}, headers=self._headers, timeout=LOGS_TIMEOUT_S
                ).raise_for_status()
            except Exception:  # noqa: BLE001 - whatever the platform does, collection goes on
                with self._logs_lock:
                    self._logs[:0] = lines
                    del self._logs[:-LOGS_KEPT]
                return False
            return True
