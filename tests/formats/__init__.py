"""Our two intake formats, applied to records as Sekoia applies them (language.py says how that is known)."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tests.formats.language import Event, Parsed, Parser

FOLDER = Path(__file__).parents[2] / "intake_formats"

# A connector's docker_parameters -> the folder of its format.
FORMATS = {
    "graph_entra_signins": "microsoft-entra-id-sign-ins",
    "graph_entra_audits": "microsoft-entra-id-directory-audits",
}

# The fields of the Elastic Common Schema that the formats fill, with their types there, and Sekoia's own
# action.outcome, by which it knows an authentication. A format's own fields are in its _meta/fields.yml.
ECS = {
    "@timestamp": "date",
    "action.outcome": "keyword",
    "cloud.provider": "keyword",
    "cloud.service.name": "keyword",
    "error.code": "keyword",
    "error.message": "keyword",
    "event.action": "keyword",
    "event.category": "keyword",
    "event.code": "keyword",
    "event.dataset": "keyword",
    "event.id": "keyword",
    "event.kind": "keyword",
    "event.outcome": "keyword",
    "event.provider": "keyword",
    "event.reason": "keyword",
    "event.type": "keyword",
    "host.id": "keyword",
    "host.name": "keyword",
    "host.os.name": "keyword",
    "service.id": "keyword",
    "service.name": "keyword",
    "source.as.number": "long",
    "source.geo.city_name": "keyword",
    "source.geo.country_iso_code": "keyword",
    "source.geo.location.lat": "float",
    "source.geo.location.lon": "float",
    "source.geo.region_name": "keyword",
    "source.ip": "ip",
    "trace.id": "keyword",
    "user.email": "keyword",
    "user.id": "keyword",
    "user.name": "keyword",
    "user.target.email": "keyword",
    "user.target.group.id": "keyword",
    "user.target.group.name": "keyword",
    "user.target.id": "keyword",
    "user.target.name": "keyword",
    "user_agent.original": "keyword",
}


@dataclass(frozen=True)
class Format:
    """A format's files, read."""

    folder: Path
    manifest: dict[str, Any]
    taxonomy: dict[str, Any]
    descriptions: list[dict[str, Any]]
    parser: Parser

    def parse(self, text: str | bytes) -> Parsed:
        """Returns what becomes of one record's JSON text."""
        return self.parser.parse(text.decode() if isinstance(text, bytes) else text)


@lru_cache
def load(connector: str) -> Format:
    """Returns the format of a connector, known by its docker_parameters."""
    folder = FOLDER / FORMATS[connector]
    taxonomy = yaml.safe_load((folder / "_meta" / "fields.yml").read_text())
    own = {field["name"]: field["type"] for field in taxonomy.values()}
    return Format(
        folder=folder,
        manifest=yaml.safe_load((folder / "_meta" / "manifest.yml").read_text()),
        taxonomy=taxonomy,
        descriptions=json.loads((folder / "_meta" / "smart-descriptions.json").read_text()),
        parser=Parser(yaml.safe_load((folder / "ingest" / "parser.yml").read_text()), ECS | own),
    )


def parse(connector: str, text: str | bytes) -> Event:
    """Returns the structured event that Sekoia makes of a record that a connector has pushed.

    Args:
        connector: its docker_parameters, graph_entra_signins or graph_entra_audits.
        text: the record's JSON.

    Raises:
        AssertionError: an expression of the parser raised; the platform would leave its field out in silence.
    """
    parsed = load(connector).parse(text)
    if parsed.raised:
        raise AssertionError(f"{connector}: {parsed.raised}")
    return parsed.event


@dataclass
class Count:
    """How many records a format made events of, and what these have.

    Attributes:
        parsed: events made without an expression that raised.
        actors: of these, with who did it.
        outcomes: of these, with success or failure. The rest is of records in which Graph states neither.
        raised: what was raised, for the records that are not parsed.
    """

    parsed: int = 0
    actors: int = 0
    outcomes: int = 0
    raised: list[str] = field(default_factory=list)

    def add(self, connector: str, text: str | bytes) -> None:
        """Counts a record that a connector, known by its docker_parameters, has pushed."""
        done = load(connector).parse(text)
        if done.raised:
            self.raised += done.raised
            return
        user = done.event.get("user", {})
        self.parsed += 1
        self.actors += "id" in user or "name" in user
        self.outcomes += done.event["event"]["outcome"] in ("success", "failure")


def fields(event: Event, before: str = "") -> dict[str, Any]:
    """Returns an event's fields by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in event.items():
        flat |= fields(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return flat
