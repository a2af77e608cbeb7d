"""What the libraries may print. The module says in its own words what they would say; what they know is not for a log.

httpx prints whole addresses, skip tokens included; azure-identity prints Entra's answers; urllib3 prints the proxy. So
they say only what is critical, and whatever still comes through has passwords, tokens and queries taken out, in the one
place that every record of every logger passes.
"""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any, Final

QUIET: Final = ("httpx", "httpcore", "azure", "msal", "urllib3", "aiohttp", "kiota_http", "msgraph")
_HIDDEN: Final = (
    # user:password@ in an address
    (re.compile(r"(?<=://)[^\s/@'\"]+(?:@[^\s/@'\"]+)*@"), "...@"),
    # the query of an address
    (re.compile(r"(https?://[^\s?'\"]+|/[\w$.()/-]+)\?[^\s'\")]+"), r"\1?..."),
    (re.compile(r"(?i)\b(bearer|basic) [\w.~+/=-]{8,}"), r"\1 ..."),
    # a token or an assertion (RFC 7519)
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "..."),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), "..."),
)


def discreet(text: str) -> str:
    """A text without passwords in addresses, queries, tokens and private keys."""
    for pattern, instead in _HIDDEN:
        text = pattern.sub(instead, text)
    return text


def quiet_libraries() -> None:
    """Let the libraries say only what is critical, and nothing that is secret; doing it again changes nothing."""
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)
    logging.setLogRecordFactory(_record)


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **kwargs)
    record.msg, record.args = discreet(_message(record)), ()
    if record.exc_info and record.exc_info[0] is not None:
        record.exc_text = discreet("".join(traceback.format_exception(*record.exc_info)).rstrip())
    return record


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a format that does not fit its values: logging would print both
        return str(record.msg)
