"""The state on the SDK's S3 path, against an S3-compatible server over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import orjson
import pytest
from botocore.exceptions import EndpointConnectionError
from moto.server import ThreadedMotoServer
from s3path import S3Path
from sekoia_automation import constants, storage

from graph_entra.records import Record
from graph_entra.state.context import CONTEXT_FILE, ContextStore
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from tests.clocks import ManualClock
from tests.integration.rig import Rig

STREAMS = ("interactiveUser", "servicePrincipal")
TENANT = "72f988bf-0000-4a6c-9d1e-2d7cd011db47"
NOW_S = 1_790_000_000
CLOCK = ManualClock(NOW_S)


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
    files = Files(folder, CLOCK)
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


def test_context_is_saved_and_read_again(folder: Path) -> None:
    """What one process saved the next one reads."""
    damages = Damages()
    store = ContextStore(Files(folder, CLOCK), TENANT, damages.note)
    store.save_stream("interactiveUser", {"live": "2026-11-23T08:00:00Z"})
    again = ContextStore(Files(folder, CLOCK), TENANT, damages.note)
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
        (orjson.dumps({"version": 1, "tenant_id": "another", "streams": {}}), "other-tenant"),
    ],
)
def test_context_that_cannot_be_used_is_set_aside(folder: Path, content: bytes, why: str) -> None:
    """It is kept under another name, reported, and the next save makes a new one."""
    (folder / CONTEXT_FILE).write_bytes(content)
    damages = Damages()
    store = ContextStore(Files(folder, CLOCK), TENANT, damages.note)
    ((aside, reason),) = damages
    assert reason == why
    assert Files(folder, CLOCK).read(aside) == content
    assert store.damaged == (why != "other-tenant")
    store.save_stream("interactiveUser", {"live": "now"})
    assert ContextStore(Files(folder, CLOCK), TENANT, damages.note).stream("interactiveUser") == {"live": "now"}


def test_ledger_is_read_again_and_pruned(folder: Path) -> None:
    """Batches of several hours are remembered by the next process, and hours that no lane needs go."""
    damages = Damages()
    ledger = Ledger(Files(folder, CLOCK), "interactiveUser", damages.note)
    for first in range(0, 30, 10):
        ledger.add(map(_record, range(first, first + 10)), NOW_S)
    again = Ledger(Files(folder, CLOCK), "interactiveUser", damages.note)
    assert [again.digest(_record(number), NOW_S) for number in range(30)] == [number + 1 for number in range(30)]
    assert again.digest(_record(31), NOW_S) is None
    before = len(Files(folder, CLOCK).names("ledger/interactiveUser"))
    again.prune(NOW_S - 7200)
    assert len(Files(folder, CLOCK).names("ledger/interactiveUser")) < before
    assert again.digest(_record(1), NOW_S) == 2
    assert damages == []


@pytest.mark.parametrize("damage", [lambda content: content[:-5], lambda content: b"", lambda content: b"x" * 40])
def test_damaged_hour_of_the_ledger(folder: Path, damage: Any) -> None:
    """It is set aside and reported; whole batches before the damage are still known."""
    damages = Damages()
    ledger = Ledger(Files(folder, CLOCK), "interactiveUser", damages.note)
    ledger.add([_record(0)], NOW_S)
    ledger.add([_record(1)], NOW_S)
    (name,) = Files(folder, CLOCK).names("ledger/interactiveUser")
    content = Files(folder, CLOCK).read(name)
    assert content is not None
    (folder / name).write_bytes(damage(content))
    again = Ledger(Files(folder, CLOCK), "interactiveUser", damages.note)
    assert again.digest(_record(1), NOW_S) is None
    assert (again.digest(_record(0), NOW_S) == 1) == (damage(content) == content[:-5])
    assert len(damages) == 1
    again.add([_record(1)], NOW_S)
    assert Ledger(Files(folder, CLOCK), "interactiveUser", damages.note).digest(_record(1), NOW_S) == 2


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
        assert Files(folder, CLOCK).names(f"ledger/{stream}")
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
