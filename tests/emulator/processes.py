"""A connector as the platform runs it: `python main.py <docker_parameter>`, everything else by environment."""

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from threading import Event

ROOT = Path(__file__).parents[2]


class Connector:
    """One connector's process. Its output goes to a file.

    Args:
        command: the docker parameter.
        environment: the whole environment, as the platform sets it.
        output: where standard output and error go.
    """

    def __init__(self, command: str, environment: dict[str, str], output: Path) -> None:
        self.command = command
        self.output = output
        self._told_to_stop = False
        with output.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "main.py", command],
                cwd=ROOT,
                env=environment,
                stdout=out,
                stderr=out,
                # A Ctrl-C at the terminal is for whoever started it, who then stops it as the platform does.
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises RuntimeError, with the end of its output, if the process has ended by itself."""
        status = self.process.poll()
        if status is not None:
            raise RuntimeError(f"{self.command} ended with status {status}:\n{self.output.read_text()[-2000:]}")

    def port(self, page: str) -> int:
        """Returns the port that the kernel gave the process for a page, `/health` or `/metrics`.

        Raises:
            RuntimeError: if the process does not listen yet.
        """
        import psutil  # only tests need it

        ports = [
            one.laddr.port
            for one in psutil.Process(self.process.pid).net_connections("tcp")
            if one.status == psutil.CONN_LISTEN
        ]
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for port in ports if len(ports) == 2 else []:
            try:
                direct.open(f"http://127.0.0.1:{port}/metrics", timeout=5).close()
                metrics = True
            except urllib.error.HTTPError:
                metrics = False
            if metrics == (page == "/metrics"):
                return port
        raise RuntimeError(f"{self.command} does not listen for {page}")

    def kill(self) -> None:
        """Kill it as the kernel does when memory is short: no handler runs."""
        self.process.kill()
        self.process.wait(5)

    def tell_to_stop(self) -> None:
        """Send the SIGTERM that the platform sends, once: Python answers none while it ends."""
        if not self._told_to_stop and self.process.poll() is None:
            self._told_to_stop = True
            self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout_s: float = 10.0) -> int:
        """Stop it as the platform does, with a SIGTERM, and return its exit status."""
        self.tell_to_stop()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode


class Presses:
    """How often somebody pressed Ctrl-C: nothing is interrupted in the middle, and every wait ends."""

    def __init__(self) -> None:
        self.count = 0
        self._pressed = Event()

    def listen(self) -> None:
        """From now on, Ctrl-C counts as one, and a SIGTERM as two: at once, without draining."""
        # Also where the shell started this in the background with the signal ignored.
        signal.signal(signal.SIGINT, lambda *_: self._press(1))
        signal.signal(signal.SIGTERM, lambda *_: self._press(2))

    def wait(self, seconds: float) -> None:
        """Waits so long, or until Ctrl-C is pressed."""
        if self._pressed.wait(seconds):
            self._pressed.clear()

    def _press(self, by: int) -> None:
        self.count += by
        self._pressed.set()


def stop_all(connectors: Iterable[Connector]) -> list[int]:
    """Stops them side by side; returns their exit statuses."""
    stopping = list(connectors)
    for connector in stopping:
        connector.tell_to_stop()
    return [connector.stop() for connector in stopping]
