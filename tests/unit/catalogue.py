"""The rules that a module must keep to enter Sekoia's playbook catalogue, as checks.

They restate, without its code, what the checker of https://github.com/SEKOIA-IO/automation-library asks for
(``linter.py`` and ``_utils/compliance/validators/``), and add what a person filling in the form needs. Each check
takes the module's folder and returns one sentence per violation.
"""

import ast
import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from xml.etree import ElementTree as ET

from jsonschema import Draft7Validator, SchemaError

DRAFT_7: Final = "http://json-schema.org/draft-07/schema#"
# The catalogue's format for these records. A format names its connector; a connector's JSON has no member for a format.
INTAKE_FORMAT_UUID: Final = "a9b9f7be-a036-4e10-a407-53bc3b8308b4"
VERSION: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
SLUG: Final = re.compile(r"[a-z][a-z-]*")
SECTIONS: Final = frozenset({"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"})
CHANGELOG_HEADER: Final = (
    "All notable changes to this project will be documented in this file.",
    "The format is based on [Keep a Changelog](https://keepachangelog.com/en/1.0.0/), "
    "and this project adheres to [Semantic Versioning](https://semver.org/spec/v2.0.0.html).",
)
# What the catalogue's checker, its image build and the person at its door look for.
EXPECTED_FILES: Final = (
    "CHANGELOG.md",
    "CONFIGURE.md",
    "Dockerfile",
    "README.md",
    "logo.svg",
    "main.py",
    "manifest.json",
    "poetry.lock",
    "pyproject.toml",
    "tests",
)
LOGO_MAX_BYTES: Final = 50 * 1024
# Hidden folders hold what machines made (.git, .venv, .run, caches); this one holds a file of ours.
OWN_HIDDEN_FOLDERS: Final = frozenset({".ci"})
# What tests and uv write, and git does in a work tree that is not the first: no files of ours, and they name places.
MADE_FILES: Final = frozenset({".coverage", ".git", "coverage.xml", "junit.xml", "pylock.toml", "uv.lock"})


def problems(root: Path) -> list[str]:
    """Everything that is wrong with the module in ``root``."""
    missing = expected_files(root)
    if missing:
        return missing
    return [problem for rule in RULES for problem in rule(root)]


def own_files(root: Path, suffix: str = "") -> Iterator[Path]:
    """The module's own files whose name ends in ``suffix``, without what machines made."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if name in OWN_HIDDEN_FOLDERS or not (name.startswith(".") or name == "__pycache__")
        )
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(suffix) and name not in MADE_FILES)


def expected_files(root: Path) -> list[str]:
    """Each file that others look for is there."""
    return [f"{name} is missing" for name in EXPECTED_FILES if not (root / name).exists()]


def json_format(root: Path) -> list[str]:
    """Every JSON file is written as ``json.dumps(..., indent=2)`` writes it, without a final newline."""
    found = []
    for path in own_files(root, ".json"):
        name = path.relative_to(root)
        text = path.read_bytes().decode()
        try:
            wanted = json.dumps(json.loads(text), indent=2)
        except ValueError as error:
            found.append(f"{name} is not JSON: {error}")
        else:
            if text != wanted:
                found.append(f"{name} is not formatted as json.dumps(..., indent=2) does, without a final newline")
    return found


def manifest(root: Path) -> list[str]:
    """The manifest has what the catalogue shows, and a form that a person can fill in."""
    data = _load(root / "manifest.json")
    found = _texts(data, "manifest.json", ("name", "description", "slug", "version", "uuid"))
    if not SLUG.fullmatch(str(data.get("slug"))):
        found.append("manifest.json: slug is not made of lower-case letters and hyphens")
    if not VERSION.fullmatch(str(data.get("version"))):
        found.append("manifest.json: version is not of the form x.y.z")
    if not (isinstance(data.get("categories"), list) and data["categories"]):
        found.append("manifest.json: categories names no category")
    found += _form(data.get("configuration"), "manifest.json: configuration")
    return found


def connectors(root: Path) -> list[str]:
    """Each connector has what the catalogue shows, no results, and a form that a person can fill in."""
    found = []
    for path in _connector_files(root):
        data = _load(path)
        found += _texts(data, path.name, ("name", "description", "docker_parameters", "uuid"))
        found += _form(data.get("arguments"), f"{path.name}: arguments")
        if "results" in data:
            found.append(f"{path.name}: a connector has no results, it forwards events")
        arguments = data.get("arguments") if isinstance(data.get("arguments"), dict) else {}
        if "intake_key" not in arguments.get("required", ()):
            found.append(f"{path.name}: intake_key is not required")
        if arguments.get("secrets"):
            # sekoia_automation/connector/__init__.py: Connector._apply_node_secrets does nothing.
            found.append(f"{path.name}: the SDK does not resolve a connector's own secrets, it would see placeholders")
    return found or ([] if _connector_files(root) else ["there is no connector_*.json"])


def uuids(root: Path) -> list[str]:
    """Every uuid is one, no two are the same, and none is the intake format's."""
    found = []
    seen: dict[UUID, str] = {UUID(INTAKE_FORMAT_UUID): "the intake format"}
    for path in (root / "manifest.json", *_connector_files(root)):
        try:
            uuid = UUID(_load(path)["uuid"])
        except (KeyError, ValueError, TypeError, AttributeError):
            found.append(f"{path.name}: uuid is not a UUID")
            continue
        if uuid in seen:
            found.append(f"{path.name}: uuid is also that of {seen[uuid]}")
        seen[uuid] = path.name
    return found


def registrations(root: Path) -> list[str]:
    """main.py registers each connector's command literally, once, and no other; and the account validator."""
    calls = [
        node
        for node in ast.walk(ast.parse((root / "main.py").read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "module"
    ]
    found = []
    registered: Counter[str] = Counter()
    for call in (call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "register"):
        name = call.args[1] if len(call.args) > 1 else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            registered[name.value] += 1
        else:
            found.append(f"main.py: line {call.lineno} does not register a literal name")
    declared = {str(_load(path).get("docker_parameters")) for path in _connector_files(root)}
    found += [f"main.py: {name} is registered {times} times" for name, times in registered.items() if times > 1]
    found += [f"main.py: {name} is not registered" for name in sorted(declared - set(registered))]
    found += [f"main.py: {name} is registered but no JSON names it" for name in sorted(set(registered) - declared)]
    validates = any(
        isinstance(call.func, ast.Attribute) and call.func.attr == "register_account_validator" for call in calls
    )
    if validates != (_load(root / "manifest.json").get("supports_validation") is True):
        found.append("manifest.json: supports_validation does not say whether main.py registers an account validator")
    return found


def changelog(root: Path) -> list[str]:
    """CHANGELOG.md keeps Keep a Changelog's form, newest version first."""
    lines = (root / "CHANGELOG.md").read_text().splitlines()
    found = []
    if not lines or lines[0] != "# Changelog":
        found.append("CHANGELOG.md: the first line is not '# Changelog'")
    if sum(line.startswith("# ") for line in lines) > 1:
        found.append("CHANGELOG.md: there is a second heading of the first level")
    chapters = [number for number, line in enumerate(lines) if line.startswith("## ")]
    header = " ".join(lines[: chapters[0] if chapters else len(lines)])
    found += [f"CHANGELOG.md: the header lacks: {text}" for text in CHANGELOG_HEADER if text not in header]
    titles = [lines[number].removeprefix("## ") for number in chapters]
    if not titles or titles[0] != "Unreleased":
        found.append("CHANGELOG.md: the first chapter is not '## Unreleased'")
    released = []
    for title in titles[1:]:
        day, separator, version = title.partition(" - ")
        if not (separator and _is_day(day) and VERSION.fullmatch(version)):
            found.append(f"CHANGELOG.md: '## {title}' is not of the form '## YYYY-MM-DD - x.y.z'")
        else:
            released.append((_version(version), day))
    if any(newer[0] <= older[0] or newer[1] < older[1] for newer, older in pairwise(released)):
        found.append("CHANGELOG.md: the versions do not descend")
    if not released:
        found.append("CHANGELOG.md: no version is released")
    for start, end in zip(chapters, (*chapters[1:], len(lines)), strict=True):
        body = [line for line in lines[start + 1 : end] if line.strip()]
        if body and not body[0].startswith("### "):
            found.append(f"CHANGELOG.md: '{lines[start]}' has text outside a section")
        sections = [line.removeprefix("### ") for line in body if line.startswith("### ")]
        found += [f"CHANGELOG.md: '### {name}' is not a known section" for name in sections if name not in SECTIONS]
    return found


def versions(root: Path) -> list[str]:
    """The newest version in the changelog is that of the manifest and of pyproject.toml."""
    titles = re.findall(r"^## \S+ - (\S+)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    stated = {
        "CHANGELOG.md": titles[0] if titles else None,
        "manifest.json": _load(root / "manifest.json").get("version"),
        "pyproject.toml": tomllib.loads((root / "pyproject.toml").read_text())["project"].get("version"),
    }
    if len(set(stated.values())) == 1:
        return []
    return ["the versions differ: " + ", ".join(f"{name} says {version}" for name, version in stated.items())]


def logo(root: Path) -> list[str]:
    """The logo is a square picture of its own: small, nothing fetched from elsewhere, nothing that runs."""
    path = root / "logo.svg"
    try:
        svg = ET.parse(path).getroot()
        left, top, width, height = (float(number) for number in svg.get("viewBox", "").split())
    except (ET.ParseError, ValueError):
        return ["logo.svg: it is not an SVG with a viewBox of four numbers"]
    found = []
    if width != height or svg.get("width") != svg.get("height") or (left, top) != (0, 0):
        found.append("logo.svg: it is not square")
    if path.stat().st_size > LOGO_MAX_BYTES:
        found.append(f"logo.svg: it is larger than {LOGO_MAX_BYTES} bytes")
    tags = {element.tag.rpartition("}")[2] for element in svg.iter()}
    links = [name for element in svg.iter() for name in element.attrib if name.rpartition("}")[2] == "href"]
    if links or tags & {"script", "image", "foreignObject", "style"}:
        found.append("logo.svg: it refers to something outside itself, or runs a script")
    return found


RULES: Final[tuple[Callable[[Path], list[str]], ...]] = (
    json_format,
    manifest,
    connectors,
    uuids,
    registrations,
    changelog,
    versions,
    logo,
)


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _connector_files(root: Path) -> list[Path]:
    return sorted(root.glob("connector_*.json"))


def _texts(data: dict[str, Any], where: str, names: tuple[str, ...]) -> list[str]:
    return [f"{where}: {name} is missing" for name in names if not (isinstance(data.get(name), str) and data[name])]


def _form(schema: Any, where: str) -> list[str]:
    if not isinstance(schema, dict):
        return [f"{where} is missing"]
    if schema.get("$schema") != DRAFT_7:
        return [f"{where}: $schema is not draft 7's"]
    try:
        Draft7Validator.check_schema(schema)
    except SchemaError as error:
        return [f"{where} is not a valid JSON schema: {error.message}"]
    found = []
    members = schema.get("properties", {})
    if schema.get("type") != "object" or not schema.get("title") or not members:
        found.append(f"{where} is not an object with a title and properties")
    required, secret = set(schema.get("required", ())), set(schema.get("secrets", ()))
    found += [
        f"{where}: {name} is required or secret, but there is no such member"
        for name in sorted((required | secret) - set(members))
    ]
    for name, member in members.items():
        found += [f"{where}: {name} has no {key}" for key in ("type", "title", "description") if not member.get(key)]
        if "default" in member:
            found += [
                f"{where}: the default of {name} is not valid: {error.message}"
                for error in Draft7Validator(member).iter_errors(member["default"])
            ]
            if name in required | secret:
                found.append(f"{where}: {name} is required or secret, so it can have no default")
        if member.get("type") == "integer" and not {"minimum", "maximum", "default"} <= set(member):
            found.append(f"{where}: {name} lacks a minimum, a maximum or a default")
    return found


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
