"""graph.py over the real msgraph-sdk: paging, what is told of requests and answers, tokens, and what is not retried."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from graph_entra.errors import (
    GraphEntraError,
    GraphRefused,
    GraphUnavailable,
    PagingBroken,
    TokenRefused,
    WindowTooWide,
)
from graph_entra.microsoft.clouds import CLOUDS
from graph_entra.microsoft.graph import Answer, Graph
from graph_entra.microsoft.login import ClientSecret, Login
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.records import Page
from graph_entra.streams import Window, sign_in_stream
from tests.emulator import Fault
from tests.integration.rig import Rig, assert_same

STREAM = sign_in_stream("interactiveUser", beta_only=False)


class Asking:
    """A Graph, and what it tells.

    Attributes:
        asked: every request, as `on_ask` was told of it.
        answers: every answer, as `on_answer` was told of it.
    """

    def __init__(self, rig: Rig) -> None:
        self.asked: list[tuple[str, Window | None]] = []
        self.answers: list[Answer] = []
        tenant = rig.emulator.tenant
        self.login = Login(
            CLOUDS["global"],
            tenant.tenant_id,
            tenant.client_id,
            ClientSecret(SecretStr(tenant.client_secret)),
            graph_time=rig.clock.time,
            on_date=lambda _: None,
        )
        self.graph = Graph(
            CLOUDS["global"],
            self.login,
            tenant.client_id,
            rate_limiter=RateLimiter(rig.clock),
            clock=rig.clock,
            on_ask=lambda stream, window: self.asked.append((stream, window)),
            on_answer=self.answers.append,
        )

    async def pages(self, window: Window) -> list[tuple[Page, bool]]:
        """All pages of a window."""
        return [page async for page in self.graph.pages(STREAM, window)]


@asynccontextmanager
async def asking(rig: Rig) -> AsyncIterator[Asking]:
    """A Graph, closed at the end."""
    made = Asking(rig)
    try:
        yield made
    finally:
        await made.graph.close()


def window(rig: Rig, **more: bool | int) -> Window:
    """The last three hours."""
    now_s = int(rig.clock.time())
    return Window("unread", now_s - 3 * 3600, now_s, **more)  # type: ignore[arg-type]


async def test_every_page_once_and_which_is_the_last(rig: Rig) -> None:
    """Oldest first, to the letter; each request and each answer is told."""
    texts = rig.fill(STREAM.key, count=90)
    async with asking(rig) as one:
        asked = window(rig)
        pages = await one.pages(asked)
        assert [is_last for _, is_last in pages] == [False] * 4 + [True]
        assert_same([record.text for page, _ in pages for record in page.records], texts)
        assert all(page.ordered for page, _ in pages)
        assert one.asked == [(STREAM.key, asked)] * 5
        assert [(answer.stream, answer.status) for answer in one.answers] == [(STREAM.key, 200)] * 5
        for answer in one.answers:
            assert answer.date_s is not None
            assert abs(answer.date_s - rig.clock.time()) < 60


@pytest.mark.parametrize(("page_records", "newest_first"), [(10, False), (7, True), (1, True)])
async def test_smaller_pages_and_the_other_end(rig: Rig, page_records: int, newest_first: bool) -> None:
    """As a place in trouble is asked: `$top` and the order are the window's, on every page."""
    texts = rig.fill(STREAM.key, count=15)
    async with asking(rig) as one:
        pages = await one.pages(window(rig, page_records=page_records, newest_first=newest_first))
        found = [record.text for page, _ in pages for record in page.records]
        assert found == [text.decode() for text in (texts[::-1] if newest_first else texts)]
        assert max(len(page.records) for page, _ in pages) == page_records


async def test_an_empty_page_ends_nothing(rig: Rig) -> None:
    """If it has a nextLink."""
    texts = rig.fill(STREAM.key, count=50)
    rig.emulator.graph.faults.inject(Fault.empty_page())
    async with asking(rig) as one:
        pages = await one.pages(window(rig))
        assert [len(page.records) for page, _ in pages] == [0, 20, 20, 10]
        assert_same([record.text for page, _ in pages for record in page.records], texts)


@pytest.mark.parametrize(
    ("fault", "kind", "pages"),
    [
        (Fault.foreign_link(), PagingBroken, 2),
        (Fault.foreign_link("graph.microsoft.com", "http"), PagingBroken, 2),
        (Fault.repeated_link(), PagingBroken, 2),
        (Fault.status(500), GraphUnavailable, 1),
        (Fault.status(504), WindowTooWide, 1),
        (Fault.reset(), GraphUnavailable, 1),
        (Fault.html(200), GraphUnavailable, 1),
        (Fault.status(401), TokenRefused, 1),
        (Fault.status(403), GraphRefused, 1),
        (Fault.status(400), PagingBroken, 1),
        (Fault.status(404), PagingBroken, 1),
        (Fault.status(410), PagingBroken, 1),
        (Fault.foreign_link("graph.microsoft.com:444"), PagingBroken, 2),
        (Fault.status(302, headers={"Location": "https://graph.microsoft.com/v1.0/elsewhere"}), GraphUnavailable, 1),
    ],
)
async def test_what_was_read_is_given_before_the_error(
    rig: Rig, fault: Fault, kind: type[GraphEntraError], pages: int
) -> None:
    """On the second page: the first is given, and nothing is tried again in here."""
    rig.fill(STREAM.key, count=90)
    rig.emulator.graph.faults.inject(fault, after=0 if fault.next_link_only else 1)
    async with asking(rig) as one:
        given: list[Page] = []

        async def read() -> None:
            async for page, is_last in one.graph.pages(STREAM, window(rig)):
                assert not is_last
                given.append(page)

        with pytest.raises(kind):
            await read()
        assert len(given) == pages
        assert len(one.asked) == 2
        assert len(rig.graph_requests) == 2


async def test_graphs_own_words_are_kept_where_a_page_is_refused(rig: Rig) -> None:
    """They are what is told of the place."""
    rig.fill(STREAM.key, count=90)
    rig.emulator.graph.faults.inject(Fault.unsupported_query(), after=1)
    async with asking(rig) as one:
        with pytest.raises(PagingBroken, match="400 UnknownError: Unsupported Query"):
            await one.pages(window(rig))


async def test_a_page_that_breaks_off_is_given_and_is_not_the_last(rig: Rig) -> None:
    """Whatever it says of a next page, that is not asked for."""
    texts = rig.fill(STREAM.key, count=90)
    rig.emulator.graph.faults.inject(Fault.truncate(3000))
    async with asking(rig) as one:
        ((page, is_last),) = await one.pages(window(rig))
        assert not is_last
        assert page.broken is not None
        assert [record.text for record in page.records] == [text.decode() for text in texts[: len(page.records)]]
        assert 0 < len(page.records) < 20


@pytest.mark.parametrize(("status", "forgotten"), [(401, True), (403, True), (400, False), (500, False)])
async def test_a_token_that_is_refused_is_forgotten(rig: Rig, status: int, forgotten: bool) -> None:
    """A permission that was granted meanwhile shows in a new one only."""
    rig.emulator.graph.faults.inject(Fault.status(status))
    async with asking(rig) as one:
        with pytest.raises(GraphEntraError):
            await one.pages(window(rig))
        await one.pages(window(rig))
        tokens = {request.headers["authorization"] for request in rig.graph_requests}
        assert len(tokens) == (2 if forgotten else 1)


async def test_no_answer_is_told_too(rig: Rig) -> None:
    """With status 0, how long it took, and no date."""
    rig.emulator.graph.faults.inject(Fault.stall(3600))
    async with asking(rig) as one:
        with pytest.raises(WindowTooWide) as raised:
            await one.pages(window(rig))
        # The client's own error holds the request, and so the token.
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__
        (answer,) = one.answers
        assert (answer.status, answer.date_s) == (0, None)
        assert answer.took_s == pytest.approx(330, abs=1)


async def test_the_next_page_is_fetched_while_the_last_is_worked_on(rig: Rig) -> None:
    """And given up with its reader."""
    rig.fill(STREAM.key, count=90)
    async with asking(rig) as one:
        pages = one.graph.pages(STREAM, window(rig))
        await anext(pages)
        await rig.clock.sleep(10)
        assert len(one.asked) == 2
        await pages.aclose()
        await rig.clock.sleep(60)
        assert len(one.asked) == 2


async def test_a_page_that_is_fetched_ahead_is_given_up_with_its_reader(rig: Rig) -> None:
    """At once: nobody waits for its answer, and no request goes on behind a stop."""
    rig.fill(STREAM.key, count=90)
    rig.emulator.graph.faults.inject(Fault.stall(3600), after=1)
    async with asking(rig) as one:
        pages = one.graph.pages(STREAM, window(rig))
        await anext(pages)
        await rig.clock.sleep(10)
        await pages.aclose()
        assert [(answer.status, answer.took_s < 15) for answer in one.answers] == [(200, True), (0, True)]


async def test_an_answer_that_trickles_ends(rig: Rig) -> None:
    """A byte now and then does not prolong it."""
    rig.fill(STREAM.key, count=1)
    rig.emulator.graph.faults.inject(Fault.trickle(20))
    async with asking(rig) as one:
        with pytest.raises(WindowTooWide):
            await one.pages(window(rig))
        assert one.answers[0].took_s == pytest.approx(330, abs=1)


@pytest.mark.parametrize("roles", [["AuditLog.Read.All"], []])
async def test_the_applications_own_secrets_are_never_an_error(make_rig: Callable[..., Rig], roles: list[str]) -> None:
    """Without Directory.Read.All, or without Graph, nothing is told of them."""
    rig = make_rig()
    rig.emulator.tenant.roles = roles
    async with asking(rig) as one:
        assert await one.graph.password_credentials() == []
        rig.emulator.graph.faults.inject(Fault.reset())
        assert await one.graph.password_credentials() == []
