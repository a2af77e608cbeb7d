"""What Graph refuses, and with which status and code."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.emulator import Emulator
from tests.emulator.client import PlainClient, error_code
from tests.emulator.hosts import CLOUDS, Cloud
from tests.emulator.throttle import SlidingWindow

NOW = datetime.now(UTC)
HOUR_AGO = f"{NOW - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
SIGN_INS = "/v1.0/auditLogs/signIns"
TYPED = "signInEventTypes/any(t: t eq 'servicePrincipal')"


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (SIGN_INS, {"$filter": f"createdDateTime gt {HOUR_AGO}"}),
        (SIGN_INS, {"$filter": f"createdDateTime lt {HOUR_AGO}"}),
        (SIGN_INS, {"$filter": f"activityDateTime ge {HOUR_AGO}"}),
        (SIGN_INS, {"$filter": "createdDateTime ge 2026-11-23"}),
        (SIGN_INS, {"$filter": "createdDateTime ge '2026-11-23T08:00:00Z'"}),
        (SIGN_INS, {"$filter": "createdDateTime ge 2026-11-23T08:00:00.12345678Z"}),
        (SIGN_INS, {"$filter": "createdDateTime ge 2026-11-23T08:00:00 00:00"}),
        (SIGN_INS, {"$filter": f"createdDateTime ge {HOUR_AGO} or createdDateTime le {HOUR_AGO}"}),
        (SIGN_INS, {"$filter": "userId eq 'x'"}),
        (SIGN_INS, {"$filter": TYPED}),
        ("/beta/auditLogs/signIns", {"$filter": "signInEventTypes/any(t: t eq 'robot')"}),
        ("/beta/auditLogs/signIns", {"$filter": "signInEventTypes/any(t: u eq 'servicePrincipal')"}),
        ("/beta/auditLogs/directoryAudits", {"$filter": TYPED}),
        ("/v1.0/auditLogs/directoryAudits", {"$filter": f"createdDateTime ge {HOUR_AGO}"}),
        (SIGN_INS, {"$skip": "10"}),
        (SIGN_INS, {"$select": "id"}),
        (SIGN_INS, {"$search": "x"}),
        (SIGN_INS, {"$count": "true"}),
        (SIGN_INS, {"$top": "0"}),
        (SIGN_INS, {"$top": "1001"}),
        (SIGN_INS, {"$top": "x"}),
        (SIGN_INS, {"$orderby": "id"}),
        (SIGN_INS, {"$orderby": "createdDateTime up"}),
        (SIGN_INS, {"$skiptoken": "made-up"}),
        (SIGN_INS, {"$skiptoken": ""}),
    ],
)
def test_undocumented_queries_are_400(client: PlainClient, path: str, params: dict[str, str]) -> None:
    """What the documentation does not promise is refused, in the shape of Graph's errors."""
    response = client.get(path, params)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "BadRequest")
    assert error["message"]
    assert set(error["innerError"]) == {"date", "request-id", "client-request-id"}


@pytest.mark.parametrize(
    "path", ["/v1.0//auditLogs/signIns", "/v1.0/auditLogs/signins/", "/v2.0/auditLogs/signIns", "/v1.0/nothing", "/"]
)
def test_wrong_paths_are_404(client: PlainClient, path: str) -> None:
    """A double slash (msgraph-sdk's default base URL) is a path that does not exist."""
    assert client.get(path).status_code == 404


def test_retention(client: PlainClient, emulator: Emulator) -> None:
    """A bound older than the retention is a 400, and older records are gone, also without a bound."""
    now = datetime.now(UTC)
    emulator.tenant.retention_days = 7
    for days in (6, 8):
        emulator.tenant.add("interactiveUser", {"createdDateTime": (now - timedelta(days=days)).isoformat()})
    ask = "createdDateTime ge {:%Y-%m-%dT%H:%M:%SZ}".format
    assert client.stream("interactiveUser", ask(now - timedelta(days=7, seconds=1))).status_code == 400
    assert client.stream("interactiveUser", ask(now - timedelta(days=7, minutes=-10))).status_code == 200
    assert len(client.stream("interactiveUser").json()["value"]) == 1


def test_tokens_are_checked(client: PlainClient, emulator: Emulator) -> None:
    """No token, an unknown, a revoked and an expired one are 401 with a challenge."""
    good = client.log_in()
    assert client.get(SIGN_INS).status_code == 200
    for token in ("", "made-up"):
        client.token = token
        response = client.get(SIGN_INS)
        assert (response.status_code, error_code(response)) == (401, "InvalidAuthenticationToken")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    client.token = good
    emulator.login.revoke()
    assert client.get(SIGN_INS).status_code == 401
    emulator.login.token_lifetime_s = 0
    client.log_in()
    assert "expired" in client.get(SIGN_INS).json()["error"]["message"]


def test_token_of_another_cloud_is_401(client: PlainClient) -> None:
    """A token counts only where its audience is."""
    client.log_in()
    response = client.get("https://graph.microsoft.us/beta/auditLogs/signIns")
    assert (response.status_code, error_code(response)) == (401, "InvalidAuthenticationToken")


def test_missing_permission(client: PlainClient, emulator: Emulator) -> None:
    """The roles in the token decide, so that a permission granted later needs a new token."""
    emulator.tenant.roles = ["Directory.Read.All"]
    response = client.get(SIGN_INS)
    assert (response.status_code, error_code(response)) == (403, "Authentication_MSGraphPermissionMissing")
    emulator.tenant.roles = ["AuditLog.Read.All"]
    assert client.get(SIGN_INS).status_code == 403
    client.log_in()
    assert client.get(SIGN_INS).status_code == 200


def test_tenant_without_premium_has_audits_only(client: PlainClient, emulator: Emulator) -> None:
    """Sign-ins need P1 or P2; audits do not."""
    emulator.tenant.premium = False
    response = client.get(SIGN_INS)
    assert (response.status_code, error_code(response)) == (
        403,
        "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
    )
    assert client.stream("directoryAudits").status_code == 200


@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda cloud: cloud.name)
def test_national_clouds(emulator: Emulator, cloud: Cloud) -> None:
    """v1.0 signIns is for the global cloud; beta with the filter serves interactive sign-ins everywhere."""
    created = (NOW - timedelta(minutes=1)).isoformat()
    emulator.tenant.add("interactiveUser", {"id": 1, "createdDateTime": created})
    with PlainClient(emulator, graph=cloud.graph_host, login=cloud.login_host) as client:
        assert client.get(SIGN_INS).status_code == (200 if cloud.name == "global" else 400)
        typed = {"$filter": "signInEventTypes/any(t: t eq 'interactiveUser')"}
        assert len(client.get("/beta/auditLogs/signIns", typed).json()["value"]) == 1
        assert client.stream("directoryAudits").status_code == 200
    assert {request.host for request in emulator.graph.requests} == {cloud.graph_host}


def test_limit_counts_failed_calls_and_both_endpoints(client: PlainClient, emulator: Emulator) -> None:
    """The sixth call within ten seconds is a 429 with a fractional Retry-After, whatever the first five were."""
    emulator.graph.limit = (5, 10.0)
    for path in (SIGN_INS, "/v1.0/auditLogs/directoryAudits", "/beta/auditLogs/signIns"):
        assert client.get(path).status_code == 200
    assert client.get(SIGN_INS, {"$skip": "1"}).status_code == 400
    assert client.get(SIGN_INS).status_code == 200
    response = client.get(SIGN_INS)
    assert response.status_code == 429
    assert 5 < float(response.headers["Retry-After"]) <= 10
    assert "throttled" in response.json()["error"]["message"]
    assert [request.status for request in emulator.graph.requests][-1] == 429


def test_limit_ends(client: PlainClient, emulator: Emulator) -> None:
    """After Retry-After the next call passes."""
    emulator.graph.limit = (1, 0.5)
    client.log_in()
    assert client.get(SIGN_INS).status_code == 200
    response = client.get(SIGN_INS)
    assert response.status_code == 429
    time.sleep(float(response.headers["Retry-After"]) + 0.01)
    assert client.get(SIGN_INS).status_code == 200


def test_window_slides() -> None:
    """No interval of ten seconds, wherever it begins, has more than five calls that passed."""
    now = [0.0]
    window = SlidingWindow(lambda: now[0])
    waits = []
    for now[0] in (0, 8, 8, 8, 8, 9, 10, 18, 19.5):
        waits.append(window.wait_s("app", (5, 10.0)))
    # 9 is the sixth in (-1, 9]; at 10 the first has left, but the refused call at 9 counts
    assert waits == [0, 0, 0, 0, 0, 9.0, 8.0, 0, 0]


def test_skip_token_belongs_to_its_path(client: PlainClient, emulator: Emulator) -> None:
    """A link's token does not work elsewhere."""
    emulator.tenant.page_limit = 1
    for second in (1, 2):
        created = (NOW - timedelta(seconds=second)).isoformat()
        emulator.tenant.add("interactiveUser", {"id": second, "createdDateTime": created})
    link = client.stream("interactiveUser").json()["@odata.nextLink"]
    assert client.get(link).status_code == 200
    assert client.get(link.replace("v1.0", "beta")).status_code == 400


def test_application_shows_its_secrets_expiry(client: PlainClient, emulator: Emulator) -> None:
    """passwordCredentials names the secret by its first three characters, to those who may read applications."""
    emulator.tenant.secret_expires = datetime(2099, 1, 2, tzinfo=UTC)
    own = f"/v1.0/applications(appId='{emulator.tenant.client_id}')"
    answer = client.get(own, {"$select": "passwordCredentials"}).json()
    assert list(answer) == ["passwordCredentials"]
    [credential] = answer["passwordCredentials"]
    assert credential["hint"] == emulator.tenant.client_secret[:3]
    assert credential["endDateTime"] == "2099-01-02T00:00:00Z"
    found = client.get("/v1.0/applications", {"$filter": f"appId eq '{emulator.tenant.client_id}'"}).json()
    assert found["value"][0]["passwordCredentials"] == [credential]
    assert client.get("/v1.0/applications(appId='other')").status_code == 404
    emulator.tenant.roles = ["AuditLog.Read.All"]
    client.log_in()
    assert client.get(own).status_code == 403


def test_request_id_is_echoed(client: PlainClient) -> None:
    """The client's own request id comes back beside Graph's."""
    response = client.get(SIGN_INS, None, **{"client-request-id": "mine"})
    assert response.headers["client-request-id"] == "mine"
    assert response.headers["request-id"]
