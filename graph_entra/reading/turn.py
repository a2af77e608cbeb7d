"""The turns in which the pages of one stream are delivered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from graph_entra.streams import Work


class Turn:
    """Whose page is delivered next: new records go first, or a slow intake would have them wait behind history."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._urgent = 0

    @asynccontextmanager
    async def of(self, work: Work) -> AsyncGenerator[None]:
        """A turn for this work."""
        if work == "edge":
            self._urgent += 1
            try:
                await self._lock.acquire()
            finally:
                self._urgent -= 1
        else:
            await self._lock.acquire()
            while self._urgent:
                # To the end of the queue, in which the urgent one stands.
                self._lock.release()
                await self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()
