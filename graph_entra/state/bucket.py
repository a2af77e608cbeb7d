"""Files in an S3 bucket, where one object is written whole and nothing can be appended.

What is appended becomes an object of its own, a *part*: ``name/00000017-5f3a``. After every 16 parts these are folded
into one, ``name/00000032-5f3a+``, which is not folded again: each byte is written twice and read once, however large
the file grows. A fold stands for all parts up to its number: a crash before they are deleted leaves nothing twice.
"""

from __future__ import annotations

import os
from typing import Final

from s3path import S3Path

FOLD: Final = 16
_FOLDED: Final = "+"


class Bucket:
    """Files below one folder of a bucket. Errors are those of s3path and botocore."""

    def __init__(self, folder: S3Path) -> None:
        self._folder = folder
        # Two processes by mistake: neither overwrites the other's parts.
        self._mark = os.urandom(2).hex()
        self._known: dict[str, list[str]] = {}

    def read(self, name: str) -> bytes | None:
        """The whole file; None if there is none."""
        parts = self._parts(name)
        if not parts:
            return self._object(name)
        return b"".join(self._object(f"{name}/{part}") or b"" for part in parts)

    def replace(self, name: str, content: bytes) -> None:
        """Write the file whole."""
        parts = self._parts(name)
        if not parts:
            (self._folder / name).write_bytes(content)
            return
        fold = parts[-1].removesuffix(_FOLDED) + _FOLDED
        self._put(name, fold, content)
        self._known[name] = [fold]
        self._drop(name, [part for part in parts if part != fold])

    def append(self, name: str, content: bytes, begin: bytes) -> None:
        """Add to the file's end; a file that is not there begins with ``begin``."""
        parts = self._parts(name)
        part = f"{_number(parts[-1]) + 1 if parts else 1:08d}-{self._mark}"
        self._put(name, part, content if parts else (self._object(name) or begin) + content)
        parts.append(part)
        single = [part for part in parts if not part.endswith(_FOLDED)]
        if len(single) >= FOLD:
            fold = part + _FOLDED
            self._put(name, fold, b"".join(self._object(f"{name}/{part}") or b"" for part in single))
            self._known[name] = [*(part for part in parts if part not in single), fold]
            self._drop(name, single)

    def names(self, folder: str) -> list[str]:
        """The files in a folder, as ``folder/name``."""
        path = self._folder / folder
        return sorted({f"{folder}/{entry.name}" for entry in path.iterdir()}) if path.exists() else []

    def delete(self, name: str) -> None:
        """Remove the file, if it is there."""
        self._drop(name, self._parts(name))
        self._known.pop(name, None)
        (self._folder / name).unlink(missing_ok=True)

    def copy(self, name: str, new_name: str) -> None:
        """Write the file's content under another name."""
        content = self.read(name)
        if content is None:
            raise FileNotFoundError(name)
        (self._folder / new_name).write_bytes(content)

    def _parts(self, name: str) -> list[str]:
        """The parts of a file, oldest first; parts that a fold stands for are none."""
        parts = self._known.get(name)
        if parts is None:
            path = self._folder / name
            parts = sorted(entry.name for entry in path.iterdir() if entry.name[:8].isdigit()) if path.is_dir() else []
            folds = [part for part in parts if part.endswith(_FOLDED)]
            if folds:
                parts = [*folds, *(part for part in parts if _number(part) > _number(folds[-1]))]
            self._known[name] = parts
        return parts

    def _put(self, name: str, part: str, content: bytes) -> None:
        (self._folder / name / part).write_bytes(content)

    def _drop(self, name: str, parts: list[str]) -> None:
        for part in parts:
            (self._folder / name / part).unlink(missing_ok=True)

    def _object(self, name: str) -> bytes | None:
        path = self._folder / name
        try:
            content: bytes = path.read_bytes()
        except OSError:
            # s3path raises a plain OSError, the same for an absent object as for an S3 that is down.
            if path.exists():
                raise
            return None
        return content


def _number(part: str) -> int:
    return int(part.partition("-")[0])
