"""The token endpoint's rules."""

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.emulator import Emulator, Fault
from tests.emulator.certificates import Key, Pair, make_pair, spare_key
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


# Certificates


@dataclass
class Statement:
    """The assertion that an application makes: right, unless a test changes it."""

    emulator: Emulator
    pair: Pair
    key: Key | None = None
    alg: str = "PS256"
    header: dict[str, str] = field(default_factory=dict)
    claims: dict[str, object] = field(default_factory=dict)

    def sign(self) -> dict[str, str]:
        """Returns the members of the form that carry it."""
        now = int(self.emulator.clock().timestamp())
        app, tenant = self.emulator.tenant.client_id, self.emulator.tenant.tenant_id
        digest = self.pair.certificate.fingerprint(hashes.SHA256())
        header = {"x5t#S256": base64.urlsafe_b64encode(digest).decode(), **self.header}
        claims = {
            "aud": f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
            "iss": app,
            "sub": app,
            "jti": uuid4().hex,
            "nbf": now,
            "exp": now + 600,
            **self.claims,
        }
        signed = jwt.encode(claims, self.key or self.pair.key, algorithm=self.alg, headers=header)
        return {"client_assertion": signed, "client_assertion_type": BEARER}


BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
REGISTERED, STRANGE = make_pair(), make_pair(spare_key(1), name="another")


def ask(client: PlainClient, members: dict[str, str]) -> httpx.Response:
    """Asks with an assertion in the secret's place."""
    return client.ask_token(without=("client_secret",), **members)


@pytest.mark.parametrize("alg", ["PS256", "RS256"])
@pytest.mark.parametrize("thumbprint", ["x5t#S256", "x5t"])
def test_a_right_assertion_gets_a_token(client: PlainClient, emulator: Emulator, alg: str, thumbprint: str) -> None:
    """With either thumbprint, under the newer algorithm and the older one, after another certificate too."""
    emulator.tenant.certificates = [STRANGE.certificate, REGISTERED.certificate]
    digest = REGISTERED.certificate.fingerprint(hashes.SHA1())
    header = {"x5t": base64.urlsafe_b64encode(digest).decode(), "x5t#S256": ""} if thumbprint == "x5t" else {}
    assert ask(client, Statement(emulator, REGISTERED, alg=alg, header=header).sign()).status_code == 200


WRONG: dict[str, tuple[int, dict[str, Any]]] = {
    "another's certificate": (700027, {"pair": STRANGE}),
    "another's key": (700027, {"key": STRANGE.key}),
    "an expired certificate": (700027, {"pair": make_pair(start=datetime.now(UTC) - timedelta(days=9), days=8)}),
    "another cloud": (700023, {"claims": {"aud": "https://login.chinacloudapi.cn/t/oauth2/v2.0/token"}}),
    "another issuer": (700021, {"claims": {"iss": "x"}}),
    "another subject": (700021, {"claims": {"sub": "x"}}),
    "not yet": (700024, {"claims": {"nbf": 4e9, "exp": 5e9}}),
    "no longer": (700024, {"claims": {"nbf": 1e9, "exp": 1.1e9}}),
    "no jti": (50027, {"claims": {"jti": ""}}),
    "an elliptic curve": (5002738, {"key": ec.generate_private_key(ec.SECP256R1()), "alg": "ES256"}),
}


@pytest.mark.parametrize(("code", "changes"), WRONG.values(), ids=WRONG)
def test_a_wrong_assertion_has_its_code(
    client: PlainClient, emulator: Emulator, code: int, changes: dict[str, Any]
) -> None:
    """Each part of it is looked at."""
    emulator.tenant.certificates = [REGISTERED.certificate]
    if changes.get("pair", STRANGE) is not STRANGE:
        emulator.tenant.certificates.append(changes["pair"].certificate)
    answer = ask(client, Statement(**{"emulator": emulator, "pair": REGISTERED, **changes}).sign())
    assert answer.status_code == 401
    assert answer.json()["error_codes"] == [code]


def test_an_assertion_is_good_for_one_request(client: PlainClient, emulator: Emulator) -> None:
    """Its jti was used; and what is no assertion at all has a code too."""
    emulator.tenant.certificates = [REGISTERED.certificate]
    members = Statement(emulator, REGISTERED).sign()
    assert ask(client, members).status_code == 200
    assert ask(client, members).json()["error_codes"] == [50027]
    assert ask(client, {**members, "client_assertion": "x"}).json()["error_codes"] == [50027]
    assert ask(client, {}).json()["error_codes"] == [7000218]


def test_answers_are_dated_by_the_emulators_clock() -> None:
    """Whoever knows Microsoft's clock only from an answer learns it from every one."""
    then = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    with Emulator(clock=lambda: then) as emulator, PlainClient(emulator) as client:
        for answer in (client.ask_token(), client.ask_token(client_secret="wrong")):
            assert parsedate_to_datetime(answer.headers["Date"]) == then
