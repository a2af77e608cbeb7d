"""What an answer of Graph's or Entra's that is not a page means: status, code, exception -> an error of our tree."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import orjson
from azure.core.exceptions import AzureError, ClientAuthenticationError

from graph_entra.errors import (
    CredentialRejected,
    GraphEntraError,
    GraphRefused,
    GraphUnavailable,
    LoginUnavailable,
    Throttled,
    TokenRefused,
    WindowTooWide,
)

# Entra's own faults of the moment
# (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
_ENTRA_PASSING: Final = frozenset({90006, 90024, 90033, 90055, 90090})
_AADSTS: Final = re.compile(r"AADSTS(\d+)")


def transport_fault(error: Exception) -> GraphEntraError:
    if isinstance(error, AzureError):
        return login_fault(error)
    if isinstance(error, (httpx.ReadTimeout, TimeoutError)):
        return WindowTooWide("Graph did not answer in time")
    return GraphUnavailable(f"Graph could not be reached or broke off: {type(error).__name__}")


def login_fault(error: Exception) -> GraphEntraError:
    """azure-identity raises ClientAuthenticationError for everything, also for a 503 or an unreachable network."""
    code = _AADSTS.search(str(error)) if isinstance(error, ClientAuthenticationError) else None
    if code is not None and int(code[1]) not in _ENTRA_PASSING:
        return CredentialRejected(int(code[1]))
    if code is not None:
        return LoginUnavailable(f"Entra could not sign the application in just now (AADSTS{code[1]})")
    return LoginUnavailable(f"Entra could not be asked for an access token: {type(error).__name__}")


def refusal(response: httpx.Response) -> GraphEntraError:
    status = response.status_code
    code, detail = _error_of(response)
    retry_after_s = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
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
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if seconds == seconds else None
