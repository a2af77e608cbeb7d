"""Every test here runs on a virtual loop."""

import asyncio

from tests.virtual import VirtualLoop


def pytest_asyncio_loop_factories() -> dict[str, type[asyncio.AbstractEventLoop]]:
    """See pytest-asyncio."""
    return {"virtual": VirtualLoop}
