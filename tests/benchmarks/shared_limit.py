"""One application's limit shared: four sign-in types in one process, and two connectors in two processes."""

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks import emulator_process as emulated
from tests.benchmarks.connector_process import ConnectorProcess
from tests.benchmarks.emulator_process import EmulatorProcess
from tests.benchmarks.full_speed import GRAPH_PER_S, counts
from tests.benchmarks.report import Figure, Report, table
from tests.emulator import STREAMS
from tests.emulator.intake import AUDITS_KEY, SIGNINS_KEY

NAME = "shared_limit"
SIGN_INS = tuple(stream for stream in STREAMS if stream != "directoryAudits")


def run(*, quick: bool = False) -> Report:
    """Runs both for some minutes."""
    seconds = 60 if quick else 240
    cases = {
        "one process, one sign-in type": _case(seconds, ["interactiveUser"], audits=False),
        "one process, four sign-in types": _case(seconds, list(SIGN_INS), audits=False),
        "two processes: one sign-in type, audits": _case(seconds, ["interactiveUser"], audits=True),
    }
    rows = []
    for name, (per_s, late_per_s, answers, late_answers, shares) in cases.items():
        rows.append(
            (
                name,
                f"{per_s:.0f}",
                f"{late_per_s:.0f} ({late_per_s / GRAPH_PER_S:.0%})",
                counts(answers),
                f"{answers[429] / answers.total():.1%}",
                f"{late_answers[429] / max(1, late_answers.total()):.1%}",
                ", ".join(f"{stream} {share:.0%}" for stream, share in sorted(shares.items())),
            )
        )
    two = cases["two processes: one sign-in type, audits"]
    text = "\n\n".join(
        [
            f"{seconds} s each, Graph's limit enforced strictly, more backlog than can be read, polls every 60 s. "
            "Later: the second half, when spacings have settled. Share: of the records delivered.",
            table(("", "records/s", "later", "answers", "429", "429 later", "share"), rows),
            "Each type's live poll costs a request a minute that brings few new records while backlog is read: four "
            "types leave 25.7 of 29.7 requests a minute to the backlog. Two processes do not see each other: their "
            "spacings adapt to the 429s that they cause, which is where those come from.",
        ]
    )
    figures = [
        Figure(
            "two connectors on one application: delivered per second, 429s",
            "stated",
            f"{two[1] / GRAPH_PER_S:.0%} of {GRAPH_PER_S} later, {two[2][429] / two[2].total():.0%} of answers 429; "
            + ", ".join(f"{stream} {share:.0%}" for stream, share in sorted(two[4].items())),
        ),
        Figure(
            "four sign-in types in one process: delivered per second",
            "stated",
            f"{cases['one process, four sign-in types'][0]:.0f}",
        ),
    ]
    return Report("Graph's limit shared", figures, text)


_Case = tuple[float, float, Counter[int], Counter[int], dict[str, float]]


def _case(seconds: float, sign_in_types: list[str], *, audits: bool) -> _Case:
    with TemporaryDirectory() as folder, EmulatorProcess() as emulator, ExitStack() as running:
        streams = [*sign_in_types, *(["directoryAudits"] if audits else [])]
        emulator.call(emulated.limit, 5, 10.0)
        for stream in streams:
            emulator.call(emulated.add_history, stream, int(seconds * 600 / len(streams)), 20)
        commands = {"graph_entra_signins": ({"sign_in_types": sign_in_types}, SIGNINS_KEY)}
        if audits:
            commands["graph_entra_audits"] = ({}, AUDITS_KEY)
        for command, (arguments, key) in commands.items():
            data_path = Path(folder) / command
            data_path.mkdir()
            environment = emulator.call(
                emulated.environment,
                data_path=data_path,
                connector={**arguments, "start_time": 24, "frequency": 60},
                intake_key=key,
            )
            running.enter_context(ConnectorProcess(["main.py", command], environment, data_path / "output"))
        emulator.wait_until(emulated.has_received, 1, timeout_s=60)
        started_at, started_s = time.monotonic(), time.time()
        time.sleep(seconds)
        answers = [answer for answer in emulator.call(emulated.answers) if answer[0] >= started_at]
        batches = [batch for batch in emulator.call(emulated.batches) if batch[0] >= started_s]
    half = seconds / 2
    later = sum(count for at, count in batches if at - started_s > half) / half
    per_s = sum(count for _, count in batches) / seconds
    read = Counter[str]()
    for _, stream, status, records in answers:
        if status == 200:
            read[str(stream)] += records
    shares = {stream: count / read.total() for stream, count in read.items()}
    late = Counter(status for at, _, status, _ in answers if at - started_at > half)
    return per_s, later, Counter(status for _, _, status, _ in answers), late, shares
