"""The real connector's `collect` between the emulated Graph and the emulated intake, on a quick clock."""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from graph_entra.microsoft import rate_limit
from graph_entra.reading import lanes
from graph_entra.sekoia import assembly
from graph_entra.sekoia.assembly import EntraConnector
from graph_entra.sekoia.connectors import EntraAuditsConnector, EntraSignInsConnector
from graph_entra.sekoia.module import GraphEntraModule
from graph_entra.streams import DAY_S
from tests.emulator import STREAMS, Emulator
from tests.emulator.records import fill
from tests.emulator.tenant import AUDITS
from tests.integration.quick_time import QuickTime

PATIENCE_S = 12.0
PERIOD_S = 30
SPACING_S = 0.004


def canonical(text: str | bytes) -> str:
    """Returns a text that two JSON texts share exactly if they say the same: by member, order of members aside."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except RecursionError:
        return text if isinstance(text, str) else text.decode()


class Run:
    """One run of a connector, from its start to its stop."""

    def __init__(self, rig: "Rig", connector: EntraConnector) -> None:
        self.rig = rig
        self.connector = connector
        self.lines: list[tuple[str, str]] = []
        self.task: asyncio.Task[None] | None = None
        connector.log = self._log  # type: ignore[method-assign]

    def _log(self, message: str, level: str = "info", *_: Any, **__: Any) -> None:
        self.lines.append((level, message))

    def said(self, *words: str, level: str | None = None) -> list[str]:
        """Returns the log lines that hold all of these words."""
        return [text for of, text in list(self.lines) if level in (None, of) and all(word in text for word in words)]

    def complaints(self) -> list[str]:
        """Returns every log line above the level of information."""
        return [f"{level}: {text}" for level, text in list(self.lines) if level not in ("debug", "info")]

    def has_read_up_to(self, now_s: int, stream: str) -> bool:
        """Returns whether live has read up to this second and no other lane has anything to read."""
        (state,) = [one.collector.state for one in self.connector._schedules if one.collector.stream.key == stream]
        return state.live_s >= now_s and lanes.rest_window(state, now_s, DAY_S) is None

    async def until(self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> None:
        """Waits for a condition."""
        deadline = time.monotonic() + patience_s
        while not condition():
            assert self.task is not None
            if self.task.done():
                self.task.result()
                pytest.fail(f"the connector has ended while this was waited for: {what}")
            if time.monotonic() > deadline:
                lines = "\n".join(f"{level}: {text}" for level, text in self.lines)
                pytest.fail(f"waited in vain: {what}; {self.rig.emulator.intake.count} pushed\n{lines}")
            await asyncio.sleep(0.004)

    async def read_again(self, *streams: str, times: int = 1) -> None:
        """Waits until every lane has read up to the present, so many times more."""
        keys = streams or [one.collector.stream.key for one in self.connector._schedules]
        for _ in range(times):
            now_s = int(self.rig.clock.time())
            await self.until(
                lambda now_s=now_s: all(self.has_read_up_to(now_s, key) for key in keys),
                f"{keys} read up to the present",
            )

    async def complete(self, *streams: str) -> None:
        """Waits until everything has arrived and was read again; then nothing is missing, altered or repeated."""
        keys = streams or [one.collector.stream.key for one in self.connector._schedules]
        held = self.rig.held(*keys)
        await self.until(lambda: self.rig.emulator.intake.count >= len(held), f"{len(held)} records of {keys}")
        await self.read_again(*keys)
        assert_same(self.rig.emulator.intake.texts(), held)


def assert_same(texts: Iterable[str | bytes], held: Iterable[str | bytes]) -> None:
    """Asserts that every record is there exactly once and says what Graph said."""
    pushed, wanted = Counter(map(canonical, texts)), Counter(map(canonical, held))
    missing, surplus = wanted - pushed, pushed - wanted
    assert not missing, f"{missing.total()} missing, such as {next(iter(missing))[:300]}"
    assert not surplus, f"{surplus.total()} repeated or altered, such as {next(iter(surplus))[:300]}"


class Rig:
    """Everything around a run; several runs on one rig are restarts of one connector."""

    def __init__(
        self,
        emulator: Emulator,
        clock: QuickTime,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self.emulator = emulator
        self.clock = clock
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.caplog = caplog

    def fill(
        self, *streams: str, count: int = 50, hours: float = 2.0, until_s: float = 1.0, size: int = 900, seed: int = 0
    ) -> list[bytes]:
        """Adds records of the last hours to some streams; returns their texts."""
        end = self.clock.now() - timedelta(seconds=until_s)
        start = end - timedelta(hours=hours)
        texts: list[bytes] = []
        for stream in streams:
            texts += fill(self.emulator.tenant, stream, count, start, end, seed * 10 + STREAMS.index(stream), size=size)
        return texts

    def held(self, *streams: str) -> list[bytes]:
        """Returns all that Graph holds of some streams."""
        return [text for stream in streams for text in self.emulator.tenant.all_texts(stream)]

    @asynccontextmanager
    async def collecting(
        self,
        *types: str,
        graph_timeout_s: float = 5.0,
        cloud: str | None = None,
        folder: Path | None = None,
        **arguments: Any,
    ) -> AsyncIterator[Run]:
        """Runs a connector: the sign-ins' for some types, or the audits' if none is named.

        Args:
            types: the sign-in types; none for the audits.
            graph_timeout_s: seconds of the wall's that Graph may be silent.
            cloud: of the module's configuration.
            folder: the data path, the rig's own if it is None.
            arguments: of the connector's configuration.
        """
        self._quicken(graph_timeout_s)
        given: dict[str, Any] = {"frequency": PERIOD_S, "start_time": 3, **arguments}
        if types and types != (AUDITS,):
            given["sign_in_types"] = list(types)
        environment = self.emulator.environment(
            data_path=self.folder, connector=given, module={"cloud": cloud} if cloud else None
        )
        for name in ("MODULE_CONFIGURATION", "CONNECTOR_CONFIGURATION", "TOKEN", "INTAKE_URL"):
            self.monkeypatch.setenv(name, environment[name])
        for name in ("URL_CALLBACK", "URL_LOGS", "URL_SECRETS"):
            self.monkeypatch.setenv(name, environment[name])
        self.monkeypatch.setattr(EntraConnector, "clock", self.clock)
        kind = EntraSignInsConnector if "sign_in_types" in given else EntraAuditsConnector
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        connector = kind(GraphEntraModule(), folder or self.folder)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        connector.module.set_secrets(connector._get_secrets_from_server()[0])
        run = Run(self, connector)
        told_to_stop = asyncio.Event()
        run.task = asyncio.create_task(connector.collect(told_to_stop))
        try:
            await run.until(lambda: connector._schedules, "lanes")
            yield run
            told_to_stop.set()
            await asyncio.wait_for(run.task, 10)
        finally:
            self.emulator.graph.faults.clear()
            self.emulator.intake.faults.clear()
            connector.stop()
            run.task.cancel()
            await asyncio.gather(run.task, return_exceptions=True)
        self._assert_discreet(run)

    def _quicken(self, graph_timeout_s: float) -> None:
        patch = self.monkeypatch.setattr
        patch(assembly, "RateLimiter", partial(rate_limit.RateLimiter, spacing_s=SPACING_S))
        graph = getattr(assembly.Graph, "func", assembly.Graph)
        patch(assembly, "Graph", partial(graph, graph_timeout_s=graph_timeout_s))

    def _assert_discreet(self, run: Run) -> None:
        """No line holds a secret, a token, the intake's key or a nextLink; none says that something was forgotten."""
        text = "\n".join([*(line for _, line in run.lines), self.caplog.text])
        hidden = {
            self.emulator.tenant.client_secret,
            run.connector.configuration.intake_key,
            "skiptoken",
            *(request.headers.get("authorization", "").removeprefix("Bearer ") for request in self.graph_requests),
        }
        assert not [word for word in hidden - {""} if word in text]
        assert "never retrieved" not in text
        assert "this module does not know" not in text, "an error that the module has no advice for"

    @property
    def graph_requests(self) -> list[Any]:
        """Every request that Graph got."""
        return list(self.emulator.graph.requests)
