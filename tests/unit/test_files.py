"""What a crash, a full disk, a second process and a missing disk leave of the files on the data path."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from graph_entra.errors import DataPathInUse, StorageFailed
from graph_entra.state.files import Files
from tests.clocks import ManualClock


class Power(Exception):
    """The machine stops here."""


class House:
    """A data path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = Files(folder, ManualClock())


@pytest.fixture
def house(tmp_path: Path) -> House:
    """An empty data path."""
    return House(tmp_path)


def test_replace_makes_folders_and_leaves_nothing_beside(house: House) -> None:
    """The file is there, whole; its draft is not."""
    house.files.replace("a/b/c.bin", b"1")
    house.files.replace("a/b/c.bin", b"22")
    assert house.files.read("a/b/c.bin") == b"22"
    assert house.files.names("a/b") == ["a/b/c.bin"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_crash_while_replacing_leaves_the_old_file(house: House, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old or new, never a part: whichever line the power fails at."""
    house.files.replace("x", b"old")
    house.files.replace("x", b"older but one" * 1000)

    def stop(*_: object, **__: object) -> None:
        raise Power

    with monkeypatch.context() as crash:
        owner = os if step == "fsync" else Path
        crash.setattr(owner, {"write": "open"}.get(step, step), stop)
        with pytest.raises(Power):
            house.files.replace("x", b"new")
    assert Files(house.folder, ManualClock()).read("x") == b"older but one" * 1000
    house.files.replace("x", b"new")
    assert house.files.names(".") == ["./x"]


def test_append_adds_to_the_end(house: House) -> None:
    """What was there is not touched."""
    for part in (b"1", b"", b"23"):
        house.files.append("a/x", part)
    assert house.files.read("a/x") == b"123"


def test_a_file_begins_as_it_must(house: House) -> None:
    """Whoever appends first, or to a file of no bytes, writes the beginning."""
    house.files.append("x", b"1", b"begin ")
    house.files.append("x", b"2", b"begin ")
    (house.folder / "y").touch()
    house.files.append("y", b"1", b"begin ")
    assert [house.files.read(name) for name in ("x", "y")] == [b"begin 12", b"begin 1"]


class Disk:
    """A disk with so many bytes left, which may refuse to cut as well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10**9
        self.cuts = True
        real, disk = Path.open, self

        class Raw:
            """A file on it, opened without a buffer; one with a buffer would write again when it cuts."""

            def __init__(self, path: Path, *args: Any, **kwargs: Any) -> None:
                self._file = real(path, *args, **kwargs)
                assert isinstance(self._file, FileIO)

            def __enter__(self) -> "Raw":
                return self

            def __exit__(self, *_: object) -> None:
                self._file.close()

            def tell(self) -> int:
                return self._file.tell()

            def write(self, content: memoryview) -> int:
                taken = min(disk.left, len(content))
                if not taken:
                    raise OSError(errno.ENOSPC, "No space left on device")
                disk.left -= taken
                return self._file.write(content[:taken]) or 0

            def truncate(self, size: int) -> None:
                if not disk.cuts:
                    raise OSError(errno.EIO, "Input/output error")
                self._file.truncate(size)

        def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            return Raw(path, mode, *args, **kwargs) if mode == "ab" else real(path, mode, *args, **kwargs)

        monkeypatch.setattr(Path, "open", opened)


@pytest.mark.parametrize("cuts", [True, False], ids=["cuts", "cannot cut either"])
@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_full_disk_leaves_no_part_of_an_append(
    house: House, cuts: bool, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torn batch in the middle of a file would hide everything behind it: it goes, at once or before the next."""
    house.files.append("x", b"whole")
    disk = Disk(monkeypatch)
    disk.left, disk.cuts = left, cuts
    with pytest.raises(StorageFailed, match="No space left"):
        house.files.append("x", b"part")
    assert (house.folder / "x").stat().st_size == 5 + (0 if cuts else left)
    disk.left, disk.cuts = 10**9, True
    house.files.append("x", b" and more")
    assert house.files.read("x") == b"whole and more"


def test_what_a_full_disk_left_is_not_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part that could not be cut off yet is cut off before the file is read."""
    house.files.append("x", b"whole")
    disk = Disk(monkeypatch)
    disk.left, disk.cuts = 2, False
    with pytest.raises(StorageFailed):
        house.files.append("x", b"part")
    assert house.files.read("x") == b"whole"


def test_cut_keeps_the_beginning(house: House) -> None:
    """What is appended next stands behind it."""
    house.files.append("x", b"whole torn")
    house.files.cut("x", 5)
    house.files.append("x", b" and more")
    assert house.files.read("x") == b"whole and more"


# A data path that comes and goes


def test_a_data_path_is_made_once(house: House) -> None:
    """The first write makes it. Gone later, it is a missing disk: not empty, and nothing is written in its place."""
    files = Files(house.folder / "mounted", ManualClock())
    files.append("a/x", b"1")
    (house.folder / "mounted").rename(house.folder / "elsewhere")
    attempts: list[Callable[[], object]] = [
        lambda: files.append("a/x", b"2"),
        lambda: files.replace("a/y", b"2"),
        lambda: files.read("a/x"),
        lambda: files.names("a"),
    ]
    for attempt in attempts:
        with pytest.raises(StorageFailed, match="the data path is gone"):
            attempt()
    assert not (house.folder / "mounted").exists()
    (house.folder / "elsewhere").rename(house.folder / "mounted")
    files.append("a/x", b"2")
    assert files.read("a/x") == b"12"


# Two processes on one data path


def hold(folder: Path) -> "subprocess.Popen[str]":
    """Another process that holds the data path until its input ends."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom graph_entra.clock import SystemClock\n"
        "from graph_entra.state.files import Files\n"
        f"with Files(Path({str(folder)!r}), SystemClock()).held():\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("killed", [False, True], ids=["ends", "is killed"])
def test_a_second_process_is_told(house: House, killed: bool) -> None:
    """It does not touch what the first writes; once the first has ended, however it ended, it goes on."""
    first = hold(house.folder)
    try:
        for _ in range(2):
            with pytest.raises(DataPathInUse, match="another process works on this data path"), house.files.held():
                pytest.fail("both hold it")
        if killed:
            first.kill()
        else:
            first.communicate("")
        first.wait()
        with house.files.held():
            house.files.append("x", b"1")
    finally:
        first.kill()
        first.communicate()


def test_it_is_let_go_when_the_block_ends(house: House) -> None:
    """A connector that begins anew in the same process holds it anew, after an error too."""
    with suppress(Power), house.files.held():
        raise Power
    with Files(house.folder, ManualClock()).held():
        pass


def test_a_file_system_without_locks(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes are not told apart there, and one works as it always did."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with house.files.held():
        house.files.append("x", b"1")


def test_a_data_path_that_cannot_be_written_cannot_be_held(house: House) -> None:
    """It is one error like every other of the data path."""
    (house.folder / "lock").mkdir()
    with pytest.raises(StorageFailed, match="cannot lock lock on the data path"), house.files.held():
        pass


def test_what_is_not_there(house: House) -> None:
    """Reading, listing and deleting what does not exist is no fault."""
    assert house.files.read("x") is None
    assert house.files.names("x") == []
    house.files.delete("x")


def test_set_aside_keeps_the_content_under_a_new_name(house: House) -> None:
    """Twice in a row makes two files."""
    names = []
    for content in (b"1", b"2"):
        house.files.replace("a/x", content)
        names.append(house.files.set_aside("a/x", "damaged"))
    assert len(set(names)) == 2
    assert all(name.startswith("a/x.damaged-") for name in names)
    assert [house.files.read(name) for name in names] == [b"1", b"2"]
    assert house.files.read("a/x") is None


def test_set_aside_puts_what_could_be_saved_in_its_place(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one step: a crash leaves the damaged file or the saved part there, never nothing."""
    house.files.replace("x", b"damaged")

    def stop(*_: object) -> None:
        raise Power

    with monkeypatch.context() as crash:
        crash.setattr(Path, "replace", stop)
        with pytest.raises(Power):
            house.files.set_aside("x", "damaged", b"saved")
    assert house.files.read("x") == b"damaged"
    name = house.files.set_aside("x", "damaged", b"saved")
    assert house.files.read("x") == b"saved"
    assert house.files.read(name) == b"damaged"


@pytest.mark.parametrize(
    ("method", "arguments", "verb"),
    [
        ("read", ("x",), "read"),
        ("replace", ("x", b""), "write"),
        ("append", ("x", b""), "write"),
        ("delete", ("x",), "delete"),
        ("set_aside", ("x", "damaged"), "rename"),
    ],
)
def test_what_the_disk_refuses_is_one_error(house: House, method: str, arguments: tuple[Any, ...], verb: str) -> None:
    """Whatever the system raises, the log says which file and what was tried."""
    (house.folder / "x").mkdir()
    (house.folder / "x" / "y").touch()
    if method == "set_aside":
        arguments = ("missing", "damaged")
    with pytest.raises(StorageFailed, match=f"cannot {verb} {arguments[0]} on the data path: "):
        getattr(house.files, method)(*arguments)
