"""What an answer of Graph's or Entra's that is not a page means: status, code, exception -> an error of our tree."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import httpx
import orjson
from azure.core.exceptions import AzureError, ClientAuthenticationError

from graph_entra.errors import (
    CredentialRejected,
    GraphEntraError,
    GraphRefused,
    GraphUnavailable,
    LoginUnavailable,
    Obstacle,
    Throttled,
    TokenRefused,
    WindowTooWide,
)

# Entra's own faults of the moment
# (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
_ENTRA_PASSING: Final = frozenset({90006, 90024, 90033, 90055, 90090})
_AADSTS: Final = re.compile(r"AADSTS(\d+)")
_PROXY_FAULTS: Final = (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError, httpx.ProxyError)


def transport_fault(error: Exception, *, secret_is_guid: bool = False) -> GraphEntraError:
    if isinstance(error, AzureError):
        return login_fault(error, secret_is_guid=secret_is_guid)
    if isinstance(error, (httpx.ReadTimeout, TimeoutError)):
        return WindowTooWide("Graph did not answer in time")
    return GraphUnavailable(f"Graph could not be reached or broke off: {_root(error)}", obstacle=_obstacle(error))


def login_fault(error: Exception, *, secret_is_guid: bool = False) -> GraphEntraError:
    """azure-identity raises ClientAuthenticationError for everything, also for a 503 or an unreachable network."""
    code = _AADSTS.search(str(error)) if isinstance(error, ClientAuthenticationError) else None
    if code is not None and int(code[1]) not in _ENTRA_PASSING:
        return CredentialRejected(int(code[1]), secret_is_guid=secret_is_guid)
    if code is not None:
        return LoginUnavailable(f"Entra could not sign the application in just now (AADSTS{code[1]})")
    if isinstance(error, ClientAuthenticationError):
        return LoginUnavailable("Entra, or something in its place, answered neither a token nor an error of Entra's")
    return LoginUnavailable(f"Entra could not be asked for an access token: {_root(error)}", obstacle=_obstacle(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, the root last."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _root(error: Exception) -> str:
    """What it came from: a name, or a proxy's status. Never the text, which may state an address."""
    *_, root = _causes(error)
    return (
        f"the proxy answered {root.status}" if isinstance(root, aiohttp.ClientHttpProxyError) else type(root).__name__
    )


def _obstacle(error: Exception) -> Obstacle | None:
    for link in _causes(error):
        if isinstance(link, _PROXY_FAULTS):
            return "proxy"
        if isinstance(link, ssl.SSLCertVerificationError):
            return "certificate"
    return None


def refusal(response: httpx.Response, now: datetime) -> GraphEntraError:
    status = response.status_code
    code, detail = _error_of(response)
    retry_after_s = retry_after(response.headers.get("Retry-After"), now)
    if status == 429:
        return Throttled("Graph throttles the application (429)", retry_after_s)
    if status == 401:
        return TokenRefused(f"Graph refused the access token (401 {code})", 1)
    if status == 504:
        return WindowTooWide("Graph did not answer in time (504)", retry_after_s)
    if 400 <= status < 500 and status != 408:
        return GraphRefused(status, code, detail)
    return GraphUnavailable(f"Graph answered {status} {code}".rstrip(), retry_after_s)


def _error_of(response: httpx.Response) -> tuple[str, str]:
    """Graph's own code and the start of its message; empty where the body is not Graph's (an HTML page, say)."""
    try:
        error = orjson.loads(response.content)["error"]
        return str(error["code"])[:100], str(error.get("message", ""))[:300]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return "", ""


def date_of(response: httpx.Response) -> float | None:
    """What an answer's ``Date`` says, in seconds since 1970; None if it says nothing."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait as a ``Retry-After`` header states them: whole, fractional (``2.128``) or as a date.

    Returns:
        Seconds, 0 or more; None if the header is absent or says nothing.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
