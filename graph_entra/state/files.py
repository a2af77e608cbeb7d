"""Small files that survive a crash, on a local path or on the SDK's S3 path.

On a local path a file is written aside and replaced, so that a kill leaves the old text or the new one, never a part.
On S3 one object is written whole, which is S3's own atomic unit; ``os.replace`` would act on the local disk there.
Whatever cannot be read is set aside under another name, reported, and treated as absent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from s3path import S3Path

from graph_entra.clock import Clock
from graph_entra.errors import StorageFailed

# Called with a file's name and what was wrong with it.
Damage = Callable[[str, str], None]


class Files:
    """Small files below one folder, on a local path or on the SDK's S3 path.

    Raises:
        StorageFailed: from every method, when the data path does not answer or is full.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock
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
        stamp = datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y%m%dT%H%M%S%f")
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


@contextmanager
def _storage(verb: str, name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        raise StorageFailed(f"cannot {verb} {name} on the data path: {type(error).__name__}: {error}") from error
