"""What went wrong and what to do, in words. Who can mend it is the tree's to say (errors.py), not this table's.

One table for the account validator, the running connectors and the troubleshooting table of CONFIGURE.md.
Codes: https://learn.microsoft.com/entra/identity-platform/reference-error-codes (AADSTS),
https://learn.microsoft.com/graph/errors and https://learn.microsoft.com/graph/resolve-auth-errors (Graph).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from graph_entra.errors import (
    CertificateUntrusted,
    CredentialRejected,
    DataPathInUse,
    GraphRefused,
    IntakeRefused,
    IntakeUnavailable,
    LoginUnavailable,
    PagingBroken,
    PassesByItself,
    ProxyInTheWay,
    StorageFailed,
    Throttled,
    TokenRefused,
)


@dataclass(frozen=True, slots=True)
class Advice:
    """A cause and its remedy.

    Attributes:
        cause: what is wrong, a sentence.
        remedy: what to do, a sentence or two.
    """

    cause: str
    remedy: str


WRONG_SECRET_CODE: Final = 7000215
UNKNOWN_TENANT_CODE: Final = 90002
_UNKNOWN_APP: Final = Advice(
    "Entra does not know the application in this tenant.",
    "Check client_id: it is the Application (client) ID on the app registration's overview. "
    "Check that tenant_id and cloud are those of the directory in which it was registered.",
)
_NO_DIRECTORY: Final = Advice(
    "tenant_id is neither a directory's id nor one of its domains.",
    "Check tenant_id: it is the Directory (tenant) ID on the app registration's overview, and not a word such as "
    "common or organizations.",
)
OTHER_CLOUD: Final = Advice(
    "The tenant belongs to another of Microsoft's clouds.",
    "Choose the cloud in which the tenant was created.",
)

_NOT_REGISTERED: Final = Advice(
    "The certificate is not one of this app registration's.",
    "Upload its public half under Certificates & secrets > Certificates of the app registration that client_id names, "
    "and compare the thumbprint there with the one in this line; a new upload takes a minute to be known.",
)
_OTHER_APPLICATION: Final = Advice(
    "What the certificate signed does not fit the application.",
    "Check client_id: it is the Application (client) ID of the app registration to which the certificate was uploaded.",
)
# About the statement that a certificate signs; the codes of
# https://learn.microsoft.com/azure/developer/java/sdk/troubleshooting-authentication-service-principal too.
ASSERTION: Final = MappingProxyType(
    {
        700027: _NOT_REGISTERED,
        50012: _NOT_REGISTERED,
        700030: _NOT_REGISTERED,
        700024: Advice(
            "Entra's clock and the one that the certificate's statement was dated by differ.",
            "If it lasts, have the machine's clock set by NTP.",
        ),
        700023: Advice(
            "The certificate's statement was made for another of Microsoft's clouds.",
            "Check cloud: it must be the one in which the tenant was created.",
        ),
        700021: _OTHER_APPLICATION,
        50048: _OTHER_APPLICATION,
        50027: Advice(
            "Entra cannot read the certificate's statement.",
            "If it lasts, make a new certificate with an RSA key of 2048 bits and upload its public half.",
        ),
        50032: Advice(
            "The certificate's key is too weak for Entra.",
            "Make a new certificate with an RSA key of 2048 bits or more and upload its public half.",
        ),
        5002738: Advice(
            "Entra does not take the kind of the certificate's key.",
            "Make a new certificate with an RSA key of 2048 bits or more and upload its public half.",
        ),
        700025: Advice(
            "The app registration is a public client, which has no secret and no certificate.",
            "Under Authentication of the app registration, set Allow public client flows to No.",
        ),
    }
)
ENTRA: Final = MappingProxyType(
    {
        WRONG_SECRET_CODE: Advice(
            "Entra refuses the client secret: its value is wrong.",
            "Copy the Value of a secret under Certificates & secrets of the app registration that client_id names. It "
            "is shown only once: if it is lost, make a new secret and paste that one's Value.",
        ),
        7000222: Advice(
            "The client secret has expired.",
            "Make a new client secret under Certificates & secrets and paste its Value.",
        ),
        700016: _UNKNOWN_APP,
        7000112: Advice(
            "The application is disabled in this tenant.",
            "Enable it under Enterprise applications > Properties > Enabled for users to sign in.",
        ),
        UNKNOWN_TENANT_CODE: Advice(
            "Entra does not know the tenant.",
            "Check tenant_id (the Directory (tenant) ID on the app registration's overview) and cloud: a tenant of a "
            "national cloud is unknown to the global one, and the other way round.",
        ),
        900023: _NO_DIRECTORY,
        50194: _NO_DIRECTORY,
        90038: OTHER_CLOUD,
        900382: OTHER_CLOUD,
        900432: OTHER_CLOUD,
        900439: OTHER_CLOUD,
        53003: Advice(
            "A Conditional Access policy blocks the application's sign-in.",
            "Exclude the application from the policy for workload identities, or allow the address from which this "
            "connector reaches Entra. The blocked sign-in is listed under Sign-in logs > Service principal sign-ins.",
        ),
        500011: Advice(
            "Entra does not know Microsoft Graph in this tenant under the chosen cloud's address.",
            "Check cloud: it must be the one in which the tenant was created.",
        ),
        **ASSERTION,
    }
)
NO_TENANT: Final = Advice(
    "None of Microsoft's clouds knows the tenant.",
    "Check tenant_id: it is the Directory (tenant) ID on the app registration's overview.",
)
SWAPPED: Final = Advice(
    "Entra does not know the tenant; it knows one by the id in client_id.",
    "Are tenant_id and client_id swapped? On the app registration's overview, tenant_id is the Directory (tenant) ID "
    "and client_id the Application (client) ID.",
)
SECRET_ID: Final = Advice(
    "Entra refuses the client secret: this looks like the Secret ID, which is not the secret.",
    "Paste the secret's Value: it stands beside the Secret ID under Certificates & secrets, and is shown only once. "
    "If it is lost, make a new secret and paste that one's Value.",
)
ENTRA_OTHER: Final = Advice(
    "Entra refuses to sign the application in.",
    "Look the code up at https://login.microsoftonline.com/error and check tenant_id, client_id and the client secret.",
)

NO_PERMISSION: Final = Advice(
    "The application may not read the logs: AuditLog.Read.All is not among its permissions.",
    "Under API permissions, add Microsoft Graph > Application permissions > AuditLog.Read.All (not the delegated "
    "permission of that name), then press Grant admin consent.",
)
NO_CONSENT: Final = Advice(
    "The application has no permission that an administrator has consented to.",
    "Under API permissions, check that AuditLog.Read.All is listed as an Application permission of Microsoft Graph, "
    "then press Grant admin consent; it can take some minutes to show.",
)
LICENCE_CODE: Final = "Authentication_RequestFromNonPremiumTenantOrB2CTenant"
DIRECTORY_CODE: Final = "Authentication_ApplicationHasNoDirectoryReadAccess"
_FORBIDDEN: Final = Advice(
    "Graph forbids the application to read this log: AuditLog.Read.All is missing, or an administrator has not "
    "consented to it.",
    "Under API permissions, add Microsoft Graph > Application permissions > AuditLog.Read.All (not the delegated "
    "permission of that name), then press Grant admin consent.",
)
GRAPH: Final = MappingProxyType(
    {
        "Authentication_MSGraphPermissionMissing": _FORBIDDEN,
        "Authorization_RequestDenied": _FORBIDDEN,
        LICENCE_CODE: Advice(
            "Graph says that the tenant has no Entra ID P1 or P2 licence, without which it does not hand out sign-ins.",
            "Check the licence. Licensed tenants get this answer at times too: then it passes, and granting the "
            "application Directory.Read.All avoids it. Directory audits come without a licence.",
        ),
        DIRECTORY_CODE: Advice(
            "Graph cannot see whether the tenant has a licence for this log, because the application may not read the "
            "directory: Directory.Read.All is missing.",
            "Under API permissions, add Microsoft Graph > Application permissions > Directory.Read.All beside "
            "AuditLog.Read.All, then press Grant admin consent.",
        ),
    }
)
GRAPH_REFUSED: Final = Advice(
    "Graph does not accept the question for this log.",
    "If it concerns one sign-in type only, Microsoft may have changed or withdrawn it in the beta API: "
    "remove the type from sign_in_types, or wait for a new version of this module.",
)

INTAKE: Final = Advice(
    "The Sekoia intake refuses the records.",
    "Check intake_key: it must be the key of an existing intake; and intake_server, if it is filled in.",
)
INTAKE_DOWN: Final = Advice(
    "The Sekoia intake does not acknowledge the records.",
    "If it lasts, check that the intake's address can be reached from here, through HTTPS_PROXY if there is one.",
)
LOGIN_DOWN: Final = Advice(
    "Entra could not be asked for an access token: the network, a proxy, or Entra itself.",
    "If it lasts, check that the cloud's login address can be reached from here, through HTTPS_PROXY if there is one. "
    "The secret is not the reason.",
)
GRAPH_DOWN: Final = Advice(
    "Graph does not answer with records: the network, a proxy, or Graph itself.",
    "If it lasts, check that the cloud's Graph address can be reached from here, through HTTPS_PROXY if there is one.",
)
PROXY: Final = Advice(
    "The proxy on the way to Microsoft cannot be reached, or refuses to connect.",
    "If it lasts, check HTTPS_PROXY, and that the proxy lets this connector through to the cloud's login and Graph "
    "addresses. The secret is not the reason.",
)
CERTIFICATE: Final = Advice(
    "The certificate that was shown in Microsoft's place is not trusted: a proxy opens the connections, most likely.",
    "Have the proxy leave the cloud's login and Graph addresses alone, or add its certificate authority to the file "
    "that SSL_CERT_FILE names. The secret is not the reason.",
)
THROTTLED: Final = Advice(
    "Graph answers fewer requests than are asked. It grants an app registration 5 in 10 s in a tenant, both connectors "
    "of this module together, and 122 in 10 s over all the tenants that it serves.",
    "Nothing needs to be done while a connector reads history. If it lasts, see what else uses the app registration, "
    "and give this module one of its own; one for each connector doubles the limit.",
)
TOKEN: Final = Advice(
    "Graph refused an access token; a new one is fetched.",
    "If it lasts, check that the application still exists and is enabled.",
)
PAGING: Final = Advice(
    "Graph broke off a chain of pages; it is asked again from the last record delivered.",
    "Nothing needs to be done.",
)
STORAGE: Final = Advice(
    "The connector's data path cannot be read or written, so it cannot note what it has delivered.",
    "Check the space and the rights of the data path. Until then records may be repeated.",
)
IN_USE: Final = Advice(
    "Another process works on the connector's data path.",
    "Stop one of the two, or give each a data path of its own: both would deliver the same records.",
)
UNEXPECTED: Final = Advice(
    "Something happened that this module does not know.",
    "Report it with the lines around this one. It is tried again.",
)


_BY_CLASS: Final = (
    (CertificateUntrusted, CERTIFICATE),
    (ProxyInTheWay, PROXY),
    (IntakeRefused, INTAKE),
    (IntakeUnavailable, INTAKE_DOWN),
    (LoginUnavailable, LOGIN_DOWN),
    (Throttled, THROTTLED),
    (TokenRefused, TOKEN),
    (PagingBroken, PAGING),
    (PassesByItself, GRAPH_DOWN),
    (DataPathInUse, IN_USE),
    (StorageFailed, STORAGE),
)


def advise(error: Exception) -> Advice:
    """The advice for an error of this module's tree (or any other)."""
    if isinstance(error, CredentialRejected):
        return _rejected(error)
    if isinstance(error, GraphRefused):
        default = _FORBIDDEN if error.status in (401, 403) else GRAPH_REFUSED
        return GRAPH.get(error.code, default)
    return next((advice for kind, advice in _BY_CLASS if isinstance(error, kind)), UNEXPECTED)


def _rejected(error: CredentialRejected) -> Advice:
    if error.code == WRONG_SECRET_CODE and error.secret_is_guid:
        return SECRET_ID
    advice = ENTRA.get(error.code, ENTRA_OTHER)
    if advice is ENTRA_OTHER and error.sentence:
        return replace(advice, cause=f"{advice.cause.rstrip('.')}: {error.sentence}")
    return advice
