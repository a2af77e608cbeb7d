"""What the login's clients raise: what passes by itself, what a person must mend, and what stands in the way."""

import ssl
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from graph_entra.errors import (
    CertificateUntrusted,
    CredentialRejected,
    GraphUnavailable,
    LoginUnavailable,
    ProxyInTheWay,
    Throttled,
)
from graph_entra.microsoft.responses import MOST_RETRY_AFTER_S, login_fault, refusal, transport_fault
from tests.clocks import START_S

NOW = datetime.fromtimestamp(START_S, UTC)
GUID = "11111111-2222-4333-8444-555555555555"


def said(word: str, text: str, status: int = 400) -> ClientAuthenticationError:
    """As azure-identity words it."""
    response: Any = SimpleNamespace(status_code=status, reason="")
    error = ClientAuthenticationError(message=f"Microsoft Entra ID error '({word}) {text}'")
    error.response = response
    return error


@pytest.mark.parametrize(
    "error",
    [
        said("temporarily_unavailable", "AADSTS700016: Application not found."),
        said("server_error", "AADSTS90002: Tenant not found."),
        said("invalid_client", "AADSTS7000215: Invalid client secret.", 503),
        said("invalid_client", "AADSTS7000215: Invalid client secret.", 429),
        said("invalid_grant", "AADSTS50196: The server terminated an operation because it met a loop."),
        said("invalid_request", "AADSTS90019: No tenant-identifying information found."),
        said("invalid_request", "AADSTS90033: A transient error has occurred.", 503),
    ],
    ids=lambda error: str(error)[26:60],
)
def test_what_passes_by_itself_accuses_no_secret(error: ClientAuthenticationError) -> None:
    """A status, a word or a code that says so is believed, whatever else stands in the text."""
    assert type(login_fault(error)) is LoginUnavailable


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("AADSTS50034: The user account does not exist. To sign in, add it.", "The user account does not exist."),
        (f"AADSTS50034: App '{GUID}' is odd. Trace ID: {GUID} Correlation ID: {GUID}", "App (id) is odd."),
        (f"AADSTS50034: No full stop Trace ID: {GUID}", "No full stop."),
        ("AADSTS50034", ""),
        ("AADSTS50034: ", ""),
    ],
)
def test_entras_first_sentence_is_kept_without_ids(text: str, sentence: str) -> None:
    """For a code that this module does not know."""
    fault = login_fault(said("invalid_client", text))
    assert isinstance(fault, CredentialRejected)
    assert (fault.code, fault.sentence) == (50034, sentence)


def chained(error: Exception, root: Exception, link: str) -> Exception:
    """An error that came from another, as `raise from` or as what was being handled."""
    setattr(error, link, root)
    return error


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
@pytest.mark.parametrize(
    ("root", "kind"),
    [
        (httpx.ProxyError("403"), ProxyInTheWay),
        (ssl.SSLCertVerificationError("self-signed"), CertificateUntrusted),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_stands_in_the_way_is_found_behind_either_link(link: str, root: Exception, kind: type) -> None:
    """Clients raise their own errors from the socket's, some with `from`, some without."""
    assert type(login_fault(chained(ServiceRequestError("x"), root, link))) is kind
    assert type(transport_fault(chained(httpx.ConnectError("x"), root, link))) is kind
    assert type(transport_fault(httpx.ConnectError("x"))) is GraphUnavailable


@pytest.mark.parametrize(("header", "kept_s", "told"), [("3600", 3600.0, ""), ("31536000", 3600.0, "8760 h")])
def test_a_wait_of_more_than_an_hour_is_capped_and_told(header: str, kept_s: float, told: str) -> None:
    """A wrong header silences nobody for a year."""
    fault = refusal(httpx.Response(429, headers={"Retry-After": header}), NOW)
    assert isinstance(fault, Throttled)
    assert fault.retry_after_s == kept_s <= MOST_RETRY_AFTER_S
    assert told in str(fault)
    assert ("left alone" in str(fault)) is bool(told)


def test_a_date_to_wait_for_is_read_by_graphs_own_clock() -> None:
    """This machine's may be hours wrong: the answer says when it was sent."""
    headers = {"Retry-After": "Mon, 23 Nov 2026 08:01:30 GMT", "Date": "Mon, 23 Nov 2026 08:01:00 GMT"}
    fault = refusal(httpx.Response(429, headers=headers), NOW)
    assert isinstance(fault, Throttled)
    assert fault.retry_after_s == 30
