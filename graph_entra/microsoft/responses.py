"""What an answer of Graph's or Entra's that is not a page means: status, code, exception -> an error of our tree."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import orjson
from azure.core.exceptions import AzureError, ClientAuthenticationError

from graph_entra.errors import (
    CertificateUntrusted,
    CredentialRejected,
    GraphEntraError,
    GraphRefused,
    GraphUnavailable,
    LoginUnavailable,
    ProxyInTheWay,
    Throttled,
    TokenRefused,
    WindowTooWide,
)
from graph_entra.microsoft.network import proxied

# Entra's own faults of the moment: by code
# (https://learn.microsoft.com/entra/identity-platform/reference-error-codes), by the word of RFC 6749 section 5.2 and
# 4.1.2.1, and by status, whatever code stands in the text. 50196 is a loop of requests, 90019 comes and goes.
_ENTRA_PASSING: Final = frozenset({50196, 90006, 90019, 90024, 90033, 90055, 90090})
_PASSING_WORDS: Final = frozenset({"temporarily_unavailable", "server_error"})
# As azure-identity quotes Entra: '(invalid_client) AADSTS7000215: Invalid client secret provided. Ensure ...'
_AADSTS: Final = re.compile(r"(?:\((\w+)\) )?AADSTS(\d+)(?::\s*([^\r\n]*))?")
_STATUS: Final = re.compile(r"\d{3}\b")
_ID: Final = re.compile(r"'?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}'?")
# Whoever asks to be left alone for longer is asked again after so long, and it is told: a wrong header must not
# silence a connector for a year.
MOST_RETRY_AFTER_S: Final = 3600.0


def transport_fault(error: Exception) -> GraphEntraError:
    """What an exception of the clients' means, when Graph was asked."""
    if isinstance(error, AzureError):
        return login_fault(error)
    if isinstance(error, (httpx.ReadTimeout, TimeoutError)):
        return WindowTooWide("Graph did not answer in time")
    text = f"Graph could not be reached or broke off: {_root(error)}"
    return _obstacle(error, text) or GraphUnavailable(text)


def login_fault(error: Exception, *, secret_is_guid: bool = False, thumbprint: str = "") -> GraphEntraError:
    """azure-identity raises ClientAuthenticationError for everything, also for a 503 or an unreachable network."""
    if not isinstance(error, ClientAuthenticationError):
        text = f"Entra could not be asked for an access token: {_root(error)}"
        return _obstacle(error, text) or LoginUnavailable(text)
    said = _AADSTS.search(str(error))
    status = getattr(error.response, "status_code", None) or 0
    wait_s = _login_retry_after(error)
    if said is None:
        return LoginUnavailable(
            "Entra, or something in its place, answered neither a token nor an error of Entra's", wait_s
        )
    code = int(said[2])
    if code in _ENTRA_PASSING or said[1] in _PASSING_WORDS or status == 429 or status >= 500:
        return LoginUnavailable(f"Entra could not sign the application in just now (AADSTS{code})", wait_s)
    sentence = _first_sentence(said[3] or "")
    return CredentialRejected(code, secret_is_guid=secret_is_guid, sentence=sentence, thumbprint=thumbprint)


def _login_retry_after(error: ClientAuthenticationError) -> float | None:
    headers = getattr(error.response, "headers", None) or {}
    try:
        sent = parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError, TypeError):
        sent = datetime.fromtimestamp(0, UTC)
    asked_s = retry_after(headers.get("Retry-After"), sent)
    return None if asked_s is None else min(asked_s, MOST_RETRY_AFTER_S)


def _first_sentence(text: str) -> str:
    """The first sentence of a text of Entra's, without the ids in it; empty if there is none."""
    sentence = re.split(r"(?<=[.!?])\s|\bTrace ID:", text.strip(), maxsplit=1)[0].strip(" '")[:300]
    sentence = " ".join(_ID.sub("(id)", sentence).split())
    return sentence if not sentence or sentence.endswith((".", "!", "?")) else f"{sentence}."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, the root last."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _root(error: Exception) -> str:
    """What it came from: a proxy's status, or a name, and the host if that was not reached. Never its text."""
    *_, root = _causes(error)
    proxy = next((link for link in _causes(error) if isinstance(link, httpx.ProxyError)), None)
    status = _STATUS.match(str(proxy))
    if status:
        return f"the proxy answered {status[0]}"
    hosts = [_host(link) for link in _causes(error) if isinstance(link, (httpx.ConnectError, httpx.ConnectTimeout))]
    host = next((host for host in hosts if host is not None and not proxied(host)), None)
    return f"{type(root).__name__} ({host})" if host else type(root).__name__


def _obstacle(error: Exception, text: str) -> GraphEntraError | None:
    """The error for what stands in the way of a connection; None where nothing is known to."""
    causes = list(_causes(error))
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in causes):
        return CertificateUntrusted(text)
    if any(isinstance(link, httpx.ProxyError) for link in causes):
        return ProxyInTheWay(text)
    if any(isinstance(link, ssl.SSLError) for link in causes):
        return None
    hosts = [_host(link) for link in causes if isinstance(link, (httpx.ConnectError, httpx.ConnectTimeout))]
    # Where a proxy leads on, the connection that could not be made is the one to the proxy.
    return ProxyInTheWay(text) if any(host is not None and proxied(host) for host in hosts) else None


def _host(error: httpx.TransportError) -> str | None:
    try:
        return error.request.url.host
    except RuntimeError:  # an error that belongs to no request
        return None


def refusal(response: httpx.Response, now: datetime) -> GraphEntraError:
    """What an answer of Graph's other than 200 means.

    Args:
        response: the answer.
        now: this machine's clock, for an answer that does not state its own time.
    """
    status = response.status_code
    code, detail = _error_of(response)
    asked_s = retry_after(response.headers.get("Retry-After"), _sent_at(response) or now)
    retry_after_s = None if asked_s is None else min(asked_s, MOST_RETRY_AFTER_S)
    if status == 429:
        return Throttled(f"Graph throttles the application (429){_capped(asked_s)}", retry_after_s)
    if status == 401:
        return TokenRefused(f"Graph refused the access token (401 {code})", 1)
    if status == 504:
        return WindowTooWide("Graph did not answer in time (504)", retry_after_s)
    if 400 <= status < 500 and status != 408:
        return GraphRefused(status, code, detail)
    return GraphUnavailable(f"Graph answered {status} {code}".rstrip() + _capped(asked_s), retry_after_s)


def _capped(asked_s: float | None) -> str:
    if asked_s is None or asked_s <= MOST_RETRY_AFTER_S:
        return ""
    return f", and asks to be left alone for {asked_s / 3600:.0f} h, of which {MOST_RETRY_AFTER_S / 3600:.0f} is kept"


def _sent_at(response: httpx.Response) -> datetime | None:
    """When the answer was sent, by Graph's own clock: this machine's may be wrong."""
    try:
        sent = parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError, TypeError):
        return None
    return sent if sent.tzinfo is not None else None


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
