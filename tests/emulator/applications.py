"""The application registration as Graph shows it: enough to learn when the secret in use expires."""

import re
from datetime import datetime, timedelta
from typing import Any

import orjson

from tests.emulator.instants import instant_text, ticks_of
from tests.emulator.odata import GraphError
from tests.emulator.tenant import Tenant

_BY_KEY = re.compile(r"/[^/]+/applications\(appId='([^']*)'\)")
_BY_FILTER = re.compile(r"appId eq '([^']*)'")
_READERS = {"Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}


def application_answer(
    tenant: Tenant, roles: tuple[str, ...], path: str, options: dict[str, str], now: datetime
) -> bytes:
    """Returns the body for `applications(appId='...')` or `applications?$filter=appId eq '...'`.

    Raises:
        GraphError: 404 for another path or application, 403 without a role that may read applications.
    """
    by_key = _BY_KEY.fullmatch(path)
    by_filter = path.split("/", 2)[-1] == "applications"
    if not by_key and not by_filter:
        raise GraphError(404, "ResourceNotFound", f"Resource not found for the path '{path}'.")
    if not _READERS & set(roles):
        raise GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    found = by_key or _BY_FILTER.fullmatch(options.get("$filter", ""))
    if not found:
        raise GraphError(400, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause specified.")
    known = found[1].lower() == tenant.client_id.lower()
    if by_filter:
        shown = [_application(tenant, options.get("$select"), now)] if known else []
        return orjson.dumps({"value": shown})
    if not known:
        raise GraphError(404, "Request_ResourceNotFound", f"Resource '{found[1]}' does not exist.")
    return orjson.dumps(_application(tenant, options.get("$select"), now))


def _application(tenant: Tenant, select: str | None, now: datetime) -> dict[str, Any]:
    expires = tenant.secret_expires or now + timedelta(days=365)
    credential = {
        "customKeyIdentifier": None,
        "displayName": "graph-entra",
        "endDateTime": instant_text(ticks_of(expires), 0),
        "hint": tenant.client_secret[:3],
        "keyId": tenant.secret_id,
        "secretText": None,
        "startDateTime": instant_text(ticks_of(expires - timedelta(days=365)), 0),
    }
    members = {
        "id": "0a0a0a0a-1b1b-4c2c-8d3d-4e4e4e4e4e4e",
        "appId": tenant.client_id,
        "displayName": "graph-entra",
        "passwordCredentials": [credential, *tenant.other_credentials],
    }
    return {name: members[name] for name in (select.split(",") if select else members) if name in members}
