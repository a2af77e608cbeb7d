"""The SDK's PersistentJSON made crash-safe, and the files beside it.

On a local path a file is written aside and replaced, so that a kill leaves the old text or the new one, never a part.
On the SDK's S3 path one object is written whole, which is S3's own atomic unit; ``os.replace`` would act on the local
disk there. Whatever cannot be read is set aside under another name, reported, and treated as absent.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from botocore.exceptions import BotoCoreError, ClientError
from s3path import S3Path
from sekoia_automation.storage import PersistentJSON

from graph_entra.errors import StorageFailed

STATE_VERSION: Final = 1
CONTEXT_FILE: Final = "context.json"

# Called with a file's name and what was wrong with it.
Damage = Callable[[str, str], None]


class Files:
    """Small files below one folder, on a local path or on the SDK's S3 path.

    Raises:
        StorageFailed: from every method, when the data path does not answer or is full.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._local = not isinstance(folder, S3Path)

    def read(self, name: str) -> bytes | None:
        """The whole file; None if there is none."""
        with _storage("read", name):
            path = self.folder / name
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None
            except OSError:
                # s3path raises a plain OSError, the same for an absent object as for an S3 that is down.
                if self._local or path.exists():
                    raise
                return None

    def replace(self, name: str, content: bytes) -> None:
        """Write the file so that a crash leaves it whole, old or new."""
        with _storage("write", name):
            path = self._path(name)
            if not self._local:
                path.write_bytes(content)
                return
            aside = path.with_name(path.name + ".new")
            with aside.open("wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            # A crash before this line leaves the old file; after it, the new one.
            aside.replace(path)

    def append(self, name: str, content: bytes) -> None:
        """Add to the file's end. A crash may leave a part of ``content`` there; S3 has no append: whole or nothing."""
        with _storage("write", name):
            path = self._path(name)
            if self._local:
                with path.open("ab") as out:
                    size = out.tell()
                    try:
                        out.write(content)
                        out.flush()
                    except OSError:
                        # A full disk takes a part: what is appended later must not stand behind it.
                        out.truncate(size)
                        raise
            else:
                path.write_bytes((self.read(name) or b"") + content)

    def names(self, folder: str) -> list[str]:
        """The files in a folder below this one, as ``folder/name``."""
        with _storage("list", folder):
            path = self.folder / folder
            if not path.exists():
                return []
            return sorted(f"{folder}/{entry.name}" for entry in path.iterdir())

    def delete(self, name: str) -> None:
        """Remove the file, if it is there."""
        with _storage("delete", name):
            (self.folder / name).unlink(missing_ok=True)

    def set_aside(self, name: str, why: str, instead: bytes = b"") -> str:
        """Keep a file that cannot be used under another name, and return that name.

        Args:
            name: the file.
            why: becomes part of the new name.
            instead: what takes its place, in one step: a crash leaves the one or the other there, never nothing.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        new_name = f"{name}.{why}-{stamp}"
        with _storage("rename", name):
            if self._local and not instead:
                (self.folder / name).replace(self.folder / new_name)
                return new_name
            (self.folder / new_name).write_bytes((self.folder / name).read_bytes())
            if not instead:
                (self.folder / name).unlink()
        if instead:
            self.replace(name, instead)
        return new_name

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if self._local:
            path.parent.mkdir(parents=True, exist_ok=True)
        return path


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


@contextmanager
def _storage(verb: str, name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        raise StorageFailed(f"cannot {verb} {name} on the data path: {type(error).__name__}: {error}") from error
