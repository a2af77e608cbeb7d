"""The emulator in a process of its own, so that its CPU and its memory are not counted as the connector's."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Self, TypeVar

from tests.emulator import Emulator, PushedEvent
from tests.emulator.instants import datetime_of, instant_text, parse_ticks, ticks_of
from tests.emulator.records import fill

T = TypeVar("T")


class EmulatorProcess:
    """Runs functions of an emulator, and whatever arguments can be pickled, where the emulator is."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join(20)

    def call(self, function: "Callable[..., T]", *args: Any, **options: Any) -> T:
        """Returns what `function(emulator, ...)` returns there. The function is a module's own."""
        self._pipe.send((function, args, options))
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    def wait_until(self, function: "Callable[..., bool]", *args: Any, timeout_s: float) -> None:
        """Waits until the function says so.

        Raises:
            TimeoutError: it does not.
        """
        give_up_s = time.monotonic() + timeout_s
        while not self.call(function, *args):
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"{function.__name__}{args}: not within {timeout_s:.0f} s")
            time.sleep(0.2)


def _serve(pipe: Connection) -> None:
    with Emulator() as emulator:
        emulator.graph.limit = None
        emulator.intake.keep = False
        while (order := pipe.recv()) is not None:
            function, args, options = order
            try:
                pipe.send(function(emulator, *args, **options))
            except Exception as error:  # noqa: BLE001 - it is raised at the other end
                pipe.send(error)


# What is asked of it


def environment(emulator: Emulator, **options: Any) -> dict[str, str]:
    """Returns a connector's environment."""
    found = emulator.environment(**options)
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"):
        found.pop(name, None)
    return found


def limit(emulator: Emulator, requests: int, seconds: float) -> None:
    """Enforces Graph's limit."""
    emulator.graph.limit = (requests, seconds)


def add_history(emulator: Emulator, stream: str, count: int, hours: float, size: int = 2000) -> None:
    """Fills the hours before ten minutes ago with records."""
    end = datetime.now(UTC) - timedelta(minutes=10)
    fill(emulator.tenant, stream, count, end - timedelta(hours=hours), end, seed=1, size=size)


def add_live(emulator: Emulator, stream: str, per_second: float, minutes: float) -> datetime:
    """Lets records appear from now on, each at the moment of its creation; returns the beginning."""
    start = datetime.now(UTC)
    count = int(per_second * minutes * 60)
    # The delay is a function so that each record shows at its creation and not always.
    fill(emulator.tenant, stream, count, start, start + timedelta(minutes=minutes), seed=2, delay=lambda _rng: 0.0)
    return start


def watch(emulator: Emulator, since: datetime) -> None:
    """Notes when each record that was created since then arrives at the intake."""
    emulator.intake.keep = _Watch(since)


def received(emulator: Emulator) -> int:
    """Returns how many events the intake has."""
    return emulator.intake.count


def has_received(emulator: Emulator, count: int) -> bool:
    """Whether the intake has so many events."""
    return emulator.intake.count >= count


def has_backlog(emulator: Emulator, count: int) -> bool:
    """Whether the intake has so many events beside those that are watched."""
    return emulator.intake.count - len(live_delays(emulator)) >= count


def asked(emulator: Emulator, count: int) -> bool:
    """Whether Graph's logs were asked so often."""
    return sum(1 for request in list(emulator.graph.requests) if "/auditLogs/" in request.path) >= count


def answers(emulator: Emulator) -> list[tuple[float, str | None, int, int]]:
    """Returns (monotonic time, stream, status, records) of each request for logs."""
    return [
        (request.at, request.stream, request.status, request.records)
        for request in list(emulator.graph.requests)
        if "/auditLogs/" in request.path
    ]


def batches(emulator: Emulator) -> list[tuple[float, int]]:
    """Returns (time since 1970, records) of each batch that the intake took."""
    return [(batch.at.timestamp(), batch.count) for batch in list(emulator.intake.batches)]


def live_delays(emulator: Emulator) -> list[tuple[float, float]]:
    """Returns (time since 1970 of creation, seconds until the intake had it) of each record that was watched."""
    watched = emulator.intake.keep
    return list(watched.delays) if isinstance(watched, _Watch) else []


def first_times(emulator: Emulator) -> dict[str, float]:
    """Returns the monotonic time of the first request for secrets, a token and logs, and to the intake."""
    offset_s = time.monotonic() - time.time()
    events = {
        "secrets": [request.at for request in emulator.platform.requests if request.path == "/secrets"],
        "token": [request.at for request in emulator.login.requests],
        "Graph": [request.at for request in emulator.graph.requests if "/auditLogs/" in request.path],
        "intake": [batch.at.timestamp() + offset_s for batch in emulator.intake.batches],
    }
    return {name: min(times) for name, times in events.items() if times}


def forget(emulator: Emulator) -> None:
    """Forgets what was asked and received."""
    for seen in (emulator.platform.requests, emulator.login.requests, emulator.graph.requests):
        seen.clear()
    emulator.intake.batches.clear()
    emulator.intake.requests.clear()
    emulator.intake.count = 0


def errors(emulator: Emulator) -> dict[str, int]:
    """Returns the lines that the connector wrote to the platform at a level above info, counted."""
    lines = [entry for entry in list(emulator.platform.logs) if entry["level"] != "info"]
    return dict(Counter(f"{line['level']}: {line['message']}" for line in lines))


class _Watch:
    """The delays of the records created since an instant."""

    def __init__(self, since: datetime) -> None:
        # Without its Z, which is after the point of a fraction.
        self._since_text = instant_text(ticks_of(since), 0, zone="")
        self.delays: list[tuple[float, float]] = []

    def __call__(self, events: list[PushedEvent]) -> None:
        for event in events:
            created_text = event.text.partition('"createdDateTime":"')[2].partition('"')[0]
            if created_text >= self._since_text:
                created = datetime_of(parse_ticks(created_text))
                self.delays.append((created.timestamp(), (event.at - created).total_seconds()))
