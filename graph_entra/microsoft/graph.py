"""One window of one stream -> pages of records, asked through msgraph-sdk with a login's token (login.py).

msgraph-sdk's request builders make the requests; its typed models are left out, because they lose unknown enum values,
nulls and the seventh digit of a second. Paging is by hand: the SDK's own iterator stops at an empty page that has a
nextLink. Nothing here retries: the lanes do (schedule.py), from a cursor that followed every delivered page.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
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
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.microsoft.requests import Question, credentials_of, first_page, next_page, one_record
from graph_entra.microsoft.responses import refusal, transport_fault
from graph_entra.records import Page
from graph_entra.streams import ApiVersion, Stream, Window

GRAPH_TIMEOUT_S: Final = 60.0
# A body that trickles in, a byte a minute, would never meet the time-out between two reads.
WHOLE_ANSWER_TIMEOUT_S: Final = 180.0
# Larger pages are not fetched ahead, so that two of them are never held at once.
_AHEAD_MAX_BYTES: Final = 8 * 1024 * 1024
# Called with the stream and Graph's status for each answer; 0 if there was none.
OnAnswer = Callable[[str, int], None]


class Graph:
    """Asks one cloud's Graph for one tenant. Made, used and closed on one event loop.

    Args:
        cloud: which of Microsoft's clouds.
        login: signs the application in; closed with this.
        client_id: the application (client) id, to look up when its secrets end.
        rate_limiter: shared by everything that asks for this app and tenant.
        clock: the time.
        on_answer: told of every answer.
        graph_timeout_s: seconds that Graph may be silent.
    """

    def __init__(
        self,
        cloud: Cloud,
        login: Login,
        client_id: str,
        *,
        rate_limiter: RateLimiter,
        clock: Clock,
        on_answer: OnAnswer = lambda _stream, _status: None,
        graph_timeout_s: float = GRAPH_TIMEOUT_S,
    ) -> None:
        self._cloud = cloud
        self._login = login
        self._client_id = client_id
        self._rate_limiter = rate_limiter
        self._on_answer = on_answer
        self._clock = clock
        self._http = GraphClientFactory.create_with_default_middleware(
            client=httpx.AsyncClient(timeout=httpx.Timeout(graph_timeout_s, connect=LOGIN_TIMEOUT_S)),
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
            link = page.next_link
            broken = self._broken(link, seen)
            ahead: asyncio.Task[bytes] | None = None
            if link is not None and broken is None and ahead_allowed:
                ahead = asyncio.create_task(self._next(stream, window, link))
            try:
                yield page, link is None
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
            async with asyncio.timeout(WHOLE_ANSWER_TIMEOUT_S):
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
                raise PagingBroken("Graph no longer knows the page that it announced", retry_after_s=0) from refusal
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
        await self._rate_limiter.turn(window.lane if window else "live", stream.key, goes_on=goes_on)
        status = 0
        try:
            async with asyncio.timeout(WHOLE_ANSWER_TIMEOUT_S):
                response = await ask(self._clients[stream.version])
            status = response.status_code
        except (AzureError, httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            # `from None`: a traceback's locals may hold the secret or a token.
            raise transport_fault(error) from None
        finally:
            self._on_answer(stream.key, status)
        if status == 200:
            self._rate_limiter.answered()
            return response.content
        fault = refusal(response, datetime.fromtimestamp(self._clock.time(), UTC))
        if isinstance(fault, Throttled):
            self._rate_limiter.throttled(fault.retry_after_s)
        if status in (401, 403):
            # A permission that was granted meanwhile shows in a new token only.
            self._login.forget(token)
        raise fault

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
