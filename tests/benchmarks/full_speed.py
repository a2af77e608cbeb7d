"""A backlog at full speed under Graph's limit, live records meanwhile, and the memory that takes."""

import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks import emulator_process as emulated
from tests.benchmarks.connector_process import ConnectorProcess, Memory, sign_ins
from tests.benchmarks.emulator_process import EmulatorProcess
from tests.benchmarks.report import Figure, Report, table

NAME = "full_speed"
STREAM = "interactiveUser"
PERIOD_S = 60
GRAPH_PER_S = 500
GOAL_PER_S = 0.95 * GRAPH_PER_S
GOAL_THROTTLED = 0.02
GOAL_DELAY_S = PERIOD_S + 15
GOAL_MB = 220
# From here on buffers have found their size.
WARM = 0.2


@dataclass(frozen=True)
class Run:
    """What was seen of one run.

    Attributes:
        records: the backlog.
        timed: records, live ones included, that arrived within `seconds`.
        seconds: from the first push to the last.
        answers: Graph's, by status.
        delays_s: of live records.
        memory: resident, sampled each second.
        peak_mb: VmHWM.
        surplus: records that were pushed more than once.
    """

    records: int
    timed: int
    seconds: float
    answers: Counter[int]
    delays_s: list[float]
    memory: list[Memory]
    peak_mb: float
    surplus: int

    @property
    def per_s(self) -> float:
        return self.timed / self.seconds

    @property
    def throttled(self) -> float:
        return self.answers[429] / self.answers.total()

    def memory_at(self, share: float) -> float:
        """Returns the median memory of the tenth of the run that begins there."""
        first = int(len(self.memory) * share)
        return statistics.median(sample.mb for sample in self.memory[first : first + max(1, len(self.memory) // 10)])

    def rows(self) -> list[tuple[str, str]]:
        """Returns what a table says of it."""
        return [
            ("backlog delivered", f"{self.records:,}"),
            ("seconds, first to last push", f"{self.seconds:.0f}"),
            ("delivered per second", f"{self.per_s:.1f}"),
            ("answers by status", counts(self.answers)),
            ("records pushed more than once", f"{self.surplus}"),
            ("peak memory, MB", f"{self.peak_mb:.0f}"),
            *((f"memory at {at:.0%} of the run, MB", f"{self.memory_at(at):.0f}") for at in (WARM, 0.5, 0.9)),
        ]

    def memory_figure(self, what: str, goal_mb: float) -> Figure:
        """Returns the line of the summary."""
        growth_mb = self.memory_at(0.9) - self.memory_at(WARM)
        flat = growth_mb <= 0.1 * self.peak_mb
        return Figure(
            f"peak memory, {what}",
            f"<= {goal_mb:.0f} MB, flat",
            f"{self.peak_mb:.0f} MB; {growth_mb:+.0f} MB from {WARM:.0%} to the end of the run",
            self.peak_mb <= goal_mb and flat,
        )


def run(*, quick: bool = False) -> Report:
    """Reads 300,000 records of 2 KB while live records appear."""
    small = read(20_000 if quick else 300_000, 2_000, live_per_s=2.0)
    delay_s = max(small.delays_s, default=float("nan"))
    median_s = statistics.median(small.delays_s) if small.delays_s else float("nan")
    text = "\n\n".join(
        [
            f"One connector, one sign-in type, Graph's limit enforced strictly (5 requests in any 10 s). "
            f"{small.records:,} records of 2 KB spread over 20 h are the backlog; 2 live records a second appear "
            f"meanwhile, polled every {PERIOD_S} s. "
            "Live delay: from the moment Graph shows a record until the intake has it, for every record that was "
            "created while backlog was pending. The emulator is a process of its own.",
            table(
                ("", "2 KB records"),
                [
                    *small.rows(),
                    ("live records", f"{len(small.delays_s):,}"),
                    ("live delay, s: median, maximum", f"{median_s:.1f}, {delay_s:.1f}"),
                ],
            ),
            "Of Graph's 30 requests a minute, the spacing of 2.02 s leaves 29.7, and each live poll takes one, which "
            "the overlap fills with records that are known already. With all four types four polls a minute are live: "
            "see the limit shared.",
        ]
    )
    figures = [
        Figure(
            "delivered per second under Graph's limit",
            f">= 95 % of {GRAPH_PER_S}",
            f"{small.per_s:.0f} ({small.per_s / GRAPH_PER_S:.1%})",
            small.per_s >= GOAL_PER_S,
        ),
        Figure(
            "answers that were 429",
            f"<= {GOAL_THROTTLED:.0%}",
            f"{small.throttled:.1%}",
            small.throttled <= GOAL_THROTTLED,
        ),
        Figure(
            f"delay of a live record with {small.records:,} records of backlog",
            f"<= {GOAL_DELAY_S} s",
            f"max {delay_s:.0f} s, median {median_s:.0f} s",
            delay_s <= GOAL_DELAY_S,
        ),
        small.memory_figure(f"{small.records:,} records of 2 KB", GOAL_MB),
    ]
    values = {"per_s": small.per_s, "delay_s": delay_s, "peak_mb": small.peak_mb}
    return Report("Full speed under Graph's limit", figures, text, values)


def read(records: int, size: int, live_per_s: float) -> Run:
    """Lets a connector read so much backlog, and watches."""
    expected_s = records / 400
    with TemporaryDirectory() as folder, EmulatorProcess() as emulator:
        emulator.call(emulated.limit, 5, 10.0)
        emulator.call(emulated.add_history, STREAM, records, 20, size)
        if live_per_s:
            emulator.call(emulated.watch, emulator.call(emulated.add_live, STREAM, live_per_s, expected_s / 60 + 5))
        arguments = {"sign_in_types": [STREAM], "start_time": 24, "frequency": PERIOD_S}
        environment = emulator.call(emulated.environment, data_path=Path(folder), connector=arguments)
        with sign_ins(environment, Path(folder) / "output") as process:
            memory = _follow(emulator, process, records, 120 + 2 * expected_s)
            peak_mb = process.peak_mb()
            process.end()
        batches = emulator.call(emulated.batches)
        answers = Counter(status for _, _, status, _ in emulator.call(emulated.answers))
        delays = emulator.call(emulated.live_delays)
    started_s, ended_s = batches[0][0], batches[-1][0]
    arrived = sum(count for _, count in batches)
    shown = [delay_s for created_s, delay_s in delays if created_s >= started_s]
    # The first push marks the beginning: what came before it took no part of the time.
    timed = arrived - batches[0][1]
    return Run(records, timed, ended_s - started_s, answers, shown, memory, peak_mb, arrived - len(delays) - records)


def _follow(emulator: EmulatorProcess, process: ConnectorProcess, records: int, timeout_s: float) -> list[Memory]:
    memory = []
    give_up_s = time.monotonic() + timeout_s
    while not emulator.call(emulated.has_backlog, records):
        memory.append(process.memory())
        if time.monotonic() > give_up_s:
            raise TimeoutError(f"not delivered within {timeout_s:.0f} s: {process.output[-2000:]}")
        time.sleep(1)
    return memory


def counts(answers: Counter[int]) -> str:
    """Returns statuses and how often they were answered."""
    return ", ".join(f"{status}: {count}" for status, count in sorted(answers.items()))
