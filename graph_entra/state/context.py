"""The SDK's PersistentJSON made crash-safe: one object for the state of every stream of one connector.

| version | written by | what is different |
|---|---|---|
| 1 | 1.0.0 | a stream's state is its lanes' cursors; the tenant is as the configuration named it |
| 2 | 2.0.0 | a stream's state is what reading/ makes of it; the tenant is the id that the token names |

A file of an earlier version is taken over as it is: whoever reads a stream's state knows both forms. It is written as
today's with the first change.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Any, Final

import orjson
from sekoia_automation.storage import PersistentJSON

from graph_entra.errors import StorageFailed
from graph_entra.state.files import Damage, Files

STATE_VERSION: Final = 2
_VERSIONS: Final = (1, STATE_VERSION)
CONTEXT_FILE: Final = "context.json"
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ContextStore(PersistentJSON):
    """``context.json``: how far every stream of one connector has been read, in one object.

    The SDK's own class truncates the file and then writes it, takes a torn file for an empty one, and saves even when
    the block raised; this one does none of that. One object serves the whole process: two would overwrite each other.

    Args:
        files: the data path.
        tenants: the names under which the state of this tenant may have been saved: its id, as the token states it,
            first, then whatever the configuration calls it. State under any of them goes on, under the first.
        on_damage: told of a file that was set aside or is missing, and why: ``damaged``, ``missing``,
            ``unknown-version`` or ``other-tenant``.

    Attributes:
        damaged: what was read before is not known any more, and it was not the first start: at least the last 24 h are
            to be read again.
    """

    def __init__(self, files: Files, tenants: Sequence[str], on_damage: Damage) -> None:
        super().__init__(CONTEXT_FILE, files.folder)
        self._files = files
        # Ids and domains are the same in capitals.
        self._tenants = [tenant.lower() for tenant in tenants]
        self._on_damage = on_damage
        self._lock = threading.Lock()
        self.damaged = False
        self.load()

    def load(self) -> None:  # type: ignore[override]
        """Read the file. One that cannot be used is set aside and ``damaged`` says so.

        Raises:
            StorageFailed: the data path does not answer.
        """
        content = self._files.read(CONTEXT_FILE)
        self._data = self._empty()
        if content is None:
            # The ledger is there, so it was not the first start.
            self.damaged = bool(self._files.names("ledger"))
            if self.damaged:
                self._on_damage(CONTEXT_FILE, "missing")
            return
        try:
            data = orjson.loads(content)
        except orjson.JSONDecodeError:
            data = None
        why = self._unusable(data)
        if why is None:
            self._data["streams"] = data["streams"]
            return
        self._on_damage(self._files.set_aside(CONTEXT_FILE, why), why)
        # Another tenant's state says nothing of this one, which begins like a new installation. But a domain may be
        # another name of this tenant: then its time since must not be left out.
        self.damaged = why != "other-tenant" or not _both_are_ids(str(data.get("tenant_id")), self._tenants[0])

    def dump(self) -> None:  # type: ignore[override]
        """Write the file.

        Raises:
            StorageFailed: the data path does not answer or is full; the old file is whole.
        """
        self._files.replace(CONTEXT_FILE, orjson.dumps(self._data, option=orjson.OPT_INDENT_2))

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self.dump()

    def stream(self, key: str) -> Any:
        """What was saved for a stream; None if nothing was."""
        return self._data["streams"].get(key)

    def save_stream(self, key: str, state: Any) -> None:
        """Save one stream's state, any JSON value, from any thread; nothing is written when nothing changed.

        Raises:
            StorageFailed: see :meth:`dump`; the next call writes it.
        """
        with self._lock:
            streams = self._data["streams"]
            before = streams.get(key)
            if key in streams and before == state:
                return
            streams[key] = state
            try:
                self.dump()
            except StorageFailed:
                streams[key] = before
                if before is None:
                    del streams[key]
                raise

    def _empty(self) -> dict[str, Any]:
        return {"version": STATE_VERSION, "tenant_id": self._tenants[0], "streams": {}}

    def _unusable(self, data: Any) -> str | None:
        if not isinstance(data, dict) or not isinstance(data.get("streams"), dict):
            return "damaged"
        if data.get("version") not in _VERSIONS:
            return "unknown-version"
        if str(data.get("tenant_id")).lower() not in self._tenants:
            return "other-tenant"
        return None


def _both_are_ids(one: str, other: str) -> bool:
    return bool(_GUID.fullmatch(one.lower()) and _GUID.fullmatch(other.lower()))
