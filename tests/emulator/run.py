"""`make run`: the whole job on this machine, through the unmodified module, with a verdict.

Starts the emulator with a tenant that has a day of history and gains records every second, starts both connectors as
the platform does (`python main.py <docker_parameter>`, configuration by environment), shows what they do, and compares
what Graph showed with what the intake got. With TENANT_ID, CLIENT_ID and CLIENT_SECRET in the environment it reads the
real tenant instead; with INTAKE_KEY besides, it pushes to the real Sekoia.io.
"""

import os
import shutil
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tests.emulator import Emulator, Tenant
from tests.emulator.intake import AUDITS_KEY
from tests.emulator.processes import Connector
from tests.emulator.records import fill, one
from tests.emulator.tenant import AUDITS, SIGN_IN_TYPES, STREAMS
from tests.emulator.verdict import Verdict

ROOT = Path(__file__).parents[2]
# Another folder, for a test that must not touch the one a person looks at.
RUN_FOLDER = Path(os.environ.get("RUN_FOLDER", ROOT / ".run"))
SIGN_INS_EACH = 600
AUDIT_COUNT = 400
# Live records come for so long; then the connectors get the rest of the two minutes to deliver the last of them.
LIVE_S = 65.0
WHOLE_S = 112.0
# Both connectors share Graph's 5 requests in 10 s; five streams on the default of 60 s would be a dull show.
POLL_S = 20
_STREAM_NAMES = {**{kind: f"sign-ins: {kind}" for kind in SIGN_IN_TYPES}, AUDITS: "directory audits"}


def furnished_tenant(now: datetime) -> Tenant:
    """A tenant with a day of history, some of it shown late."""
    tenant = Tenant()
    yesterday = now - timedelta(hours=23, minutes=59)
    for seed, stream in enumerate(STREAMS):
        fill(tenant, stream, AUDIT_COUNT if stream == AUDITS else SIGN_INS_EACH, yesterday, now, seed=seed)
    return tenant


def add_live(tenant: Tenant, rng: Random, serial: int) -> None:
    """One new record in each of two streams: most shown at once, some a little later, some revised afterwards."""
    now = datetime.now(UTC)
    for stream in (rng.choice(SIGN_IN_TYPES), rng.choice(STREAMS)):
        record = one(stream, now, seed=rng.getrandbits(48) + serial)
        late = timedelta(seconds=rng.choice((0, 0, 0, 0, 2, 10)))
        tenant.add(stream, record, visible_at=now + late)
        if stream != AUDITS and rng.random() < 0.05:
            revised = {**record, "riskState": "atRisk", "riskLevelAggregated": "medium"}
            tenant.change(stream, record["id"], revised, now + timedelta(seconds=15))


def table(verdict: Verdict, emulator: Emulator, left_s: float | None) -> Table:
    """What is going on, a row for each stream."""
    head = "until Ctrl-C" if left_s is None else f"{max(0.0, left_s):.0f} s left"
    shown = Table(title=f"graph_entra on the emulator, {head}", title_justify="left")
    for column in ("stream", "delivered", "waiting", "live lag", "requests", "throttled"):
        shown.add_column(column, justify="left" if column == "stream" else "right")
    for row in rows(verdict, emulator):
        shown.add_row(*row)
    return shown


def rows(verdict: Verdict, emulator: Emulator) -> list[tuple[str, ...]]:
    """The table's cells."""
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


def emulated(follow: bool) -> int:
    """The run on the emulator; returns the exit status."""
    console = Console()
    rng = Random(2026)
    began = time.monotonic()
    tenant = furnished_tenant(datetime.now(UTC))
    with Emulator(tenant) as emulator:
        verdict = Verdict(tenant, emulator.intake, RUN_FOLDER / "events.jsonl", console.print)
        arguments = {"frequency": POLL_S, "start_time": 24}
        connectors = [
            Connector(
                "graph_entra_signins",
                emulator.environment(data_path=RUN_FOLDER / "signins", connector=arguments),
                RUN_FOLDER / "signins.log",
            ),
            Connector(
                "graph_entra_audits",
                emulator.environment(data_path=RUN_FOLDER / "audits", connector=arguments, intake_key=AUDITS_KEY),
                RUN_FOLDER / "audits.log",
            ),
        ]
        try:
            _watch(console, verdict, emulator, connectors, rng, began, follow=follow)
        except KeyboardInterrupt:
            console.print("Stopping.")
        statuses = [connector.stop() for connector in connectors]
        verdict.take()
        lines = [f"{entry['level']}: {entry['message']}" for entry in emulator.platform.logs]
        return _conclude(console, verdict, lines, statuses, time.monotonic() - began)


def _watch(
    console: Console,
    verdict: Verdict,
    emulator: Emulator,
    connectors: list[Connector],
    rng: Random,
    began: float,
    *,
    follow: bool,
) -> None:
    serial = 0
    with Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else _Lines(console) as live:
        while True:
            passed_s = time.monotonic() - began
            if follow or passed_s < LIVE_S:
                serial += 1
                add_live(emulator.tenant, rng, serial)
            verdict.take()
            if isinstance(live, _Lines):
                live.show(rows(verdict, emulator), passed_s)
            else:
                live.update(table(verdict, emulator, None if follow else WHOLE_S - passed_s), refresh=True)
            settled = passed_s > LIVE_S + 17 and not any(map(verdict.waiting, STREAMS))
            if not follow and (settled or passed_s > WHOLE_S):
                return
            for connector in connectors:
                connector.check()
            time.sleep(max(0.05, 1.0 - (time.monotonic() - began - passed_s)))


class _Lines:
    """Plain lines every ten seconds, where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, cells: list[tuple[str, ...]], passed_s: float) -> None:
        """Prints a line for each stream, if it is time."""
        if passed_s < self._next_s:
            return
        self._next_s = passed_s + 10.0
        for name, delivered, waiting, lag, requests, throttled in cells:
            self._console.print(
                f"{passed_s:5.0f} s  {name:32} delivered {delivered:>6}  waiting {waiting:>6}  live lag {lag:>5}  "
                f"requests {requests:>3} ({throttled} throttled)",
                soft_wrap=True,
                highlight=False,
            )


def _conclude(console: Console, verdict: Verdict, lines: list[str], statuses: list[int], took_s: float) -> int:
    for line in lines:
        if not line.startswith("info"):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
    delivered, updates, lost, repeated, altered = verdict.totals()
    console.print(
        f"{delivered:,} records delivered, {updates} revised by Graph and delivered again, in {took_s:.0f} s: "
        f"{lost} lost, {repeated} repeated, {altered} altered. They are in {RUN_FOLDER.name}/events.jsonl.",
        soft_wrap=True,
        highlight=False,
    )
    ended_well = all(status == 0 for status in statuses)
    if not ended_well:
        console.print(f"A connector ended with status {statuses}: see {RUN_FOLDER.name}/*.log.", soft_wrap=True)
    return 0 if ended_well and not (lost or repeated or altered) else 1


def main() -> int:
    """The command; returns the exit status: 0 only if nothing was lost, repeated or altered."""
    # Ctrl-C also where the shell started this in the background with the signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shutil.rmtree(RUN_FOLDER, ignore_errors=True)
    for name in ("signins", "audits"):
        (RUN_FOLDER / name).mkdir(parents=True)
    if all(os.environ.get(name) for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")):
        from tests.emulator.run_real import real

        return real(RUN_FOLDER)
    return emulated(follow=os.environ.get("FOLLOW", "") not in ("", "0"))


if __name__ == "__main__":
    sys.exit(main())
