"""The real connector's `collect` between the emulated Graph and the emulated intake, in virtual time.

Everything runs on one virtual loop (tests/virtual): hours of polls, time-outs and stalls take what they compute, and
are exact to the second on a machine however busy.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from graph_entra.sekoia.assembly import EntraConnector
from graph_entra.sekoia.connectors import EntraAuditsConnector, EntraSignInsConnector
from graph_entra.sekoia.module import GraphEntraModule
from tests.emulator import STREAMS, Emulator, GraphRequest
from tests.emulator.instants import TICKS_PER_SECOND, ticks_of
from tests.emulator.records import fill
from tests.emulator.tenant import AUDITS
from tests.emulator.verdict import as_text, canonical
from tests.virtual import VirtualClock

# Virtual, all of them.
PATIENCE_S = 6 * 3600.0
GLANCE_S = 0.5
SLOW_GLANCE_S = 5.0
PERIOD_S = 60
STOP_S = 10.0


class Run:
    """One run of a connector, from its start to its stop."""

    def __init__(self, rig: "Rig", connector: EntraConnector, streams: tuple[str, ...]) -> None:
        self.rig = rig
        self.connector = connector
        self.streams = streams
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

    async def until(
        self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S, every_s: float = GLANCE_S
    ) -> None:
        """Waits for a condition, looking every `every_s`; all seconds are virtual."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while not condition():
            assert self.task is not None
            if self.task.done():
                self.task.result()
                pytest.fail(f"the connector has ended while this was waited for: {what}")
            if loop.time() > deadline:
                lines = "\n".join(f"{level}: {text}" for level, text in self.lines)
                pytest.fail(f"waited in vain: {what}; {self.rig.emulator.intake.count} pushed\n{lines}")
            await asyncio.sleep(every_s)

    async def pass_time(self, seconds: float) -> None:
        """Lets so much virtual time pass, in which everything goes on."""
        assert self.task is not None
        done, _ = await asyncio.wait([self.task], timeout=seconds)
        if done:
            self.task.result()
            pytest.fail(f"the connector has ended within {seconds} s")

    async def read_again(self, *streams: str, times: int = 1) -> None:
        """Waits until all of these streams has been read whole up to the present, so many times more."""
        keys = streams or self.streams
        for _ in range(times):
            asked, now = len(self.rig.graph_requests), ticks_of(self.rig.emulator.clock())
            for key in keys:
                read = partial(self.rig.has_answered_up_to, key, now, after=asked)
                await self.until(read, f"{key} read up to the present", every_s=SLOW_GLANCE_S)
            # Whatever else was due at the same time.
            await self.pass_time(2 * self.connector.configuration.frequency)

    async def complete(self, *streams: str) -> None:
        """Waits until everything has arrived and was read again; then nothing is missing, altered or repeated."""
        keys = streams or self.streams
        held = self.rig.held(*keys)
        await self.until(lambda: self.rig.emulator.intake.count >= len(held), f"{len(held)} records of {keys}")
        await self.read_again(*keys)
        assert_same(self.rig.emulator.intake.texts(), held)


def _shows_its_page(request: GraphRequest) -> bool:
    """Whether what Graph has answered is the page, perhaps with other links or in another order."""
    return request.status == 200 and (request.fault is None or request.fault.kind in ("page", "repeated_link"))


def _goes_round(request: GraphRequest) -> bool:
    return request.fault is not None and request.fault.kind == "repeated_link"


def assert_same(texts: Iterable[str | bytes], held: Iterable[str | bytes]) -> None:
    """Asserts that every record is there exactly once and says what Graph said."""
    pushed, wanted = Counter(map(as_text, texts)), Counter(map(as_text, held))
    # What is the same text says the same; only the others have to be understood.
    missing, surplus = (Counter(map(canonical, some.elements())) for some in (wanted - pushed, pushed - wanted))
    missing, surplus = missing - surplus, surplus - missing
    assert not missing, f"{missing.total()} missing, such as {next(iter(missing))[:300]}"
    assert not surplus, f"{surplus.total()} repeated or altered, such as {next(iter(surplus))[:300]}"


class Rig:
    """Everything around a run; several runs on one rig are restarts of one connector."""

    def __init__(
        self,
        emulator: Emulator,
        clock: VirtualClock,
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
        end = self.emulator.clock() - timedelta(seconds=until_s)
        start = end - timedelta(hours=hours)
        texts: list[bytes] = []
        for stream in streams:
            texts += fill(self.emulator.tenant, stream, count, start, end, seed * 10 + STREAMS.index(stream), size=size)
        return texts

    def held(self, *streams: str) -> list[bytes]:
        """Returns all that Graph holds of some streams."""
        return [text for stream in streams for text in self.emulator.tenant.all_texts(stream)]

    def has_answered_up_to(self, stream: str, now: int, *, after: int) -> bool:
        """Returns whether Graph has answered for all that was ever asked of a stream, up to an instant in ticks.

        Args:
            stream: which.
            now: up to when; whole seconds are asked for.
            after: among the requests from this one on, one chain of pages must have led to `now`.
        """
        edge = now - now % TICKS_PER_SECOND
        fresh = [one for one in self.graph_requests[after:] if one.stream == stream and _shows_its_page(one)]
        if not any(one.ends and one.window[1] >= edge and not _goes_round(one) for one in fresh):
            return False
        spans = sorted(one.span for one in self.graph_requests if one.stream == stream and _shows_its_page(one))
        reached = spans[0][0]
        for start, end in spans:
            if start > reached + TICKS_PER_SECOND:
                return False
            reached = max(reached, end)
        return reached >= edge

    @asynccontextmanager
    async def collecting(
        self,
        *types: str,
        cloud: str | None = None,
        folder: Path | None = None,
        **arguments: Any,
    ) -> AsyncIterator[Run]:
        """Runs a connector: the sign-ins' for some types, or the audits' if none is named.

        Args:
            types: the sign-in types; none for the audits.
            cloud: of the module's configuration.
            folder: the data path, the rig's own if it is None.
            arguments: of the connector's configuration.
        """
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
        secrets, _ = await asyncio.to_thread(connector._get_secrets_from_server)
        connector.module.set_secrets(secrets)
        # The SDK reads it when it is first asked for: another connector's may stand in the environment by then.
        assert connector.configuration.intake_key
        run = Run(self, connector, tuple(given.get("sign_in_types", (AUDITS,))))
        told_to_stop = asyncio.Event()
        run.task = asyncio.create_task(connector.collect(told_to_stop))
        try:
            yield run
            told_to_stop.set()
            await asyncio.wait_for(run.task, STOP_S)
        finally:
            self.emulator.graph.faults.clear()
            self.emulator.intake.faults.clear()
            connector.stop()
            run.task.cancel()
            await asyncio.gather(run.task, return_exceptions=True)
        self._assert_discreet(run)
        assert self.emulator.errors == []

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
    def graph_requests(self) -> list[GraphRequest]:
        """Every request that Graph got."""
        return list(self.emulator.graph.requests)
