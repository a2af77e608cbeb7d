"""Imports in graph_entra point down one list, and the pure files stay pure: read off the syntax trees."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "graph_entra"

# A file may import only from files below it. A new file is given its place here first.
ORDER = (
    "connectors",
    "validation",
    "runtime",
    "lifecycle",
    "schedule",
    "metrics",
    "problems",
    "progress",
    "diagnosis",
    "module",
    "collector",
    "intake",
    "graph",
    "discovery",
    "questions",
    "expiry",
    "answers",
    "budget",
    "clouds",
    "ledger",
    "records",
    "lanes",
    "streams",
    "store",
    "errors",
)
# These do no I/O and read no clock: `now` comes in as a value. They see each other, errors, and this of the library.
PURE = ("lanes", "streams")
PURE_MAY_IMPORT = frozenset(
    {
        "__future__",
        "bisect",
        "collections",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "graph_entra",
        "itertools",
        "math",
        "operator",
        "re",
        "types",
        "typing",
    }
)
PURE_MUST_NOT_NAME = frozenset({"now", "utcnow", "today", "open", "print", "input", "exec", "eval", "__import__"})


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported anywhere in a file of graph_entra, however it is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = f"graph_entra.{module}".removesuffix(".")
            if module == "graph_entra":
                yield from ((node.lineno, f"graph_entra.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module


def upward(name: str, source: str) -> list[str]:
    """The imports of one file that do not point down the list."""
    # The package's __init__ stands under everything: every import runs it.
    place = len(ORDER) if name == "__init__" else ORDER.index(name)
    found = []
    for line, dotted in imported(ast.parse(source)):
        package, _, rest = dotted.partition(".")
        target = rest.partition(".")[0]
        if package == "graph_entra" and (target not in ORDER or ORDER.index(target) <= place):
            found.append(f"{name}.py:{line} imports {target or 'the package'}, which is not below it")
    return found


def impure(name: str, source: str) -> list[str]:
    """What one file imports or names that does I/O or reads a clock."""
    tree = ast.parse(source)
    found = []
    for line, dotted in imported(tree):
        package, _, rest = dotted.partition(".")
        if package not in PURE_MAY_IMPORT or (package == "graph_entra" and rest not in {*PURE, "errors"}):
            found.append(f"{name}.py:{line} imports {dotted}")
    for node in ast.walk(tree):
        spelled = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
        if spelled in PURE_MUST_NOT_NAME:
            found.append(f"{name}.py:{node.lineno} names {spelled}")
    return found


def test_every_file_has_its_place() -> None:
    """A file of graph_entra that the list does not know is in the wrong place, or the list was not kept."""
    files = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")}
    assert files - {"__init__"} <= set(ORDER)


def test_the_readme_shows_the_list() -> None:
    """A newcomer finds every file in README.md, in this order."""
    shown = re.findall(r"^    (\w+)\.py  ", (PACKAGE.parent / "README.md").read_text(), re.MULTILINE)
    assert tuple(shown) == ORDER


def test_no_file_is_called_by_what_it_is_not() -> None:
    """Files are called after nouns of this trade: these names say nothing."""
    assert not set(ORDER) & {"utils", "util", "helpers", "base", "manager", "common", "misc"}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_point_down(path: Path) -> None:
    """No file imports from a file above it, or from itself."""
    assert upward(path.stem, path.read_text()) == []


@pytest.mark.parametrize("name", PURE)
def test_pure_files_do_no_io_and_read_no_clock(name: str) -> None:
    """What decides which stretch of time is read can be tested with values alone."""
    assert impure(name, (PACKAGE / f"{name}.py").read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from graph_entra.collector import Collector",
        "import graph_entra.collector",
        "import graph_entra.collector as below",
        "from graph_entra import collector",
        "from . import collector",
        "from .collector import Collector",
        "def late():\n    from graph_entra.collector import Collector",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from graph_entra.collector import Collector",
        "from graph_entra.graph import itself",
        "from graph_entra.elsewhere import unknown",
        "from graph_entra import *",
        "import graph_entra",
    ],
)
def test_an_import_that_points_up_is_caught(source: str) -> None:
    """Each way of writing an import from above is seen."""
    assert len(upward("graph", source)) == 1


def test_imports_that_point_down_pass() -> None:
    """The check lets through what the list allows, and everything that is not ours."""
    source = "from graph_entra import budget, errors\nfrom .clouds import CLOUDS\nimport orjson, graph_entra_elsewhere"
    assert upward("graph", source) == []
    assert upward("__init__", "import importlib.metadata") == []
    assert len(upward("__init__", "from graph_entra.errors import GraphEntraError")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "from asyncio import sleep",
        "import requests",
        "from graph_entra.store import Store",
        "from graph_entra import store",
        "def f():\n    import logging",
        "from datetime import UTC, datetime\nx = datetime.now(UTC)",
        "from datetime import date\nx = date.today()",
        "f = open",
        "print(1)",
    ],
)
def test_an_impurity_is_caught(source: str) -> None:
    """Each way to a file, a socket or a clock is seen."""
    assert len(impure("lanes", source)) == 1


def test_pure_code_passes() -> None:
    """The check lets through values and arithmetic."""
    source = "from datetime import datetime\nfrom graph_entra.streams import Stream\nx = datetime.fromisoformat('2026')"
    assert impure("lanes", source) == []
