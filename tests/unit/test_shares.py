"""Who comes next: shares of the limit, as arithmetic."""

from collections import Counter
from collections.abc import Iterable

import pytest

from graph_entra.reading.shares import EDGE_AHEAD_PAGES, WEIGHTS, Key, Shares

ALL = [kind for kind in WEIGHTS if kind != "edge"]


def serve(shares: Shares, due: Iterable[Key], turns: int) -> Counter[Key]:
    """Gives out so many turns among what is always due."""
    keys = list(due)
    given: Counter[Key] = Counter()
    for _ in range(turns):
        kind, stream = shares.first(keys)
        shares.charge(kind, stream)
        given[kind, stream] += 1
    return given


@pytest.mark.parametrize("kinds", [ALL, ["unread", "look 24 h"], ["again", "unread"], ["round", "again"]])
def test_each_kind_gets_its_weight(kinds: list[str]) -> None:
    """Over many turns each is served in proportion, to within two pages: nothing starves."""
    turns = 10_000
    given = serve(Shares(), [(kind, "s") for kind in kinds], turns)
    total = sum(WEIGHTS[kind] for kind in kinds)
    for kind in kinds:
        assert given[kind, "s"] == pytest.approx(turns * WEIGHTS[kind] / total, abs=2)


def test_what_nobody_else_wants_is_free() -> None:
    """A history that is alone gets everything, and owes nothing for it to a look that becomes due later."""
    shares = Shares()
    assert serve(shares, [("unread", "s")], 5000) == {("unread", "s"): 5000}
    given = serve(shares, [("unread", "s"), ("look 2 h", "s")], 300)
    of_the_look = 300 * WEIGHTS["look 2 h"] / (WEIGHTS["unread"] + WEIGHTS["look 2 h"])
    assert given["look 2 h", "s"] == pytest.approx(of_the_look, abs=2)


def test_what_is_idle_gathers_no_credit() -> None:
    """A kind that was not due for long does not then come first for as long."""
    shares = Shares()
    serve(shares, [("look 24 h", "s")], 1000)
    given = serve(shares, [("troubled", "s"), ("look 24 h", "s")], 14)
    assert given["troubled", "s"] == pytest.approx(3, abs=1)


def test_streams_take_turns_within_a_kind() -> None:
    """One stream's backlog does not stand before another's, nor before one that comes later."""
    shares = Shares()
    serve(shares, [("unread", "a")], 1000)
    assert serve(shares, [("unread", "a"), ("unread", "b"), ("unread", "c")], 300) == {
        ("unread", "a"): 100,
        ("unread", "b"): 100,
        ("unread", "c"): 100,
    }


@pytest.mark.parametrize(
    ("pages", "waits"), [(0, False), (EDGE_AHEAD_PAGES, False), (EDGE_AHEAD_PAGES + 1, True), (200, True)]
)
def test_an_edge_beyond_its_share_waits_while_others_wait(pages: int, waits: bool) -> None:
    """A burst of some pages is read at once; a period of a second would otherwise take everything."""
    shares = Shares()
    for _ in range(pages):
        shares.charge("edge", "s")
    assert shares.edge_must_wait(["unread"]) is waits
    assert not shares.edge_must_wait([])


def test_the_edge_has_its_share_of_a_contended_limit() -> None:
    """Where polls would take everything and history too, they share as they weigh."""
    shares = Shares()
    given: Counter[str] = Counter()
    for _ in range(10_000):
        kind = "unread" if shares.edge_must_wait(["unread"]) else "edge"
        if kind == "unread":
            shares.first([("unread", "s")])
        shares.charge(kind, "s")
        given[kind] += 1
    assert given["edge"] / given["unread"] == pytest.approx(WEIGHTS["edge"] / WEIGHTS["unread"], rel=0.05)
