"""The module keeps the catalogue's rules, and each rule catches what it is there to catch."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pydantic import ValidationError
from sekoia_automation.utils import get_annotation_for

from tests.unit import catalogue

ROOT = Path(__file__).parents[2]
MANIFEST, MAIN, LOG, LOGO = "manifest.json", "main.py", "CHANGELOG.md", "logo.svg"
SIGN_INS, AUDITS = "connector_entra_signins.json", "connector_entra_audits.json"
AUDITS_UUID = json.loads((ROOT / AUDITS).read_text())["uuid"]
SIGN_IN_TYPES = ["interactiveUser", "nonInteractiveUser", "servicePrincipal", "managedIdentity"]

Rule = Callable[[Path], list[str]]
Edit = Callable[[Path], None]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the files that the rules look at."""
    for name in catalogue.EXPECTED_FILES:
        if (ROOT / name).is_dir():
            (tmp_path / name).mkdir()
        else:
            shutil.copy(ROOT / name, tmp_path)
    for path in ROOT.glob("connector_*.json"):
        shutil.copy(path, tmp_path)
    return tmp_path


def put(name: str, member: str, value: Any) -> Edit:
    """Set a member (a dotted path) of a JSON file, which stays well formatted."""

    def apply(root: Path) -> None:
        data = json.loads((root / name).read_text())
        *path, last = member.split(".")
        reduce(lambda inner, key: inner[key], path, data)[last] = value
        (root / name).write_text(json.dumps(data, indent=2))

    return apply


def drop(name: str, member: str) -> Edit:
    """Remove a member (a dotted path) of a JSON file, which stays well formatted."""

    def apply(root: Path) -> None:
        data = json.loads((root / name).read_text())
        *path, last = member.split(".")
        del reduce(lambda inner, key: inner[key], path, data)[last]
        (root / name).write_text(json.dumps(data, indent=2))

    return apply


def swap(name: str, pattern: str, text: str) -> Edit:
    """Replace every match of a pattern in a file, which must have one."""

    def apply(root: Path) -> None:
        edited, times = re.subn(pattern, text, (root / name).read_text(), flags=re.MULTILINE)
        assert times, f"{pattern} does not occur in {name}"
        (root / name).write_text(edited)

    return apply


def remove(*names: str) -> Edit:
    """Remove files."""

    def apply(root: Path) -> None:
        for name in names:
            (root / name).unlink()

    return apply


# Rule -> a part of the sentence it must say -> what it must say it about.
VIOLATIONS: dict[Rule, list[tuple[str, Edit]]] = {
    catalogue.expected_files: [
        (f"{name} is missing", remove(name)) for name in catalogue.EXPECTED_FILES if name != "tests"
    ],
    catalogue.json_format: [
        ("manifest.json is not formatted", swap(MANIFEST, r"\}\Z", "}\n")),
        ("audits.json is not formatted", swap(AUDITS, "^  ", " ")),
        ("manifest.json is not JSON", swap(MANIFEST, r"\A\{", "")),
    ],
    catalogue.manifest: [
        ("name is missing", drop(MANIFEST, "name")),
        ("description is missing", put(MANIFEST, "description", "")),
        ("slug is missing", drop(MANIFEST, "slug")),
        ("slug is not made of", put(MANIFEST, "slug", "Graph_Entra")),
        ("version is missing", drop(MANIFEST, "version")),
        ("version is not of the form", put(MANIFEST, "version", "1.0")),
        ("uuid is missing", drop(MANIFEST, "uuid")),
        ("categories names no category", put(MANIFEST, "categories", [])),
        ("configuration is missing", drop(MANIFEST, "configuration")),
        ("$schema is not draft 7's", drop(MANIFEST, "configuration.$schema")),
        ("not a valid JSON schema", put(MANIFEST, "configuration.type", "nothing")),
        ("not an object with a title", drop(MANIFEST, "configuration.title")),
        ("token is required or secret, but", put(MANIFEST, "configuration.secrets", ["token"])),
        ("client_id is required or secret, so", put(MANIFEST, "configuration.properties.client_id.default", "x")),
        ("tenant_id has no title", drop(MANIFEST, "configuration.properties.tenant_id.title")),
        ("the default of cloud", put(MANIFEST, "configuration.properties.cloud.default", "moon")),
    ],
    catalogue.connectors: [
        ("audits.json: name is missing", drop(AUDITS, "name")),
        ("audits.json: description is missing", drop(AUDITS, "description")),
        ("audits.json: docker_parameters is missing", drop(AUDITS, "docker_parameters")),
        ("audits.json: uuid is missing", drop(AUDITS, "uuid")),
        ("audits.json: arguments is missing", drop(AUDITS, "arguments")),
        ("a connector has no results", put(AUDITS, "results", {})),
        ("intake_key is not required", put(AUDITS, "arguments.required", [])),
        ("the SDK does not resolve", put(AUDITS, "arguments.secrets", ["intake_key"])),
        ("start_time has no description", put(AUDITS, "arguments.properties.start_time.description", "")),
        ("the default of frequency", put(AUDITS, "arguments.properties.frequency.default", 0)),
        ("the default of sign_in_types", put(SIGN_INS, "arguments.properties.sign_in_types.default", [])),
        ("frequency lacks a minimum", drop(AUDITS, "arguments.properties.frequency.minimum")),
        ("frequency lacks a minimum", drop(AUDITS, "arguments.properties.frequency.maximum")),
        ("frequency lacks a minimum", drop(AUDITS, "arguments.properties.frequency.default")),
        ("there is no connector_", remove(SIGN_INS, AUDITS)),
    ],
    catalogue.uuids: [
        ("signins.json: uuid is also that of connector_entra_audits.json", put(SIGN_INS, "uuid", AUDITS_UUID)),
        ("uuid is also that of the intake format", put(MANIFEST, "uuid", catalogue.INTAKE_FORMAT_UUID)),
        ("manifest.json: uuid is not a UUID", put(MANIFEST, "uuid", "graph-entra")),
    ],
    catalogue.registrations: [
        ("graph_entra_audits is not registered", swap(MAIN, r"^ *module\.register\(.*audits.*\n", "")),
        ("graph_entra_audits is not registered", swap(MAIN, "graph_entra_audits", "graph_entra_audit")),
        ("graph_entra_audit is registered but no JSON", swap(MAIN, "graph_entra_audits", "graph_entra_audit")),
        ("graph_entra_audits is registered 2 times", swap(MAIN, "graph_entra_signins", "graph_entra_audits")),
        ("does not register a literal name", swap(MAIN, '"graph_entra_audits"', "AUDITS")),
        ("graph_entra_signins is not registered", swap(MAIN, r"^( *)module\b", r"\1sekoia")),
        ("supports_validation does not say", swap(MAIN, r"^ *module\.register_account_validator.*\n", "")),
        ("supports_validation does not say", put(MANIFEST, "supports_validation", value=False)),
    ],
    catalogue.changelog: [
        ("the first line is not", swap(LOG, r"\A", "\n")),
        ("there is a second heading", swap(LOG, "^## Unreleased", "# Unreleased")),
        ("the header lacks: All notable changes", swap(LOG, "^All notable", "Some")),
        ("the header lacks: The format is based on", swap(LOG, "Keep a Changelog", "our taste")),
        ("the first chapter is not", swap(LOG, r"^## Unreleased\n", "")),
        ("'## 1.0.0' is not of the form", swap(LOG, r"^## \S+ - 1\.0\.0$", "## 1.0.0")),
        ("- 1.0.0' is not of the form", swap(LOG, r"^## \S+ - 1\.0\.0$", "## 2026-13-01 - 1.0.0")),
        ("the versions do not descend", swap(LOG, "^## Unreleased$", "## Unreleased\n\n## 2999-01-01 - 0.9.0")),
        ("the versions do not descend", swap(LOG, "^## Unreleased$", "## Unreleased\n\n## 1999-01-01 - 9.9.9")),
        ("no version is released", swap(LOG, r"^## \S+ - \S+$", "### Added")),
        ("has text outside a section", swap(LOG, "^## Unreleased$", "## Unreleased\n\nSoon.")),
        ("'### New' is not a known section", swap(LOG, "^### Added$", "### New")),
    ],
    catalogue.versions: [
        ("the versions differ", put(MANIFEST, "version", "1.0.1")),
        ("the versions differ", swap("pyproject.toml", '^version = ".*"', 'version = "9.9.9"')),
        ("the versions differ", swap(LOG, "^## Unreleased$", "## Unreleased\n\n## 2999-01-01 - 9.9.9")),
    ],
    catalogue.logo: [
        ("it is not square", swap(LOGO, 'viewBox="0 0 512 512"', 'viewBox="0 0 512 256"')),
        ("it is not square", swap(LOGO, '<svg(.*) width="512"', r'<svg\1 width="640"')),
        ("it is not an SVG with a viewBox", swap(LOGO, "viewBox", "box")),
        ("it is not an SVG with a viewBox", swap(LOGO, "</svg>", "")),
        ("it is larger than", swap(LOGO, "</svg>", "<!--" + "x" * catalogue.LOGO_MAX_BYTES + "--></svg>")),
        ("it refers to something outside", swap(LOGO, "</svg>", "<script/></svg>")),
        ("it refers to something outside", swap(LOGO, "<circle", '<circle href="elsewhere.svg"')),
    ],
}


def test_the_module_keeps_every_rule() -> None:
    """The files of this repository break none of the catalogue's rules."""
    assert catalogue.problems(ROOT) == []


def test_a_faithful_copy_keeps_every_rule(copy: Path) -> None:
    """The copy that the violations start from breaks no rule by itself."""
    assert catalogue.problems(copy) == []


@pytest.mark.parametrize(
    ("rule", "sentence", "break_it"),
    [(rule, sentence, edit) for rule, cases in VIOLATIONS.items() for sentence, edit in cases],
    ids=[f"{rule.__name__}-{sentence}" for rule, cases in VIOLATIONS.items() for sentence, _ in cases],
)
def test_each_rule_catches_its_violation(copy: Path, rule: Rule, sentence: str, break_it: Edit) -> None:
    """A copy of the module that breaks one rule is told so, by that rule."""
    break_it(copy)
    found = rule(copy)
    assert any(sentence in problem for problem in found), found
    assert set(found) <= set(catalogue.problems(copy))


def test_every_rule_has_a_violation() -> None:
    """There is no rule of which nobody has seen that it catches anything."""
    assert set(VIOLATIONS) == {catalogue.expected_files, *catalogue.RULES}


def test_the_manifest_keeps_the_contract() -> None:
    """Users and the platform rely on these names and values."""
    manifest = json.loads((ROOT / "manifest.json").read_text())
    assert manifest["slug"] == "graph-entra"
    assert manifest["categories"] == ["IAM"]
    assert manifest["supports_validation"] is True
    form = manifest["configuration"]
    assert list(form["properties"]) == ["tenant_id", "client_id", "client_secret", "client_certificate", "cloud"]
    assert form["required"] == ["tenant_id", "client_id"]
    assert form["secrets"] == ["client_secret", "client_certificate"]
    cloud = form["properties"]["cloud"]
    assert (cloud["enum"], cloud["default"]) == (["global", "us_gov", "us_gov_dod", "china"], "global")


@pytest.mark.parametrize(
    ("name", "command", "own"),
    [(SIGN_INS, "graph_entra_signins", {"sign_in_types", "interactive_detail"}), (AUDITS, "graph_entra_audits", set())],
)
def test_the_connectors_keep_the_contract(name: str, command: str, own: set[str]) -> None:
    """Users and the platform rely on these commands, names, defaults and bounds."""
    connector = json.loads((ROOT / name).read_text())
    assert connector["docker_parameters"] == command
    members = connector["arguments"]["properties"]
    assert set(members) == {"intake_key", "intake_server", "frequency", "start_time", "forward_updates"} | own
    assert connector["arguments"]["required"] == ["intake_key"]
    assert "default" not in members["intake_server"], "without one, the SDK uses the platform's own intake"
    for member, bounds in {"frequency": (1, 3600, 60), "start_time": (0, 720, 24)}.items():
        assert tuple(members[member][key] for key in ("minimum", "maximum", "default")) == bounds
    assert members["forward_updates"]["default"] is True
    if own:
        types = members["sign_in_types"]
        assert types["items"]["enum"] == types["default"] == SIGN_IN_TYPES
        assert (types["minItems"], types["uniqueItems"]) == (1, True)


def forms() -> dict[type, dict[str, Any]]:
    """Each class that has a configuration, and the form that fills it in."""
    from graph_entra.sekoia.connectors import EntraAuditsConnector, EntraSignInsConnector
    from graph_entra.sekoia.module import GraphEntraModule

    return {
        GraphEntraModule: json.loads((ROOT / MANIFEST).read_text())["configuration"],
        EntraSignInsConnector: json.loads((ROOT / SIGN_INS).read_text())["arguments"],
        EntraAuditsConnector: json.loads((ROOT / AUDITS).read_text())["arguments"],
    }


def test_the_forms_and_the_code_agree() -> None:
    """Each form asks for the members that the code reads, with the same defaults and the same required ones."""
    for owner, form in forms().items():
        fields = get_annotation_for(owner, "configuration").model_fields
        assert set(fields) == set(form["properties"]), owner
        required = {name for name, field in fields.items() if field.is_required()}
        assert required == set(form["required"]), owner
        for name, member in form["properties"].items():
            if "default" in member:
                default = fields[name].get_default(call_default_factory=True)
                assert json.loads(json.dumps(default)) == member["default"], (owner, name)


def test_the_code_takes_what_the_forms_take() -> None:
    """What a form lets through at its bounds the code takes, and what the form refuses beyond them it refuses too."""
    for owner, form in forms().items():
        model = get_annotation_for(owner, "configuration")
        least = dict.fromkeys(form["required"], "x")
        # A secret is not checked: what is there before the platform hands it over is a placeholder.
        checked = {name: form["properties"][name] for name in form["properties"] if name not in form.get("secrets", ())}
        for name, member in checked.items():
            for value, valid in tries(member):
                assert Draft7Validator(member).is_valid(value) is valid, (name, value)
                try:
                    model.model_validate(least | {name: value})
                except ValidationError:
                    assert not valid, (owner, name, value)
                else:
                    assert valid, (owner, name, value)


def tries(member: dict[str, Any]) -> Iterator[tuple[Any, bool]]:
    """Values at and beyond the bounds of a member of a form, and whether they are valid."""
    if "minimum" in member:
        yield from ((member["minimum"], True), (member["maximum"], True))
        yield from ((member["minimum"] - 1, False), (member["maximum"] + 1, False), ("soon", False))
    if "enum" in member:
        yield from ((value, True) for value in member["enum"])
        yield "somethingElse", False
    if "items" in member:
        yield from (([value], True) for value in member["items"]["enum"])
        yield from (([], False), (["somethingElse"], False), ("somethingElse", False))
    if "minLength" in member:
        yield from (("x", True), ("", False))
    if member["type"] == "boolean":
        yield from ((True, True), (False, True), ("perhaps", False))


def test_configure_md_explains_every_field() -> None:
    """CONFIGURE.md has a row for each field of the three forms, under the title that the form shows."""
    text = (ROOT / "CONFIGURE.md").read_text()
    for name in (MANIFEST, SIGN_INS, AUDITS):
        data = json.loads((ROOT / name).read_text())
        form = data["configuration"] if name == MANIFEST else data["arguments"]
        for member, schema in form["properties"].items():
            assert f"| {schema['title']} | `{member}` |" in text, (name, member)
    for sign_in_type in SIGN_IN_TYPES:
        assert f"| `{sign_in_type}` |" in text
    assert catalogue.INTAKE_FORMAT_UUID in text


def test_configure_md_has_a_place_for_the_troubleshooting_table() -> None:
    """The table is written between these two lines, once each and in this order."""
    lines = (ROOT / "CONFIGURE.md").read_text().splitlines()
    marks = [line for line in lines if line.startswith("<!--")]
    assert marks == ["<!-- troubleshooting:start -->", "<!-- troubleshooting:end -->"]
