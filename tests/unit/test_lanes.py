"""Which stretch of time is read next, and what reading it settles. Tables show the arithmetic; properties check it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graph_entra.reading import lanes
from graph_entra.reading.lanes import (
    BACKLOG,
    CLOCK_STEP_S,
    LIVE,
    OUTAGE_S,
    OVERLAP_S,
    RETENTION_MARGIN_S,
    RETENTION_S,
    SETTLE_LANES,
    StreamState,
)
from graph_entra.streams import DAY_S, HOUR_S, Window

MIN_S = 60
# A round instant to reckon from: 2026-11-23T08:00:00Z.
T = 1_795_420_800
PERIOD_S = 60
AGES = {lane.name: lane.age_s for lane in SETTLE_LANES}


def state(
    *,
    origin: int = -DAY_S,
    live: int = 0,
    gaps: Sequence[tuple[int, int]] = (),
    settle: tuple[int, int, int] = (-15 * MIN_S, -2 * HOUR_S, -DAY_S),
) -> StreamState:
    """A state whose instants are seconds from ``T``."""
    return StreamState(
        origin_s=T + origin,
        live_s=T + live,
        gaps=tuple((T + start, T + end) for start, end in gaps),
        settle_s=dict(zip(AGES, (T + cursor for cursor in settle), strict=True)),
    )


# begin


@pytest.mark.parametrize(
    ("history", "origin", "live", "gaps", "settle"),
    [
        # 24 h, as by default: all but the overlap is backlog.
        (DAY_S, -DAY_S, -300, [(-DAY_S, -300)], (-900, -7200, -DAY_S)),
        # No history: nothing before now is ever read, by any lane.
        (0, 0, 0, [], (0, 0, 0)),
        # Less history than the overlap: the first live window covers it.
        (120, -120, -120, [], (-120, -120, -120)),
        (300, -300, -300, [], (-300, -300, -300)),
        (301, -301, -300, [(-301, -300)], (-301, -301, -301)),
        (HOUR_S, -HOUR_S, -300, [(-HOUR_S, -300)], (-900, -HOUR_S, -HOUR_S)),
        # All that Graph keeps: an hour less, because its edge moves while we read.
        (720 * HOUR_S, -719 * HOUR_S, -300, [(-719 * HOUR_S, -300)], (-900, -7200, -DAY_S)),
    ],
)
def test_begin(history: int, origin: int, live: int, gaps: list[tuple[int, int]], settle: tuple[int, int, int]) -> None:
    """A new stream reads its history as backlog and is live at once."""
    assert lanes.begin(T, history) == state(origin=origin, live=live, gaps=gaps, settle=settle)


# live_window


@pytest.mark.parametrize(
    ("live", "now", "overlap", "span", "expected"),
    [
        (0, 60, 300, DAY_S, (-300, 60)),
        (0, 60, 0, DAY_S, (0, 60)),
        (0, 60, 75, DAY_S, (-75, 60)),
        # A span that is too short to reach the present moves on in steps.
        (0, 660, 30, 60, (-30, 30)),
        # The clock was set back a little: read up to what it says.
        (0, -100, 300, DAY_S, (-400, -100)),
        # Nothing before the origin, even by overlap.
        (-DAY_S + 10, -DAY_S + 60, 300, DAY_S, (-DAY_S, -DAY_S + 60)),
        # The clock stands before the origin: an empty window, never a reversed one.
        (-DAY_S, -DAY_S - 50, 300, DAY_S, (-DAY_S - 50, -DAY_S - 50)),
    ],
)
def test_live_window(live: int, now: int, overlap: int, span: int, expected: tuple[int, int]) -> None:
    """[cursor - overlap, now], bounded by the origin and the span."""
    window = lanes.live_window(state(live=live), T + now, overlap, span)
    assert window == Window(LIVE, T + expected[0], T + expected[1])


# rest_window, next_rest_s


@pytest.mark.parametrize(
    ("given_state", "now", "span", "expected"),
    [
        # Backlog first, oldest first, in bounded windows.
        (state(gaps=[(-9000, -4000), (-3000, -300)]), 0, HOUR_S, (BACKLOG, -9000, -5400)),
        (state(gaps=[(-9000, -8000)]), 0, HOUR_S, (BACKLOG, -9000, -8000)),
        # Then settle lanes, youngest first, each when a whole step has come of age.
        (state(), 299, DAY_S, None),
        (state(live=300), 300, DAY_S, ("settle_15m", -900, -600)),
        (state(live=5400, settle=(4500, -7200, -DAY_S)), 5400, DAY_S, ("settle_2h", -7200, -1800)),
        (state(live=5400, settle=(4500, -1800, -DAY_S)), 5400, DAY_S, ("settle_24h", -DAY_S, -DAY_S + 5400)),
        (state(live=5400, settle=(4500, -1800, -DAY_S)), 5400, 600, ("settle_24h", -DAY_S, -DAY_S + 600)),
        # A settle lane never overtakes live: it would settle what nobody has read.
        (state(live=-1000, settle=(-1200, 0, 0)), 3600, DAY_S, None),
        (state(live=-900, settle=(-1200, 0, 0)), 3600, DAY_S, ("settle_15m", -1200, -900)),
    ],
)
def test_rest_window(given_state: StreamState, now: int, span: int, expected: tuple[str, int, int] | None) -> None:
    """Backlog, then settle lanes, youngest first; nothing before its time."""
    window = lanes.rest_window(given_state, T + now, span)
    assert window == (None if expected is None else Window(expected[0], T + expected[1], T + expected[2]))


@pytest.mark.parametrize(
    ("given_state", "expected"),
    [
        (state(gaps=[(-9000, -4000)]), 77),
        (state(), 300),  # settle_15m: -900 + 900 + 300
        (state(settle=(900, -7200, -DAY_S)), 1800),  # settle_2h: -7200 + 7200 + 1800
        (state(settle=(9000, 9000, -DAY_S)), HOUR_S),  # settle_24h: -86400 + 86400 + 3600
    ],
)
def test_next_rest(given_state: StreamState, expected: int) -> None:
    """The second at which the next of the other lanes is due, and not one earlier."""
    due = lanes.next_rest_s(given_state, T + 77)
    assert due == T + expected
    if not given_state.gaps:
        followed = StreamState(given_state.origin_s, due, (), given_state.settle_s)
        assert lanes.rest_window(followed, due - 1, DAY_S) is None
        assert lanes.rest_window(followed, due, DAY_S) is not None


# after_page


def test_after_a_live_page() -> None:
    """Live moves to what was read; a settle lane only over what was old enough when it was asked for."""
    before = state(live=0, settle=(-900, -7200, -DAY_S))
    after = lanes.after_page(before, Window(LIVE, T - 300, T + 60), T + 60, T + 60)
    assert after == state(live=60, settle=(-900, -7200, -DAY_S))


def test_a_live_window_that_begins_at_a_settle_cursor_spares_it_the_work() -> None:
    """Read at 1,000: what was created up to 1,000 - 900 had come of age."""
    before = state(live=-400, settle=(-600, -7200, -DAY_S))
    after = lanes.after_page(before, Window(LIVE, T - 700, T + 1000), T + 1000, T + 1000)
    assert after == state(live=1000, settle=(100, -7200, -DAY_S))


def test_a_page_that_does_not_touch_a_settle_cursor_leaves_it() -> None:
    """Between the cursor and the window nothing was read: skipping it would lose late records."""
    before = state(live=-400, settle=(-701, -7200, -DAY_S))
    after = lanes.after_page(before, Window(LIVE, T - 700, T + 1000), T + 1000, T + 1000)
    assert after.settle_s["settle_15m"] == T - 701


def test_after_a_backlog_page() -> None:
    """The gap shrinks from its start; live does not move; the settle lanes move over what was of age."""
    before = state(gaps=[(-9000, -4000), (-3000, -300)], settle=(-9000, -9000, -DAY_S))
    window = Window(BACKLOG, T - 9000, T - 5400)
    part = lanes.after_page(before, window, T - 7500, T)
    assert part == state(gaps=[(-7500, -4000), (-3000, -300)], settle=(-7500, -7500, -DAY_S))
    whole = lanes.after_page(part, window, T - 5400, T)
    # 5,400 s old is of age for the 15 min lane, and 7,200 s for the 2 h lane.
    assert whole == state(gaps=[(-5400, -4000), (-3000, -300)], settle=(-5400, -7200, -DAY_S))
    done = lanes.after_page(whole, Window(BACKLOG, T - 5400, T - 4000), T - 4000, T)
    assert done == state(gaps=[(-3000, -300)], settle=(-4000, -7200, -DAY_S))


def test_after_a_settle_page() -> None:
    """A settle lane moves its own cursor, and older lanes' where it passes them; live and backlog stay."""
    before = state(live=900, settle=(-900, -7200, -DAY_S))
    after = lanes.after_page(before, Window("settle_15m", T - 900, T), T - 300, T + 900)
    assert after == state(live=900, settle=(-300, -7200, -DAY_S))


def test_a_page_of_an_old_window_moves_nothing_backwards() -> None:
    """A lane that was slow to deliver finds its cursors where faster ones have left them."""
    before = state(live=5000, settle=(4000, 3000, 2000))
    for name in (LIVE, *AGES):
        assert lanes.after_page(before, Window(name, T, T + 60), T + 60, T + 90) == before


def test_backlog_delivered_after_its_gap_was_given_up() -> None:
    """The next gap is not taken for the one that was read."""
    before = state(gaps=[(-3000, -300)])
    after = lanes.after_page(before, Window(BACKLOG, T - 9000, T - 5400), T - 5400, T)
    assert after.gaps == before.gaps


# resume


@pytest.mark.parametrize("late", [0, PERIOD_S, PERIOD_S + OUTAGE_S])
def test_a_little_late_is_no_outage(late: int) -> None:
    """Up to ten minutes beyond the period, live catches up by itself."""
    before = state()
    assert lanes.resume(before, T + late, PERIOD_S) == lanes.Resumed(before)


@pytest.mark.parametrize(
    ("live", "settle_15m", "now", "gap"),
    [
        # A second too late: from the settle lane's cursor, so that the same reading carries that lane along.
        (0, -900, PERIOD_S + OUTAGE_S + 1, (-900, 361)),
        (0, -900, DAY_S, (-900, DAY_S - 300)),
        # The settle lane is ahead of live's overlap: then from the overlap.
        (0, -200, 7200, (-300, 6900)),
        # Never before the origin.
        (-DAY_S, -DAY_S, 0, (-DAY_S, -300)),
    ],
)
def test_an_outage_becomes_backlog(live: int, settle_15m: int, now: int, gap: tuple[int, int]) -> None:
    """Live goes on at once from five minutes ago; everything before is a gap."""
    before = state(live=live, settle=(settle_15m, -7200, -DAY_S), gaps=[(-50, -40)])
    resumed = lanes.resume(before, T + now, PERIOD_S)
    bounds = (T + gap[0], T + gap[1])
    assert resumed.gap == bounds
    assert resumed.lost == ()
    assert resumed.state == StreamState(before.origin_s, T + now - 300, (*before.gaps, bounds), before.settle_s)


def test_an_outage_that_goes_on_is_one_gap() -> None:
    """Live has read nothing since the last gap was made: every further try makes it longer, not more numerous."""
    now = state()
    for hours in range(1, 50):
        now = lanes.resume(now, T + hours * HOUR_S, PERIOD_S).state
    assert now.gaps == ((T - 900, T + 49 * HOUR_S - 300),)
    # Live reads a little, and stops again: another outage, another gap.
    now = lanes.after_page(now, Window(LIVE, now.live_s - 300, T + 49 * HOUR_S), T + 49 * HOUR_S, T + 49 * HOUR_S)
    assert len(lanes.resume(now, T + 60 * HOUR_S, PERIOD_S).state.gaps) == 2


def test_a_window_that_was_read_while_the_clock_was_set_back_settles_no_gap() -> None:
    """The gap that stands there now begins earlier: it was not the one that was read."""
    before = state(live=7200, gaps=[(0, 7000)])
    window = Window(BACKLOG, T, T + 3600)
    stepped = lanes.resume(before, T - HOUR_S, PERIOD_S).state
    after = lanes.after_page(stepped, window, T + 3600, T - HOUR_S)
    assert after.gaps == stepped.gaps == ((T - HOUR_S - DAY_S, T - HOUR_S - 300),)


def test_retention_clips_to_the_second() -> None:
    """After 40 days of outage, the first 10 days and 10 minutes are gone: exactly these are named."""
    before = state(origin=-30 * DAY_S, live=0, settle=(-900, -7200, -DAY_S))
    now = 40 * DAY_S
    resumed = lanes.resume(before, T + now, PERIOD_S)
    edge = now - RETENTION_S + RETENTION_MARGIN_S
    assert edge == 10 * DAY_S + 600
    assert resumed.gap == (T - 900, T + now - 300)
    assert resumed.lost == ((T - 900, T + edge),)
    assert resumed.state.gaps == ((T + edge, T + now - 300),)
    assert set(resumed.state.settle_s.values()) == {T + edge}


def merged(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same seconds in as few stretches as possible, in order."""
    few: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if few and start <= few[-1][1]:
            few[-1] = (few[-1][0], max(end, few[-1][1]))
        else:
            few.append((start, end))
    return few


@pytest.mark.parametrize(
    ("gaps", "before", "left", "lost"),
    [
        ([(-100, -50)], -100, [(-100, -50)], []),
        ([(-100, -50)], -99, [(-99, -50)], [(-100, -99)]),
        ([(-100, -50)], -50, [], [(-100, -50)]),
        ([(-100, -50)], 0, [], [(-100, -50)]),
        ([(-100, -50), (-40, -10)], -30, [(-30, -10)], [(-100, -50), (-40, -30)]),
        ([(-100, -50), (-40, -10)], -45, [(-40, -10)], [(-100, -50)]),
        ([], 0, [], []),
    ],
)
def test_give_up(
    gaps: list[tuple[int, int]], before: int, left: list[tuple[int, int]], lost: list[tuple[int, int]]
) -> None:
    """What Graph refuses is dropped to the second, and named to the second."""
    after, bounds = lanes.give_up(state(gaps=gaps, settle=(0, 0, 0)), T + before)
    assert after == state(gaps=left, settle=(0, 0, 0))
    assert bounds == tuple((T + start, T + end) for start, end in lost)


def test_settle_lanes_do_not_ask_for_what_is_gone() -> None:
    """A window that begins before the retention is refused for ever: the cursors leave it."""
    after, lost = lanes.give_up(state(settle=(-100, -200, -300)), T - 150)
    assert after == state(settle=(-100, -150, -150))
    assert lost == ()


def test_a_clock_set_back_a_little_is_waited_for() -> None:
    """Ten minutes are within what clocks are corrected by: nothing is repeated."""
    before = state(live=CLOCK_STEP_S)
    assert lanes.resume(before, T, PERIOD_S) == lanes.Resumed(before)


def test_a_clock_set_back_reads_a_day_again() -> None:
    """A cursor in the future would read nothing until the clock catches up."""
    before = state(live=CLOCK_STEP_S + 1, settle=(0, 0, 0))
    resumed = lanes.resume(before, T, PERIOD_S)
    assert resumed.clock_stepped
    assert resumed.state == lanes.begin(T, DAY_S)


def test_a_clock_set_back_drops_no_backlog() -> None:
    """History that was still to be read before the last 24 h is still to be read."""
    before = state(
        origin=-30 * DAY_S,
        live=7200,
        gaps=[(-20 * DAY_S, -10 * DAY_S), (-2 * DAY_S, 0)],
        settle=(-900, -7200, -3 * DAY_S),
    )
    resumed = lanes.resume(before, T, PERIOD_S)
    assert resumed.clock_stepped
    assert resumed.state == state(
        origin=-30 * DAY_S,
        live=-300,
        gaps=[(-20 * DAY_S, -10 * DAY_S), (-2 * DAY_S, -DAY_S), (-DAY_S, -300)],
        settle=(-900, -7200, -3 * DAY_S),
    )


# floor_s, backlog_s


@pytest.mark.parametrize(
    ("given_state", "expected"),
    [
        (state(), -DAY_S),
        (state(settle=(0, 0, 0)), -OVERLAP_S),
        (state(settle=(-900, -7200, -1000)), -7200),
        (state(gaps=[(-9 * DAY_S, -8 * DAY_S), (-5, 0)]), -9 * DAY_S),
        # An outage's gap stands behind older ones, and may begin before them.
        (state(gaps=[(-5, 0), (-9 * DAY_S, -8 * DAY_S)]), -9 * DAY_S),
    ],
)
def test_floor(given_state: StreamState, expected: int) -> None:
    """The least of all that any lane will still read."""
    assert lanes.floor_s(given_state) == T + expected


def test_backlog_is_measured_in_stream_time() -> None:
    """Two gaps of 50 and 30 seconds."""
    assert lanes.backlog_s(state(gaps=[(-100, -50), (-40, -10)])) == 80
    assert lanes.backlog_s(state()) == 0


# JSON


def test_json_form() -> None:
    """A person can read context.json."""
    assert state(gaps=[(-60, 0)]).to_json() == {
        "origin": "2026-11-22T08:00:00Z",
        "live": "2026-11-23T08:00:00Z",
        "backlog": [["2026-11-23T07:59:00Z", "2026-11-23T08:00:00Z"]],
        "settle": {
            "settle_15m": "2026-11-23T07:45:00Z",
            "settle_2h": "2026-11-23T06:00:00Z",
            "settle_24h": "2026-11-22T08:00:00Z",
        },
    }


GOOD = state(gaps=[(-60, 0)]).to_json()


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        "text",
        {},
        GOOD | {"origin": None},
        GOOD | {"live": 5},
        GOOD | {"live": "yesterday"},
        GOOD | {"backlog": None},
        GOOD | {"backlog": [["2026-11-23T07:59:00Z"]]},
        GOOD | {"backlog": [5]},
        GOOD | {"settle": {}},
        GOOD | {"settle": dict.fromkeys(AGES)},
        {name: value for name, value in GOOD.items() if name != "settle"},
    ],
)
def test_json_of_another_form_is_refused(bad: object) -> None:
    """Whatever is not a stream's state raises the one error that the collector answers."""
    with pytest.raises(ValueError, match=r"."):
        StreamState.from_json(bad)


# Properties: a stream is driven through anything that may happen, and a model notes what was read, and when.

Stretch = tuple[int, int]


@dataclass
class Model:
    """What the intake has seen, kept beside the lanes.

    Attributes:
        reads: start, end and time of asking of all that was read.
        lost: what retention took.
        exempt_s: before this, Graph holds nothing any more.
    """

    now_s: int
    state: StreamState
    reads: list[tuple[int, int, int]] = field(default_factory=list)
    lost: list[Stretch] = field(default_factory=list)
    exempt_s: int = 0

    def check(self) -> None:
        """Everything up to a lane's cursor was read at that lane's age, is still a gap, or is gone."""
        assert StreamState.from_json(orjson.loads(orjson.dumps(self.state.to_json()))) == self.state
        pending = [*self.state.gaps, *self.lost]
        for age_s, cursor_s in [(0, self.state.live_s), *((AGES[n], c) for n, c in self.state.settle_s.items())]:
            read = [(start, min(end, asked - age_s)) for start, end, asked in self.reads]
            unread = without([(max(self.state.origin_s, self.exempt_s), cursor_s)], [*pending, *read])
            if age_s:  # older than the age when the stream began: the backlog's one reading is at that age
                assert without(unread, [(0, self.begun_s - age_s)]) == [], (age_s, self.state)
            else:
                assert unread == [], self.state
        floor = lanes.floor_s(self.state)
        for overlap_s, span_s in ((0, 60), (OVERLAP_S, 600), (OVERLAP_S, 7 * DAY_S)):
            for now_s in (self.now_s, max(self.now_s - CLOCK_STEP_S + 1, self.state.origin_s)):  # set back a little
                assert lanes.live_window(self.state, now_s, overlap_s, span_s).start_s >= floor
        rest = lanes.rest_window(self.state, self.now_s, DAY_S)
        assert rest is None or (rest.start_s >= floor and rest.start_s < rest.end_s <= self.now_s)

    def __post_init__(self) -> None:
        self.begun_s = self.now_s

    def live(self, overlap_s: int, span_s: int, part: float) -> None:
        """A live pass, of which a part is delivered."""
        before = self.state
        resumed = lanes.resume(before, self.now_s, PERIOD_S)
        edge = self.now_s - RETENTION_S + RETENTION_MARGIN_S
        gaps = [*before.gaps, *([resumed.gap] if resumed.gap else [])]
        gone = [(start, min(end, edge)) for start, end in gaps if start < edge]
        # All that was never read is named, and of what was read at most the start of the new gap, which is read again
        # for the youngest settle lane's sake.
        unread = [*before.gaps, *([(before.live_s, resumed.gap[1])] if resumed.gap else [])]
        never = [(start, min(end, edge)) for start, end in unread if start < min(end, edge)]
        assert merged([*never, *resumed.lost]) == merged(resumed.lost)
        assert merged([*gone, *resumed.lost]) == merged(gone)
        self.lost += gone
        self.exempt_s = max(self.exempt_s, edge)
        self.take(resumed.state)
        window = lanes.live_window(self.state, self.now_s, min(overlap_s, span_s // 2), span_s)
        assert window.start_s <= max(self.state.live_s, self.state.origin_s)
        assert window.end_s > self.state.live_s or window.end_s == self.now_s  # it always gets on
        self.deliver(window, part)

    def rest(self, span_s: int, part: float) -> None:
        """A window of another lane, of which a part is delivered."""
        window = lanes.rest_window(self.state, self.now_s, span_s)
        if window is not None:
            self.deliver(window, part)

    def deliver(self, window: Window, part: float) -> None:
        """Read a window up to some second, asked now."""
        reached_s = window.start_s + int((window.end_s - window.start_s) * part)
        self.reads.append((window.start_s, reached_s, self.now_s))
        self.take(lanes.after_page(self.state, window, reached_s, self.now_s))

    def take(self, after: StreamState) -> None:
        """The next state: no cursor is behind where it was."""
        assert after.live_s >= self.state.live_s
        assert all(after.settle_s[name] >= cursor for name, cursor in self.state.settle_s.items())
        assert after.origin_s == self.state.origin_s
        self.state = after


def without(stretches: list[Stretch], cuts: Sequence[Stretch]) -> list[Stretch]:
    """What is left of some stretches when others are cut out."""
    for cut_start, cut_end in cuts:
        left: list[Stretch] = []
        for start, end in stretches:
            if cut_end <= start or end <= cut_start:
                left.append((start, end))
                continue
            left += [piece for piece in ((start, cut_start), (cut_end, end)) if piece[0] < piece[1]]
        stretches = left
    return [stretch for stretch in stretches if stretch[0] < stretch[1]]


PARTS = st.sampled_from([0.0, 0.1, 0.5, 0.99, 1.0, 1.0, 1.0])
STEPS = st.one_of(
    st.tuples(st.just("live"), st.sampled_from([0, 37, 150, OVERLAP_S]), st.sampled_from([60, 1800, 7 * DAY_S]), PARTS),
    st.tuples(st.just("rest"), st.sampled_from([60, HOUR_S, DAY_S, 7 * DAY_S]), PARTS),
    st.tuples(
        st.just("wait"),
        st.one_of(
            st.integers(0, 700),
            st.sampled_from([HOUR_S, 5 * HOUR_S, DAY_S, 6 * DAY_S]),
            st.sampled_from([29 * DAY_S, 35 * DAY_S]),
        ),
    ),
)


@settings(max_examples=200, deadline=None)
@given(history=st.sampled_from([0, 120, HOUR_S, DAY_S, 720 * HOUR_S]), steps=st.lists(STEPS, max_size=40))
@example(history=0, steps=[("wait", 35 * DAY_S), ("live", OVERLAP_S, 60, 1.0), ("rest", 60, 0.5)])
def test_every_second_is_read_at_every_age(history: int, steps: list[tuple[str, int, int, float]]) -> None:
    """Outages, partial pages, narrow windows and retention: no second is skipped, and no cursor goes back."""
    model = Model(T, lanes.begin(T, history))
    model.check()
    for name, *figures in steps:
        if name == "wait":
            model.now_s += figures[0]
        elif name == "live":
            model.live(*figures)
        else:
            model.rest(*figures)
        model.check()


@settings(max_examples=20, deadline=None)
@given(
    history=st.sampled_from([0, HOUR_S, DAY_S, 10 * DAY_S]),
    outage=st.sampled_from([0, HOUR_S, 3 * DAY_S]),
    span=st.sampled_from([HOUR_S, DAY_S, 7 * DAY_S]),
)
def test_all_lanes_come_to_rest(history: int, outage: int, span: int) -> None:
    """With live passes that succeed, backlog ends and every settle lane keeps its age, in a bounded number of reads."""
    model = Model(T, lanes.begin(T, history))
    model.now_s += outage
    for _ in range(60):
        model.live(OVERLAP_S, 7 * DAY_S, 1.0)
        for _ in range(1000):
            if lanes.rest_window(model.state, model.now_s, span) is None:
                break
            model.rest(span, 1.0)
        else:
            pytest.fail("the other lanes never come to rest")
        model.check()
        model.now_s += 600
    assert model.state.gaps == ()
    for lane in SETTLE_LANES:
        assert model.state.settle_s[lane.name] >= min(model.now_s - 600 - lane.age_s - lane.step_s, T + outage)


@settings(max_examples=200, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 30 * DAY_S), max_size=4, unique=True),
    live=st.integers(CLOCK_STEP_S + 1, 40 * DAY_S),
    settle=st.tuples(st.integers(0, 60 * DAY_S), st.integers(0, 60 * DAY_S), st.integers(0, 60 * DAY_S)),
)
def test_a_clock_set_back_skips_nothing(gaps: list[int], live: int, settle: tuple[int, int, int]) -> None:
    """Whatever was still to be read before the clock was set back is still to be read, and the last day besides."""
    edges = sorted(gaps)
    before = state(
        origin=-30 * DAY_S,
        live=live,
        gaps=[(-b, -a) for a, b in zip(edges[::2], edges[1::2], strict=False)][::-1],
        settle=tuple(live - age for age in settle),  # type: ignore[arg-type]
    )
    after = lanes.resume(before, T, PERIOD_S).state
    assert without([*before.gaps, (T - DAY_S, live)], [*after.gaps, (after.live_s, T + live)]) == []
    assert after.live_s == T - OVERLAP_S
    assert after.origin_s == min(before.origin_s, T - DAY_S)
    for name, cursor in after.settle_s.items():
        assert cursor <= before.settle_s[name]
        assert cursor <= T - AGES[name]
