"""No library prints a password, a token, a query or a key, whatever it wants to say."""

import logging
import warnings
from collections.abc import Iterator

import pytest

from graph_entra.sekoia.library_output import QUIET, discreet, quiet_libraries

TOKEN = "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2ln"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Other tests' logs are theirs."""
    levels = {name: logging.getLogger(name).level for name in QUIET}
    factory = logging.getLogRecordFactory()
    quiet_libraries()
    yield
    logging.captureWarnings(capture=False)
    logging.setLogRecordFactory(factory)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


SAYS = {
    "Cannot connect to http://svc:hush@proxy:3128 (ssl)": "Cannot connect to http://...@proxy:3128 (ssl)",
    "http://svc:hu@sh@proxy:3128": "http://...@proxy:3128",
    "GET https://graph.microsoft.com/v1.0/auditLogs/signIns?$skiptoken=hush HTTP/1.1": (
        "GET https://graph.microsoft.com/v1.0/auditLogs/signIns?... HTTP/1.1"
    ),
    "url: /v1.0/auditLogs/signIns?$skiptoken=hush (Caused by x)": "url: /v1.0/auditLogs/signIns?... (Caused by x)",
    "{'Authorization': 'Bearer hush-hush-hush'}": "{'Authorization': 'Bearer ...'}",
    "Proxy-Authorization: Basic c3ZjOmh1c2g=": "Proxy-Authorization: Basic ...",
    f"got {TOKEN} back": "got ... back",
    "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY----- end": "... end",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE cut": "...",
    "Is this all? Yes: https://sekoia.io is up, a/b?": "Is this all? Yes: https://sekoia.io is up, a/b?",
}


@pytest.mark.parametrize(("text", "shown"), SAYS.items())
def test_what_is_secret_is_taken_out(text: str, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    """In a message and in its arguments; what is no secret stays as it is."""
    assert discreet(text) == shown
    logging.getLogger("some.library").warning("%s: %s", "x", text)
    logging.getLogger("some.library").warning("x: " + text.replace("%", "%%"))  # noqa: G003 - as libraries do
    assert [record.getMessage() for record in caplog.records] == [f"x: {shown}"] * 2


def test_a_traceback_is_no_way_around(caplog: pytest.LogCaptureFixture) -> None:
    """It ends with the exception's text."""
    try:
        raise OSError("http://svc:hush@proxy:3128")  # noqa: TRY301 - it is the traceback that counts
    except OSError:
        logging.getLogger("some.library").exception("failed")
    assert "OSError: http://...@proxy:3128" in caplog.text
    assert "hush" not in caplog.text


def test_a_warning_is_no_way_around(caplog: pytest.LogCaptureFixture) -> None:
    """Python's warnings go where the log goes."""
    warnings.warn("proxy http://svc:hush@proxy:3128 is slow", stacklevel=1)
    assert "http://...@proxy:3128 is slow" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize("name", [*QUIET, "azure.identity.aio._internal.get_token_mixin", "urllib3.connectionpool"])
def test_libraries_keep_to_themselves_what_the_module_says(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Below what is critical."""
    logging.getLogger(name).error("the same in other words")
    assert caplog.records == []


def test_a_message_that_does_not_fit_its_values_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """logging would print a traceback with both."""
    logging.getLogger("some.library").warning("%d things", "many")
    assert [record.getMessage() for record in caplog.records] == ["%d things"]
