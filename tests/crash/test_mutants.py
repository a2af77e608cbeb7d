"""The proof that the checks check: each mutant breaks a promise, and the machine or a story must see it.

``pytest -s tests/crash/test_mutants.py`` prints the table: which example, which step, which promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.crash import mutants
from tests.crash.mutants import MUTANTS, Apply
from tests.crash.scenarios import SCENARIOS
from tests.crash.test_stateful import EXAMPLES, QUICK, StreamMachine
from tests.crash.world import Broken

# Issue B wants the machine itself to see these.
NAMED: Final = frozenset(
    {
        mutants.no_overlap,
        mutants.saved_before_delivery,
        mutants.pruned_by_count,
        mutants.pruned_at_live_cursor,
        mutants.cursor_on_unordered_page,
    }
)


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, str, str]]]:
    """Rows that are printed when the last mutant has run."""
    rows: list[tuple[str, str, str]] = []
    yield rows
    print(f"\n\n{'mutant':43} {'the machine':52} the stories")
    for mutant, machine, story in rows:
        print(f"{mutant:43} {machine:52} {story}")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_code_keeps_its_promises_in_every_story(scenario: Callable[[], None]) -> None:
    """Without a mutant, each story ends well."""
    scenario()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_caught(mutant: Apply, monkeypatch: pytest.MonkeyPatch, table: list[tuple[str, str, str]]) -> None:
    """With a mutant, a promise is broken, in the state machine for those that issue B names, and in a story."""
    mutant(monkeypatch)
    by_machine = _machine(EXAMPLES or (150 if mutant in NAMED else 10))
    by_story = _story()
    table.append((mutant.__name__, by_machine or "-", by_story or "-"))
    assert by_story
    assert by_machine or mutant not in NAMED


def _machine(examples: int) -> str | None:
    seen: dict[str, Any] = {"example": 0}

    class Watched(StreamMachine):
        def __init__(self) -> None:
            super().__init__()
            seen["example"] += 1

        def _checked(self, job: Any, downtime_s: int, kill: int | None) -> None:
            seen["step"] = f"{job.__name__}, pass {self.steps + 1}"
            super()._checked(job, downtime_s, kill)

        def teardown(self) -> None:
            if not self.broken:
                seen["step"] = "the day after"
            super().teardown()

    try:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Watched, settings=settings(QUICK, max_examples=examples, verbosity=Verbosity.quiet)
        )
    except Broken as broken:
        return f"{broken.check}: example {seen['example']}, {seen['step']}"
    return None


def _story() -> str | None:
    for scenario in SCENARIOS:
        try:
            scenario()
        except Broken as broken:
            return f"{broken.check}: {scenario.__name__}"
    return None
