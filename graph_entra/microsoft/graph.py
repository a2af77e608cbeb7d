"""One window of one stream -> pages of records, asked through msgraph-sdk with a login's token (login.py).

msgraph-sdk's request builders make the requests; its typed models are left out, because they lose unknown enum values,
nulls and the seventh digit of a second. Paging is by hand: the SDK's own iterator stops at an empty page that has a
nextLink. Nothing here retries: the schedule does, from where the coverage ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson
from azure.core.exceptions import AzureError
from kiota_http.middleware.options import RedirectHandlerOption, RetryHandlerOption
from msgraph.graph_request_adapter import GraphRequestAdapter
from msgraph.graph_service_client import GraphServiceClient
from msgraph_core import GraphClientFactory

from graph_entra.clock import Clock
from graph_entra.errors import GraphEntraError, GraphRefused, PagingBroken, Throttled
from graph_entra.microsoft.clouds import Cloud
from graph_entra.microsoft.login import LOGIN_TIMEOUT_S, Login, Token
from graph_entra.microsoft.pages import read_page
from graph_entra.microsoft.patience import LONGEST_ANSWER_S, Patience
from graph_entra.microsoft.rate_limit import RateLimiter, is_of_whole_app
from graph_entra.microsoft.requests import Question, credentials_of, first_page, next_page, one_record
from graph_entra.microsoft.responses import date_of, refusal, transport_fault
from graph_entra.records import Page
from graph_entra.streams import ApiVersion, Stream, Window

_OK: Final = 200
_THROTTLED: Final = 429
# Larger pages are not fetched ahead, so that two of them are never held at once.
_AHEAD_MAX_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told of every request.

    Attributes:
        stream: the stream's key.
        status: Graph's; 0 if there was no answer.
        took_s: seconds from the request to the whole answer.
        date_s: what the answer's ``Date`` says, seconds since 1970; None if it says nothing.
    """

    stream: str
    status: int
    took_s: float
    date_s: float | None = None


OnAnswer = Callable[[Answer], None]
# Told that a page of a window is being asked for, or something that is no window's.
OnAsk = Callable[[str, Window | None], None]


class Graph:
    """Asks one cloud's Graph for one tenant. Made, used and closed on one event loop.

    Args:
        cloud: which of Microsoft's clouds.
        login: signs the application in; closed with this.
        client_id: the application (client) id, to look up when its secrets end.
        rate_limiter: shared by everything that asks for this app and tenant.
        clock: the time.
        on_ask: told of every request.
        on_answer: told of every answer.
        longest_answer_s: seconds that an answer may take.
    """

    def __init__(
        self,
        cloud: Cloud,
        login: Login,
        client_id: str,
        *,
        rate_limiter: RateLimiter,
        clock: Clock,
        on_ask: OnAsk = lambda _stream, _window: None,
        on_answer: OnAnswer = lambda _answer: None,
        longest_answer_s: float = LONGEST_ANSWER_S,
    ) -> None:
        self._cloud = cloud
        self._login = login
        self._client_id = client_id
        self._rate_limiter = rate_limiter
        self._on_ask = on_ask
        self._on_answer = on_answer
        self._patience = Patience(longest_answer_s)
        self._clock = clock
        self._http = GraphClientFactory.create_with_default_middleware(
            client=httpx.AsyncClient(timeout=httpx.Timeout(longest_answer_s, connect=LOGIN_TIMEOUT_S)),
            options={
                RetryHandlerOption.get_key(): RetryHandlerOption(max_retries=0, should_retry=False),
                RedirectHandlerOption.get_key(): RedirectHandlerOption(max_redirect=0, should_redirect=False),
            },
        )
        provider = login.provider()
        self._clients: dict[ApiVersion, GraphServiceClient] = {}
        for version in ("v1.0", "beta"):
            adapter = GraphRequestAdapter(provider, client=self._http)
            adapter.base_url = cloud.base_url(version)
            self._clients[version] = GraphServiceClient(request_adapter=adapter)

    async def pages(self, stream: Stream, window: Window) -> AsyncGenerator[tuple[Page, bool]]:
        """Read a window, oldest first.

        The next page is fetched while the caller works on the last.

        Yields:
            Each page, and whether it is the window's last.

        Raises:
            GraphEntraError: what went wrong, after every page before it was yielded.
        """
        body: bytes | None = await self._get(stream, window, first_page(stream, window))
        seen: set[str] = set()
        while body is not None:
            ahead_allowed = len(body) <= _AHEAD_MAX_BYTES
            page = await asyncio.to_thread(read_page, stream, body)
            body = None
            link = None if page.broken is not None else page.next_link
            broken = self._broken(link, seen)
            ahead: asyncio.Task[bytes] | None = None
            if link is not None and broken is None and ahead_allowed:
                ahead = asyncio.create_task(self._next(stream, window, link))
            try:
                yield page, link is None and page.broken is None
            except BaseException:
                await _abandon(ahead)
                raise
            # Not kept until the next one is read: 20 MB and more, where records are large.
            del page
            if broken is not None:
                raise PagingBroken(broken)
            if link is not None:
                seen.add(link)
                try:
                    body = await (ahead or self._next(stream, window, link))
                except asyncio.CancelledError:
                    await _abandon(ahead)
                    raise

    async def one(self, stream: Stream) -> None:
        """Ask for a single record: proof that the stream can be read.

        Raises:
            GraphEntraError: why it cannot.
        """
        body = await self._get(stream, None, one_record(stream))
        read_page(stream, body)

    async def token(self) -> Token:
        """See :meth:`Login.token`."""
        return await self._login.token()

    async def password_credentials(self) -> list[dict[str, Any]]:
        """What Graph tells of the application's own secrets; nothing without Directory.Read.All, and never an error."""
        with suppress(GraphEntraError, AzureError, httpx.HTTPError, TimeoutError, ValueError, AttributeError):
            await self.token()
            async with asyncio.timeout(self._patience.longest_s):
                response = await credentials_of(self._client_id)(self._clients["v1.0"])
            if response.status_code == 200:
                credentials = orjson.loads(response.content).get("passwordCredentials")
                return credentials if isinstance(credentials, list) else []
        return []

    async def close(self) -> None:
        """Close every connection."""
        await self._login.close()
        await self._http.aclose()

    async def _next(self, stream: Stream, window: Window, link: str) -> bytes:
        try:
            return await self._get(stream, window, next_page(stream, link), goes_on=True)
        except GraphRefused as refusal:
            if refusal.status in (400, 404, 410):
                raise PagingBroken(
                    f"Graph does not give the page that it announced: {refusal}", retry_after_s=0
                ) from refusal
            raise

    async def _get(
        self,
        stream: Stream,
        window: Window | None,
        ask: Question,
        *,
        goes_on: bool = False,
    ) -> bytes:
        # Before the turn: a request that waits for its token would arrive too close to the next.
        token = await self._login.token()
        await self._rate_limiter.turn(window.work if window else "check", goes_on=goes_on)
        self._on_ask(stream.key, window)
        status, date_s = 0, None
        began_s = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._patience.longest_s):
                response = await ask(self._clients[stream.version])
            status, date_s = response.status_code, date_of(response)
        except (AzureError, httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            # `from None`: a traceback's locals may hold the secret or a token.
            raise transport_fault(error) from None
        finally:
            took_s = self._clock.monotonic() - began_s
            self._patience.waited(took_s, answered=status != 0)
            self._on_answer(Answer(stream.key, status, took_s, date_s))
        if status == _THROTTLED:
            fault = refusal(response, datetime.fromtimestamp(self._clock.time(), UTC))
            retry_after_s = fault.retry_after_s if isinstance(fault, Throttled) else None
            self._rate_limiter.throttled(retry_after_s, whole_app=is_of_whole_app(response.headers))
            raise fault
        self._rate_limiter.answered()
        if status == _OK:
            return response.content
        if status in (401, 403):
            # A permission that was granted meanwhile shows in a new token only.
            self._login.forget(token)
        raise refusal(response, datetime.fromtimestamp(self._clock.time(), UTC))

    def _broken(self, link: str | None, seen: set[str]) -> str | None:
        """Why a nextLink is not followed; None if it is."""
        if link is None:
            return None
        try:
            parts = urlsplit(link)
            port = parts.port
        except ValueError:
            return "Graph announced a next page with an address that cannot be read"
        if parts.scheme != "https" or parts.hostname != self._cloud.graph_host or port not in (None, 443):
            return f"Graph announced a next page that is not on https://{self._cloud.graph_host}: it was not asked for"
        if link in seen:
            return "Graph announced the same next page twice"
        return None


async def _abandon(task: asyncio.Task[bytes] | None) -> None:
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError, GraphEntraError):
            await task
