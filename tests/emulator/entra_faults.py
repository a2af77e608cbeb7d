"""Entra's passing faults: nobody has to act on them, whatever code stands in their text (DESIGN section 4)."""

from datetime import datetime

from tests.emulator.entra_errors import entra_answer
from tests.emulator.faults import Fault

_JSON = {"Content-Type": "application/json; charset=utf-8"}


def _error(status: int, error: str, text: str, code: int) -> Fault:
    body = {"error": error, "error_description": f"AADSTS{code}: {text}", "error_codes": [code]}
    return Fault.status(status, body=body, headers=_JSON)


# By what passes; each is a fault for `login.faults`.
PASSING: dict[str, Fault] = {
    "500 page": Fault.html(500),
    "502 page": Fault.html(502),
    "503 page": Fault.html(503),
    "429": Fault.retry_after(429, "5"),
    "429 without a time": Fault.retry_after(429, None),
    "temporarily_unavailable": _error(503, "temporarily_unavailable", "A transient error has occurred.", 90033),
    "temporarily_unavailable with 400": _error(400, "temporarily_unavailable", "The service is busy.", 90033),
    "server_error": _error(400, "server_error", "An unexpected error occurred.", 90006),
    "request loop": _error(400, "invalid_grant", "The server terminated an operation: a client request loop.", 50196),
    "no tenant in the request": _error(400, "invalid_request", "No tenant-identifying information found.", 90019),
    "wrong secret, and 503": _error(503, "invalid_client", "Invalid client secret provided.", 7000215),
}


def mistaken(code: int, now: datetime, *, app: str = "", tenant: str = "") -> Fault:
    """Returns a refusal that Entra takes back within hours, such as 90002 or 700016 for a tenant that exists."""
    answer = entra_answer(code, now, app=app, tenant=tenant)
    return Fault.status(answer.status, body=answer.body, headers=answer.headers)
