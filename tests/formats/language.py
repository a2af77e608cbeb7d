"""Sekoia's parser language on jinja2, as far as our two formats speak it: the stages that parse JSON and dates, `set`, filters.

How it works is not written down in one place. What is here was learned from the documentation and the tests of
https://github.com/SEKOIA-IO/intake-formats, and test_language.py restates it, fact by fact:

- A pipeline runs its stages in order. A stage whose filter is false is left out, and so is an action.
- An expression sees what each stage before it gave, by the stage's name; `original` is the event as it came.
- An expression that stands alone gives its value, whatever its type; with other text around it, a text.
- What is undefined, null or an empty text is not set; zero, false and an empty list are.
- An expression that raises sets nothing, and nobody is told. So this module keeps what was raised.
- A field's type in the taxonomy says what becomes of a value: a keyword is a text. A field that the taxonomy does not
  have is dropped.
- Times are UTC and have microseconds: further digits are cut.

Beyond that, the platform fills `related.*`, `source.address`, and the parts of `user_agent` by itself; this module does not.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
from jinja2 import Environment, Template, Undefined
from jinja2.nativetypes import NativeEnvironment, NativeTemplate

Event = dict[str, Any]
_EMPTY = (None, "")
_FRACTION = re.compile(r"(\.\d{1,6})\d*")


def is_ip_address(value: object) -> bool:
    """The language's own filter `is_ipaddress`: whether a text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return True


def _alone_or_text(values: Iterable[Any]) -> Any:
    parts = list(values)
    return parts[0] if len(parts) == 1 else "".join(map(str, parts))


class _Values(NativeEnvironment):
    """Gives a lone expression's value as it is, where NativeEnvironment reads a text as a Python literal."""

    concat = staticmethod(_alone_or_text)  # type: ignore[assignment]


class _Template(NativeTemplate):
    environment_class = _Values


_Values.template_class = _Template


def _environment() -> Environment:
    environment = _Values()
    environment.filters["is_ipaddress"] = is_ip_address
    return environment


_ENVIRONMENT = _environment()


@lru_cache(maxsize=None)
def _compiled(expression: str) -> Template:
    return _ENVIRONMENT.from_string(expression)


def render(expression: Any, layers: dict[str, Any]) -> Any:
    """Returns what an expression gives in the layers that the stages made; anything but a text is a constant."""
    if not isinstance(expression, str):
        return expression
    value = _compiled(expression).render(layers)
    return None if isinstance(value, Undefined) else value


def parse_date(text: str) -> str:
    """The stage `date.parse`, for ISO 8601: a text without an offset is UTC, digits beyond microseconds are cut."""
    moment = datetime.fromisoformat(_FRACTION.sub(r"\1", text))
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


_AS = {
    "keyword": _text,
    "ip": str,
    "date": str,
    "boolean": bool,
    "long": int,
    "float": float,
    "array": lambda value: value if isinstance(value, list) else [value],
}


def set_field(event: Event, name: str, value: Any) -> None:
    """Puts a value at a dotted path."""
    *parents, last = name.split(".")
    for parent in parents:
        event = event.setdefault(parent, {})
    event[last] = value


@dataclass(frozen=True)
class Parser:
    """A format's parser.yml, and the type of each field that it may set."""

    source: dict[str, Any]
    types: dict[str, str]

    def parse(self, text: str) -> "Parsed":
        """Returns the event that becomes of a raw one, and what was raised on the way."""
        parsed = Parsed({"original": {"message": text}})
        for stage in self.source["pipeline"]:
            if not parsed.allows(stage):
                continue
            if "external" in stage:
                parsed.ask(stage["name"], stage["external"])
                continue
            for action in self.source["stages"][stage["name"]]["actions"]:
                if parsed.allows(action):
                    parsed.set(action["set"], self.types)
        return parsed


@dataclass
class Parsed:
    """An event in the making.

    Attributes:
        layers: what each stage gave, by its name.
        event: the structured event so far.
        raised: "field: what an expression raised"; the platform swallows it, and the field is missing.
    """

    layers: dict[str, Any]
    event: Event = field(default_factory=dict)
    raised: list[str] = field(default_factory=list)

    def allows(self, part: dict[str, Any]) -> bool:
        """Whether a stage's or an action's filter, if it has one, is true; one that raises is false."""
        return "filter" not in part or bool(self._rendered("filter", part["filter"]))

    def ask(self, name: str, external: dict[str, Any]) -> None:
        """Runs one of the language's own stages."""
        properties = external["properties"]
        read = {"json.parse-json": orjson.loads, "date.parse": parse_date}[external["name"]]
        self.layers[name] = {properties["output_field"]: read(self._rendered(name, properties["input_field"]))}

    def set(self, fields: dict[str, Any], types: dict[str, str]) -> None:
        """Runs an action `set`."""
        for name, expression in fields.items():
            value = self._rendered(name, expression)
            if name in types and not (isinstance(value, str | None) and value in _EMPTY):
                set_field(self.event, name, _AS[types[name]](value))

    def _rendered(self, name: str, expression: Any) -> Any:
        try:
            return render(expression, self.layers)
        except Exception as error:  # noqa: BLE001 -- whatever a template raises is what a test wants to see
            self.raised.append(f"{name}: {error!r}")
            return None
