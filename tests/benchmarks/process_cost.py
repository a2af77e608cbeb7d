"""CPU per record of the whole connector process, over TLS, against a reader made of typed models."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks import emulator_process as emulated
from tests.benchmarks.connector_process import ConnectorProcess, sign_ins
from tests.benchmarks.emulator_process import EmulatorProcess
from tests.benchmarks.report import Figure, Report, median_of, table
from tests.emulator import Emulator

NAME = "process_cost"
STREAM = "interactiveUser"
GOAL_US = 40
GOAL_TIMES = 112


def run(*, quick: bool = False) -> Report:
    """Runs the connector and the reference reader, once over nothing and then over records."""
    ours_records, theirs_records, rounds = (5_000, 1_000, 1) if quick else (40_000, 5_000, 3)
    idle = [_connector(0) for _ in range(rounds)]
    ours = [_connector(ours_records) for _ in range(rounds)]
    theirs_idle = [_reference(0) for _ in range(rounds)]
    theirs = [_reference(theirs_records) for _ in range(rounds)]
    idle_s, theirs_idle_s = sorted(idle)[rounds // 2], sorted(theirs_idle)[rounds // 2]
    ours_us = [(cpu_s - idle_s) / ours_records * 1e6 for cpu_s in ours]
    theirs_us = [(cpu_s - theirs_idle_s) / theirs_records * 1e6 for cpu_s in theirs]
    reached_us = sorted(ours_us)[rounds // 2]
    times = sorted(theirs_us)[rounds // 2] / reached_us
    text = "\n\n".join(
        [
            f"`python main.py graph_entra_signins` reads {ours_records:,} interactive sign-ins of 2 KB through the "
            "emulator (a process of its own), over TLS and through its proxy, without Graph's limit; the module "
            "spaces its requests at 2 s all the same, so this is CPU and not time. From it is taken what the same "
            "process uses with an empty tenant until its first poll is over. Heartbeats, metrics, TLS, the push and "
            f"the files are in it. The reference (`reference_reader.py`: typed models, `PageIterator`, the same "
            f"emulator) reads {theirs_records:,}.",
            table(
                ("", "connector", "reference"),
                [
                    ("CPU at an empty tenant, s", median_of(idle, 2), median_of(theirs_idle, 2)),
                    ("CPU with the records, s", median_of(ours, 2), median_of(theirs, 2)),
                    ("CPU per record, us", median_of(ours_us), median_of(theirs_us, 0)),
                ],
            ),
            f"At the most that Graph allows, 500 records/s, {reached_us:.0f} us are {reached_us * 500 / 1e4:.1f} % of "
            "one core.",
        ]
    )
    figures = [
        Figure(
            "CPU per record, whole process, 2 KB records over TLS",
            f"<= {GOAL_US} us",
            f"{reached_us:.0f} us",
            reached_us <= GOAL_US,
        ),
        Figure(
            "the same against a reference reader with typed models",
            f">= {GOAL_TIMES} times less",
            f"{times:.0f} times",
            times >= GOAL_TIMES,
        ),
    ]
    return Report("CPU of the whole process", figures, text, {"us": reached_us, "times": times})


def _connector(records: int) -> float:
    with TemporaryDirectory() as folder, EmulatorProcess() as emulator:
        if records:
            emulator.call(emulated.add_history, STREAM, records, 20)
        arguments = {"sign_in_types": [STREAM], "start_time": 24}
        environment = emulator.call(emulated.environment, data_path=Path(folder), connector=arguments)
        with sign_ins(environment, Path(folder) / "output") as process:
            if records:
                emulator.wait_until(emulated.has_received, records, timeout_s=60 + records / 250)
            else:
                emulator.wait_until(emulated.asked, 2, timeout_s=60)
            process.end()
            return process.cpu_s()


def _reference(records: int) -> float:
    with TemporaryDirectory() as folder, EmulatorProcess() as emulator:
        if records:
            emulator.call(emulated.add_history, STREAM, records, 20)
        environment = emulator.call(emulated.environment, data_path=Path(folder), connector={})
        environment["CLIENT_SECRET"] = emulator.call(_secret)
        output = Path(folder) / "output"
        with ConnectorProcess(["tests/benchmarks/reference_reader.py"], environment, output) as process:
            process.wait(120 + records / 20)
            if f"pushed {records}\n" not in process.output:
                raise RuntimeError(f"the reference reader failed: {process.output[-2000:]}")
            return process.cpu_s()


def _secret(emulator: Emulator) -> str:
    return emulator.tenant.client_secret
