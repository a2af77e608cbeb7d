"""Time from process start to the first push, against an empty module of the SDK, and where it goes."""

import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks import emulator_process as emulated
from tests.benchmarks.connector_process import ROOT, ConnectorProcess
from tests.benchmarks.emulator_process import EmulatorProcess
from tests.benchmarks.report import Figure, Report, median_of, table

NAME = "startup"
STREAM = "interactiveUser"
_IMPORT_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|\s*(\S+)")
_MEMORY = (
    ("Python", "pass"),
    ("the SDK (flask, boto3, sentry, pydantic, cryptography)", "import sekoia_automation.connector"),
    ("and msgraph-sdk, of which two request builders", "import graph_entra.microsoft.graph"),
    ("and all of this module", "import main"),
)
_RESIDENT = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')))"
_STEPS = (
    ("secrets", "process start, imports, configuration"),
    ("token", "secrets, state, clients"),
    ("Graph", "access token"),
    ("intake", "first page: asked, read, pushed"),
)


def run(*, quick: bool = False) -> Report:
    """Starts both several times, with Python's bytecode cached and without."""
    rounds = 1 if quick else 5
    seen: dict[str, list[dict[str, float]]] = {
        "ours": [],
        "empty": [],
        "ours, no bytecode": [],
        "empty, no bytecode": [],
    }
    with TemporaryDirectory() as cache, EmulatorProcess() as emulator:
        emulator.call(emulated.add_history, STREAM, 1000, 20)
        for turn in range(rounds + 1):
            for name, command in (
                ("ours", ["main.py", "graph_entra_signins"]),
                ("empty", ["tests/benchmarks/empty_module.py", "empty"]),
            ):
                times = _start(emulator, command, {"PYTHONPYCACHEPREFIX": cache})
                if turn:  # the first fills the cache
                    seen[name].append(times)
        for _ in range(rounds):
            with TemporaryDirectory() as none:
                unwritten = {"PYTHONPYCACHEPREFIX": none, "PYTHONDONTWRITEBYTECODE": "1"}
                seen["ours, no bytecode"].append(_start(emulator, ["main.py", "graph_entra_signins"], unwritten))
                seen["empty, no bytecode"].append(
                    _start(emulator, ["tests/benchmarks/empty_module.py", "empty"], unwritten)
                )
        packages, total_s = _imports(cache)
        memory = _memory(cache)
    first_push = {name: [times["intake"] for times in runs] for name, runs in seen.items()}
    steps, previous = [], "start"
    for mark, what in _STEPS:
        spans = [times[mark] - times.get(previous, 0.0) for times in seen["ours"]]
        steps.append((what, median_of(spans, 2)))
        previous = mark
    text = "\n\n".join(
        [
            "Seconds from the start of the process until the intake has the first push; the emulator runs already. "
            "The empty module (`empty_module.py`) pushes one event from the same SDK. An image built with pip has "
            "bytecode; a package installed without (`uv pip install` does not compile, and with "
            "PYTHONDONTWRITEBYTECODE nothing ever does) is compiled again at every start.",
            table(("", "first push, s"), [(name, median_of(values, 2)) for name, values in first_push.items()]),
            "Where ours go (medians, bytecode cached):",
            table(("step", "s"), steps),
            f"Of the imports ({total_s:.2f} s by `python -X importtime`, which itself costs time), by top-level "
            "package:",
            table(("package", "s"), [(name, f"{us / 1e6:.2f}") for name, us in packages.most_common(12)]),
            "Resident memory after importing, which is where the memory of an idle connector is:",
            table(("imported", "MB"), memory),
        ]
    )
    ours, empty = statistics.median(first_push["ours"]), statistics.median(first_push["empty"])
    figure = Figure(
        "process start to first push, against an empty module of the SDK",
        "stated",
        f"{ours:.1f} s, empty {empty:.1f} s; without bytecode "
        f"{statistics.median(first_push['ours, no bytecode']):.1f} s, "
        f"empty {statistics.median(first_push['empty, no bytecode']):.1f} s",
    )
    return Report("Time to the first push", [figure], text, {"ours_s": ours, "empty_s": empty})


def _start(emulator: EmulatorProcess, command: list[str], extra: dict[str, str]) -> dict[str, float]:
    with TemporaryDirectory() as folder:
        emulator.call(emulated.forget)
        arguments = {"sign_in_types": [STREAM], "start_time": 24}
        environment = emulator.call(emulated.environment, data_path=Path(folder), connector=arguments)
        environment |= {"PYTHONPATH": str(ROOT), **extra}
        with ConnectorProcess(command, environment, Path(folder) / "output") as process:
            emulator.wait_until(emulated.has_received, 1, timeout_s=60)
            marks = emulator.call(emulated.first_times)
            return {name: at - process.started_s for name, at in marks.items()}


def _memory(cache: str) -> list[tuple[str, str]]:
    """Returns the resident memory after each import, each in a process of its own."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    rows, imports = [], ""
    for name, statement in _MEMORY:
        imports += f"{statement}\n"
        found = subprocess.run(
            [sys.executable, "-c", imports + _RESIDENT],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        rows.append((name, f"{int(found.stdout) * 1024 / 1e6:.0f}"))
    return rows


def _imports(cache: str) -> tuple[Counter[str], float]:
    """Returns the time that each top-level package's own modules take to import, and the whole."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    found = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import main"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    packages = Counter[str]()
    for own_us, _, module in _IMPORT_LINE.findall(found.stderr):
        name = module.partition(".")[0]
        packages["(Python's own)" if name in sys.stdlib_module_names else name] += int(own_us)
    return packages, packages.total() / 1e6
