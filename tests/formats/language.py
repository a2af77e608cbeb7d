"""Sekoia's parser language on jinja2, as far as our two formats speak it: it reads JSON and dates, and sets fields.

How it works is not written down in one place. What is here was learned from the documentation and the formats' tests
of https://github.com/SEKOIA-IO/intake-formats, and test_language.py restates it, fact by fact:

- A pipeline runs its stages in order. A stage whose filter is false is left out, and so is an action.
- An expression sees what each stage before it gave, by the stage's name; `original` is the event as it came.
- An expression that stands alone gives its value, whatever its type. With anything around it, it gives a text, and a
  text that is written like a list is read as one.
- What is undefined, null or an empty text is not set; zero, false and an empty list are.
- An expression that raises sets nothing, and nobody is told. So this module keeps what was raised.
- A field's type in the taxonomy says what becomes of a value: a keyword is a text, an array a list. A field that the
  taxonomy does not have is dropped.
- Times are UTC and have microseconds: further digits are cut.

Beyond that, the platform fills `related`, `source.address` and the parts of `user_agent` by itself; this module does
not.
"""

import ast
import ipaddress
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
from jinja2 import Template, Undefined
from jinja2.nativetypes import NativeEnvironment
from jinja2.runtime import Context

Event = dict[str, Any]


def is_ip_address(value: object) -> bool:
    """The language's own filter `is_ipaddress`: whether a text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return True


# Its templates give values. What NativeTemplate.render does besides, to read a text as a Python literal, is not done.
_ENVIRONMENT = NativeEnvironment()
_ENVIRONMENT.filters["is_ipaddress"] = is_ip_address
_NOTHING = _ENVIRONMENT.from_string("")


@cache
def _compiled(expression: str) -> Template:
    return _ENVIRONMENT.from_string(expression)


def _list_or_text(text: str) -> Any:
    if text.strip().startswith("[") and text.strip().endswith("]"):
        for read, written in ((orjson.loads, text), (ast.literal_eval, text.strip())):
            with suppress(ValueError, SyntaxError):
                return read(written)
    return text


def render(expression: Any, context: Context) -> Any:
    """Returns what an expression gives among the stages' layers; a number or a list of no expressions is a constant."""
    if isinstance(expression, list):
        return [render(item, context) for item in expression]
    if not isinstance(expression, str):
        return expression
    parts = list(_compiled(expression).root_render_func(context))
    if len(parts) == 1 and "{" in expression:
        return None if isinstance(parts[0], Undefined) else parts[0]
    return _list_or_text("".join(map(str, parts)))


def parse_date(text: str) -> str:
    """The stage `date.parse`, for ISO 8601: a text without an offset is UTC, digits beyond microseconds are cut."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _keyword(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


_AS: dict[str, Callable[[Any], Any]] = {
    "keyword": _keyword,
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


def delete_field(event: Event, name: str) -> None:
    """Takes away what is at a dotted path, and what is empty then."""
    first, _, rest = name.partition(".")
    if rest and isinstance(event.get(first), dict):
        delete_field(event[first], rest)
    if not rest or event.get(first) == {}:
        event.pop(first, None)


@dataclass(frozen=True)
class Parser:
    """A format's parser.yml, and the type of each field that it may set."""

    source: dict[str, Any]
    types: dict[str, str]

    def parse(self, text: str) -> "Parsed":
        """Returns the event that becomes of a raw one, and what was raised on the way."""
        parsed = Parsed(self.types)
        parsed.add("original", {"message": text})
        for stage in self.source["pipeline"]:
            if not parsed.allows(stage):
                continue
            if "external" in stage:
                parsed.ask(stage["name"], stage["external"])
            else:
                for action in self.source["stages"][stage["name"]]["actions"]:
                    parsed.act(action)
        return parsed


@dataclass
class Parsed:
    """An event in the making.

    Attributes:
        types: the type of each field that may be set.
        context: what each stage gave, by its name, as jinja2 wants it.
        event: the structured event so far.
        raised: "field: what an expression raised"; the platform swallows it, and the field is missing.
    """

    types: dict[str, str]
    context: Context = field(default_factory=_NOTHING.new_context)
    event: Event = field(default_factory=dict)
    raised: list[str] = field(default_factory=list)

    def add(self, name: str, layer: dict[str, Any]) -> None:
        """Lets the expressions that follow see what a stage gave."""
        self.context = _NOTHING.new_context({**self.context.parent, name: layer})

    def allows(self, part: dict[str, Any]) -> bool:
        """Whether a stage's or an action's filter, if it has one, is true; one that raises is false."""
        return "filter" not in part or bool(self._rendered("filter", part["filter"]))

    def ask(self, name: str, external: dict[str, Any]) -> None:
        """Runs one of the language's own stages; one that cannot read its input gives nothing."""
        properties = external["properties"]
        read = {"json.parse-json": orjson.loads, "date.parse": parse_date}[external["name"]]
        try:
            self.add(name, {properties["output_field"]: read(render(properties["input_field"], self.context))})
        except Exception as error:  # noqa: BLE001 -- as for an expression: what follows finds nothing
            self.raised.append(f"{name}: {error!r}")

    def act(self, action: dict[str, Any]) -> None:
        """Runs an action: set, translate or delete."""
        if not self.allows(action):
            return
        for name, expression in action.get("set", {}).items():
            self._set(name, self._rendered(name, expression))
        for source, name in action.get("mapping", {}).items():
            dictionary = {str(key): value for key, value in action["dictionary"].items()}
            word = str(self._rendered(name, "{{" + source + "}}"))
            self._set(name, self._rendered(name, dictionary.get(word, action.get("fallback"))))
        for name in action.get("delete", []):
            delete_field(self.event, name)

    def _set(self, name: str, value: Any) -> None:
        if name in self.types and value is not None and not (isinstance(value, str) and not value.strip()):
            try:
                set_field(self.event, name, _AS[self.types[name]](value))
            except (TypeError, ValueError) as error:
                self.raised.append(f"{name}: {error!r}")

    def _rendered(self, name: str, expression: Any) -> Any:
        try:
            return render(expression, self.context)
        except Exception as error:  # noqa: BLE001 -- whatever a template raises is what a test wants to see
            self.raised.append(f"{name}: {error!r}")
            return None
