"""A record that is too long for the SDK, cut to what it sends and marked: the SDK would discard it."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final

import orjson
from sekoia_automation.constants import EVENT_BYTES_MAX_SIZE

# The SDK discards longer events. Counted in characters.
MAX_RECORD_CHARS: Final = EVENT_BYTES_MAX_SIZE
# The marker of a cut, at its longest: cutting something as small would make it larger.
_MARKER_CHARS: Final = 128


def fit(text: str) -> str:
    """A record's text, cut to what the SDK sends if it is longer.

    The largest members go first. Of a text or a list the beginning is kept, followed by a marker that states the
    original size and SHA-256; any other value is replaced by the marker. ``id`` and the time members are small and
    stay.
    """
    if len(text) <= MAX_RECORD_CHARS:
        return text
    with suppress(ValueError, RecursionError):
        # Not orjson, which rounds integers beyond 64 bits.
        value = json.loads(text)
        if isinstance(value, dict):
            _cut_members(value)
            if len(fitting := _text(value)) <= MAX_RECORD_CHARS:
                return fitting
    # Not an object, or one of countless small members, or too deep to read: what is left is the beginning of its
    # text. A control character is escaped into six.
    return _text({"graph_entra_cut": _marker(text), "beginning": text[: MAX_RECORD_CHARS // 8]})


def _cut_members(value: dict[str, Any]) -> None:
    sizes = sorted(((len(_text(member)), name) for name, member in value.items()), reverse=True)
    total = len(_text(value))
    for size, name in sizes:
        if total <= MAX_RECORD_CHARS or size <= _MARKER_CHARS:
            return
        value[name] = _cut(value[name], max(0, MAX_RECORD_CHARS - (total - size)))
        total += len(_text(value[name])) - size


def _cut(value: Any, room: int) -> Any:
    text = _text(value)
    marker = _marker(text)
    room -= len(marker) + 8
    if isinstance(value, str):
        kept = value[: max(0, room - 2)]
        while len(_text(kept)) > max(2, room):
            kept = kept[: len(kept) * 3 // 4]
        return kept + marker
    if isinstance(value, list):
        kept_items = []
        for item in value:
            room -= len(_text(item)) + 1
            if room < 0:
                break
            kept_items.append(item)
        return [*kept_items, marker]
    return marker


def _marker(text: str) -> str:
    digest = sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"[graph_entra cut this: {len(text)} characters of JSON, SHA-256 {digest}]"


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":"))
