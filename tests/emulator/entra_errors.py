"""The errors of the token endpoint, as Microsoft Entra words them.

Codes and meanings: learn.microsoft.com/entra/identity-platform/reference-error-codes. Shape: the JSON members
`error`, `error_description`, `error_codes`, `timestamp`, `trace_id`, `correlation_id`, `error_uri`.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import orjson

from tests.emulator.service import Answer


@dataclass(frozen=True, slots=True)
class EntraError:
    """One row of the table. The text may name {app}, {tenant}, {resource} and {instant}."""

    status: int
    error: str
    text: str


_BUSY = "temporarily_unavailable"

ERRORS: dict[int, EntraError] = {
    7000215: EntraError(
        401,
        "invalid_client",
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
        "not the client secret ID, for a secret added to app '{app}'.",
    ),
    7000222: EntraError(
        401,
        "invalid_client",
        "The provided client secret keys for app '{app}' are expired. Visit the Azure portal to create new keys for "
        "your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: "
        "https://aka.ms/certCreds.",
    ),
    700016: EntraError(
        400,
        "unauthorized_client",
        "Application with identifier '{app}' was not found in the directory '{tenant}'. This can happen if the "
        "application has not been installed by the administrator of the tenant or consented to by any user in the "
        "tenant. You may have sent your authentication request to the wrong tenant.",
    ),
    7000112: EntraError(400, "unauthorized_client", "Application '{app}'(graph-entra) is disabled."),
    90002: EntraError(
        400,
        "invalid_request",
        "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant.",
    ),
    53003: EntraError(
        400,
        "invalid_grant",
        "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
    ),
    500011: EntraError(
        400,
        "invalid_resource",
        "The resource principal named {resource} was not found in the tenant named {tenant}. This can happen if the "
        "application has not been installed by the administrator of the tenant or consented to by any user in the "
        "tenant. You might have sent your authentication request to the wrong tenant.",
    ),
    700027: EntraError(
        401,
        "invalid_client",
        "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - "
        "{resource} Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for "
        "app Id '{app}'].",
    ),
    700024: EntraError(401, "invalid_client", "Client assertion is not within its valid time range."),
    700023: EntraError(401, "invalid_client", "Client assertion audience claim does not match Realm issuer."),
    700021: EntraError(
        401, "invalid_client", "Client assertion application identifier doesn't match 'client_id' parameter."
    ),
    50027: EntraError(401, "invalid_client", "Invalid JWT token. {resource}"),
    5002738: EntraError(
        401, "invalid_client", "Invalid JWT token. '{resource}' is not a supported signature algorithm."
    ),
    700025: EntraError(
        401,
        "invalid_client",
        "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
    ),
    7000218: EntraError(
        401,
        "invalid_client",
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    50194: EntraError(
        400,
        "invalid_request",
        "Application '{app}'(graph-entra) is not configured as a multi-tenant application. Usage of the /common "
        "endpoint is not supported for such applications created after '10/15/2018'. Use a tenant-specific endpoint or "
        "configure the application to be multi-tenant.",
    ),
    900432: EntraError(400, "invalid_request", "Confidential Client is not supported in Cross Cloud request."),
    900439: EntraError(400, "invalid_request", "USGClientNotSupportedOnPublicEndpoint."),
    50196: EntraError(
        400,
        "invalid_grant",
        "The server terminated an operation because it encountered a client request loop. Please contact your app "
        "vendor.",
    ),
    90019: EntraError(
        400,
        "invalid_request",
        "No tenant-identifying information found in either the request or implied by any provided credentials.",
    ),
    70003: EntraError(400, "unsupported_grant_type", "The app returned an unsupported grant type."),
    900144: EntraError(400, "invalid_request", "The request body must contain the following parameter: '{resource}'."),
    90006: EntraError(503, _BUSY, "The service is temporarily unavailable."),
    90024: EntraError(503, _BUSY, "A transient error has occurred. Please try again."),
    90033: EntraError(503, _BUSY, "A transient error has occurred. Please try again."),
    90055: EntraError(503, _BUSY, "There are too many incoming requests. Please try again."),
    90090: EntraError(503, _BUSY, "The service is temporarily unavailable."),
}


def entra_answer(code: int, now: datetime, *, app: str = "", tenant: str = "", resource: str = "") -> Answer:
    """Returns the token endpoint's answer for an AADSTS code."""
    row = ERRORS[code]
    trace, correlation, stamp = str(uuid4()), str(uuid4()), f"{now:%Y-%m-%d %H:%M:%SZ}"
    text = row.text.format(app=app, tenant=tenant, resource=resource)
    body = {
        "error": row.error,
        "error_description": f"AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}",
        "error_codes": [code],
        "timestamp": stamp,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"https://login.microsoftonline.com/error?code={code}",
    }
    headers = {"Content-Type": "application/json; charset=utf-8", "x-ms-request-id": trace}
    return Answer(row.status, orjson.dumps(body), headers)
