"""Ways in which the real code could be wrong. Each is patched in for one test; no file is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest
from graph_entra.reading.lanes import StreamState

from graph_entra.delivery.intake import Intake, batches
from graph_entra.microsoft import pages as records
from graph_entra.reading import collector, lanes
from graph_entra.reading.collector import Collector
from graph_entra.records import Page, Record, Taken
from graph_entra.state.context import CONTEXT_FILE, ContextStore
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from graph_entra.streams import DAY_S, Window

Apply = Callable[[pytest.MonkeyPatch], None]


def no_overlap(patch: pytest.MonkeyPatch) -> None:
    real = lanes.live_window

    def live_window(state: StreamState, now_s: int, overlap_s: int = 0, span_s: int = DAY_S) -> Window:
        return real(state, now_s, 0, span_s)

    patch.setattr(lanes, "live_window", live_window)


def no_settle_lanes(patch: pytest.MonkeyPatch) -> None:
    real = lanes.rest_window

    def rest_window(state: StreamState, now_s: int, span_s: int) -> Window | None:
        return real(state, now_s, span_s) if state.gaps else None

    patch.setattr(lanes, "rest_window", rest_window)


def no_overlap_no_settle_lanes(patch: pytest.MonkeyPatch) -> None:
    no_overlap(patch)
    no_settle_lanes(patch)


def saved_before_delivery(patch: pytest.MonkeyPatch) -> None:
    real = Collector._take

    def take(self: Collector, window: Window, page: Page, reached_s: int | None, asked_s: int) -> None:
        if reached_s is not None:
            self.state = lanes.after_page(self.state, window, reached_s, asked_s)
            self._store.save_stream(self.stream.key, self.state.to_json())
        real(self, window, page, reached_s, asked_s)

    patch.setattr(Collector, "_take", take)


def pruned_by_count(patch: pytest.MonkeyPatch) -> None:
    def prune(self: Ledger, floor_s: int) -> None:
        # As many as a deque(maxlen=...) would keep, in the model's proportions; whole hours, newest first.
        kept = 0
        for name in sorted(self._written - set(self._undated_names()), reverse=True):
            kept += len(self._load(name))
            if kept > 8:
                self._files.delete(name)
                self._written.discard(name)
                self._hours.clear()

    patch.setattr(Ledger, "prune", prune)


def pruned_at_live_cursor(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lanes, "floor_s", lambda state: state.live_s - lanes.OVERLAP_S)


def pruned_at_two_hours(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lanes, "floor_s", lambda state: min(state.settle_s["settle_2h"], *(g for g, _ in state.gaps), 2**40))


def cursor_on_unordered_page(patch: pytest.MonkeyPatch) -> None:
    def reached_s(self: Any, page: Page) -> int | None:
        return max((record.created_s for record in page.records if record.created_s is not None), default=None)

    patch.setattr(collector._Order, "reached_s", reached_s)


def noted_before_delivery(patch: pytest.MonkeyPatch) -> None:
    def take(self: Collector, window: Window, page: Page, reached_s: int | None, asked_s: int) -> None:
        now_s = int(self._clock())
        taken = Taken(self.stream.key, window.lane, read=len(page.records))
        for batch in batches(self._fresh(page.records, now_s, taken)):
            self._ledger.add(batch, now_s)
            self._intake.deliver(batch)
        self._on_taken(taken)
        if reached_s is not None:
            self.state = lanes.after_page(self.state, window, reached_s, asked_s)
            self._store.save_stream(self.stream.key, self.state.to_json())
            self._ledger.keep([(lanes.floor_s(self.state), 2**40)])

    patch.setattr(Collector, "_take", take)


def noted_after_the_cursor(patch: pytest.MonkeyPatch) -> None:
    def take(self: Collector, window: Window, page: Page, reached_s: int | None, asked_s: int) -> None:
        now_s = int(self._clock())
        taken = Taken(self.stream.key, window.lane, read=len(page.records))
        delivered: list[Record] = []
        for batch in batches(self._fresh(page.records, now_s, taken)):
            self._intake.deliver(batch)
            delivered += batch
        self._on_taken(taken)
        if reached_s is not None:
            self.state = lanes.after_page(self.state, window, reached_s, asked_s)
            self._store.save_stream(self.stream.key, self.state.to_json())
        self._ledger.add(delivered, now_s)
        self._ledger.keep([(lanes.floor_s(self.state), 2**40)])

    patch.setattr(Collector, "_take", take)


def settled_by_now(patch: pytest.MonkeyPatch) -> None:
    real = Collector._take

    def take(self: Collector, window: Window, page: Page, reached_s: int | None, asked_s: int) -> None:
        real(self, window, page, reached_s, int(self._clock()))

    patch.setattr(Collector, "_take", take)


def settled_whatever_the_age(patch: pytest.MonkeyPatch) -> None:
    real = lanes.after_page

    def after_page(state: StreamState, window: Window, reached_s: int, asked_s: int) -> StreamState:
        return real(state, window, reached_s, asked_s + DAY_S)

    patch.setattr(lanes, "after_page", after_page)


def outage_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = lanes.resume

    def resume(state: StreamState, now_s: int, period_s: int) -> lanes.Resumed:
        resumed = real(state, now_s, period_s)
        return replace(resumed, state=replace(resumed.state, gaps=state.gaps))

    patch.setattr(lanes, "resume", resume)


def resumed_with_gt(patch: pytest.MonkeyPatch) -> None:
    real = lanes.after_page

    def after_page(state: StreamState, window: Window, reached_s: int, asked_s: int) -> StreamState:
        return real(state, window, reached_s + (reached_s < window.end_s), asked_s)

    patch.setattr(lanes, "after_page", after_page)


def updates_not_seen(patch: pytest.MonkeyPatch) -> None:
    real = Ledger.digest

    def digest(self: Ledger, record: Record, now_s: int) -> int | None:
        return None if real(self, record, now_s) is None else record.digest

    patch.setattr(Ledger, "digest", digest)


def every_change_is_material(patch: pytest.MonkeyPatch) -> None:
    real = records._record

    def record(*args: Any) -> Record:
        found = real(*args)
        return found._replace(digest=records._hash64(found.text.encode()))

    patch.setattr(records, "_record", record)


def context_written_in_place(patch: pytest.MonkeyPatch) -> None:
    def replace_file(self: Files, name: str, content: bytes) -> None:
        with self._path(name).open("wb") as out:
            out.write(content)

    patch.setattr(Files, "replace", replace_file)


def beginning_not_saved(patch: pytest.MonkeyPatch) -> None:
    real = ContextStore.save_stream
    loading = Collector._load

    def load(self: Collector, *args: Any) -> StreamState:
        with pytest.MonkeyPatch.context() as meanwhile:
            meanwhile.setattr(ContextStore, "save_stream", lambda *args: None)
            return loading(self, *args)

    assert real is ContextStore.save_stream
    patch.setattr(Collector, "_load", load)


def short_answer_taken_for_success(patch: pytest.MonkeyPatch) -> None:
    def send_once(self: Intake, texts: list[str]) -> None:
        self._push(texts)

    patch.setattr(Intake, "_send_once", send_once)


def damaged_hour_moved_before_its_rest_is_kept(patch: pytest.MonkeyPatch) -> None:
    real = Files.set_aside

    def set_aside(self: Files, name: str, why: str, instead: bytes = b"") -> str:
        new_name = real(self, name, why)
        if instead and name != CONTEXT_FILE:
            self.replace(name, instead)
        return new_name

    patch.setattr(Files, "set_aside", set_aside)


def undated_hours_in_any_order(patch: pytest.MonkeyPatch) -> None:
    real = Ledger._undated_names
    patch.setattr(Ledger, "_undated_names", lambda self: real(self)[::-1])


def long_numbers_rounded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(records, "_LONG_NUMBER", b"no such number")


def retention_mistaken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lanes, "RETENTION_S", DAY_S)


# The five that issue B names come first.
MUTANTS: Final[tuple[Apply, ...]] = (
    no_overlap,
    saved_before_delivery,
    pruned_by_count,
    pruned_at_live_cursor,
    cursor_on_unordered_page,
    no_overlap_no_settle_lanes,
    no_settle_lanes,
    noted_before_delivery,
    noted_after_the_cursor,
    settled_by_now,
    settled_whatever_the_age,
    pruned_at_two_hours,
    outage_forgotten,
    resumed_with_gt,
    updates_not_seen,
    every_change_is_material,
    context_written_in_place,
    beginning_not_saved,
    short_answer_taken_for_success,
    damaged_hour_moved_before_its_rest_is_kept,
    undated_hours_in_any_order,
    long_numbers_rounded,
    retention_mistaken,
)
