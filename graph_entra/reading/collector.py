"""The order of effects for one stream.

    window -> page -> ledger: drop what was delivered -> intake -> ledger: note it -> coverage -> context.json

Never in another order, never in a ``finally``. What a crash leaves at each arrow stands beside the line.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from graph_entra.delivery.cut import fit
from graph_entra.delivery.intake import Intake, Suspect
from graph_entra.errors import (
    GraphEntraError,
    GraphRefused,
    GraphUnavailable,
    PagingBroken,
    StorageFailed,
)
from graph_entra.reading import coverage as coverage_rules
from graph_entra.reading.coverage import Coverage, Row
from graph_entra.reading.order import Order
from graph_entra.reading.turn import Turn
from graph_entra.records import Page, Record, Taken
from graph_entra.state.context import ContextStore
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from graph_entra.state.refused import RefusedRecords
from graph_entra.streams import DAY_S, HOUR_S, PAGE_RECORDS, Stream, Stretch, Window, Work

# How long a stop waits for a push that is under way, so that its records are noted and not repeated.
STOP_GRACE_S: Final = 3.0
# A chain of pages that comes oldest first is left after so many: long ones break, and what is left can be planned anew.
MOST_PAGES: Final = 15
# A version that was refused is asked for again after so long.
PREFER_AGAIN_S: Final = 3600.0
# A step of the clock's by days has to stay for so long before anything is dropped for its age.
STEP_STAYS_S: Final = HOUR_S
# More places that wait for records that the intake refuses are put together, page by page.
MOST_WAITING: Final = 48
# So often is a record refused before the stretch that waits for it is told as one in trouble.
TRIES_BEFORE_TOLD: Final = 4


class PageSource(Protocol):
    """Where pages come from: microsoft.graph.Graph, or a model of it."""

    def pages(self, stream: Stream, window: Window) -> AsyncGenerator[tuple[Page, bool]]:
        """Each page of a window, and whether it is the last."""


@dataclass(slots=True)
class Reading:
    """What became of one window.

    Attributes:
        window: what was asked for.
        asked_s: when, by Graph's clock.
        reached_s: up to here everything was read and delivered.
        pages: how many came.
        records: how many they held.
        size_bytes: what their texts take in memory.
        new: how many were delivered for the first time.
        error: what ended it early; None if Graph and the intake did all that was asked.
        waiting: for each record that the intake refuses, the stretch that waits for it, and when it is due again.
        aside: of these stretches, those that are told as in trouble: for as long as they are, once altogether.
    """

    window: Window
    asked_s: int
    reached_s: int
    pages: int = 0
    records: int = 0
    size_bytes: int = 0
    new: int = 0
    error: Exception | None = None
    waiting: list[tuple[Suspect, Stretch, int]] = field(default_factory=list)
    aside: list[Row] = field(default_factory=list)

    @property
    def rest(self) -> Stretch:
        """What was not read."""
        return self.reached_s, self.window.end_s


class Collector:
    """Reads windows of one stream and delivers them.

    Args:
        stream: what to read.
        files: the data path.
        store: the state of all streams.
        source: where pages come from.
        intake: where records go.
        history_s: how much history a stream reads that was never read before.
        forward_updates: push a record again when Graph has materially changed it.
        now_s: Graph's clock: seconds since 1970.
        on_taken: told of each batch that was delivered and noted, and of each page.
        on_new: told when the records were created that polls and looks saw for the first time.
        on_damage: told of each file that was set aside.
        on_version: told that the stream is read otherwise, and why; and, without a reason, that it is as it should be.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        files: Files,
        store: ContextStore,
        source: PageSource,
        intake: Intake,
        refused: RefusedRecords,
        history_s: int,
        forward_updates: bool,
        now_s: Callable[[], float],
        on_taken: Callable[[Taken], None],
        on_new: Callable[[str, Sequence[int]], None],
        on_damage: Callable[[str, str], None],
        on_version: Callable[[Stream, GraphRefused | None], None] = lambda _stream, _why: None,
    ) -> None:
        self.stream = stream
        self._store = store
        self._source = source
        self._intake = intake
        self._refused = refused
        self._forward_updates = forward_updates
        self._now_s = now_s
        self._on_taken = on_taken
        self._on_new = on_new
        self._on_version = on_version
        self._on_damage = on_damage
        self._files = files
        self._preferred = stream
        self._prefer_again_s = 0.0
        self._ledger = Ledger(files, stream, on_damage)
        # Windows of a stream that are in flight together take turns: two may hold the same record.
        self._turn = Turn()
        # The most records on a page that others followed: Graph's pages may hold fewer than were asked for.
        self._fullest = 0
        # When a poll was last begun, and when the clock had stepped by days at one, by Graph's clock.
        self._caught_up_s: int | None = None
        self._stepped_s: int | None = None
        # Pages that are being delivered, or wait for that.
        self.delivering = 0
        self.coverage = self._load(history_s, on_damage)
        # From the first page on: a record that claims an hour which is not read again is remembered all the same.
        self._ledger.keep(self.coverage.read_again())

    async def catch_up(self, period_s: int) -> tuple[Stretch | None, coverage_rules.Clipped]:
        """Before a poll: what an outage left, and what Graph no longer keeps."""
        async with self._turn.of("edge"):
            now_s = int(self._now_s())
            if self._caught_up_s is not None and abs(now_s - self._caught_up_s) > DAY_S:
                self._stepped_s = now_s
            self._caught_up_s = now_s
            caught_up, gap = coverage_rules.caught_up(self.coverage, now_s, period_s)
            # Not by a clock that has just stepped by days: two answers may be dated wrong, and this cannot be undone.
            stepped = self._stepped_s is not None and now_s - self._stepped_s < STEP_STAYS_S
            clipped = coverage_rules.Clipped(caught_up) if stepped else coverage_rules.clip(caught_up, now_s)
            self.coverage = clipped.coverage
            return gap, clipped

    async def fail(self, stretch: Stretch, why: str, *, served_elsewhere: bool) -> tuple[Row, ...]:
        """Note that a stretch could not be read; returns what is set aside by it.

        A data path that does not answer costs nothing here: the next page meets it, and writes this too.
        """
        async with self._turn.of("edge"):
            self.coverage, aside = coverage_rules.failed(
                self.coverage, stretch, int(self._now_s()), why, served_elsewhere=served_elsewhere
            )
            with suppress(StorageFailed):
                await asyncio.to_thread(self._save)
            return aside

    async def read(self, window: Window) -> Reading:
        """Read a window and deliver it.

        Returns:
            What became of it, with the error that ended it early.

        Raises:
            Exception: only what is no GraphEntraError.
        """
        trial = self.stream is not self._preferred and self._now_s() >= self._prefer_again_s
        if trial:
            await self._read_as(self._preferred)
        stream = self.stream
        reading = await self._read(stream, window)
        if isinstance(reading.error, GraphRefused) and stream.otherwise is not None and (trial or _is_probe(window)):
            # Not even the last second is answered, or not yet again: it is the version, not something in the window.
            await self._read_as(stream.otherwise)
            self._prefer_again_s = self._now_s() + PREFER_AGAIN_S
            if not trial:
                self._on_version(stream.otherwise, reading.error)
            return await self._read(stream.otherwise, window)
        if trial and reading.error is None:
            self._on_version(stream, None)
        return reading

    async def _read_as(self, stream: Stream) -> None:
        """Read another version of the same records from now on; what is known of them is known under either."""
        async with self._turn.of("edge"):
            self.stream = stream
            self._ledger = await asyncio.to_thread(Ledger, self._files, stream, self._on_damage)
            self._ledger.keep(self.coverage.read_again())

    async def _read(self, stream: Stream, window: Window) -> Reading:
        reading = Reading(window, int(self._now_s()), window.start_s)
        new_at_s: list[int] = []
        asked: Window | None = window
        try:
            while asked is not None:
                asked = await self._read_chain(stream, asked, reading, new_at_s)
        except GraphEntraError as error:
            reading.error = error
        return reading

    async def _read_chain(self, stream: Stream, window: Window, reading: Reading, new_at_s: list[int]) -> Window | None:
        """Read one chain of pages; returns what has to be asked to know whether it was whole, None if nothing has."""
        order = Order(window)
        came = 0
        async with aclosing(self._source.pages(stream, window)) as pages:
            async for page, is_last in pages:
                reading.pages += 1
                came += len(page.records)
                reached_s = self._reached_s(window, order, page, is_last=is_last)
                self.delivering += 1
                try:
                    async with self._turn.of(window.work):
                        if stream is not self.stream:
                            return None  # another version is read by now: this is due as before
                        await _finish(asyncio.to_thread(self._take, reading, page, reached_s, new_at_s))
                finally:
                    self.delivering -= 1
                if page.broken is not None:
                    raise GraphUnavailable(page.broken)
                if is_last and reached_s is None:
                    if window.is_second:
                        # A page with room for one more tells: it is not full, or brings that one, or fails as it did.
                        return replace(window, page_records=min(came + 1, PAGE_RECORDS))
                    raise PagingBroken("Graph's last page is full, and nothing tells whether more is behind it")
                # Not amid the first second: it would be asked for again, and left at the same place.
                if reading.pages >= MOST_PAGES and reading.reached_s > window.start_s:
                    break
                del page  # not kept while the next one is fetched and parsed
        return None

    def _reached_s(self, window: Window, order: Order, page: Page, *, is_last: bool) -> int | None:
        """Up to where everything has been read once this page is delivered; None if that is not known."""
        in_order_s = order.reached_s(page)
        if not is_last or page.broken is not None:
            self._fullest = max(self._fullest, len(page.records))
            return in_order_s
        # A full last page: chains have been seen to end early. It is asked on from its last second; where that is not
        # known, in parts.
        full = min(window.page_records, self._fullest or window.page_records)
        if len(page.records) >= full and in_order_s is not None and in_order_s > window.start_s:
            return in_order_s
        # A second cannot be divided: a full page of the largest size is taken for its end.
        whole = len(page.records) < window.page_records or (window.is_second and window.page_records >= PAGE_RECORDS)
        return window.end_s if whole else None

    def _take(self, reading: Reading, page: Page, reached_s: int | None, new_at_s: list[int]) -> None:
        now_s = int(self._now_s())
        fresh = self._fresh(page.records, now_s, reading, new_at_s)

        def note(batch: Sequence[Record]) -> None:
            # Crash here: the batch is pushed and not noted. It is read again and repeated: the one in flight.
            self._ledger.add(batch, now_s)
            # Crash here: the coverage lags behind; the page is read again and the ledger drops these records.
            self._on_taken(fresh.taken(batch))

        # Crash here: nothing of the batch is pushed, it is read again.
        delivery = self._intake.deliver(fresh.records, note)
        for refused in delivery.refused:
            # Crash in here: the record is refused once more, and kept twice.
            self._refused.keep(refused.record, refused.status)
            self._ledger.add([refused.record], now_s)
            self._on_taken(fresh.taken([], refused=(refused.record.id or "(no id)", refused.status)))
        reading.records += len(page.records)
        # Of memory: one letter beyond Latin-1 doubles a text, one beyond the basic plane makes it four times as large.
        reading.size_bytes += sum(sys.getsizeof(record.text) for record in page.records)
        reading.new += len(fresh.new)
        self._on_taken(Taken(self.stream.key, reading.window.work, read=len(page.records)))
        stretch = (reading.reached_s, reading.window.end_s if reached_s is None else reached_s)
        if reached_s is not None:
            self.coverage = coverage_rules.read(self.coverage, stretch, reading.asked_s, new_at_s)
            reading.reached_s = reached_s
            new_at_s.clear()
        places = self._places(delivery.suspects, stretch)
        reading.waiting += [(suspect, place, now_s) for suspect, place in zip(delivery.suspects, places, strict=True)]
        # All of them: a page goes on in the second in which the one before ended, and must not make it read.
        for waiting in reading.waiting:
            self._wait_for(*waiting)
        reading.aside = self._aside(reading)
        self._save()
        # Crash here: hours that are not needed any more stay until the next page.
        self._ledger.keep(self.coverage.read_again())

    def _fresh(self, records: Sequence[Record], now_s: int, reading: Reading, new_at_s: list[int]) -> _Fresh:
        """The records that have to be pushed."""
        work = reading.window.work
        fresh = _Fresh(self.stream.key, work, now_s)
        of_this_page: dict[int, int] = {}
        texts: dict[int, str] = {}
        seen_s: list[int] = []
        for record in records:
            if texts.setdefault(record.identity, record.text) != record.text:
                # Two records under one id: by its id, either would seem to be a change of the other in every reading.
                record = record.by_content()
            known = of_this_page.get(record.identity)
            if known is None:
                known = self._ledger.digest(record, now_s)
            if known is not None and (known == record.digest or not self._forward_updates):
                continue
            of_this_page[record.identity] = record.digest
            text = fit(record.text)
            if text is not record.text:
                record = record._replace(text=text)
                fresh.cut.add(record.identity)
            fresh.records.append(record)
            if known is not None:
                continue
            fresh.new.add(record.identity)
            if record.created_s is None:
                new_at_s += [reading.reached_s, reading.window.end_s]
                continue
            new_at_s.append(record.created_s)
            if record.created_s <= now_s:
                seen_s.append(record.created_s)
        if seen_s and work in ("edge", "look", "again"):
            self._on_new(self.stream.key, seen_s)
        return fresh

    def _places(self, suspects: Sequence[Suspect], stretch: Stretch) -> list[Stretch]:
        """What has to be read again for each of them: its second; where these were too many, all that holds them.

        An intake that refuses one kind of record refuses thousands. Each would be a row of the map, and a request.
        """
        places = [_place(suspect, stretch) for suspect in suspects]
        waiting = sum(row.trouble is not None and row.trouble.delivery for row in self.coverage.rows)
        if len(places) > 1 and waiting + len(places) > MOST_WAITING:
            return [(min(place[0] for place in places), max(place[1] for place in places))] * len(places)
        return places

    def _wait_for(self, suspect: Suspect, stretch: Stretch, refused_s: int) -> None:
        """Have a record that the intake refuses read and tried again, and nothing else wait for it."""
        self.coverage = coverage_rules.undelivered(
            self.coverage,
            stretch,
            refused_s + int(suspect.again_in_s),
            suspect.tries,
            f"the intake {_answered(suspect.status)} to record {suspect.record.id or '(no id)'}",
            told=suspect.tries >= TRIES_BEFORE_TOLD,
        )

    def _aside(self, reading: Reading) -> list[Row]:
        """The rows that wait for records that were refused once too often to say nothing."""
        return [
            row
            for row in self.coverage.troubled
            if row.trouble is not None
            and row.trouble.delivery
            and row.trouble.told
            and any(row.start_s <= place[0] < row.end_s for _, place, _ in reading.waiting)
        ]

    def _save(self) -> None:
        self._store.save_stream(self.stream.key, self.coverage.to_json())

    def _load(self, history_s: int, on_damage: Callable[[str, str], None]) -> Coverage:
        now_s = int(self._now_s())
        saved = self._store.stream(self.stream.key)
        damaged = self._store.damaged
        if saved is not None:
            try:
                return coverage_rules.from_json(saved)
            except ValueError:
                damaged = True
                on_damage(f"{self.stream.key} in context.json", "damaged")
        if damaged:
            # Hours that the ledger still holds were to be read again: read from there.
            oldest_s = self._ledger.oldest_s()
            history_s = max(DAY_S, history_s if oldest_s is None else now_s - oldest_s)
        begun = coverage_rules.begin(now_s, history_s)
        # Before the first page: a crash must not move the beginning.
        self._store.save_stream(self.stream.key, begun.to_json())
        return begun


@dataclass(slots=True)
class _Fresh:
    """The records of a page that have to be pushed, and which of them are what."""

    stream: str
    work: Work
    now_s: int
    records: list[Record] = field(default_factory=list)
    new: set[int] = field(default_factory=set)
    cut: set[int] = field(default_factory=set)

    def taken(self, batch: Sequence[Record], refused: tuple[str, int] | None = None) -> Taken:
        """What to tell of a batch that was delivered and noted."""
        new = sum(record.identity in self.new for record in batch)
        # One that is dated in the future says nothing of how late the others come.
        created_s = [record.created_s for record in batch if record.created_s is not None]
        return Taken(
            self.stream,
            self.work,
            pushed=len(batch),
            new=new,
            late=new if self.work in ("look", "again") else 0,
            updated=len(batch) - new,
            cut=[record.id or "(no id)" for record in batch if record.identity in self.cut],
            repaired=[record.id or "(no id)" for record in batch if record.repaired],
            refused=[refused] if refused else [],
            newest_s=max((at_s for at_s in created_s if at_s <= self.now_s), default=None),
        )


def _answered(status: int) -> str:
    return f"answered {status}" if status else "did not answer"


def _is_probe(window: Window) -> bool:
    return window.work == "edge" and window.is_second


def _place(suspect: Suspect, stretch: Stretch) -> Stretch:
    """What has to be read again to have a record again: its second, if what was read holds it."""
    at_s = suspect.record.created_s
    return (at_s, at_s + 1) if at_s is not None and stretch[0] <= at_s <= stretch[1] else stretch


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
