"""Whose answers tell the time: Entra's own, and no proxy's in its place."""

import asyncio
from typing import Any

import httpx
import pytest
from azure.core.rest import HttpRequest

from graph_entra.microsoft.transport import EntraTransport

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
JSON = {"Date": DATE, "Content-Type": "application/json; charset=utf-8"}


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (200, JSON, [784111777.0]),
        (400, JSON, [784111777.0]),
        (401, JSON, [784111777.0]),
        (503, JSON, []),
        (407, JSON, []),
        (200, {**JSON, "Content-Type": "text/html"}, []),
        (400, {"Date": DATE}, []),
        (200, {**JSON, "Date": "yesterday"}, []),
    ],
)
def test_only_entras_own_answers_tell_the_time(status: int, headers: dict[str, Any], told: list[float]) -> None:
    """A token or a refusal, in JSON; what a proxy answers while Entra is out of reach is dated by the proxy."""
    dates: list[float] = []

    async def ask() -> None:
        transport = EntraTransport(1.0, dates.append)
        await transport._client.aclose()
        answer = httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, content=b"{}"))
        transport._client = httpx.AsyncClient(transport=answer)
        await transport.send(HttpRequest("POST", "https://login.microsoftonline.com/x/oauth2/v2.0/token"))
        await transport.close()

    asyncio.run(ask())
    assert dates == told
