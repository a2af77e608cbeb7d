"""A connector as the platform runs it: a process of its own, its CPU and memory read from outside."""

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Self

import psutil

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Memory:
    """A sample of resident memory."""

    after_s: float
    mb: float


class ConnectorProcess:
    """A context manager: runs from entering to leaving, which sends a SIGTERM and waits.

    Args:
        command: what Python runs, in the repository's root.
        environment: the process's whole environment.
        output: where its output goes.
    """

    def __init__(self, command: list[str], environment: dict[str, str], output: Path) -> None:
        self._command = [sys.executable, *command]
        # As in an image: bytecode is there, and no other variable of this shell's decides about it.
        bytecode = {"PYTHONPYCACHEPREFIX": str(Path(gettempdir()) / "graph-entra-bytecode")}
        self._environment = {**bytecode, **environment}
        self._output = output
        self._usage: resource.struct_rusage | None = None

    def __enter__(self) -> Self:
        with self._output.open("wb") as out:
            self.started_s = time.monotonic()
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=out, stderr=subprocess.STDOUT
            )
        self._psutil = psutil.Process(self._process.pid)
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()

    def cpu_s(self) -> float:
        """Returns the CPU used so far, user and system, all threads."""
        if self._usage is not None:
            return self._usage.ru_utime + self._usage.ru_stime
        times = self._psutil.cpu_times()
        return times.user + times.system

    def memory(self) -> Memory:
        """Returns the resident memory now."""
        return Memory(time.monotonic() - self.started_s, self._psutil.memory_info().rss / 1e6)

    def peak_mb(self) -> float:
        """Returns the largest resident memory so far, as the kernel noted it."""
        if self._usage is not None:
            return self._usage.ru_maxrss * 1024 / 1e6
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
        return int(kilobytes) * 1024 / 1e6

    def wait(self, timeout_s: float) -> None:
        """Waits until it ends by itself.

        Raises:
            TimeoutError: it does not.
        """
        give_up_s = time.monotonic() + timeout_s
        while self._usage is None:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self._usage, self._process.returncode = usage, os.waitstatus_to_exitcode(status)
            elif time.monotonic() > give_up_s:
                raise TimeoutError(f"{self._command[1:]} did not end within {timeout_s:.0f} s")
            else:
                time.sleep(0.05)

    def end(self) -> None:
        """Tells it to stop, as the platform does."""
        if self._usage is None:
            self._process.send_signal(signal.SIGTERM)
            self.wait(15)

    @property
    def output(self) -> str:
        """What it wrote."""
        return self._output.read_text(errors="replace")


def sign_ins(environment: dict[str, str], output: Path) -> ConnectorProcess:
    """The sign-in connector."""
    return ConnectorProcess(["main.py", "graph_entra_signins"], environment, output)
