"""The state on the SDK's S3 path, against an S3-compatible server over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import boto3
import orjson
import pytest
from botocore.exceptions import EndpointConnectionError
from moto.server import ThreadedMotoServer
from s3path import S3Path
from sekoia_automation import constants, storage

from graph_entra.errors import StorageFailed
from graph_entra.records import Record
from graph_entra.state.bucket import FOLD
from graph_entra.state.context import CONTEXT_FILE, ContextStore
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from graph_entra.state.refused import RefusedRecords
from graph_entra.streams import HOUR_S, sign_in_stream
from tests.clocks import ManualClock
from tests.integration.rig import Rig

STREAMS = ("interactiveUser", "servicePrincipal")
TENANT = "72f988bf-0000-4a6c-9d1e-2d7cd011db47"
NOW_S = 1_790_000_000
STREAM = sign_in_stream("interactiveUser", beta_only=False)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The server's address."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(scope="module")
def bucket(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The SDK's data path, made by the SDK from the environment that the platform sets."""
    cached = (storage.get_data_path, storage.get_s3_data_path)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "FILE_BACKEND": "S3",
            "AWS_BUCKET_NAME": "the-platform-s",
            "AWS_ACCESS_KEY_ID": "emulated",
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_S3_ENDPOINT_URL": server,
            "SUB_FOLDER": "connectors",
        }.items():
            patch.setenv(name, value)
        patch.setattr(constants, "TLS_VOLUME_PATH", str(tmp_path_factory.mktemp("tls")))
        boto3.client("s3", endpoint_url=server).create_bucket(Bucket="the-platform-s")
        for function in cached:
            function.cache_clear()
        path = storage.get_data_path()
        assert isinstance(path, S3Path)
        yield path
        for function in cached:
            function.cache_clear()
        boto3.DEFAULT_SESSION = None


@pytest.fixture
def folder(bucket: Path, tmp_path: Path) -> Path:
    """A connector's own folder in the bucket."""
    return bucket / tmp_path.name


def _record(number: int) -> Record:
    return Record("{}", number, number + 1, NOW_S - number * 600, f"id-{number}")


class Damages(list[tuple[str, str]]):
    """What was set aside."""

    def note(self, name: str, why: str) -> None:
        self.append((name, why))


def test_files(folder: Path) -> None:
    """Read, replace, append, list, delete and set aside mean the same as on a disk."""
    files = Files(folder, ManualClock(NOW_S))
    assert files.read("a/b.bin") is None
    assert files.names("a") == []
    files.replace("a/b.bin", b"one")
    files.append("a/b.bin", b" two")
    files.append("a/c.bin", b"three")
    assert files.read("a/b.bin") == b"one two"
    assert files.names("a") == ["a/b.bin", "a/c.bin"]
    files.delete("a/c.bin")
    files.delete("a/c.bin")
    assert files.names("a") == ["a/b.bin"]
    aside = files.set_aside("a/b.bin", "damaged")
    assert files.read("a/b.bin") is None
    assert files.read(aside) == b"one two"


def test_an_object_that_cannot_be_read_just_now_is_not_absent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """s3path raises the same OSError for both; an empty state would have everything delivered again."""
    files = Files(folder, ManualClock(NOW_S))
    files.replace("a.json", b"one")

    def fails(_path: S3Path) -> bytes:
        raise OSError("read")

    with monkeypatch.context() as patched:
        patched.setattr(S3Path, "read_bytes", fails)
        with pytest.raises(StorageFailed):
            files.read("a.json")
        assert files.read("b.json") is None
    assert files.read("a.json") == b"one"


def test_context_is_saved_and_read_again(folder: Path) -> None:
    """What one process saved the next one reads."""
    damages = Damages()
    store = ContextStore(Files(folder, ManualClock(NOW_S)), [TENANT], damages.note)
    store.save_stream("interactiveUser", {"live": "2026-11-23T08:00:00Z"})
    again = ContextStore(Files(folder, ManualClock(NOW_S)), [TENANT], damages.note)
    assert again.stream("interactiveUser") == {"live": "2026-11-23T08:00:00Z"}
    assert damages == []
    assert not again.damaged


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged"),
        (b'{"version": 1, "tenant_id": "', "damaged"),
        (b"[]", "damaged"),
        (b'{"version": 99, "streams": {}}', "unknown-version"),
        (
            orjson.dumps({"version": 1, "tenant_id": "8f0c2a31-5b7e-4d19-9c64-0e7d1f3b2a58", "streams": {}}),
            "other-tenant",
        ),
    ],
)
def test_context_that_cannot_be_used_is_set_aside(folder: Path, content: bytes, why: str) -> None:
    """It is kept under another name, reported, and the next save makes a new one."""
    (folder / CONTEXT_FILE).write_bytes(content)
    damages = Damages()
    store = ContextStore(Files(folder, ManualClock(NOW_S)), [TENANT], damages.note)
    ((aside, reason),) = damages
    assert reason == why
    assert Files(folder, ManualClock(NOW_S)).read(aside) == content
    assert store.damaged == (why != "other-tenant")
    store.save_stream("interactiveUser", {"live": "now"})
    assert ContextStore(Files(folder, ManualClock(NOW_S)), [TENANT], damages.note).stream("interactiveUser") == {
        "live": "now"
    }


def test_ledger_is_read_again_and_pruned(folder: Path) -> None:
    """Batches of several hours are remembered by the next process, and hours that no lane needs go."""
    damages = Damages()
    ledger = Ledger(Files(folder, ManualClock(NOW_S)), STREAM, damages.note)
    for first in range(0, 30, 10):
        ledger.add(map(_record, range(first, first + 10)), NOW_S)
    again = Ledger(Files(folder, ManualClock(NOW_S)), STREAM, damages.note)
    assert [again.digest(_record(number), NOW_S) for number in range(30)] == [number + 1 for number in range(30)]
    assert again.digest(_record(31), NOW_S) is None
    before = len(Files(folder, ManualClock(NOW_S)).names("ledger/interactiveUser"))
    again.keep([(NOW_S - 7200, NOW_S)])
    assert len(Files(folder, ManualClock(NOW_S)).names("ledger/interactiveUser")) < before
    assert again.digest(_record(1), NOW_S) == 2
    assert damages == []


@pytest.mark.parametrize("damage", [lambda content: content[:-1] + b"x", lambda _content: b"x" * 40])
def test_damaged_hour_of_the_ledger(folder: Path, damage: Any) -> None:
    """It is set aside and reported; whole batches before the damage are still known."""
    damages = Damages()
    ledger = Ledger(Files(folder, ManualClock(NOW_S)), STREAM, damages.note)
    ledger.add([_record(0)], NOW_S)
    ledger.add([_record(1)], NOW_S)
    (name,) = Files(folder, ManualClock(NOW_S)).names("ledger/interactiveUser")
    content = Files(folder, ManualClock(NOW_S)).read(name)
    assert content is not None
    Files(folder, ManualClock(NOW_S)).replace(name, damage(content))
    again = Ledger(Files(folder, ManualClock(NOW_S)), STREAM, damages.note)
    assert again.digest(_record(1), NOW_S) is None
    assert (again.digest(_record(0), NOW_S) == 1) == (len(damage(content)) > 40)
    assert [why for _, why in damages] == ["damaged"]
    again.add([_record(1)], NOW_S)
    assert Ledger(Files(folder, ManualClock(NOW_S)), STREAM, damages.note).digest(_record(1), NOW_S) == 2
    assert len(damages) == 1


def test_parts_are_folded(folder: Path) -> None:
    """However many batches an hour has, it is few objects; each process finds every batch, and a delete leaves none."""
    files = Files(folder, ManualClock(NOW_S))
    content = b"begin "
    for number in range(FOLD * 2 + 3):
        part = b"%d," % number
        files.append("a/x", part, b"begin ")
        content += part
        assert len(list((folder / "a/x").iterdir())) <= FOLD + 1
        if number % FOLD in (0, 1, FOLD - 1):
            assert files.read("a/x") == Files(folder, ManualClock(NOW_S)).read("a/x") == content
    assert files.names("a") == ["a/x"]
    files.delete("a/x")
    assert not list((folder / "a").iterdir())
    assert files.read("a/x") is None


@pytest.mark.parametrize("deleted", [0, 1, FOLD // 2, FOLD - 2, FOLD - 1])
def test_a_crash_while_folding(folder: Path, deleted: int) -> None:
    """The fold is there and its parts are deleted one by one: whichever is left, nothing is twice."""
    files = Files(folder, ManualClock(NOW_S))
    for number in range(FOLD - 1):
        files.append("x", b"%d," % number)
    names = sorted(path.name for path in (folder / "x").iterdir())
    parts = {name: (folder / "x" / name).read_bytes() for name in names}
    files.append("x", b"last")
    content = files.read("x")
    for name in names[deleted:]:
        (folder / "x" / name).write_bytes(parts[name])
    again = Files(folder, ManualClock(NOW_S))
    assert again.read("x") == content == b"".join(parts.values()) + b"last"
    again.append("x", b"!")
    assert Files(folder, ManualClock(NOW_S)).read("x") == content + b"!"


def test_two_processes_overwrite_nothing(folder: Path) -> None:
    """There are no locks on S3: each one's parts stay, so that the worst is a repeat."""
    one, other = Files(folder, ManualClock(NOW_S)), Files(folder, ManualClock(NOW_S))
    one.append("x", b"1,")
    other.append("x", b"2,")
    one.append("x", b"3,")
    other.append("x", b"4,")
    content = Files(folder, ManualClock(NOW_S)).read("x") or b""
    assert sorted(content.split(b",")) == [b"", b"1", b"2", b"3", b"4"]


def test_refused_records(folder: Path) -> None:
    """They are kept in the bucket too, over restarts."""
    for number in range(3):
        keeper = RefusedRecords(Files(folder, ManualClock(NOW_S)), lambda _count: None)
        keeper.keep(Record(f'{{"n":{number}}}', 1, 2, None, None), 400)
    content = Files(folder, ManualClock(NOW_S)).read("refused.jsonl") or b""
    assert [orjson.loads(line)["record"]["n"] for line in content.splitlines()] == [0, 1, 2]


POLLS = 16


def test_bytes_of_a_poll(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 100 records/s, a poll each minute writes and reads 0.2 MB at most, with everything that is folded."""
    sent = received = 0
    write, read = S3Path.write_bytes, S3Path.read_bytes

    def counted_write(path: S3Path, data: bytes) -> int:
        nonlocal sent
        sent += len(data)
        return int(write(path, data))

    def counted_read(path: S3Path) -> bytes:
        nonlocal received
        content: bytes = read(path)
        received += len(content)
        return content

    monkeypatch.setattr(S3Path, "write_bytes", counted_write)
    monkeypatch.setattr(S3Path, "read_bytes", counted_read)
    start_s = NOW_S // HOUR_S * HOUR_S
    ledger, random = Ledger(Files(folder, ManualClock(NOW_S)), STREAM, pytest.fail), Random(1)
    for created_s in range(start_s, start_s + POLLS * 60, 10):
        ledger.add([_delivered(random, created_s + n // 100) for n in range(1000)], created_s)
        ledger.keep([(start_s - 24 * HOUR_S, start_s + 24 * HOUR_S)])
    print(f"S3 at 100 records/s, MB a poll: {sent / POLLS / 1e6:.3f} written, {received / POLLS / 1e6:.3f} read")
    assert POLLS * 6000 * 8 * 1.8 < sent < POLLS * 200_000
    assert received < POLLS * 200_000


def _delivered(random: Random, created_s: int) -> Record:
    return Record("{}", random.getrandbits(64), random.choice(range(20)), created_s, None)


async def test_collector_runs_and_restarts_on_it(rig: Rig, folder: Path) -> None:
    """Everything arrives once over two runs; the state is in the bucket and nothing of it on the local disk."""
    rig.fill(*STREAMS, count=20, hours=1)
    async with rig.collecting(*STREAMS, folder=folder) as run:
        await run.complete()
    rig.clock.jump(60)
    rig.fill(*STREAMS, count=10, hours=0.02, seed=1)
    async with rig.collecting(*STREAMS, folder=folder) as run:
        await run.complete()
        assert run.complaints() == []
    assert set(orjson.loads((folder / CONTEXT_FILE).read_bytes())["streams"]) == set(STREAMS)
    for stream in STREAMS:
        assert Files(folder, ManualClock(NOW_S)).names(f"ledger/{stream}")
    assert list(rig.folder.iterdir()) == []


@pytest.mark.parametrize("content", [b'{"version": 1,', b'{"version": 7, "streams": {}}'])
async def test_damaged_context_costs_no_record(rig: Rig, folder: Path, content: bytes) -> None:
    """After a restart on a damaged file the last 24 h are read again; the ledger keeps them from being repeated."""
    rig.fill(*STREAMS, count=20, hours=1)
    async with rig.collecting(*STREAMS, folder=folder) as run:
        await run.complete()
    (folder / CONTEXT_FILE).write_bytes(content)
    rig.fill(*STREAMS, count=10, hours=1, seed=1)
    async with rig.collecting(*STREAMS, folder=folder) as run:
        await run.complete()
        assert run.said("context.json", "set aside", level="error")


async def test_storage_is_down_for_a_while(rig: Rig, folder: Path) -> None:
    """While nothing can be written it is told; afterwards everything has arrived, at most a batch of it again."""
    rig.fill(*STREAMS, count=60, hours=1)
    write = S3Path.write_bytes
    down = False

    def sometimes(path: S3Path, data: bytes) -> int:
        if down:
            raise EndpointConnectionError(endpoint_url="http://emulated")
        return int(write(path, data))

    rig.monkeypatch.setattr(S3Path, "write_bytes", sometimes)
    async with rig.collecting(*STREAMS, folder=folder) as run:
        await run.until(lambda: rig.emulator.intake.count >= 20, "the first pages")
        down = True
        await run.until(lambda: run.said("the data path", level="error"), "a line about the data path")
        down = False
        await run.complete()
        await run.until(lambda: run.said("the data path", "recovered"), "a line that it is over")
