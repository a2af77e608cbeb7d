"""An emulator for each test of the emulator; Graph's limit is off unless a test is about it."""

from collections.abc import Iterator

import pytest

from tests.emulator import Emulator
from tests.emulator.client import PlainClient


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        running.graph.limit = None
        yield running


@pytest.fixture
def client(emulator: Emulator) -> Iterator[PlainClient]:
    with PlainClient(emulator) as plain:
        yield plain
