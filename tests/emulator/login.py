"""Microsoft Entra's token endpoint: the client credentials grant (RFC 6749 section 4.4) and discovery."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

import jwt
import orjson
from aiohttp import web

from tests.emulator.assertions import Assertions
from tests.emulator.entra_errors import entra_answer
from tests.emulator.faults import FaultBox
from tests.emulator.hosts import clouds_of_login_host
from tests.emulator.service import Answer, PlainRequest, Service, lower_headers, read_all
from tests.emulator.tenant import Tenant

_JSON = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store, no-cache"}
_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Claims:
    """What an issued token states, as Graph checks it."""

    audience: str
    tenant_id: str
    app_id: str
    roles: tuple[str, ...]
    expires: datetime


class Login(Service):
    """The login authorities of all clouds.

    `error` set to an AADSTS code refuses every token request with it; `token_lifetime_s` is `expires_in`.
    """

    def __init__(self, tenant: Tenant, clock: Callable[[], datetime], closing: Event) -> None:
        super().__init__(closing)
        self.error: int | None = None
        self.token_lifetime_s = 3599
        self.faults = FaultBox()
        self.requests: list[PlainRequest] = []
        self._tenant = tenant
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._issued: dict[str, Claims] = {}
        self._assertions = Assertions(tenant)

    async def serve(self, request: web.BaseRequest, host: str) -> web.StreamResponse:
        """Answers one request to a login host."""
        path = unquote(request.rel_url.raw_path)
        form = dict(parse_qsl((await read_all(request)).decode()))
        info = PlainRequest(time.monotonic(), request.method, host, path, lower_headers(request), form)
        self.requests.append(info)
        return await self.play(request, self.faults, info, lambda: self._answer(info))

    def claims(self, token: str) -> Claims | None:
        """Returns what a token states if this login issued it and has not revoked it."""
        return self._issued.get(token)

    def revoke(self) -> None:
        """Makes Graph refuse every token issued so far (401)."""
        self._issued.clear()

    def error_answer(self, status: int) -> Answer:
        """Returns Entra's usual transient error, with another status."""
        busy = entra_answer(90033, self._clock())
        return Answer(status, busy.body, busy.headers)

    def _answer(self, info: PlainRequest) -> Answer:
        parts = info.path.strip("/").split("/")
        if parts == ["common", "discovery", "instance"]:
            return Answer(200, orjson.dumps(_instance_discovery(info.host)), _JSON)
        if parts[1:] == ["v2.0", ".well-known", "openid-configuration"]:
            if not self._knows(parts[0], info.host):
                return entra_answer(90002, self._clock(), tenant=parts[0])
            return Answer(200, orjson.dumps(_openid_configuration(info.host, self._tenant.tenant_id)), _JSON)
        if parts[1:] == ["oauth2", "v2.0", "token"] and info.method == "POST":
            return self._token(info, parts[0])
        return Answer(404, b"", {"Content-Type": "text/html"})

    def _knows(self, tenant: str, host: str) -> bool:
        clouds = [cloud.name for cloud in clouds_of_login_host(host)]
        here = self._tenant.cloud is None or self._tenant.cloud in clouds
        return here and tenant.lower() in (self._tenant.tenant_id.lower(), self._tenant.domain.lower())

    def _token(self, info: PlainRequest, tenant: str) -> Answer:
        form, now = info.body, self._clock()
        app, scope = form.get("client_id", ""), form.get("scope", "")
        resource = scope.removesuffix("/.default")

        def refuse(code: int, what: str = resource) -> Answer:
            return entra_answer(code, now, app=app, tenant=tenant, resource=what)

        if self.error is not None:
            return refuse(self.error)
        for name in ("grant_type", "client_id", "scope"):
            if name not in form:
                return refuse(900144, name)
        if "client_secret" not in form and form.get("client_assertion_type") != _BEARER:
            return refuse(7000218)
        if form["grant_type"] != "client_credentials":
            return refuse(70003)
        if not self._knows(tenant, info.host):
            return refuse(90002)
        if app.lower() != self._tenant.client_id.lower():
            return refuse(700016)
        if "client_secret" not in form:
            audience = f"https://{info.host}/{tenant}/oauth2/v2.0/token"
            refused = self._assertions.refusal(form.get("client_assertion", ""), app, audience, now)
            if refused is not None:
                return refuse(*refused)
        elif form["client_secret"] != self._tenant.client_secret:  # its secret_id pasted in its place included
            return refuse(7000215)
        elif self._tenant.secret_expires is not None and self._tenant.secret_expires <= now:
            return refuse(7000222)
        known = [
            f"https://{cloud.graph_host}"
            for cloud in clouds_of_login_host(info.host)
            if self._tenant.cloud in (None, cloud.name)
        ]
        if scope == resource or resource not in known:
            return refuse(500011)
        return Answer(200, orjson.dumps(self._issue(resource, info.host, now)), _JSON)

    def _issue(self, resource: str, host: str, now: datetime) -> dict[str, str | int]:
        expires = now + timedelta(seconds=self.token_lifetime_s)
        token = jwt.encode(
            {
                "aud": resource,
                "iss": f"https://{host}/{self._tenant.tenant_id}/",
                "iat": int(now.timestamp()),
                "nbf": int(now.timestamp()),
                "exp": int(expires.timestamp()),
                "appid": self._tenant.client_id,
                "tid": self._tenant.tenant_id,
                "roles": list(self._tenant.roles),
                "uti": uuid4().hex,
                "ver": "1.0",
            },
            self._key,
            algorithm="HS256",
        )
        self._issued[token] = Claims(
            resource, self._tenant.tenant_id, self._tenant.client_id, tuple(self._tenant.roles), expires
        )
        seconds = self.token_lifetime_s
        return {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}


def _openid_configuration(host: str, tenant_id: str) -> dict[str, str | list[str]]:
    """OpenID Connect Discovery 1.0, section 3, as much of it as a client reads."""
    root = f"https://{host}/{tenant_id}"
    return {
        "token_endpoint": f"{root}/oauth2/v2.0/token",
        "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
        "jwks_uri": f"{root}/discovery/v2.0/keys",
        "issuer": f"{root}/v2.0",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
    }


def _instance_discovery(host: str) -> dict[str, object]:
    """What msal asks to learn which authorities belong together."""
    return {
        "tenant_discovery_endpoint": f"https://{host}/common/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    }
