"""requirements/*.txt say what poetry.lock says, and no file of ours names where packages come from."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.unit.catalogue import own_files

ROOT = Path(__file__).parents[2]
LOCK: dict[str, Any] = tomllib.loads((ROOT / "poetry.lock").read_text())
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

Pins = dict[str, tuple[str, frozenset[str]]]
NAME_END = r"[\[<>=!~; ]"

# Put together here, so that this file does not name them either.
REGISTRIES = tuple(
    first + last
    for first, last in (
        ("py", "pi."),
        ("python", "hosted."),
        ("npm", "js."),
        ("deb", "ian.org"),
        ("ana", "conda.org"),
        ("proxy.go", "lang."),
        ("docker", ".io/"),
        ("gh", "cr.io"),
    )
)


def normal(name: str) -> str:
    """A package's name as the index knows it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(text: str) -> Pins:
    """Read the exported form: ``name==version ; marker``, then one ``--hash`` a line. Anything else is an error."""
    pins: Pins = {}
    for block in re.split(r"\n(?=\S)", text.strip()):
        head, *hashes = (line.strip().removesuffix("\\").strip() for line in block.splitlines())
        pinned = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)(?: ; .+)?", head)
        assert pinned, f"not a pin: {head}"
        assert hashes, f"no hash: {head}"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), head
        assert normal(pinned[1]) not in pins, f"pinned twice: {head}"
        pins[normal(pinned[1])] = pinned[2], frozenset(line.removeprefix("--hash=") for line in hashes)
    return pins


def locked_pins(*groups: str) -> Pins:
    """What poetry.lock says of the packages in any of these groups."""
    return {
        normal(package["name"]): (package["version"], frozenset(file["hash"] for file in package["files"]))
        for package in LOCK["package"]
        if set(package["groups"]) & set(groups)
    }


def named_hosts(text: str, hosts: tuple[str, ...]) -> list[str]:
    """Those of ``hosts`` that a text names."""
    return [host for host in hosts if host in text.lower()]


def test_main_pins_are_the_lock_s_main_group() -> None:
    """The image gets the packages, versions and hashes that poetry.lock has for the module itself, and no others."""
    assert read_pins((ROOT / "requirements/main.txt").read_text()) == locked_pins("main")


def test_dev_pins_are_the_whole_lock() -> None:
    """A developer and the suite get every package of poetry.lock, at its version and with its hashes."""
    assert read_pins((ROOT / "requirements/dev.txt").read_text()) == locked_pins("main", "dev")


def test_main_group_is_what_the_project_needs() -> None:
    """The main group is the closure of pyproject's dependencies: nothing that only a test needs slipped in."""
    packages = {normal(package["name"]): package for package in LOCK["package"]}
    wanted = [normal(re.split(NAME_END, line, maxsplit=1)[0]) for line in PROJECT["project"]["dependencies"]]
    reached: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in reached and name in packages:
            reached.add(name)
            wanted += [normal(needed) for needed in packages[name].get("dependencies", {})]
    main = set(locked_pins("main"))
    assert main <= reached
    assert {normal(line.split(">")[0]) for line in PROJECT["project"]["dependencies"]} <= main


def test_the_dev_group_is_locked() -> None:
    """Each package that a developer needs is in the lock: it was solved again after pyproject.toml was edited."""
    assert {normal(re.split(NAME_END, line, maxsplit=1)[0]) for line in PROJECT["dependency-groups"]["dev"]} <= set(
        locked_pins("dev")
    )


def test_the_lock_is_of_this_project() -> None:
    """poetry.lock is for the Python versions that pyproject.toml states, and every package has files with hashes."""
    assert LOCK["metadata"]["python-versions"] == PROJECT["project"]["requires-python"]
    assert [package["name"] for package in LOCK["package"] if not package["files"]] == []
    assert [package["name"] for package in LOCK["package"] if "source" in package] == []


@pytest.mark.parametrize(
    "text",
    [
        "orjson==3.11.4\n",
        "orjson>=3.11 \\\n    --hash=sha256:" + "0" * 64,
        "--index-url https://packages.example/simple\norjson==3.11.4 \\\n    --hash=sha256:" + "0" * 64,
        "orjson==3.11.4 \\\n    --hash=md5:" + "0" * 32,
        ("orjson==3.11.4 \\\n    --hash=sha256:" + "0" * 64 + "\n") * 2,
    ],
    ids=["no hash", "not exact", "an index", "a weak hash", "twice"],
)
def test_what_is_not_a_pin_is_refused(text: str) -> None:
    """A line that would install something else than what was locked is not read as a pin."""
    with pytest.raises(AssertionError):
        read_pins(text)


def test_a_changed_pin_is_caught() -> None:
    """A version, a hash, a missing or a further package makes the files differ from the lock."""
    text = (ROOT / "requirements/main.txt").read_text()
    locked = locked_pins("main")
    for edited in (
        re.sub(r"==(\d+)\.", r"==9\1.", text, count=1),
        re.sub(r"(?<=sha256:).", lambda digit: "1" if digit[0] == "0" else "0", text, count=1),
        re.sub(r"\A.*?\n(?=\S)", "", text, flags=re.DOTALL),
        text.rstrip() + "\nmore==1.0 \\\n    --hash=sha256:" + "0" * 64,
    ):
        assert edited != text
        assert read_pins(edited) != locked


def test_no_file_names_a_registry() -> None:
    """Packages are named, never the host that serves them: that belongs to each machine's own configuration."""
    hosts = (*REGISTRIES, *_this_machine_s_indexes())
    found = {}
    for path in own_files(ROOT):
        named = named_hosts(path.read_bytes().decode(errors="replace"), hosts)
        if named:
            found[path.relative_to(ROOT).as_posix()] = named
    assert found == {}


def test_no_file_names_a_place_on_one_machine() -> None:
    """A path of the machine that a file was written on means nothing on any other."""
    places = ("/ro" + "ot/", "/work/" + "main", "/work/" + "shared")
    found = [path.name for path in own_files(ROOT) if named_hosts(path.read_bytes().decode(errors="replace"), places)]
    assert found == []


@pytest.mark.parametrize(
    "text", ["https://files." + "Python" + "Hosted.org/x.whl", "registry = registry." + "npm" + "js.org"]
)
def test_a_registry_s_name_is_caught(text: str) -> None:
    """A host is seen with and without a scheme, in any case."""
    assert named_hosts(text, REGISTRIES)


def _this_machine_s_indexes() -> tuple[str, ...]:
    settings = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    variables = " ".join(value for name, value in os.environ.items() if "INDEX" in name or "REGISTRY" in name)
    hosts = (urlsplit(url).hostname or "" for url in re.findall(r"https?://[^\s'\"]+", f"{settings} {variables}"))
    return tuple({host for host in hosts if "." in host and not host.replace(".", "").isdigit()})
