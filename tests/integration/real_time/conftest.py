"""What is about sockets and TLS to a proxy runs on real ones, and so on the real clock."""

import asyncio


def pytest_asyncio_loop_factories() -> dict[str, type[asyncio.AbstractEventLoop]]:
    """Every test here runs on an ordinary loop."""
    return {"real": asyncio.SelectorEventLoop}
