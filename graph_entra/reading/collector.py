"""The order of effects for one stream.

    window -> page -> ledger: drop what was delivered -> intake -> ledger: note it -> cursor -> context.json

Never in another order, never in a ``finally``. What a crash leaves at each arrow stands beside the line.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Final, Protocol

from graph_entra.clock import Clock
from graph_entra.delivery.intake import Intake, batches, fit
from graph_entra.reading import lanes
from graph_entra.reading.lanes import StreamState
from graph_entra.records import Page, Record, Taken
from graph_entra.state.context import ContextStore
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from graph_entra.state.refused import RefusedRecords
from graph_entra.streams import DAY_S, Stream, Stretch, Window

_FOR_EVER_S: Final = 2**40
# How long a stop waits for a push that is under way, so that its records are noted and not repeated.
STOP_GRACE_S: Final = 3.0


class PageSource(Protocol):
    """Where pages come from: graph.Graph, or a model of it."""

    def pages(self, stream: Stream, window: Window) -> AsyncGenerator[tuple[Page, bool]]:
        """Each page of a window, and whether it is the last."""


class Collector:
    """Reads windows of one stream and delivers them.

    Args:
        stream: what to read.
        files: the data path.
        store: the cursors of all streams.
        source: where pages come from.
        intake: where records go.
        history_s: how much history a stream reads that was never read before.
        forward_updates: push a record again when Graph has materially changed it.
        clock: the time.
        on_taken: told of each page.
        on_damage: told of each file that was set aside.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        files: Files,
        store: ContextStore,
        source: PageSource,
        intake: Intake,
        history_s: int,
        forward_updates: bool,
        clock: Clock,
        on_taken: Callable[[Taken], None],
        on_damage: Callable[[str, str], None],
    ) -> None:
        self.stream = stream
        self._refused = RefusedRecords(files, lambda _count: None)
        self._store = store
        self._source = source
        self._intake = intake
        self._forward_updates = forward_updates
        self._clock = clock
        self._on_taken = on_taken
        self._ledger = Ledger(files, stream, on_damage)
        # The live lane and the others of a stream take turns: both may hold the same record.
        self._turn = asyncio.Lock()
        self.state = self._load(history_s, on_damage)
        # From the first page on: a record that claims an hour which no lane reads is remembered all the same.
        self._ledger.keep([(lanes.floor_s(self.state), _FOR_EVER_S)])

    async def resume(self, period_s: int) -> lanes.Resumed:
        """Before a live pass: see :func:`graph_entra.reading.lanes.resume`."""
        async with self._turn:
            resumed = lanes.resume(self.state, int(self._clock.time()), period_s)
            self.state = resumed.state
            return resumed

    async def give_up(self, before_s: int) -> tuple[Stretch, ...]:
        """Drop the backlog before ``before_s``, which Graph refuses to read; returns what is lost."""
        async with self._turn:
            self.state, lost = lanes.give_up(self.state, before_s)
            return lost

    async def read(self, window: Window) -> int:
        """Read a window and deliver it.

        Returns:
            How many pages it had.

        Raises:
            GraphEntraError: what went wrong. The cursor has followed what was delivered: read again from there.
        """
        asked_s = int(self._clock.time())
        order = _Order(window)
        count = 0
        async with aclosing(self._source.pages(self.stream, window)) as pages:
            async for page, is_last in pages:
                count += 1
                reached_s = window.end_s if is_last else order.reached_s(page)
                async with self._turn:
                    await _finish(asyncio.to_thread(self._take, window, page, reached_s, asked_s))
                del page  # not kept while the next one is fetched and parsed
        return count

    def _take(self, window: Window, page: Page, reached_s: int | None, asked_s: int) -> None:
        now_s = int(self._clock.time())
        taken = Taken(self.stream.key, window.lane, read=len(page.records))
        for batch in batches(self._fresh(page.records, now_s, taken)):
            with self._intake.in_flight:
                # Crash here: nothing of the batch is pushed, it is read again.
                refused = self._intake.deliver(batch)
                # Crash here: the batch is pushed and not noted. It is read again and repeated: the one in flight.
                self._keep_refused(refused, taken)
                self._ledger.add(batch, now_s)
                # Crash here: the cursor lags behind; the page is read again and the ledger drops these records.
        self._on_taken(taken)
        if reached_s is None:
            return
        self.state = lanes.after_page(self.state, window, reached_s, asked_s)
        self._store.save_stream(self.stream.key, self.state.to_json())
        # Crash here: hours that no lane needs stay until the next page.
        self._ledger.keep([(lanes.floor_s(self.state), _FOR_EVER_S)])

    def _fresh(self, records: list[Record], now_s: int, taken: Taken) -> list[Record]:
        """The records that have to be pushed."""
        fresh: list[Record] = []
        of_this_page: dict[int, int] = {}
        texts: dict[int, str] = {}
        for record in records:
            if texts.setdefault(record.identity, record.text) != record.text:
                # Two records under one id: by its id, either would seem to be a change of the other in every reading.
                record = record.by_content()
            known = of_this_page.get(record.identity)
            if known is None:
                known = self._ledger.digest(record, now_s)
            if known is None:
                taken.new += 1
            elif known == record.digest or not self._forward_updates:
                continue
            else:
                taken.updated += 1
            of_this_page[record.identity] = record.digest
            text = fit(record.text)
            if text is not record.text:
                taken.cut.append(record.id or "(no id)")
                record = record._replace(text=text)
            fresh.append(record)
            if record.created_s is not None and record.created_s <= now_s:
                taken.newest_s = max(taken.newest_s or 0, record.created_s)
        if taken.lane not in (lanes.LIVE, lanes.BACKLOG):
            taken.late = taken.new
        return fresh

    def _keep_refused(self, refused: list[Record], taken: Taken) -> None:
        for record in refused:
            self._refused.keep(record, 400)
            taken.refused.append(record.id or "(no id)")

    def _load(self, history_s: int, on_damage: Callable[[str, str], None]) -> StreamState:
        now_s = int(self._clock.time())
        saved = self._store.stream(self.stream.key)
        damaged = self._store.damaged
        if saved is not None:
            try:
                return StreamState.from_json(saved)
            except ValueError:
                damaged = True
                on_damage(f"{self.stream.key} in context.json", "damaged")
        if damaged:
            # Hours that the ledger still holds had not been passed by every lane: read from there again.
            oldest_s = self._ledger.oldest_s()
            history_s = max(DAY_S, history_s if oldest_s is None else now_s - oldest_s)
        state = lanes.begin(now_s, history_s)
        # Before the first page: a crash must not move the beginning.
        self._store.save_stream(self.stream.key, state.to_json())
        return state


class _Order:
    """Whether the pages of a window came in ascending order so far: only then may the cursor follow them.

    A page whose records all have one time proves no order, and one with a time outside the window proves disorder.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._last_s = float(window.start_s)
        self._pages = 0
        self._rose = False
        self._kept = True

    def reached_s(self, page: Page) -> int | None:
        """Up to where everything has been read once this page is delivered; None if that is not known."""
        if page.records and self._kept:
            first, last = page.first_time, page.last_time
            self._kept = (
                page.ordered
                and first is not None
                and last is not None
                and self._last_s <= first.timestamp()
                and last.timestamp() <= self._window.end_s
            )
            if self._kept and first is not None and last is not None:
                self._rose = self._rose or first < last or (self._pages > 0 and self._last_s < first.timestamp())
                self._pages += 1
                self._last_s = last.timestamp()
        return int(self._last_s) if self._kept and self._rose else None


async def _finish(work: Coroutine[object, object, None]) -> None:
    """Wait for the work; when told to stop, give a push that is under way a moment to be acknowledged and noted."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        done, _ = await asyncio.wait([task], timeout=STOP_GRACE_S)
        for finished in done:
            finished.exception()  # a push that a stop interrupted is no news
        raise
