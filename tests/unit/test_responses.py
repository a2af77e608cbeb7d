"""What an answer that is no page means: status, header, body and exception, row by row."""

import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from hypothesis import given
from hypothesis import strategies as st

from graph_entra.errors import (
    CertificateUntrusted,
    CredentialRejected,
    GraphEntraError,
    GraphRefused,
    GraphUnavailable,
    LoginUnavailable,
    PassesByItself,
    ProxyInTheWay,
    Throttled,
    TokenRefused,
    WindowTooWide,
)
from graph_entra.microsoft.responses import MOST_RETRY_AFTER_S, login_fault, refusal, retry_after, transport_fault

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
GUID = "11111111-2222-4333-8444-555555555555"
ERROR = {"error": {"code": "Some_Code", "message": "Some message."}}
HTML = b"<html><head><title>502 Bad Gateway</title></head></html>"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, GraphRefused),
        (401, TokenRefused),
        (403, GraphRefused),
        (404, GraphRefused),
        (405, GraphRefused),
        (408, GraphUnavailable),
        (409, GraphRefused),
        (410, GraphRefused),
        (422, GraphRefused),
        (429, Throttled),
        (500, GraphUnavailable),
        (501, GraphUnavailable),
        (502, GraphUnavailable),
        (503, GraphUnavailable),
        (504, WindowTooWide),
        (509, GraphUnavailable),
        # Not followed, and no page either.
        (204, GraphUnavailable),
        (302, GraphUnavailable),
    ],
)
@pytest.mark.parametrize("body", [httpx.Response(200, json=ERROR).content, HTML, b"", b"[1]", b'{"error":"text"}'])
def test_status(status: int, kind: type[GraphEntraError], body: bytes) -> None:
    """The status decides, whatever the body is."""
    assert type(refusal(httpx.Response(status, content=body), NOW)) is kind


def test_graphs_own_words_are_kept() -> None:
    """Code and message lead to the remedy; neither may flood the log."""
    fault = refusal(httpx.Response(403, json=ERROR), NOW)
    assert isinstance(fault, GraphRefused)
    assert (fault.status, fault.code, fault.detail) == (403, "Some_Code", "Some message.")
    assert str(fault) == "Graph answered 403 Some_Code: Some message."
    long = refusal(httpx.Response(400, json={"error": {"code": "c" * 9000, "message": "m" * 9000}}), NOW)
    assert isinstance(long, GraphRefused)
    assert (len(long.code), len(long.detail)) == (100, 300)


@pytest.mark.parametrize(
    "body",
    [HTML, b"", b"null", b"[]", b"{}", b'{"error":null}', b'{"error":[]}', b'{"error":{"message":"x"}}', b'{"er'],
)
def test_a_body_that_is_not_graphs(body: bytes) -> None:
    """A proxy's page says nothing about the cause, and is not quoted."""
    fault = refusal(httpx.Response(400, content=body), NOW)
    assert isinstance(fault, GraphRefused)
    assert (fault.code, fault.detail) == ("", "")
    assert str(fault) == "Graph answered 400 "


@pytest.mark.parametrize("status", [429, 503, 504])
def test_retry_after_is_passed_on(status: int) -> None:
    """Whoever names a time is not asked before it is over."""
    fault = refusal(httpx.Response(status, headers={"Retry-After": "2.128"}), NOW)
    assert isinstance(fault, PassesByItself)
    assert fault.retry_after_s == 2.128


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("10", 10.0),
        ("2.128", 2.128),
        ("0", 0.0),
        ("-5", 0.0),
        (" 7 ", 7.0),
        ("200", 200.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("Mon, 23 Nov 2026 09:01:00 +0100", 60.0),
        # Nothing that could be waited for.
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("1e999", None),
        ("", None),
        ("soon", None),
        ("10 seconds", None),
        ("Mon, 23 Nov 2026 08:01:00 -0000", None),
        ("Mon, 99 Nov 2026 08:01:00 GMT", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Whole, fractional, a date, absent, or nothing that can be read."""
    assert retry_after(value, NOW) == seconds


@given(st.text(max_size=40))
def test_retry_after_never_raises(value: str) -> None:
    """Whatever a proxy writes there: a finite time or none."""
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (7000215, CredentialRejected),
        (7000222, CredentialRejected),
        (700016, CredentialRejected),
        (7000112, CredentialRejected),
        (90002, CredentialRejected),
        (900023, CredentialRejected),
        (53003, CredentialRejected),
        (99999999, CredentialRejected),
        (90006, LoginUnavailable),
        (90024, LoginUnavailable),
        (90033, LoginUnavailable),
        (90055, LoginUnavailable),
        (90090, LoginUnavailable),
    ],
)
def test_entras_codes(code: int, kind: type[GraphEntraError]) -> None:
    """Entra's own faults of the moment pass; everything else is the application's, and a person's to mend."""
    fault = login_fault(ClientAuthenticationError(f"Authentication failed: AADSTS{code}: Some text. Trace ID: 1"))
    assert type(fault) is kind
    assert f"AADSTS{code}" in str(fault)
    if isinstance(fault, CredentialRejected):
        assert fault.code == code


@pytest.mark.parametrize(
    "error",
    [
        ClientAuthenticationError("Authentication failed: <html>503</html>"),
        ClientAuthenticationError("Authority validation failed"),
        ServiceRequestError("Cannot connect to host login.microsoftonline.com:443"),
        ServiceResponseError("Server disconnected"),
        HttpResponseError("AADSTS7000215 in a proxy's page"),
        AzureError("unknown"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_answer_of_entras_is_not_a_wrong_secret(error: Exception) -> None:
    """azure-identity raises the same class for a 503 and for no network: neither makes a person change the secret."""
    assert type(login_fault(error)) is LoginUnavailable


def test_what_entra_writes_is_not_repeated() -> None:
    """Its message may quote the request."""
    secret = "client_secret=hush"
    for error in (ClientAuthenticationError(f"AADSTS7000215: {secret}"), ClientAuthenticationError(secret)):
        assert "hush" not in str(login_fault(error))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ReadTimeout("x"), WindowTooWide),
        (TimeoutError(), WindowTooWide),
        (httpx.ConnectTimeout("x"), GraphUnavailable),
        (httpx.PoolTimeout("x"), GraphUnavailable),
        (httpx.WriteTimeout("x"), GraphUnavailable),
        (httpx.ConnectError("x"), GraphUnavailable),
        (httpx.ReadError("x"), GraphUnavailable),
        (httpx.RemoteProtocolError("x"), GraphUnavailable),
        (httpx.ProxyError("x"), ProxyInTheWay),
        (httpx.DecodingError("x"), GraphUnavailable),
        (httpx.InvalidURL("x"), GraphUnavailable),
        (ClientAuthenticationError("AADSTS7000222: expired"), CredentialRejected),
        (ServiceRequestError("no network"), LoginUnavailable),
    ],
)
def test_transport(error: Exception, kind: type[GraphEntraError]) -> None:
    """A slow answer asks for a shorter window, a connection that fails does not; the login's faults are its own."""
    assert type(transport_fault(error)) is kind


def test_an_address_is_not_repeated() -> None:
    """A nextLink holds a skip token: the kind of fault is enough."""
    assert "skiptoken" not in str(transport_fault(httpx.ConnectError("https://graph/?$skiptoken=abc")))


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
