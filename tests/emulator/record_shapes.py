"""The shapes of log records, as Microsoft documents them (signIn v1.0 and beta, directoryAudit), filled with variety.

`slot("name")` stands where `records.py` puts a value for each record. The members and values that no model
knows are here on purpose: what Graph adds tomorrow has to reach the intake too.
"""

from collections.abc import Callable
from random import Random
from typing import Any

NAMES = (
    "Zoë Müller",
    "名前 太郎",
    "Ana 🦊 García",
    "محمد الأحمد",
    'O\'Brien "Bob" \\ Sons',
    "Test User",
    "Łukasz Żółć",
)
APPS = ("Azure Portal", "Graph explorer", "Office 365 Exchange Online", "Payroll — Löhne", "会計システム")
CITIES = (
    ("Redmond", "Washington", "US", 47.68050003051758, -122.12094116210938),
    ("Zürich", "Zürich", "CH", 47.366501808166504, 8.541700124740601),
    ("São Paulo", "São Paulo", "BR", -23.550519943237305, -46.63330841064453),
    ("東京", "東京都", "JP", 35.689487457275391, 139.69171142578125),
)
FAILURES = (
    (0, None, None),
    (0, None, "MFA requirement satisfied by claim in the token"),
    (
        50126,
        "Error validating credentials due to invalid username or password.",
        "The user didn't enter the right credentials.",
    ),
    (
        50053,
        "The account is locked, you've tried to sign in too many times with an incorrect user ID or password.",
        None,
    ),
    (53003, "Access has been blocked by Conditional Access policies.", "Blocked by the policy “Länder”."),
    (50074, "Strong Authentication is required.", "User needs to perform multi-factor authentication."),
)
OPERATIONS = (
    ("Update user", "UserManagement", "Update", "Core Directory"),
    ("Add member to group", "GroupManagement", "Assign", "Core Directory"),
    ("Delete device", "Device", "Delete", "Device Registration Service"),
    ("GroupLifecyclePolicies_Get", "GroupManagement", "Update", "Self-service Group Management"),
    ("Consent to application", "ApplicationManagement", "futureOperation", "Core Directory"),
)
_WORDS = ("Require MFA", "Block legacy authentication", "Länder sperren", "ゲスト制限", "Medium sign-in risk block")
_RESULTS = ("success", "failure", "notApplied", "notEnabled", "reportOnlyNotApplied", "reportOnlyFutureResult")


def slot(name: str) -> str:
    """Returns the mark that is replaced by a record's own value (a text's content)."""
    return f"\x01{name}\x02"


def policy(rng: Random) -> dict[str, Any]:
    """Returns an applied Conditional Access policy."""
    return {
        "id": f"{rng.getrandbits(32):08x}-b4c6-48af-8565-565c8bf7cabc",
        "displayName": f"{rng.choice(_WORDS)} {rng.randrange(100)}",
        "enforcedGrantControls": rng.choice(([], ["Mfa"], ["Block", "unknownFutureValue"])),
        "enforcedSessionControls": [],
        "result": rng.choice(_RESULTS),
    }


def _sign_in(rng: Random, stream: str) -> dict[str, Any]:
    city, state, country, latitude, longitude = rng.choice(CITIES)
    code, reason, detail = rng.choice(FAILURES)
    return {
        "id": slot("id"),
        "createdDateTime": slot("time"),
        "userDisplayName": rng.choice(NAMES),
        "userPrincipalName": f"{slot('user')}@contoso.com",
        "userId": slot("guid"),
        "appId": "de8bc8b5-d9f9-48b1-a8ad-b748da725064",
        "appDisplayName": rng.choice(APPS),
        "ipAddress": rng.choice((slot("ip"), f"2001:db8::{rng.randrange(65536):x}")),
        "clientAppUsed": rng.choice(("Browser", "Mobile Apps and Desktop clients", "Exchange ActiveSync")),
        "correlationId": slot("guid2"),
        "conditionalAccessStatus": rng.choice(("success", "failure", "notApplied", "reportOnlyNotAppliedFuture")),
        "isInteractive": stream == "interactiveUser",
        "riskDetail": rng.choice(("none", "userPassedMFADrivenByRiskBasedPolicy", "aiFutureDetail")),
        "riskLevelAggregated": rng.choice(("none", "low", "hidden")),
        "riskLevelDuringSignIn": rng.choice(("none", "medium", "unknownFutureValue")),
        "riskState": rng.choice(("none", "atRisk", "dismissed")),
        "resourceDisplayName": "Microsoft Graph",
        "resourceId": "00000003-0000-0000-c000-000000000000",
        "status": {"errorCode": code, "failureReason": reason, "additionalDetails": detail},
        "deviceDetail": {
            "deviceId": rng.choice(("", "7b3f1d1c-0b1e-4f43-9a55-0d6a5c2bd1aa")),
            "displayName": None,
            "operatingSystem": rng.choice(("Windows 10", "iOS 19.1", "Linux")),
            "browser": "Edge 91.0.864",
            "isCompliant": rng.choice((None, True, False)),
            "isManaged": None,
            "trustType": rng.choice((None, "", "Azure AD joined")),
        },
        "location": {
            "city": city,
            "state": state,
            "countryOrRegion": country,
            "geoCoordinates": rng.choice(
                ({}, {"altitude": None, "latitude": latitude, "longitude": longitude}),
            ),
        },
    }


def interactive_v1(rng: Random, stream: str) -> dict[str, Any]:
    """The v1.0 shape, which alone has `riskEventTypes`."""
    record = _sign_in(rng, stream)
    record["riskEventTypes"] = rng.choice(([], ["unfamiliarFeatures"], ["anonymizedIPAddress", "futureRisk"]))
    record["riskEventTypes_v2"] = list(record["riskEventTypes"])
    return record


def typed_beta(rng: Random, stream: str) -> dict[str, Any]:
    """The beta shape: `signInEventTypes`, authentication details, and members that no model knows."""
    record = _sign_in(rng, stream)
    record |= {
        "signInEventTypes": [stream],
        "authenticationRequirement": rng.choice(("singleFactorAuthentication", "multiFactorAuthentication")),
        "authenticationProtocol": rng.choice(("oAuth2", "saml20", "deviceCode")),
        "uniqueTokenIdentifier": slot("token"),
        "processingTimeInMilliseconds": rng.randrange(2000),
        "riskEventTypes_v2": [],
        "autonomousSystemNumber": rng.choice((3598, 4_200_000_000)),
        "crossTenantAccessType": rng.choice(("none", "b2bCollaboration", "unknownFutureValue")),
        "resourceTenantId": "99081087-73c4-48d1-a112-f60ff75114f7",
        "authenticationDetails": [
            {
                "authenticationStepDateTime": slot("time"),
                "authenticationMethod": rng.choice(("Password", "Passkey (顔)", "Previously satisfied")),
                "authenticationMethodDetail": None,
                "succeeded": rng.choice((True, False)),
                "authenticationStepResultDetail": "Correct password",
            }
        ],
        "authenticationProcessingDetails": [{"key": "Login Hint Present", "value": "True"}],
        "networkLocationDetails": [{"networkType": "namedNetwork", "networkNames": ["Büro Zürich"]}],
        "sessionLifetimePolicies": [],
    }
    if rng.random() < 0.5:
        record["x_newMember"] = {"nested": [[1, 2], [{"a": None}]], "ratio": 0.30000000000000004}
    if stream in ("servicePrincipal", "managedIdentity"):
        record |= {
            "userDisplayName": None,
            "userPrincipalName": None,
            "userId": "",
            "servicePrincipalId": slot("guid"),
            "servicePrincipalName": rng.choice(APPS),
            "servicePrincipalCredentialKeyId": slot("guid2"),
        }
    return record


def directory_audit(rng: Random, stream: str) -> dict[str, Any]:
    """A directoryAudit; some omit members that others state as null."""
    name, category, operation, service = rng.choice(OPERATIONS)
    self_service = service.startswith("Self-service")
    user = {
        "id": slot("guid2"),
        "displayName": rng.choice((None, *NAMES)),
        "userPrincipalName": f"{slot('user')}@contoso.com",
        "ipAddress": rng.choice(("", slot("ip"))),
        "userType": rng.choice((None, "Member")),
        "homeTenantId": None,
        "homeTenantName": None,
    }
    app = {"displayName": rng.choice(APPS), "servicePrincipalId": slot("guid2")}
    initiators = (
        {"app": None, "user": user},
        {"user": {"@odata.type": "#microsoft.graph.userIdentity", **user}},
        {"app": app},
    )
    return {
        "id": f"{'SSGM' if self_service else 'Directory'}_{slot('guid')}_{slot('shard')}_{slot('digits')}",
        "category": category,
        "correlationId": slot("guid"),
        "result": rng.choice(("success", "failure", "timeout", "unknownFutureValue")),
        "resultReason": rng.choice(("", "OK", "Microsoft.Online.Workflows.ValidationException — ungültig", None)),
        "activityDisplayName": name,
        "activityDateTime": slot("time"),
        "loggedByService": service,
        "operationType": operation,
        "initiatedBy": rng.choice(initiators),
        "targetResources": [
            {
                "id": slot("guid2"),
                "displayName": rng.choice((None, *NAMES)),
                "type": rng.choice(("User", "Device", "N/A")),
                "groupType": rng.choice((None, "unknownFutureValue")),
                "modifiedProperties": [],
            }
        ],
        "additionalDetails": [{"key": "UserType", "value": "Member"}] if rng.random() < 0.7 else [],
    }


def modified_property(rng: Random) -> dict[str, Any]:
    """Returns one change in an audit; its values are JSON within JSON."""
    return {
        "displayName": f"TargetId.{rng.choice(NAMES)}",
        "oldValue": rng.choice((None, '"Member"', "[]")),
        "newValue": f'["{rng.choice(NAMES[:4])} {rng.randrange(10_000)}"]',
    }


SHAPES: dict[str, Callable[[Random, str], dict[str, Any]]] = {
    "interactiveUser": interactive_v1,
    "nonInteractiveUser": typed_beta,
    "servicePrincipal": typed_beta,
    "managedIdentity": typed_beta,
    "directoryAudits": directory_audit,
}
