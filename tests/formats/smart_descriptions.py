"""A sentence for an event, chosen as Sekoia does: of those whose conditions are all met, the one with the most."""

import re
from typing import Any

_PLACE = re.compile(r"\{([\w.]+)\}")


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def describe(descriptions: list[dict[str, Any]], flat: dict[str, Any]) -> str:
    """Returns the sentence for an event.

    Args:
        descriptions: a format's smart-descriptions.json.
        flat: the event's fields by their dotted names.

    Raises:
        ValueError: no description fits, or the one that does names a field that the event lacks.
    """
    fitting = [
        one
        for one in descriptions
        if all(c["field"] in flat and c.get("value") in (None, flat[c["field"]]) for c in one["conditions"])
    ]
    if not fitting:
        raise ValueError(f"no smart description fits {sorted(flat)}")
    chosen = max(fitting, key=lambda one: len(one["conditions"]))
    missing = [name for name in _PLACE.findall(chosen["value"]) if name not in flat]
    if missing:
        raise ValueError(f"{chosen['value']!r} names {missing}, which the event lacks")
    return _PLACE.sub(lambda place: _shown(flat[place[1]]), chosen["value"])
