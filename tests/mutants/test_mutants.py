"""Each of these lines, were it wrong, would be seen by a test."""

import os
import subprocess
import sys

import pytest

from tests.mutants.child import ROOT
from tests.mutants.table import CONTROLS, ROOMS


def tried(room: str) -> tuple[list[str], str]:
    """The lines that say what became of each mutant of a room, and all that was said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants", room], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    return [line for line in said.splitlines() if line.startswith(("caught ", "NOT CAUGHT "))], said


@pytest.mark.parametrize("room", ROOMS)
def test_every_mutant_is_caught(room: str) -> None:
    """By the test that stands beside it."""
    lines, said = tried(room)
    assert [line.rpartition(" (")[0] for line in lines] == [f"caught {mutant.name}" for mutant in ROOMS[room]], said


def test_what_is_no_mutant_is_not_caught() -> None:
    """A test that passes has seen nothing; nor has one that fails because the mutant is no Python, or is not run."""
    lines, said = tried("controls")
    assert len(lines) == len(CONTROLS), said
    for line, (control, why) in zip(lines, CONTROLS.items(), strict=True):
        assert line.startswith(f"NOT CAUGHT {control.name}: ")
        assert why in line
