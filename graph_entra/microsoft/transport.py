"""Entra is asked through the same HTTP client as Graph, so that both go the same way and fail in the same words.

azure-identity would use aiohttp, which reads the proxy's variables differently, and print what it could not reach.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import AsyncHttpResponse, AsyncHttpTransport
from azure.core.rest import HttpRequest

# The statuses of a token and of Entra's refusals.
_ENTRAS: Final = frozenset({200, 400, 401})


class EntraAnswer(AsyncHttpResponse):
    """An answer, read to its end, as azure-core wants it."""

    def __init__(self, request: Any, answer: httpx.Response) -> None:
        super().__init__(request, answer)
        self.status_code = answer.status_code
        self.headers = answer.headers
        self.reason = answer.reason_phrase
        self.content_type = answer.headers.get("Content-Type")
        self._body = answer.content

    def body(self) -> bytes:
        """The whole of it."""
        return self._body


class EntraTransport(AsyncHttpTransport[HttpRequest, EntraAnswer]):
    """Sends azure-identity's requests. Made, used and closed on one event loop.

    Args:
        timeout_s: seconds that Entra may be silent.
        on_date: told of the ``Date`` of each of Entra's answers, in seconds since 1970.
    """

    def __init__(self, timeout_s: float, on_date: Callable[[float], None]) -> None:
        self._client = httpx.AsyncClient(timeout=timeout_s)
        self._on_date = on_date

    async def send(self, request: HttpRequest, **_: Any) -> EntraAnswer:
        """Send one request.

        Raises:
            ServiceRequestError: no answer came; its cause is the client's own error.
        """
        try:
            answer = await self._client.request(
                request.method, request.url, headers=dict(request.headers), data=request.content
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Not its text, which may state an address; azure-identity logs this one.
            raise ServiceRequestError(type(error).__name__, error=error) from error
        self._tell_date(answer)
        return EntraAnswer(request, answer)

    def _tell_date(self, answer: httpx.Response) -> None:
        # Entra answers a token or a refusal, in JSON. Anything else may be a proxy's, with a clock of its own.
        if answer.status_code not in _ENTRAS or "json" not in answer.headers.get("Content-Type", "").lower():
            return
        try:
            sent = parsedate_to_datetime(answer.headers["Date"])
        except (KeyError, ValueError, TypeError):
            return
        # Without a zone it would be taken for this machine's.
        if sent.tzinfo is not None:
            self._on_date(sent.timestamp())

    async def open(self) -> None:
        """Nothing to do: the client connects when it is asked."""

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def __aexit__(self, *_: object) -> None:
        await self.close()
