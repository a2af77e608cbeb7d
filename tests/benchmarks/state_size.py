"""What a connector keeps on disk and in memory at 1,000,000 records a day, and what it writes, to a disk and to S3."""

import asyncio
import gc
import logging
import os
import tracemalloc
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import mean
from tempfile import TemporaryDirectory
from threading import Event
from unittest.mock import patch

import boto3
from moto.server import ThreadedMotoServer
from s3path import S3Path, register_configuration_parameter

from graph_entra.clock import Clock
from graph_entra.delivery.intake import Intake
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import coverage as coverage_rules
from graph_entra.reading.collector import Collector
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.reading.schedule import Schedule
from graph_entra.records import Page, Record
from graph_entra.state.context import ContextStore
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from graph_entra.state.refused import RefusedRecords
from graph_entra.streams import DAY_S, HOUR_S, PAGE_RECORDS, Stream, Window, sign_in_stream
from tests.benchmarks.report import Figure, Report, table
from tests.benchmarks.simulation import ANSWER_S, PERIOD_S, Silent
from tests.clocks import START_S, ManualClock
from tests.virtual.clock import VirtualClock
from tests.virtual.loop import VirtualLoop

NAME = "state_size"
STREAM = sign_in_stream("nonInteractiveUser", beta_only=False)
PER_S = 1_000_000 / DAY_S
HOURS = 36
# So that idle turns, which read what is known once more and change nothing here, are fewer.
_SPACING_S = 6.0
GOAL_DISK_MB = 16.8
GOAL_WRITE_MB = 2
GOAL_ENTRY_BYTES = 94 / 2
GOAL_S3_MB = 0.2
_S3_PER_S = 100
_DIGESTS = 7


class CountingFiles(Files):
    """Files that count what is written to them."""

    written = 0

    def replace(self, name: str, content: bytes) -> None:
        self.written += len(content)
        super().replace(name, content)

    def append(self, name: str, content: bytes, begin: bytes = b"") -> None:
        self.written += len(content)
        super().append(name, content, begin)


@dataclass
class Watch:
    """One row for each period."""

    disk_bytes: list[int] = field(default_factory=list)
    written_bytes: list[int] = field(default_factory=list)
    largest_file: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def look(self, files: CountingFiles, collector: Collector) -> None:
        """A period is over."""
        sizes = [path.stat().st_size for path in files.folder.rglob("*") if path.is_file()]
        self.disk_bytes.append(sum(sizes))
        self.largest_file.append(max(sizes, default=0))
        self.rows.append(len(collector.coverage.rows))
        self.written_bytes.append(files.written)
        files.written = 0

    def day(self, number: int, values: Sequence[int]) -> int:
        """The largest value of a day."""
        periods = DAY_S // PERIOD_S
        return max(values[(number - 1) * periods : number * periods] or values)


class EvenGraph:
    """Records at an even rate, each shown at once; the same record at each reading."""

    def __init__(self, limiter: RateLimiter, clock: Clock) -> None:
        self._limiter = limiter
        self._clock = clock
        self.schedule: Schedule | None = None

    async def pages(self, stream: Stream, window: Window) -> AsyncGenerator[tuple[Page, bool]]:
        """As Graph's."""
        numbers = range(_first(window.start_s), min(_first(window.end_s + 1), _first(self._clock.time())))
        goes_on = False
        while True:
            await self._limiter.turn(window.work, goes_on=goes_on)
            assert self.schedule is not None
            self.schedule.asks(stream.key, window)
            await self._clock.sleep(ANSWER_S)
            self._limiter.answered()
            here, numbers = numbers[:PAGE_RECORDS], numbers[PAGE_RECORDS:]
            yield _page([_record(number) for number in here]), not numbers
            if not numbers:
                return
            goes_on = True


def run(*, quick: bool = False) -> Report:
    """Simulates a day and a half, so that every look is at work; then polls of a busy stream on S3."""
    hours = 3 if quick else HOURS
    with TemporaryDirectory() as folder, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        watch = runner.run(_collect(Path(folder), hours))
    ready_bytes, entry_bytes = _entry_bytes(20_000 if quick else 400_000)
    sent_mb, received_mb = _on_s3(10 if quick else 60)
    disk_mb, written_mb = max(watch.disk_bytes) / 1e6, max(watch.written_bytes) / 1e6
    rows = [
        (
            f"day {day}",
            f"{watch.day(day, watch.disk_bytes) / 1e6:.1f}",
            f"{watch.day(day, watch.written_bytes) / 1e6:.2f}",
            f"{watch.day(day, watch.largest_file) / 1e6:.2f}",
            watch.day(day, watch.rows),
        )
        for day in (1, 2)
    ]
    text = "\n\n".join(
        [
            f"The real schedule, collector, ledger and context.json, for {hours} simulated hours against a model of "
            f"Graph with {PER_S:.2f} records/s in one stream, polled every {PERIOD_S} s, everything at work. Later "
            "days are like the second. Rows: of the coverage.",
            table(("largest", "MB on disk", "MB written in a period", "MB of the largest file", "rows"), rows),
            f"The ledger in memory: {entry_bytes:.1f} bytes an entry that is held, by tracemalloc, and "
            f"{ready_bytes:.0f} bytes for each of the last 10,000 that are looked up at once. At most 1,000,000 "
            "entries of a stream are held.",
            f"On S3 (moto), {_S3_PER_S} records/s in one stream, polled every {PERIOD_S} s for an hour: "
            f"{sent_mb:.3f} MB a poll written, {received_mb:.3f} MB read. Nothing can be appended there: what a batch "
            "adds is a part of its own, and parts are folded together.",
        ]
    )
    figures = [
        _at_most("state on disk at 1,000,000 records a day", GOAL_DISK_MB, disk_mb, 1),
        _at_most("written in a period, at most", GOAL_WRITE_MB, written_mb, 2),
        _at_most(f"on S3 at {_S3_PER_S} records/s, a poll, each way", GOAL_S3_MB, max(sent_mb, received_mb), 3),
        Figure(
            "ledger in memory, an entry",
            f"<= {GOAL_ENTRY_BYTES:.0f} bytes",
            f"{entry_bytes:.1f} bytes",
            entry_bytes <= GOAL_ENTRY_BYTES,
        ),
    ]
    return Report("State at 1,000,000 records a day", figures, text, {"disk_mb": disk_mb, "entry_bytes": entry_bytes})


def _at_most(what: str, goal_mb: float, reached_mb: float, digits: int) -> Figure:
    return Figure(what, f"<= {goal_mb:g} MB", f"{reached_mb:.{digits}f} MB", reached_mb <= goal_mb)


async def _collect(folder: Path, hours: int) -> Watch:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    clock = VirtualClock(loop, START_S)
    limiter, graph_clock = RateLimiter(clock, _SPACING_S), GraphClock(clock)
    files = CountingFiles(folder, clock)
    source = EvenGraph(limiter, clock)
    collector = Collector(
        STREAM,
        files=files,
        store=ContextStore(files, ["tenant"], _no_damage),
        source=source,
        intake=Intake(len, clock=clock, stopping=Event(), on_fault=lambda _fault: None),
        refused=RefusedRecords(files, lambda _count: None),
        history_s=0,
        forward_updates=True,
        now_s=graph_clock.now_s,
        on_taken=lambda _taken: None,
        on_new=lambda stream, created_s: schedule.saw_new(stream, created_s),
        on_damage=_no_damage,
    )
    schedule = source.schedule = Schedule(
        [collector],
        period_s=PERIOD_S,
        limiter=limiter,
        graph_clock=graph_clock,
        clock=clock,
        problems=Silent(),  # type: ignore[arg-type]
        log=lambda _line, _level: None,
    )
    task = asyncio.create_task(schedule.run())
    watch = Watch()
    for _ in range(hours * HOUR_S // PERIOD_S):
        await asyncio.wait([task], timeout=PERIOD_S)
        watch.look(files, collector)
    if task.done():
        task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return watch


def _entry_bytes(count: int) -> tuple[float, float]:
    """Bytes of an entry that is looked up at once, and of one that is held only."""
    chance = Random(1)
    start_s = int(START_S) // HOUR_S * HOUR_S
    records = [
        Record("", chance.getrandbits(64), index % _DIGESTS, start_s + index * 2 * HOUR_S // count, None)
        for index in range(count)
    ]
    with TemporaryDirectory() as folder:
        ledger = Ledger(Files(Path(folder), ManualClock()), STREAM, _no_damage)
        tracemalloc.start(1)
        try:
            for start in range(0, count, PAGE_RECORDS):
                ledger.add(records[start : start + PAGE_RECORDS], start_s + 2 * HOUR_S)
            gc.collect()
            with_ready = tracemalloc.get_traced_memory()[0]
            ready = sum(map(len, ledger._ready.values()))
            ledger._ready.clear()
            ledger._place = None
            gc.collect()
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    return (with_ready - held) / max(1, ready), held / count


def _on_s3(polls: int) -> tuple[float, float]:
    """MB a poll, written and read."""
    sent, received = [0], [0]
    write, read = S3Path.write_bytes, S3Path.read_bytes

    def counted_write(path: S3Path, content: bytes) -> int:
        sent[-1] += len(content)
        return int(write(path, content))

    def counted_read(path: S3Path) -> bytes:
        content: bytes = read(path)
        received[-1] += len(content)
        return content

    per_poll = _S3_PER_S * PERIOD_S
    with (
        _bucket() as folder,
        patch.object(S3Path, "write_bytes", counted_write),
        patch.object(S3Path, "read_bytes", counted_read),
    ):
        files = Files(folder, ManualClock())
        ledger, store = Ledger(files, STREAM, _no_damage), ContextStore(files, ["tenant"], _no_damage)
        chance, now_s = Random(1), int(START_S) // HOUR_S * HOUR_S
        known = coverage_rules.begin(now_s, DAY_S)
        for _ in range(polls):
            records = [
                Record("", chance.getrandbits(64), index % _DIGESTS, now_s + index // _S3_PER_S, None)
                for index in range(per_poll)
            ]
            now_s += PERIOD_S
            for start in range(0, per_poll, PAGE_RECORDS):
                page = records[start : start + PAGE_RECORDS]
                ledger.add(page, now_s)
                until_s = page[-1].created_s or now_s
                known = coverage_rules.read(known, (now_s - PERIOD_S, until_s), now_s, [])
                store.save_stream(STREAM.key, known.to_json())
                ledger.keep(known.read_again())
            sent.append(0)
            received.append(0)
    return mean(sent[:-1]) / 1e6, mean(received[:-1]) / 1e6


@contextmanager
def _bucket() -> Iterator[S3Path]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    credentials = {"aws_access_key_id": "emulated", "aws_secret_access_key": "emulated", "region_name": "us-east-1"}
    try:
        with patch.dict(os.environ, {"NO_PROXY": "127.0.0.1"}):
            resource = boto3.resource("s3", endpoint_url=f"http://{host}:{port}", **credentials)
            resource.create_bucket(Bucket="state")
            bucket = S3Path("/state")
            register_configuration_parameter(bucket, resource=resource)
            yield bucket / "connector"
    finally:
        server.stop()


def _first(second: float) -> int:
    """The first record at or after a second."""
    return int(-(-(second - START_S) * PER_S // 1))


def _record(number: int) -> Record:
    # Spread over 64 bits, as Graph's ids are.
    identity = number * 0x9E3779B97F4A7C15 % 2**64
    return Record("{}", identity, number % _DIGESTS, int(START_S + number / PER_S), None)


def _page(records: list[Record]) -> Page:
    first, last = (_instant(records[place]) if records else None for place in (0, -1))
    return Page(records, None, first, last, ordered=True)


def _instant(record: Record) -> datetime:
    return datetime.fromtimestamp(record.created_s or 0, UTC)


def _no_damage(name: str, why: str) -> None:
    raise AssertionError(f"{name}: {why}")
