"""What a connector keeps on disk and in memory at 1,000,000 records a day, and what a poll writes."""

import asyncio
import gc
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from graph_entra.delivery.intake import Intake
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading.collector import Collector
from graph_entra.state.context import ContextStore
from graph_entra.state.files import Files
from graph_entra.streams import DAY_S, HOUR_S, sign_in_stream
from tests.benchmarks.report import Figure, Report, table
from tests.benchmarks.simulation import Clock, ModelGraph, collect, run_virtually

NAME = "state_size"
PER_S = 1_000_000 / DAY_S
GOAL_DISK_MB = 40
GOAL_WRITE_MB = 2


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

    files: CountingFiles
    disk_bytes: list[int] = field(default_factory=list)
    written_bytes: list[int] = field(default_factory=list)
    largest_file: list[int] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)

    def __call__(self) -> None:
        sizes = [path.stat().st_size for path in self.files.folder.rglob("*") if path.is_file()]
        self.disk_bytes.append(sum(sizes))
        self.largest_file.append(max(sizes, default=0))
        self.written_bytes.append(self.files.written)
        self.files.written = 0
        if len(self.disk_bytes) % 15 == 0:
            gc.collect()
            self.memory_bytes.append(tracemalloc.get_traced_memory()[0])


def run(*, quick: bool = False) -> Report:
    """Simulates two days and a few hours, so that every lane is at work."""
    hours = 3 if quick else 54
    delivered = 0

    def push(texts: "list[str]") -> int:
        nonlocal delivered
        delivered += len(texts)
        return len(texts)

    async def job(folder: Path) -> Watch:
        clock = Clock()
        budget = RateLimiter(clock=asyncio.get_running_loop().time)
        files = CountingFiles(folder)
        collector = Collector(
            sign_in_stream("nonInteractiveUser", beta_only=False),
            files=files,
            store=ContextStore(files, ["tenant"], _no_damage),
            source=ModelGraph(PER_S, budget, clock),
            intake=Intake(push, clock=clock, stopping=Event(), on_fault=lambda _fault: None),
            history_s=0,
            forward_updates=True,
            clock=clock,
            on_taken=lambda _taken: None,
            on_damage=_no_damage,
        )
        watch = Watch(files)
        await collect(collector, budget, clock, hours * HOUR_S, watch)
        return watch

    with TemporaryDirectory() as folder:
        tracemalloc.start(1)
        try:
            watch = run_virtually(job(Path(folder)))
        finally:
            tracemalloc.stop()
    periods_a_day = DAY_S // 60

    def at(day: int, values: list[int], per_day: int) -> float:
        return max(values[(day - 1) * per_day : day * per_day] or values) / 1e6

    memory_a_day = periods_a_day // 15
    # The first day fills the ledger; the second is like every other.
    rows = [
        (
            f"day {day}",
            f"{at(day, watch.disk_bytes, periods_a_day):.1f}",
            f"{at(day, watch.written_bytes, periods_a_day):.2f}",
            f"{at(day, watch.largest_file, periods_a_day):.2f}",
            f"{at(day, watch.memory_bytes, memory_a_day):.1f}",
        )
        for day in (1, 2)
    ]
    last_mb = max(watch.memory_bytes[-memory_a_day // 12 :]) / 1e6
    disk_mb, written_mb = max(watch.disk_bytes) / 1e6, max(watch.written_bytes) / 1e6
    first_mb, second_mb = at(1, watch.memory_bytes, memory_a_day), at(2, watch.memory_bytes, memory_a_day)
    text = "\n\n".join(
        [
            f"The real Collector, Ledger and ContextStore, driven for {hours} simulated hours by a model of Graph at "
            f"{PER_S:.2f} records/s ({delivered:,} delivered, each once), polled every 60 s, all lanes at work, one "
            "stream. Memory is what Python allocated (tracemalloc), the records of a page included. On S3, where "
            "nothing can be appended, a poll writes the hour's whole file instead: the largest file.",
            table(("largest", "MB on disk", "MB written per poll", "MB of the largest file", "MB of memory"), rows),
            f"Memory in the last two hours: {last_mb:.1f} MB.",
        ]
    )
    figures = [
        Figure(
            "state on disk at 1,000,000 records a day",
            f"<= {GOAL_DISK_MB} MB",
            f"{disk_mb:.1f} MB",
            disk_mb <= GOAL_DISK_MB,
        ),
        Figure(
            "rewritten per poll, at most",
            f"<= {GOAL_WRITE_MB} MB",
            f"{written_mb:.2f} MB",
            written_mb <= GOAL_WRITE_MB,
        ),
        Figure(
            "memory of the state, day 1 and day 2",
            "independent of the horizon",
            f"{first_mb:.1f} MB, {second_mb:.1f} MB",
            second_mb <= first_mb * 1.1,
        ),
    ]
    return Report("State at 1,000,000 records a day", figures, text, {"disk_mb": disk_mb, "written_mb": written_mb})


def _no_damage(name: str, why: str) -> None:
    raise AssertionError(f"{name}: {why}")
