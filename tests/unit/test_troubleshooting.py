"""The troubleshooting table cannot drift from what the log says."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from docs import pictures
from graph_entra import errors
from graph_entra.errors import CredentialRejected, GraphEntraError, GraphRefused, IntakeRefused
from graph_entra.streams import LOOK_AGES, WORDS
from graph_entra.telling import diagnosis
from graph_entra.telling.diagnosis import ENTRA, GRAPH, Advice
from tests.unit import troubleshooting
from tests.unit.troubleshooting import BEHIND, CONFIGURE, END, LINES, ROOT, START, advices, rewritten, table


def literals(path: Path) -> str:
    """Every text of a file, in order; parts of one f-string or of a broken line stand together."""
    texts = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant | ast.JoinedStr)]
    joined = [
        (
            "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            if isinstance(node, ast.JoinedStr)
            else str(node.value)
        )
        for node in texts
    ]
    return "\n".join(joined)


def test_configure_md_is_up_to_date() -> None:
    """If this fails, run `python -m tests.unit.troubleshooting` and read what has changed."""
    text = CONFIGURE.read_text()
    assert text.count(START) == text.count(END) == 1
    assert text == rewritten(text)


def test_every_advice_has_a_row() -> None:
    """A sentence that is new in diagnosis.py is in the table, once, with its remedy."""
    known = {value for value in vars(diagnosis).values() if isinstance(value, Advice)}
    known |= set(ENTRA.values()) | set(GRAPH.values())
    shown = [advice for _, advice in advices()]
    assert set(shown) == known
    assert len(shown) == len(known)
    for advice in known:
        assert table().count(f"| {advice.cause} |") == 1
        assert f"| {advice.remedy} |" in table()


def test_every_code_is_named() -> None:
    """Who has only the code finds the row."""
    for number in ENTRA:
        assert f"AADSTS{number}" in table()
    for code in GRAPH:
        if GRAPH[code] is not diagnosis._FORBIDDEN:
            assert code in table()


def test_no_reason_stands_for_an_advice_that_is_gone() -> None:
    """A row whose sentence was renamed or deleted is an error, not a silence."""
    assert all(isinstance(getattr(diagnosis, name, None), Advice) for name in BEHIND)


@pytest.mark.parametrize(("says", "file"), [(says, file) for says, file, _, _ in LINES])
def test_every_other_line_is_really_written(says: str, file: str) -> None:
    """The words in the table are the words in the code."""
    assert says in literals(ROOT / "graph_entra" / file)


def test_a_stale_table_is_rewritten() -> None:
    """Whatever stands between the markers goes, whatever stands around them stays."""
    stale = f"above\n{START}\nold\n{END}\nbelow"
    assert rewritten(stale) == f"above\n{table()}\nbelow"
    assert rewritten(rewritten(stale)) == rewritten(stale)


def test_cells_do_not_break_the_table() -> None:
    """Three columns in every row."""
    rows = [line for line in table().splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {4}
    assert len(rows) == 2 + len(list(advices())) + len(troubleshooting.LINES)


def test_the_words_are_those_of_the_log() -> None:
    """One thing has one name: each word that a line may use is explained, and no other; the ages are the code's."""
    text = CONFIGURE.read_text()
    explained = text.partition("| Word | What it is |\n|---|---|\n")[2].partition("\n\n")[0]
    words = [row.split("|")[1].strip() for row in explained.splitlines()]
    assert words == list(WORDS.values())
    first, second, third = LOOK_AGES
    assert f"at {first}, {second} and {third} of age" in explained


def test_what_passes_by_itself_comes_last() -> None:
    """The table's order is the tree's: first what a person must mend."""
    arguments = {CredentialRejected: (1,), GraphRefused: (400, "", ""), IntakeRefused: (401,)}
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GraphEntraError)]
    for kind in kinds:
        advice = diagnosis.advise(kind(*arguments.get(kind, ("text",))))
        assert (advice in troubleshooting.PASSING) is issubclass(kind, errors.PassesByItself), kind


@pytest.mark.parametrize("picture", sorted(set(re.findall(r"\((docs/[\w.-]+\.(?:svg|png))\)", CONFIGURE.read_text()))))
def test_the_pictures_are_there_and_small(picture: str) -> None:
    """Each that CONFIGURE.md shows, under 150 KB."""
    assert 0 < (ROOT / picture).stat().st_size < 150_000


def test_the_drawn_pictures_are_of_these_forms() -> None:
    """If this fails, run `python -m docs.pictures` and look at them."""
    assert (ROOT / "docs" / "values.svg").read_text() == pictures.values()
    assert (ROOT / "docs" / "two-intakes.svg").read_text() == pictures.two_intakes()
