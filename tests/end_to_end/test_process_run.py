"""`make run` on the emulator: Ctrl-C ends it well, and nothing that only waits is called lost."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import RunProcess, until

STATUS_WITHIN_S = 45


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[RunProcess]:
    """`make run FOLLOW=1` when both connectors have begun."""
    with RunProcess(tmp_path, {"FOLLOW": "1"}) as run:
        until(lambda: len(run.connectors()) == 2, 60)
        yield run


def test_ctrl_c_drains_and_ends_with_status_0(followed: RunProcess) -> None:
    """The tenant stops, what is shown arrives or is said to be waiting, and no process is left."""
    until(lambda: re.search(r"sign-ins: \w+ +delivered +[1-9]", followed.said()), 60)
    children = followed.connectors()
    followed.process.send_signal(signal.SIGINT)
    assert followed.process.wait(STATUS_WITHIN_S) == 0
    assert ": 0 lost, 0 repeated, 0 altered, " in followed.said()
    assert "Traceback" not in followed.said()
    assert not [child for child in children if child.is_running()]


def test_ctrl_c_twice_ends_at_once_with_status_0(followed: RunProcess) -> None:
    """Before anything has drained: what waits is waiting, and no process is left."""
    children = followed.connectors()
    for _ in range(2):
        followed.process.send_signal(signal.SIGINT)
        time.sleep(1)
    assert followed.process.wait(STATUS_WITHIN_S) == 0
    assert re.search(r": 0 lost, 0 repeated, 0 altered, (\d+ still|none) waiting", followed.said())
    assert not [child for child in children if child.is_running()]


def test_a_connector_that_ends_by_itself_is_said(followed: RunProcess) -> None:
    """Status 1, its status and the end of its output, no traceback of ours, and the other one is stopped."""
    first, second = followed.connectors()
    first.kill()
    assert followed.process.wait(STATUS_WITHIN_S) == 1
    assert re.search(r"graph_entra_\w+ ended with status -9", followed.said())
    assert "Traceback" not in followed.said()
    with pytest.raises((psutil.NoSuchProcess, subprocess.TimeoutExpired)):
        psutil.Process(second.pid)
