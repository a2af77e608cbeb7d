"""Small files that survive a crash, on a local path or on the SDK's S3 path.

On a local path a file is written aside and replaced, so that a kill leaves the old text or the new one, never a part.
What is appended may be cut by a full disk or by a kill: a full disk's part is cut off again before anything is written
behind it, a kill's by whoever reads the file next (:meth:`Files.cut`). On S3 nothing is torn: see bucket.py.
Whatever cannot be read is set aside under another name, reported, and treated as absent.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError
from s3path import S3Path

from graph_entra.clock import Clock
from graph_entra.errors import DataPathInUse, StorageFailed
from graph_entra.state.bucket import Bucket

LOCK_FILE: Final = "lock"
# What a file system says that knows no locks; then two processes are not told apart.
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})

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
        self._bucket = Bucket(folder) if isinstance(folder, S3Path) else None
        self._was_there = False
        self._set_aside = 0
        # Where a file must end, while a torn part that could not be cut off stands behind.
        self._ends: dict[str, int] = {}

    def read(self, name: str) -> bytes | None:
        """The whole file; None if there is none."""
        with _storage("read", name):
            if self._bucket:
                return self._bucket.read(name)
            self._cut_what_is_torn(name)
            try:
                return (self.folder / name).read_bytes()
            except FileNotFoundError:
                self._must_be_there()
                return None

    def replace(self, name: str, content: bytes) -> None:
        """Write the file so that a crash leaves it whole, old or new."""
        with _storage("write", name):
            if self._bucket:
                self._bucket.replace(name, content)
                return
            path = self._path(name)
            aside = path.with_name(path.name + ".new")
            with aside.open("wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            # A crash before this line leaves the old file; after it, the new one.
            aside.replace(path)
            self._ends.pop(name, None)

    def append(self, name: str, content: bytes, begin: bytes = b"") -> None:
        """Add to the file's end; a file that is empty or not there begins with ``begin``.

        A kill may leave a part of ``content`` there. A full disk leaves none: should even that fail, the next call
        cuts it off before it writes.
        """
        with _storage("write", name):
            if self._bucket:
                self._bucket.append(name, content, begin)
                return
            path = self._path(name)
            self._cut_what_is_torn(name)
            # Unbuffered: a buffer would be flushed again by the truncate that is to undo it, and fail again.
            with path.open("ab", buffering=0) as out:
                self._ends[name] = out.tell()
                rest = memoryview(content if self._ends[name] else begin + content)
                try:
                    while rest:
                        rest = rest[out.write(rest) :]
                except OSError:
                    with suppress(OSError):
                        out.truncate(self._ends[name])
                    raise
            del self._ends[name]

    def cut(self, name: str, size: int) -> None:
        """Keep the first ``size`` bytes of a file: behind them stands what a kill left of an append."""
        with _storage("write", name):
            if self._bucket:
                self._bucket.replace(name, (self._bucket.read(name) or b"")[:size])
            else:
                os.truncate(self.folder / name, size)

    def names(self, folder: str) -> list[str]:
        """The files in a folder below this one, as ``folder/name``."""
        with _storage("list", folder):
            if self._bucket:
                return self._bucket.names(folder)
            self._must_be_there()
            path = self.folder / folder
            return sorted(f"{folder}/{entry.name}" for entry in path.iterdir()) if path.exists() else []

    def delete(self, name: str) -> None:
        """Remove the file, if it is there."""
        with _storage("delete", name):
            if self._bucket:
                self._bucket.delete(name)
            else:
                (self.folder / name).unlink(missing_ok=True)
                self._ends.pop(name, None)

    def set_aside(self, name: str, why: str, instead: bytes = b"") -> str:
        """Keep a file that cannot be used under another name, and return that name.

        Args:
            name: the file.
            why: becomes part of the new name.
            instead: what takes its place, in one step: a crash leaves the one or the other there, never nothing.
        """
        stamp = datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y%m%dT%H%M%S%f")
        self._set_aside += 1
        new_name = f"{name}.{why}-{stamp}-{self._set_aside}"
        with _storage("rename", name):
            if self._bucket:
                self._bucket.copy(name, new_name)
                if not instead:
                    self._bucket.delete(name)
            elif instead:
                (self.folder / new_name).write_bytes((self.folder / name).read_bytes())
            else:
                (self.folder / name).replace(self.folder / new_name)
        if instead:
            self.replace(name, instead)
        return new_name

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the data path for this process, as long as the block runs; the system lets go of it when it ends.

        Containers of one host that share a volume see each other's lock. S3 and file systems without locks do not
        tell: there, two processes cost repeats, and neither damages what the other wrote.

        Raises:
            DataPathInUse: another process holds it.
        """
        if self._bucket:
            yield
            return
        with _storage("lock", LOCK_FILE):
            descriptor = os.open(self._path(LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        self._must_be_there()
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._was_there = True
        return path

    def _must_be_there(self) -> None:
        """A data path that is gone is a missing disk: it is neither empty nor made again."""
        there = self.folder.is_dir()
        if self._was_there and not there:
            raise FileNotFoundError(errno.ENOENT, "the data path is gone", str(self.folder))
        self._was_there = there

    def _cut_what_is_torn(self, name: str) -> None:
        if name in self._ends:
            with suppress(FileNotFoundError):
                os.truncate(self.folder / name, self._ends[name])
            del self._ends[name]


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataPathInUse(
            "another process works on this data path: stop one of the two, or give each connector a path of its own"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise StorageFailed(f"cannot lock {LOCK_FILE} on the data path: {error}") from error


@contextmanager
def _storage(verb: str, name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        raise StorageFailed(f"cannot {verb} {name} on the data path: {type(error).__name__}: {error}") from error
