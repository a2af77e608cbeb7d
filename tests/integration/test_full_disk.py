"""A ledger on a disk that is really full: a small tmpfs of our own, where this process may mount one."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from graph_entra.errors import StorageFailed
from graph_entra.records import Record
from graph_entra.state.context import ContextStore
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from graph_entra.streams import AUDITS
from tests.clocks import ManualClock

NOW = 1_795_420_800
DISK_BYTES = 64 * 1024
_LIBC = ctypes.CDLL(None, use_errno=True)


def mount(folder: str) -> bool:
    """Mounts a small tmpfs."""
    return _LIBC.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, b"size=%d" % DISK_BYTES) == 0


def unmount(folder: str) -> None:
    """Unmounts it."""
    _LIBC.umount2(folder.encode(), 2)


def may_mount() -> bool:
    """Whether this process may; tests/unit/test_files.py fills a disk without."""
    with TemporaryDirectory() as folder:
        if os.geteuid() != 0 or not mount(folder):
            return False
        unmount(folder)
        return True


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    assert mount(str(folder))
    yield folder
    unmount(str(folder))


def batch(number: int, records: int = 500) -> list[Record]:
    """Records that were delivered together."""
    random = Random(number)
    return [Record("{}", random.getrandbits(64), number, NOW + number, None) for _ in range(records)]


def known(folder: Path, number: int) -> int:
    """How many of a batch a new process knows."""
    ledger = Ledger(Files(folder, ManualClock(NOW)), AUDITS, pytest.fail)
    return sum(ledger.digest(record, NOW) == record.digest for record in batch(number))


if may_mount():

    def test_every_batch_but_those_of_the_full_disk_is_known(disk: Path) -> None:
        """The disk fills in the middle of a batch: nothing is written behind a torn one, and room is used again."""
        ledger = Ledger(Files(disk, ManualClock(NOW)), AUDITS, pytest.fail)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(DISK_BYTES - 24 * 1024))
        failed = 0
        with suppress(StorageFailed):
            for failed in range(12):
                ledger.add(batch(failed), NOW)
        assert 0 < failed < 11
        # Killed in this state: whole batches are known, the torn one is gone.
        assert [known(disk, number) for number in range(failed + 1)] == [500] * failed + [0]
        ballast.unlink()
        ledger.add(batch(20), NOW)
        assert [known(disk, number) for number in (*range(failed + 1), 20)] == [500] * (failed + 2)

    def test_a_full_disk_leaves_the_state_as_it_was(disk: Path) -> None:
        """context.json is the old one, whole; with room again the next state is written."""
        files = Files(disk, ManualClock(NOW))
        store = ContextStore(files, ["tenant"], pytest.fail)
        store.save_stream("a", "x" * 9000)
        with suppress(OSError):
            (disk / "ballast").write_bytes(bytes(DISK_BYTES))
        with pytest.raises(StorageFailed):
            store.save_stream("a", "y" * 9000)
        assert ContextStore(files, ["tenant"], pytest.fail).stream("a") == "x" * 9000
        (disk / "ballast").unlink()
        store.save_stream("a", "y" * 9000)
        assert ContextStore(files, ["tenant"], pytest.fail).stream("a") == "y" * 9000

    def test_a_disk_that_is_read_only_gone_and_back(disk: Path) -> None:
        """What is delivered meanwhile is kept in memory and written when the disk is back; nothing is torn."""
        ledger = Ledger(Files(disk, ManualClock(NOW)), AUDITS, pytest.fail)
        ledger.add(batch(1), NOW)
        remount, read_only = 32, 1
        assert _LIBC.mount(b"tmpfs", str(disk).encode(), b"tmpfs", remount | read_only, None) == 0
        with pytest.raises(StorageFailed, match="Read-only file system"):
            ledger.add(batch(2), NOW)
        with pytest.raises(StorageFailed, match="Read-only file system"), Files(disk, ManualClock()).held():
            pass
        assert _LIBC.mount(b"tmpfs", str(disk).encode(), b"tmpfs", remount, None) == 0
        ledger.add(batch(3), NOW)
        assert [known(disk, number) for number in (1, 2, 3)] == [500] * 3
