"""The proof that the checks check: each mutant breaks a promise, and its story must see it."""

from __future__ import annotations

import pytest

from tests.crash.mutants import MUTANTS, Apply
from tests.crash.scenarios import SCENARIOS, Story


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_code_keeps_its_promises_in_every_story(scenario: Story) -> None:
    """Without a mutant, each story ends well."""
    scenario()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_caught(mutant: Apply, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a mutant, a promise is broken in the story that is named beside it."""
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        MUTANTS[mutant]()
