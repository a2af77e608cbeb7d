"""Imports run one way between the packages of graph_entra, in no circle within one, and the pure files stay pure."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "graph_entra"

# The rooms, and what each may import besides the nouns. microsoft, delivery and state do not know each other.
ROOMS: dict[str, frozenset[str]] = {
    "sekoia": frozenset({"reading", "microsoft", "delivery", "state", "telling"}),
    "reading": frozenset({"microsoft", "delivery", "state", "telling"}),
    "microsoft": frozenset(),
    "delivery": frozenset(),
    "state": frozenset(),
    "telling": frozenset(),
}
# What every room shares, beside the rooms. They know only each other.
NOUNS = frozenset({"clock", "errors", "records", "streams"})
# These do no I/O and read no clock: `now` comes in as a value. They see the nouns, each other, and this of the library.
PURE = ("streams", "reading/coverage", "reading/order", "reading/plan")
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


def name_of(path: Path) -> str:
    """A file's name within the package, such as ``reading/plan``."""
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def imported(name: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports anywhere, however it is written."""
    package = ["graph_entra", *name.split("/")[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = ".".join([*package[: len(package) + 1 - node.level], module]).removesuffix(".")
            if module == "graph_entra" or module.removeprefix("graph_entra.") in ROOMS:
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module


def targets(name: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and file name (``reading/plan``) of what a file imports of graph_entra."""
    for line, dotted in imported(name, source):
        package, _, rest = dotted.partition(".")
        if package == "graph_entra":
            first, _, second = rest.partition(".")
            yield line, f"{first}/{second.partition('.')[0]}" if first in ROOMS else first


def wrong_way(name: str, source: str) -> list[str]:
    """The imports of one file that do not run the way the rooms allow."""
    room = name.partition("/")[0] if "/" in name else None
    found = []
    for line, target in targets(name, source):
        other = target.partition("/")[0]
        allowed = other in NOUNS or (room is not None and (other == room or other in ROOMS[room]))
        if not allowed or (name.endswith("__init__")):
            found.append(f"{name}.py:{line} imports {target or 'the package'}")
    return found


def impure(name: str, source: str) -> list[str]:
    """What one file imports or names that does I/O or reads a clock."""
    found = [
        f"{name}.py:{line} imports {dotted}"
        for line, dotted in imported(name, source)
        if dotted.partition(".")[0] not in PURE_MAY_IMPORT
    ]
    found += [
        f"{name}.py:{line} imports {target}"
        for line, target in targets(name, source)
        if target not in NOUNS and target not in PURE
    ]
    for node in ast.walk(ast.parse(source)):
        spelled = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
        if isinstance(node, ast.Name | ast.Attribute) and spelled in PURE_MUST_NOT_NAME:
            found.append(f"{name}.py:{node.lineno} names {spelled}")
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_file_is_in_a_room_or_a_noun() -> None:
    """A new file needs no entry anywhere, but it stands in one of the rooms."""
    rooms = {name_of(path).partition("/")[0] for path in FILES if "/" in name_of(path)}
    loose = {name_of(path) for path in FILES if "/" not in name_of(path)}
    assert rooms == set(ROOMS)
    assert loose == NOUNS | {"__init__"}


def test_the_readme_shows_the_rooms() -> None:
    """A newcomer finds every file in README.md, under its room."""
    shown = set(re.findall(r"^    ((?:\w+/)?\w+)\.py  ", (PACKAGE.parent / "README.md").read_text(), re.MULTILINE))
    assert shown == {name_of(path) for path in FILES if path.stem != "__init__"}


def test_no_file_is_called_by_what_it_is_not() -> None:
    """Files are called after nouns of this trade: these names say nothing."""
    assert not {path.stem for path in FILES} & {"utils", "util", "helpers", "base", "manager", "common", "misc"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    """No file imports from a room that its own may not know."""
    assert wrong_way(name_of(path), path.read_text()) == []


def test_no_circle_within_a_room() -> None:
    """Within a room too, imports can be followed to an end."""
    graph = {name_of(path): {target for _, target in targets(name_of(path), path.read_text())} for path in FILES}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {error.args[1]}")


@pytest.mark.parametrize("name", PURE)
def test_pure_files_do_no_io_and_read_no_clock(name: str) -> None:
    """What decides which stretch of time is read can be tested with values alone."""
    assert impure(name, (PACKAGE / f"{name}.py").read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from graph_entra.reading.collector import Collector",
        "import graph_entra.reading.collector",
        "import graph_entra.state.ledger as below",
        "from graph_entra.reading import collector",
        "from ..reading import collector",
        "from ..state.files import Files",
        "def late():\n    from graph_entra.sekoia.module import Module",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from graph_entra.telling.metrics import LAG",
        "from graph_entra.elsewhere import unknown",
        "from graph_entra import *",
        "import graph_entra",
    ],
)
def test_an_import_of_the_wrong_way_is_caught(source: str) -> None:
    """Each way of writing an import from another room is seen."""
    assert len(wrong_way("microsoft/graph", source)) == 1


def test_imports_of_the_right_way_pass() -> None:
    """The check lets through what the rooms allow, and everything that is not ours."""
    source = "from graph_entra import errors\nfrom .clouds import CLOUDS\nimport orjson"
    assert wrong_way("microsoft/graph", source) == []
    assert wrong_way("reading/plan", "from graph_entra.state.ledger import Ledger") == []
    assert len(wrong_way("__init__", "from graph_entra.errors import GraphEntraError")) == 1
    assert len(wrong_way("errors", "from graph_entra.state.ledger import Ledger")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "from asyncio import sleep",
        "import requests",
        "from graph_entra.state.ledger import Ledger",
        "from graph_entra.reading import schedule",
        "def f():\n    import logging",
        "from datetime import UTC, datetime\nx = datetime.now(UTC)",
        "from datetime import date\nx = date.today()",
        "f = open",
        "print(1)",
    ],
)
def test_an_impurity_is_caught(source: str) -> None:
    """Each way to a file, a socket or a clock is seen."""
    assert len(impure("reading/plan", source)) == 1


def test_pure_code_passes() -> None:
    """The check lets through values and arithmetic."""
    source = "from datetime import datetime\nfrom graph_entra.streams import Stream\nx = datetime.fromisoformat('2026')"
    assert impure("reading/plan", source) == []
