"""Ways in which the real code could be wrong, each with the story that must see it.

Each is patched in for one test; no file is touched.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
import pytest

from graph_entra.delivery.intake import Intake
from graph_entra.microsoft import pages, rate_limit
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.reading import collector, coverage, outcomes, plan, polls, schedule, shares
from graph_entra.reading.collector import MOST_PAGES, Collector, Reading
from graph_entra.reading.coverage import Clipped, Coverage, Row
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.reading.order import Order
from graph_entra.reading.polls import Polls
from graph_entra.reading.reader import Backoff, Reader
from graph_entra.reading.schedule import Schedule
from graph_entra.records import Page, Record
from graph_entra.state.context import ContextStore
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from graph_entra.state.refused import RefusedRecords
from graph_entra.streams import DAY_S, HOUR_S, Stretch, Window
from tests.crash import scenarios as stories
from tests.crash.scenarios import Story

Patch = pytest.MonkeyPatch
Apply = Callable[[Patch], None]


def _rewritten(patch: Patch, owner: type, name: str, old: str, new: str) -> None:
    """A method with another text."""
    method = getattr(owner, name)
    text = getattr(method, "mutated", None) or textwrap.dedent(inspect.getsource(method))
    assert old in text
    text = f"from __future__ import annotations\n{text.replace(old, new)}"
    made: dict[str, Any] = {}
    exec(compile(text, inspect.getfile(owner), "exec"), method.__globals__, made)
    made[name].mutated = text
    patch.setattr(owner, name, made[name])


# The order of effects


def saved_before_delivery(patch: Patch) -> None:
    real = Collector._take

    def take(self: Collector, reading: Reading, page: Page, reached_s: int | None, new_at_s: list[int]) -> None:
        if reached_s is not None:
            self.coverage = coverage.read(self.coverage, (reading.reached_s, reached_s), reading.asked_s, [])
            self._save()
        real(self, reading, page, reached_s, new_at_s)

    patch.setattr(Collector, "_take", take)


def noted_before_delivery(patch: Patch) -> None:
    real = Intake.deliver

    def deliver(self: Intake, records: Sequence[Record], then: Any) -> Any:
        if records:
            then(records)
        return real(self, records, lambda _batch: None)

    patch.setattr(Intake, "deliver", deliver)


def noted_after_the_coverage(patch: Patch) -> None:
    real_write, real_keep = Ledger._write, Ledger.keep

    def keep(self: Ledger, read_again: Sequence[Stretch]) -> None:
        real_write(self)
        real_keep(self, read_again)

    patch.setattr(Ledger, "_write", lambda self: None)
    patch.setattr(Ledger, "keep", keep)


def refused_noted_before_it_is_kept(patch: Patch) -> None:
    real = Collector._take

    def take(self: Collector, *args: Any) -> None:
        with pytest.MonkeyPatch.context() as meanwhile:
            keep = RefusedRecords.keep

            def noted(refused: RefusedRecords, record: Record, status: int) -> None:
                self._ledger.add([record], int(self._now_s()))
                keep(refused, record, status)

            meanwhile.setattr(RefusedRecords, "keep", noted)
            real(self, *args)

    patch.setattr(Collector, "_take", take)


def two_batches_in_flight(patch: Patch) -> None:
    real = Intake.__init__

    class NoLock:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    def init(self: Intake, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self._in_flight = NoLock()  # type: ignore[assignment]

    patch.setattr(Intake, "__init__", init)


def no_grace_at_a_stop(patch: Patch) -> None:
    async def finish(work: Any) -> None:
        await work

    patch.setattr(collector, "_finish", finish)


def short_answer_taken_for_success(patch: Patch) -> None:
    real = Intake._push_once

    def push_once(self: Intake, batch: Sequence[Record]) -> None:
        push = self._push
        self._push = lambda events: max(push(events), len(events))
        try:
            real(self, batch)
        finally:
            self._push = push

    patch.setattr(Intake, "_push_once", push_once)


def convicted_at_once(patch: Patch) -> None:
    patch.setattr("graph_entra.delivery.intake.TRIES", 1)


def suspects_not_waited_for(patch: Patch) -> None:
    patch.setattr(coverage, "undelivered", lambda before, *args, **kwargs: before)


# Context, ledger, files


def context_written_in_place(patch: Patch) -> None:
    def replace_file(self: Files, name: str, content: bytes) -> None:
        with self._path(name).open("wb") as out:
            out.write(content)

    patch.setattr(Files, "replace", replace_file)


def beginning_not_saved(patch: Patch) -> None:
    loading = Collector._load

    def load(self: Collector, *args: Any) -> Coverage:
        with pytest.MonkeyPatch.context() as meanwhile:
            meanwhile.setattr(ContextStore, "save_stream", lambda *args: None)
            return loading(self, *args)

    patch.setattr(Collector, "_load", load)


def damage_not_counted(patch: Patch) -> None:
    patch.setattr(collector, "DAY_S", 0)
    patch.setattr(Ledger, "oldest_s", lambda self: None)


def damage_not_told(patch: Patch) -> None:
    real = Collector.__init__

    def init(self: Collector, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs | {"on_damage": lambda name, why: None})

    patch.setattr(Collector, "__init__", init)


def hours_dropped_that_are_read_again(patch: Patch) -> None:
    patch.setattr(Coverage, "read_again", lambda self: [(self.edge_s - 2 * HOUR_S, self.edge_s)])


def torn_bytes_left(patch: Patch) -> None:
    patch.setattr(Files, "_cut_what_is_torn", lambda self, name: self._ends.pop(name, None))


def torn_line_left(patch: Patch) -> None:
    def keep(self: RefusedRecords, record: Record, status: int) -> None:
        self._files.append("refused.jsonl", b'{"status":400,"record":' + record.text.encode() + b"}\n")

    patch.setattr(RefusedRecords, "keep", keep)


def updates_not_seen(patch: Patch) -> None:
    real = Ledger.digest

    def digest(self: Ledger, record: Record, now_s: int) -> int | None:
        return None if real(self, record, now_s) is None else record.digest

    patch.setattr(Ledger, "digest", digest)


def updates_not_asked_for(patch: Patch) -> None:
    real = Collector.__init__

    def init(self: Collector, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs | {"forward_updates": True})

    patch.setattr(Collector, "__init__", init)


def every_change_is_material(patch: Patch) -> None:
    _of_each_record(patch, lambda record: record._replace(digest=hash(record.text) & 0xFFFFFFFF))


def written_anew(patch: Patch) -> None:
    _of_each_record(patch, lambda record: record._replace(text=orjson.dumps(orjson.loads(record.text)).decode()))


def _of_each_record(patch: Patch, change: Callable[[Record], Record]) -> None:
    real = pages._Reader.read

    def read(self: Any, content: Any) -> Any:
        record, time = real(self, content)
        return change(record), time

    patch.setattr(pages._Reader, "read", read)


# The coverage


def retention_mistaken(patch: Patch) -> None:
    patch.setattr(coverage, "RETENTION_S", DAY_S)


def outage_forgotten(patch: Patch) -> None:
    def caught_up(before: Coverage, now_s: int, period_s: int) -> tuple[Coverage, Stretch | None]:
        if now_s - before.edge_s <= period_s + coverage.OUTAGE_S:
            return before, None
        return Coverage((*before.rows[:-1], replace(before.rows[-1], end_s=now_s - 300))), None

    patch.setattr(coverage, "caught_up", caught_up)


def lost_in_silence(patch: Patch) -> None:
    real = coverage.clip

    def clip(before: Coverage, now_s: int) -> Clipped:
        return replace(real(before, now_s), lost=())

    patch.setattr(coverage, "clip", clip)


def unlooked_in_silence(patch: Patch) -> None:
    real = coverage.clip

    def clip(before: Coverage, now_s: int) -> Clipped:
        return replace(real(before, now_s), unlooked=())

    patch.setattr(coverage, "clip", clip)


def looked_at_by_now(patch: Patch) -> None:
    real = Collector._take

    def take(self: Collector, reading: Reading, *args: Any) -> None:
        reading.asked_s = int(self._now_s())
        real(self, reading, *args)

    patch.setattr(Collector, "_take", take)


def looked_at_whatever_the_age(patch: Patch) -> None:
    real = coverage.read

    def read(before: Coverage, stretch: Stretch, asked_s: int, new_at_s: Sequence[int]) -> Coverage:
        return real(before, stretch, asked_s + DAY_S, new_at_s)

    patch.setattr(coverage, "read", read)


def brought_ignored(patch: Patch) -> None:
    real = coverage._read_row
    patch.setattr(coverage, "_read_row", lambda row, asked_s, new_at_s: real(row, asked_s, ()))


def read_on_behind_its_last_second(patch: Patch) -> None:
    real = Collector._reached_s

    def reached_s(self: Collector, window: Window, *args: Any, **kwargs: Any) -> int | None:
        at_s = real(self, window, *args, **kwargs)
        return at_s if at_s is None or at_s >= window.end_s else at_s + 1

    patch.setattr(Collector, "_reached_s", reached_s)


def an_unordered_page_counts(patch: Patch) -> None:
    def reached_s(self: Any, page: Page) -> int | None:
        return max((record.created_s for record in page.records if record.created_s is not None), default=None)

    patch.setattr(Order, "reached_s", reached_s)


def a_record_of_2099_counts(patch: Patch) -> None:
    real = Order.__init__

    def init(self: Any, window: Window) -> None:
        real(self, replace(window, end_s=2**40))

    patch.setattr(Order, "__init__", init)


def a_broken_page_is_whole(patch: Patch) -> None:
    real = Collector._reached_s

    def reached_s(self: Collector, window: Window, order: Any, page: Page, *, is_last: bool) -> int | None:
        return window.end_s if page.broken else real(self, window, order, page, is_last=is_last)

    patch.setattr(Collector, "_reached_s", reached_s)


def a_full_last_page_is_whole(patch: Patch) -> None:
    real = Collector._reached_s

    def reached_s(self: Collector, window: Window, order: Any, page: Page, *, is_last: bool) -> int | None:
        return window.end_s if is_last and not page.broken else real(self, window, order, page, is_last=is_last)

    patch.setattr(Collector, "_reached_s", reached_s)


def a_full_last_page_without_order_is_whole(patch: Patch) -> None:
    real = Collector._reached_s

    def reached_s(self: Collector, window: Window, order: Any, page: Page, *, is_last: bool) -> int | None:
        at_s = real(self, window, order, page, is_last=is_last)
        return window.end_s if at_s is None and is_last and not page.broken else at_s

    patch.setattr(Collector, "_reached_s", reached_s)


def a_full_last_page_of_a_second_is_whole(patch: Patch) -> None:
    _rewritten(patch, Collector, "_reached_s", " and window.page_records >= PAGE_RECORDS", "")


def whole_after_the_most_pages(patch: Patch) -> None:
    real = Collector._take

    def take(self: Collector, reading: Reading, page: Page, reached_s: int | None, new_at_s: list[int]) -> None:
        if reached_s is not None and reading.pages >= MOST_PAGES:
            reached_s = reading.window.end_s
        real(self, reading, page, reached_s, new_at_s)

    patch.setattr(Collector, "_take", take)


def left_amid_a_second(patch: Patch) -> None:
    _rewritten(patch, Collector, "_read_chain", " and reading.reached_s > window.start_s", "")


def the_edge_moves_on_a_failed_poll(patch: Patch) -> None:
    real = Collector.read

    async def read(self: Collector, window: Window) -> Reading:
        reading = await real(self, window)
        if reading.error is not None and window.work == "edge":
            self.coverage = coverage.read(self.coverage, (window.start_s, window.end_s), reading.asked_s, ())
        return reading

    patch.setattr(Collector, "read", read)


# Trouble


def blamed_without_evidence(patch: Patch) -> None:
    real = coverage.failed

    def failed(*args: Any, served_elsewhere: bool) -> Any:
        return real(*args, served_elsewhere=True)

    patch.setattr(coverage, "failed", failed)


def never_divided(patch: Patch) -> None:
    patch.setattr(coverage, "MOST_TROUBLED", 0)


def never_in_smaller_pages(patch: Patch) -> None:
    patch.setattr(coverage, "_PAGE_STEP", 10**9)
    real = coverage._fail_row

    def fail_row(row: Row, *args: Any, **kwargs: Any) -> list[Row]:
        if row.trouble is not None and row.end_s - row.start_s <= 1:
            row = replace(row, trouble=replace(row.trouble, newest_first=True))
        return real(row, *args, **kwargs)

    patch.setattr(coverage, "_fail_row", fail_row)


def the_intakes_trouble_before_graphs(patch: Patch) -> None:
    patch.setattr(coverage, "_undelivered_row", lambda row, trouble: replace(row, trouble=trouble))


def never_asked_again(patch: Patch) -> None:
    patch.setattr(plan, "troubled_window", lambda *args: None)


def waits_ten_minutes_to_halve(patch: Patch) -> None:
    patch.setattr(coverage, "_LONGEST_PAUSE_S", 600)


def polls_across_a_place_in_trouble(patch: Patch) -> None:
    def edge_window(before: Coverage, now_s: int, reach_s: int) -> Window | None:
        start_s = max(before.origin_s, min(before.edge_s - 1, now_s - reach_s))
        return Window("edge", start_s, now_s) if start_s < now_s else None

    patch.setattr(plan, "edge_window", edge_window)


def no_probe(patch: Patch) -> None:
    patch.setattr(polls, "PROBE_AFTER", 10**9)
    patch.setattr(outcomes, "PROBE_AFTER", 10**9)


def asked_as_if_it_answered(patch: Patch) -> None:
    patch.setattr(Reader, "down", property(lambda self: False))
    patch.setattr(Backoff, "wait_s", lambda self, error: 1.0)


def back_off_never_over(patch: Patch) -> None:
    patch.setattr(Backoff, "over", lambda self: None)


def read_now_while_it_is_refused(patch: Patch) -> None:
    patch.setattr(outcomes, "stretches", lambda rows: [])


def an_earlier_process_forgotten(patch: Patch) -> None:
    _rewritten(patch, Schedule, "run", "self._reports.aside(reader, row)", "pass")


# Plan, polls, shares, limit, clock


def no_reaching_back(patch: Patch) -> None:
    patch.setattr(Polls, "_reach_s", lambda self, reader, others_wait: 0)


def never_further_back_than_usual(patch: Patch) -> None:
    patch.setattr(Polls, "_reach_s", lambda self, reader, others_wait: 300)


def no_looks(patch: Patch) -> None:
    patch.setattr(plan, "look_window", lambda *args: None)


def _look_dropped(patch: Patch, age_s: int) -> None:
    real = plan.look_window

    def look_window(before: Coverage, look_s: int, *args: Any) -> Window | None:
        return None if look_s == age_s else real(before, look_s, *args)

    patch.setattr(plan, "look_window", look_window)


def no_look_at_15_min(patch: Patch) -> None:
    _look_dropped(patch, 900)


def no_look_at_2_h(patch: Patch) -> None:
    _look_dropped(patch, 2 * HOUR_S)


def no_look_at_24_h(patch: Patch) -> None:
    _look_dropped(patch, DAY_S)


def history_starves_the_looks(patch: Patch) -> None:
    patch.setattr(shares, "WEIGHTS", dict(shares.WEIGHTS) | {f"look {age}": 1e-3 for age in ("15 min", "2 h", "24 h")})


def one_window_at_a_time(patch: Patch) -> None:
    patch.setattr(schedule, "MOST_IN_FLIGHT", 1)


def every_turn_is_a_polls(patch: Patch) -> None:
    patch.setattr(rate_limit, "_rank", lambda work, *, goes_on: 0)


def chains_wait_like_the_rest(patch: Patch) -> None:
    patch.setattr(rate_limit, "_rank", lambda work, *, goes_on: 0 if work == "edge" else 2)


def answers_teach_nothing(patch: Patch) -> None:
    patch.setattr(RateLimiter, "answered", lambda self: None)


def a_share_is_never_claimed_again(patch: Patch) -> None:
    patch.setattr(RateLimiter, "_until_claim_s", lambda self: 3600.0)


def this_machines_clock(patch: Patch) -> None:
    patch.setattr(GraphClock, "now_s", lambda self: self._clock.time())


def windows_never_narrower(patch: Patch) -> None:
    patch.setattr(outcomes, "FEWEST_RECORDS", 10**6)
    patch.setattr(coverage, "MOST_TROUBLED", 0)


# Each with the story that must see it.
MUTANTS: Final[Mapping[Apply, Story]] = {
    saved_before_delivery: stories.killed_in_old_history,
    noted_before_delivery: stories.killed_at_every_side_effect,
    noted_after_the_coverage: stories.killed_at_every_side_effect,
    refused_noted_before_it_is_kept: stories.a_kill_while_a_refused_record_is_kept,
    two_batches_in_flight: stories.two_streams_push_at_once,
    no_grace_at_a_stop: stories.a_stop_while_a_batch_is_pushed,
    short_answer_taken_for_success: stories.intake_in_trouble,
    convicted_at_once: stories.refusals_that_pass_convict_nobody,
    suspects_not_waited_for: stories.the_intake_refuses_the_only_record,
    context_written_in_place: stories.killed_at_every_side_effect,
    beginning_not_saved: stories.killed_before_the_first_save,
    damage_not_counted: stories.state_that_is_damaged,
    damage_not_told: stories.state_that_is_damaged,
    hours_dropped_that_are_read_again: stories.shown_late_by_each_look,
    torn_bytes_left: stories.a_full_disk,
    torn_line_left: stories.a_kill_while_a_refused_record_is_kept,
    updates_not_seen: stories.changed_and_changed_again,
    updates_not_asked_for: stories.changes_that_are_not_asked_for,
    every_change_is_material: stories.changed_and_changed_again,
    written_anew: stories.shown_two_minutes_late,
    retention_mistaken: stories.passing_400s_in_old_history,
    outage_forgotten: stories.night_without_power,
    lost_in_silence: stories.beyond_retention,
    unlooked_in_silence: stories.beyond_retention,
    looked_at_by_now: stories.shown_while_a_window_is_read,
    looked_at_whatever_the_age: stories.shown_late_by_each_look,
    brought_ignored: stories.left_out_of_old_history,
    read_on_behind_its_last_second: stories.ties_across_pages,
    an_unordered_page_counts: stories.in_the_wrong_order,
    a_record_of_2099_counts: stories.dated_in_2099,
    a_broken_page_is_whole: stories.one_record_spoils_history_with_half_a_page,
    a_full_last_page_is_whole: stories.chains_that_end_early,
    a_full_last_page_of_a_second_is_whole: stories.chains_that_end_early_before_a_record_that_spoils,
    a_full_last_page_without_order_is_whole: stories.chains_that_end_early_newest_first,
    whole_after_the_most_pages: stories.answers_after_ten_seconds,
    left_amid_a_second: stories.a_burst_in_one_second,
    the_edge_moves_on_a_failed_poll: stories.a_poll_that_fails,
    blamed_without_evidence: stories.no_evidence_no_blame,
    never_divided: stories.one_record_spoils_history_with_500,
    never_in_smaller_pages: stories.one_record_spoils_a_crowded_second,
    the_intakes_trouble_before_graphs: stories.a_refused_record_without_a_time_and_one_that_spoils,
    never_asked_again: stories.one_record_spoils_history_with_400,
    waits_ten_minutes_to_halve: stories.one_record_spoils_history_with_500,
    polls_across_a_place_in_trouble: stories.one_record_spoils_polls_with_400,
    no_probe: stories.one_record_spoils_polls_with_500,
    asked_as_if_it_answered: stories.a_stream_that_is_down,
    back_off_never_over: stories.a_stream_that_is_down,
    read_now_while_it_is_refused: stories.the_intake_refuses_the_only_record,
    an_earlier_process_forgotten: stories.set_aside_by_an_earlier_process,
    no_reaching_back: stories.shown_two_minutes_late,
    never_further_back_than_usual: stories.shown_an_hour_late_on_a_quiet_tenant,
    no_looks: stories.shown_late_by_each_look,
    no_look_at_15_min: stories.shown_late_by_each_look,
    no_look_at_2_h: stories.shown_late_by_each_look,
    no_look_at_24_h: stories.shown_late_by_each_look,
    history_starves_the_looks: stories.looks_beside_history,
    one_window_at_a_time: stories.answers_after_twenty_seconds,
    every_turn_is_a_polls: stories.turns_in_their_order,
    chains_wait_like_the_rest: stories.turns_in_their_order,
    answers_teach_nothing: stories.two_connectors_share_the_limit,
    a_share_is_never_claimed_again: stories.a_storm_of_429s,
    this_machines_clock: stories.a_clock_three_hours_fast,
    windows_never_narrower: stories.a_minute_that_is_too_much,
}
