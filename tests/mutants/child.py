"""One mutant: the module's other text is what the import finds, then its test is run in this process.

No file is touched, and no cached bytecode of the module is read or written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

import pytest

from tests.mutants.table import Mutant

ROOT = Path(__file__).parents[2]
# What a test of ours needs, and nothing that takes time: a mutant costs a third of a second.
_PLAINLY: Final = (
    *("-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "--timeout=60"),
    *("--assert=plain", "--tb=line", "--disable-warnings"),
)
# These say that the mutant is no Python, not that a test has seen it.
_BUNGLED: Final = (ImportError, NameError, SyntaxError)


class _Loader(SourceFileLoader):
    """Loads a module from another text than its file's."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text
        self.loaded = False

    def get_code(self, fullname: str) -> CodeType:
        """As a loader of files does, without its cache."""
        self.loaded = True
        code: CodeType = self.source_to_code(self._text, self.get_filename(fullname))
        return code


class _Finder:
    """Finds one module with its loader, and no other."""

    def __init__(self, name: str, loader: _Loader) -> None:
        self._name = name
        self._loader = loader

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As a finder of ``sys.meta_path``."""
        spec = PathFinder.find_spec(name, path, target) if name == self._name else None
        if spec is not None:
            spec.loader = self._loader
        return spec


class _Witness:
    """What became of the tests: how many ran, and what those raised that failed."""

    def __init__(self) -> None:
        self.ran = 0
        self.raised: list[BaseException] = []

    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        """As pytest's hook."""
        if call.when != "call":
            return
        self.ran += 1
        if call.excinfo is not None:
            self.raised.append(call.excinfo.value)


def why_not_caught(mutant: Mutant, scratch: Path) -> str | None:
    """Run a mutant's test against it, in this process, which is of no use for anything else then.

    Returns:
        Why the mutant is not caught; None if it is: the test was run, and has failed.
    """
    path = ROOT / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        return f"the old text stands {text.count(mutant.old)} times in {mutant.file}"
    name = ".".join(Path(mutant.file).with_suffix("").parts)
    loader = _Loader(name, str(path), text.replace(mutant.old, mutant.new))
    sys.meta_path.insert(0, _Finder(name, loader))
    witness = _Witness()
    arguments = [*_PLAINLY, f"--basetemp={scratch}", mutant.test]
    status = pytest.main(arguments, plugins=[witness])
    if not loader.loaded:
        return f"{name} was not imported"
    if not witness.ran:
        return f"no test was run (pytest ended with {int(status)})"
    if any(isinstance(error, _BUNGLED) for error in witness.raised):
        return f"it is no Python: {witness.raised[0]!r}"
    if any("pytest-timeout" in str(error) for error in witness.raised):
        return "the test does not end"
    if status != pytest.ExitCode.TESTS_FAILED or not witness.raised:
        return "the test has passed"
    return None
