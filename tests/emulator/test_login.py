"""The token endpoint's rules."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest

from tests.emulator import Emulator, Fault
from tests.emulator.client import PlainClient
from tests.emulator.entra_errors import ERRORS


def test_right_credentials_get_a_token(client: PlainClient, emulator: Emulator) -> None:
    """The token states its audience, tenant, application, roles and lifetime."""
    emulator.login.token_lifetime_s = 900
    answer = client.ask_token().json()
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert answer["expires_in"] == 900
    assert claims["exp"] - claims["iat"] == 900
    assert claims["aud"] == "https://graph.microsoft.com"
    assert claims["tid"] == emulator.tenant.tenant_id
    assert claims["appid"] == emulator.tenant.client_id
    assert claims["roles"] == ["AuditLog.Read.All", "Directory.Read.All"]


def test_domain_name_stands_for_the_tenant_id(client: PlainClient, emulator: Emulator) -> None:
    """A tenant answers to its domain name too."""
    assert client.ask_token(tenant=emulator.tenant.domain).status_code == 200


@pytest.mark.parametrize(
    ("changes", "code", "status"),
    [
        ({"client_secret": "wrong"}, 7000215, 401),
        ({"client_id": "22222222-2222-4222-8222-222222222222"}, 700016, 400),
        ({"tenant": "33333333-3333-4333-8333-333333333333"}, 90002, 400),
        ({"scope": "https://graph.microsoft.us/.default"}, 500011, 400),
        ({"scope": "https://graph.microsoft.com/User.Read"}, 500011, 400),
        ({"scope": "https://graph.microsoft.com"}, 500011, 400),
        ({"grant_type": "password"}, 70003, 400),
    ],
)
def test_wrong_member_is_refused_as_entra_does(
    client: PlainClient, changes: dict[str, str], code: int, status: int
) -> None:
    """Each wrong member of the form has its own AADSTS code, status and shape."""
    response = client.ask_token(**changes)
    body = response.json()
    assert response.status_code == status
    assert body["error_codes"] == [code]
    assert body["error_description"].startswith(f"AADSTS{code}: ")
    assert {"error", "timestamp", "trace_id", "correlation_id", "error_uri"} < set(body)


def test_secret_id_in_place_of_the_secret_is_7000215(client: PlainClient, emulator: Emulator) -> None:
    """The commonest mistake gets the sentence that explains it."""
    body = client.ask_token(client_secret=emulator.tenant.secret_id).json()
    assert body["error_codes"] == [7000215]
    assert "not the client secret ID" in body["error_description"]


def test_expired_secret_is_7000222(client: PlainClient, emulator: Emulator) -> None:
    """A secret past its end is refused without being told to."""
    emulator.tenant.secret_expires = datetime.now(UTC) - timedelta(seconds=1)
    assert client.ask_token().json()["error_codes"] == [7000222]


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_on_cue(client: PlainClient, emulator: Emulator, code: int) -> None:
    """`login.error` refuses with any code of the table until it is taken back."""
    emulator.login.error = code
    response = client.ask_token()
    assert response.status_code == ERRORS[code].status
    assert response.json()["error_codes"] == [code]
    emulator.login.error = None
    assert client.ask_token().status_code == 200


def test_tenant_of_another_cloud_is_unknown(emulator: Emulator) -> None:
    """A tenant that lives in one cloud is not found at another cloud's authority."""
    emulator.tenant.cloud = "china"
    with PlainClient(emulator) as client:
        assert client.ask_token().json()["error_codes"] == [90002]
    with PlainClient(emulator, login="login.chinacloudapi.cn", graph="microsoftgraph.chinacloudapi.cn") as client:
        assert client.ask_token().status_code == 200


def test_gateway_page_instead_of_json(client: PlainClient, emulator: Emulator) -> None:
    """A 503 with an HTML page is possible, and passes."""
    emulator.login.faults.inject(Fault.html(503))
    response = client.ask_token()
    assert response.status_code == 503
    assert response.headers["Content-Type"].startswith("text/html")
    assert client.ask_token().status_code == 200


def test_discovery(client: PlainClient, emulator: Emulator) -> None:
    """OpenID discovery and msal's instance discovery answer for this authority, and only for known tenants."""
    root = "https://login.microsoftonline.com"
    found = client.http.get(f"{root}/{emulator.tenant.tenant_id}/v2.0/.well-known/openid-configuration").json()
    assert found["token_endpoint"] == f"{root}/{emulator.tenant.tenant_id}/oauth2/v2.0/token"
    assert client.http.get(f"{root}/unknown/v2.0/.well-known/openid-configuration").status_code == 400
    assert client.http.get(f"{root}/common/discovery/instance?api-version=1.1").json()["metadata"]
    assert client.http.get(f"{root}/nothing/here").status_code == 404
