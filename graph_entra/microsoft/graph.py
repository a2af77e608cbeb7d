"""One window of one stream -> pages of records, asked through msgraph-sdk with azure-identity's credentials.

msgraph-sdk's request builders make the requests; its typed models are left out, because they lose unknown enum values,
nulls and the seventh digit of a second. Paging is by hand: the SDK's own iterator stops at an empty page that has a
nextLink. Nothing here retries: the schedule does, from where the coverage ends.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson
from azure.core.exceptions import AzureError
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ClientSecretCredential
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from kiota_http.middleware.options import RedirectHandlerOption, RetryHandlerOption
from msgraph.graph_request_adapter import GraphRequestAdapter
from msgraph.graph_service_client import GraphServiceClient
from msgraph_core import GraphClientFactory
from pydantic import SecretStr

from graph_entra.clock import Clock
from graph_entra.errors import GraphEntraError, GraphRefused, GraphUnavailable, PagingBroken, Throttled
from graph_entra.microsoft.clouds import Cloud
from graph_entra.microsoft.pages import read_page
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.microsoft.requests import Question, credentials_of, first_page, next_page, one_record
from graph_entra.microsoft.responses import date_of, login_fault, refusal, transport_fault
from graph_entra.records import Page
from graph_entra.streams import ApiVersion, Stream, Window

LOGIN_TIMEOUT_S: Final = 30.0
# Slow is not broken: answers after 5 minutes are reported (msgraph-sdk-powershell#3146). But where others come quickly,
# one that says nothing is not waited for so long: so many times the slowest of the last ones, and a minute at least.
LONGEST_ANSWER_S: Final = 330.0
SHORTEST_PATIENCE_S: Final = 60.0
_PATIENCE: Final = 8.0
# The slowest answer counts less with each one after it.
_FADES: Final = 0.9
# Larger pages are not fetched ahead, so that two of them are never held at once.
_AHEAD_MAX_BYTES: Final = 8 * 1024 * 1024
# A secret's id is one; its value is not.
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


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


class Graph:
    """Asks one cloud's Graph for one tenant. Made, used and closed on one event loop.

    Args:
        cloud: which of Microsoft's clouds.
        tenant_id: the directory (tenant) id, or one of its domains.
        client_id: the application (client) id.
        client_secret: the secret's value.
        rate_limiter: shared by everything that asks for this app and tenant.
        clock: the time.
        on_answer: told of every answer.
        longest_answer_s: seconds that an answer may take.
    """

    def __init__(
        self,
        cloud: Cloud,
        tenant_id: str,
        client_id: str,
        client_secret: SecretStr,
        *,
        rate_limiter: RateLimiter,
        clock: Clock,
        on_answer: OnAnswer = lambda _answer: None,
        longest_answer_s: float = LONGEST_ANSWER_S,
    ) -> None:
        self._cloud = cloud
        self._tenant_id = tenant_id
        self._client_id = client_id
        self._client_secret = client_secret
        self._secret_is_guid = _GUID.fullmatch(client_secret.get_secret_value()) is not None
        self._rate_limiter = rate_limiter
        self._on_answer = on_answer
        self._patience = Patience(longest_answer_s)
        self._clock = clock
        self._login_transport: AioHttpTransport | None = None
        self._credential: ClientSecretCredential | None = None
        self._clients: dict[ApiVersion, GraphServiceClient] = {}
        # The lanes start together: one of them fetches the token.
        self._signing_in = asyncio.Lock()
        self._http = GraphClientFactory.create_with_default_middleware(
            client=httpx.AsyncClient(timeout=httpx.Timeout(longest_answer_s, connect=LOGIN_TIMEOUT_S)),
            options={
                RetryHandlerOption.get_key(): RetryHandlerOption(max_retries=0, should_retry=False),
                RedirectHandlerOption.get_key(): RedirectHandlerOption(max_redirect=0, should_redirect=False),
            },
        )

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
            if page.broken is not None:
                raise GraphUnavailable(page.broken)
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

    async def token(self) -> str:
        """An access token for this cloud's Graph.

        Raises:
            CredentialRejected: Entra refuses the app.
            LoginUnavailable: Entra could not be asked.
        """
        try:
            async with self._signing_in, asyncio.timeout(LOGIN_TIMEOUT_S):
                credential = self._credential or self._connect()
                # With the claims that msgraph-sdk asks for: without them it would fetch a token of its own.
                return (await credential.get_token(self._cloud.scope, enable_cae=True)).token
        except (AzureError, TimeoutError) as error:
            raise login_fault(error, secret_is_guid=self._secret_is_guid) from None

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
        if self._login_transport is not None:
            await self._login_transport.close()
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
        if self._credential is None:
            # Before the turn: a request that waits for its token would arrive too close to the next.
            await self.token()
        await self._rate_limiter.turn(window.work if window else "check", goes_on=goes_on)
        credential = self._credential or self._connect()
        status, date_s = 0, None
        began_s = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._patience.longest_s):
                response = await ask(self._clients[stream.version])
            status, date_s = response.status_code, date_of(response)
        except (AzureError, httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            # `from None`: a traceback's locals may hold the secret or a token.
            raise transport_fault(error, secret_is_guid=self._secret_is_guid) from None
        finally:
            took_s = self._clock.monotonic() - began_s
            self._patience.waited(took_s, answered=status != 0)
            self._on_answer(Answer(stream.key, status, took_s, date_s))
        if status == 200:
            self._rate_limiter.answered()
            return response.content
        fault = refusal(response, datetime.fromtimestamp(self._clock.time(), UTC))
        if isinstance(fault, Throttled):
            self._rate_limiter.throttled(fault.retry_after_s)
        if status in (401, 403):
            # A permission that was granted meanwhile shows in a new token only.
            self._forget_token(credential)
        raise fault

    def _connect(self) -> ClientSecretCredential:
        if self._login_transport is None:
            self._login_transport = AioHttpTransport(connection_timeout=LOGIN_TIMEOUT_S, read_timeout=LOGIN_TIMEOUT_S)
        credential = ClientSecretCredential(
            self._tenant_id,
            self._client_id,
            self._client_secret.get_secret_value(),
            authority=f"https://{self._cloud.login_host}",
            transport=self._login_transport,
            retry_total=0,
        )
        provider = AzureIdentityAuthenticationProvider(
            credential, scopes=[self._cloud.scope], allowed_hosts=[self._cloud.graph_host]
        )
        for version in ("v1.0", "beta"):
            adapter = GraphRequestAdapter(provider, client=self._http)
            adapter.base_url = self._cloud.base_url(version)
            self._clients[version] = GraphServiceClient(request_adapter=adapter)
        self._credential = credential
        return credential

    def _forget_token(self, refused: ClientSecretCredential) -> None:
        """Let go of a credential without closing its transport: another lane may be fetching a token through it."""
        # A refusal that was under way says nothing about the token that another lane has got meanwhile.
        if self._credential is refused:
            self._credential = None
            self._clients = {}

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


class Patience:
    """How long to wait for an answer, by how long the last ones took.

    Args:
        longest_s: seconds; never more.
    """

    def __init__(self, longest_s: float = LONGEST_ANSWER_S) -> None:
        self._most_s = longest_s
        self._slowest_s: float | None = None
        # Doubled by every silence, until something is answered.
        self._silences = 0

    @property
    def longest_s(self) -> float:
        """Seconds to wait for the next answer."""
        if self._slowest_s is None:
            return self._most_s
        patience_s = max(SHORTEST_PATIENCE_S, _PATIENCE * self._slowest_s) * 2.0 ** min(self._silences, 10)
        return min(self._most_s, patience_s)

    def waited(self, took_s: float, *, answered: bool) -> None:
        """An answer came, or none did, after so long."""
        if answered:
            self._slowest_s = max(took_s, (self._slowest_s or 0.0) * _FADES)
        elif took_s >= SHORTEST_PATIENCE_S:
            self._silences += 1
            return
        self._silences = 0


async def _abandon(task: asyncio.Task[bytes] | None) -> None:
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError, GraphEntraError):
            await task
