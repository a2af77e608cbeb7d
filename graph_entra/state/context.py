"""The SDK's PersistentJSON made crash-safe: one object for the state of every stream of one connector."""

from __future__ import annotations

import threading
from typing import Any, Final

import orjson
from sekoia_automation.storage import PersistentJSON

from graph_entra.errors import StorageFailed
from graph_entra.state.files import Damage, Files

STATE_VERSION: Final = 1
CONTEXT_FILE: Final = "context.json"


class ContextStore(PersistentJSON):
    """``context.json``: the cursors of every stream of one connector, in one object.

    The SDK's own class truncates the file and then writes it, takes a torn file for an empty one, and saves even when
    the block raised; this one does none of that. One object serves the whole process: two would overwrite each other.

    Args:
        files: the data path.
        tenant_id: whose cursors they are; those of another tenant are set aside.
        on_damage: told the new name of a file that was set aside, and why.
    """

    def __init__(self, files: Files, tenant_id: str, on_damage: Damage) -> None:
        super().__init__(CONTEXT_FILE, files.folder)
        self._files = files
        self._tenant_id = tenant_id
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
        if content is None:
            self._data = self._empty()
            return
        try:
            data = orjson.loads(content)
        except orjson.JSONDecodeError:
            data = None
        why = self._unusable(data)
        if why is None:
            self._data = data
            return
        other_tenant = why == "other-tenant"
        self._on_damage(self._files.set_aside(CONTEXT_FILE, why), why)
        # Another tenant's cursors say nothing of this one: it begins like a new installation.
        self.damaged = not other_tenant
        self._data = self._empty()

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

    def save_stream(self, key: str, state: dict[str, Any]) -> None:
        """Save one stream's state, from any thread; nothing is written when nothing changed.

        Raises:
            StorageFailed: see :meth:`dump`; the next call writes it.
        """
        with self._lock:
            before = self._data["streams"].get(key)
            if before == state:
                return
            self._data["streams"][key] = state
            try:
                self.dump()
            except StorageFailed:
                self._data["streams"][key] = before
                raise

    def _empty(self) -> dict[str, Any]:
        return {"version": STATE_VERSION, "tenant_id": self._tenant_id, "streams": {}}

    def _unusable(self, data: Any) -> str | None:
        if not isinstance(data, dict) or not isinstance(data.get("streams"), dict):
            return "damaged"
        if data.get("version") != STATE_VERSION:
            return "unknown-version"
        # Ids and domains are the same in capitals.
        if str(data.get("tenant_id")).lower() != self._tenant_id.lower():
            return "other-tenant"
        return None
