"""`make run`: the whole job on this machine, through the unmodified module, with a verdict.

Starts the emulator with a tenant that has a day of history and gains records every second, starts both connectors as
the platform does (`python main.py <docker_parameter>`, configuration by environment), and shows what they do. Then the
tenant stops making records, what Graph shows drains, and what Graph showed is compared with what the intake got. With
TENANT_ID, CLIENT_ID and a credential in the environment it reads the real tenant instead: see run_real.py.
"""

import os
import shutil
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tests import formats
from tests.emulator import Emulator
from tests.emulator.instants import TICKS_PER_SECOND, ticks_of
from tests.emulator.intake import AUDITS_KEY
from tests.emulator.processes import Connector, Presses, stop_all
from tests.emulator.programme import Programme
from tests.emulator.tenant import AUDITS, SIGN_IN_TYPES, STREAMS
from tests.emulator.verdict import Verdict

ROOT = Path(__file__).parents[2]
# Another folder, for a test that must not touch the one a person looks at.
RUN_FOLDER = Path(os.environ.get("RUN_FOLDER", ROOT / ".run"))
# So long the tenant makes records; then what is shown drains, until the whole time at most.
LIVE_S = 55.0
WHOLE_S = 100.0
# After Ctrl-C.
DRAIN_S = 20.0
# The audits' first pages need so long at most; the sign-ins start after them, because both share Graph's limit and
# neither knows of the other: side by side they would begin with a burst of 429s.
AUDITS_FIRST_S = 15.0
# Both connectors share Graph's 5 requests in 10 s; five streams on the default of 60 s would be a dull show.
POLL_S = 30
_STREAM_NAMES = {**{kind: f"sign-ins: {kind}" for kind in SIGN_IN_TYPES}, AUDITS: "directory audits"}


class Run:
    """One run on the emulator."""

    def __init__(self, console: Console, emulator: Emulator, presses: Presses, *, follow: bool) -> None:
        self._console = console
        self._emulator = emulator
        self._presses = presses
        self._began_s = time.monotonic()
        began = emulator.clock()
        self._ends = None if follow else began + timedelta(seconds=LIVE_S)
        self._programme = Programme(emulator, began)
        requests = emulator.graph.requests
        self._verdict = Verdict(
            emulator.tenant, emulator.intake, lambda: list(requests), RUN_FOLDER / "events.jsonl", emulator.clock
        )
        self._connectors: list[Connector] = []
        self._show = _Screen(console) if console.is_terminal else _Lines(console)

    def run(self) -> int:
        """Returns the exit status: 0 unless something was lost, repeated or altered, or a connector failed."""
        self._programme.begin()
        failure = None
        with self._show:
            try:
                self._make_records()
                self._drain()
            except RuntimeError as error:  # a connector ended by itself
                failure = str(error)
        statuses = stop_all(self._connectors)
        if self._presses.count:
            # Stopped while it was still starting: it had no handler yet, and nothing to end.
            statuses = [0 if status == -signal.SIGTERM else status for status in statuses]
        self._verdict.take()
        return self._conclude(statuses, failure)

    def _make_records(self) -> None:
        self._start("graph_entra_audits", "audits", AUDITS_KEY)
        while not self._presses.count and (self._ends is None or self._emulator.clock() < self._ends):
            self._programme.step(self._ends)
            if len(self._connectors) == 1 and self._audits_are_read():
                self._start("graph_entra_signins", "signins", None)
            self._look("until Ctrl-C" if self._ends is None else f"records come for {self._left_s():.0f} s more")
        self._programme.stop()

    def _drain(self) -> None:
        """Waits until all that is shown has arrived and was read once more, which must bring nothing."""
        interrupted = self._presses.count
        deadline_s = time.monotonic() + DRAIN_S if interrupted else self._began_s + WHOLE_S
        arrived: datetime | None = None
        while time.monotonic() < deadline_s and self._presses.count <= max(1, interrupted):
            if self._presses.count and not interrupted:
                interrupted, deadline_s = 1, min(deadline_s, time.monotonic() + DRAIN_S)
            self._look("stopping: what is shown drains" if interrupted else "no more records: what is shown drains")
            set_aside = self._verdict.waiting_ids() - self._spoiled_ids()
            arrived = None if set_aside else arrived or self._emulator.clock()
            if arrived is not None and (interrupted or self._was_read_again(arrived)):
                return

    def _spoiled_ids(self) -> set[str]:
        return set(self._emulator.graph.quirks.spoiled)

    def _was_read_again(self, since: datetime) -> bool:
        """Whether Graph was asked for each stream's present since then, and answered whole."""
        edge = ticks_of(since) - TICKS_PER_SECOND
        asked = [one for one in list(self._emulator.graph.requests) if one.window and one.time >= since]
        read = {one.stream for one in asked if one.ends and one.status == 200 and one.window[1] >= edge}
        return read >= set(STREAMS)

    def _audits_are_read(self) -> bool:
        return time.monotonic() - self._began_s > AUDITS_FIRST_S or self._verdict.delivered(AUDITS) > 0

    def _start(self, command: str, name: str, key: str | None) -> None:
        environment = self._emulator.environment(
            data_path=RUN_FOLDER / name, connector={"frequency": POLL_S, "start_time": 24}, intake_key=key
        )
        self._connectors.append(Connector(command, environment, RUN_FOLDER / f"{name}.log"))

    def _look(self, what: str) -> None:
        began_s = time.monotonic()
        self._verdict.take()
        self._show.show(rows(self._verdict, self._emulator), began_s - self._began_s, what)
        for connector in self._connectors:
            connector.check()
        self._presses.wait(max(0.05, 1.0 - (time.monotonic() - began_s)))

    def _left_s(self) -> float:
        assert self._ends is not None
        return max(0.0, (self._ends - self._emulator.clock()).total_seconds())

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _conclude(self, statuses: list[int], failure: str | None) -> int:
        for entry in self._emulator.platform.logs:
            if entry["level"] != "info":
                self._say(f"{entry['level']}: {entry['message']}")
        for line in self._programme.report(self._verdict):
            self._say(line)
        totals = self._verdict.totals()
        waiting = f"{totals.waiting} still waiting" if totals.waiting else "none waiting"
        self._say(
            f"{totals.delivered:,} records delivered, {totals.updates} of them once more because Graph changed them, "
            f"in {time.monotonic() - self._began_s:.0f} s: {totals.lost} lost, {totals.repeated} repeated, "
            f"{totals.altered} altered, {waiting}. They are in {RUN_FOLDER.name}/events.jsonl."
        )
        self._say(self._parsed())
        if failure is not None:
            self._say(failure)
        elif any(statuses):
            self._say(f"A connector ended with status {statuses}: see {RUN_FOLDER.name}/*.log.")
        nothing_came = totals.delivered == 0 and not self._presses.count
        if nothing_came:
            self._say(f"Nothing arrived at all: see {RUN_FOLDER.name}/*.log.")
        return 0 if totals.sound and not nothing_came and not any(statuses) and failure is None else 1

    def _parsed(self) -> str:
        """What the intake formats make of the events that arrived."""
        count, events = formats.Count(), list(self._emulator.intake.events)
        for event in events:
            count.add("graph_entra_audits" if event.intake_key == AUDITS_KEY else "graph_entra_signins", event.text)
        return (
            f"Through the intake formats: {count.parsed:,} of {len(events):,} events parsed, {count.actors:,} with an "
            f"actor, {count.outcomes:,} with an outcome."
        )


def rows(verdict: Verdict, emulator: Emulator) -> list[tuple[str, ...]]:
    """The table's cells, a row for each stream."""
    asked = [(request.stream, request.status) for request in list(emulator.graph.requests)]
    return [
        (
            _STREAM_NAMES[stream],
            f"{verdict.delivered(stream):,}",
            f"{verdict.waiting(stream):,}",
            "-" if (lag_s := verdict.lag_s(stream)) is None else f"{lag_s:.0f} s",
            str(sum(1 for of, _ in asked if of == stream)),
            str(sum(1 for of, status in asked if of == stream and status == 429)),
        )
        for stream in STREAMS
    ]


class _Screen:
    """A table that is drawn again and again."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> "_Screen":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, cells: list[tuple[str, ...]], passed_s: float, what: str) -> None:
        """Draws it."""
        shown = Table(title=f"graph_entra on the emulator, {passed_s:.0f} s: {what}", title_justify="left")
        for column in ("stream", "delivered", "waiting", "live lag", "requests", "throttled"):
            shown.add_column(column, justify="left" if column == "stream" else "right")
        for row in cells:
            shown.add_row(*row)
        self._live.update(shown, refresh=True)


class _Lines:
    """Plain lines every ten seconds, where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, cells: list[tuple[str, ...]], passed_s: float, what: str) -> None:
        """Prints a line for each stream, if it is time."""
        if passed_s < self._next_s:
            return
        self._next_s = passed_s + 10.0
        self._console.print(f"{passed_s:5.0f} s  {what}", soft_wrap=True, highlight=False)
        for name, delivered, waiting, lag, requests, throttled in cells:
            self._console.print(
                f"         {name:32} delivered {delivered:>6}  waiting {waiting:>6}  live lag {lag:>5}  "
                f"requests {requests:>3} ({throttled} throttled)",
                soft_wrap=True,
                highlight=False,
            )


def emulated(presses: Presses, *, follow: bool) -> int:
    """The run on the emulator; returns the exit status."""
    for name in ("signins", "audits"):
        shutil.rmtree(RUN_FOLDER / name, ignore_errors=True)
        (RUN_FOLDER / name).mkdir(parents=True)
    for old in (*RUN_FOLDER.glob("*.log"), RUN_FOLDER / "events.jsonl"):
        old.unlink(missing_ok=True)
    console = Console()
    with Emulator(Programme.furnished(datetime.now(UTC))) as emulator:
        return Run(console, emulator, presses, follow=follow).run()


def main() -> int:
    """The command; returns the exit status."""
    presses = Presses()
    presses.listen()
    follow = os.environ.get("FOLLOW", "") not in ("", "0")
    # Set, though empty: whoever set one of these means a tenant of their own.
    if any(name in os.environ for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "CLIENT_CERTIFICATE")):
        from tests.emulator.run_real import real

        return real(RUN_FOLDER, presses, follow=follow)
    return emulated(presses, follow=follow)


if __name__ == "__main__":
    sys.exit(main())
