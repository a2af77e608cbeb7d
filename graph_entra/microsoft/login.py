"""The application's login: a secret or a certificate -> an access token for one cloud's Graph, through azure-identity.

One token serves everybody who asks meanwhile. A token that Graph refuses is forgotten with the credential that holds
it; whoever is refused late, after others have fetched a new one, changes nothing.

An assertion is dated by Graph's clock and not by this machine's, which may be wrong. Before Graph or Entra has
answered for the first time nobody knows Graph's clock; then Entra's refusal (AADSTS700024) states it, and the login
is tried once more.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self

import orjson
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError
from azure.identity.aio import ClientAssertionCredential, ClientSecretCredential
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from pydantic import SecretStr

from graph_entra.errors import CredentialRejected, GraphEntraError
from graph_entra.microsoft.certificate import ClientCertificate
from graph_entra.microsoft.clouds import Cloud
from graph_entra.microsoft.responses import login_fault
from graph_entra.microsoft.secret_expiry import HINT_CHARS
from graph_entra.microsoft.transport import EntraTransport

LOGIN_TIMEOUT_S: Final = 30.0
WRONG_TIME_CODE: Final = 700024
# Less is the way of the answer; Entra itself allows more.
_CLOCK_MOVED_S: Final = 60.0
# A secret's id is one; its value is not.
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """A client secret's value."""

    value: SecretStr

    @property
    def thumbprint(self) -> str:
        """None: that is what a certificate has."""
        return ""

    @property
    def hint(self) -> str:
        """Its first characters, by which Graph tells an application's secrets apart."""
        return self.value.get_secret_value()[:HINT_CHARS]

    @property
    def looks_like_its_id(self) -> bool:
        """Whether it looks like a Secret ID, which stands beside the value on the portal."""
        return _GUID.fullmatch(self.value.get_secret_value()) is not None


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and what it states.

    Microsoft calls tokens opaque: where one cannot be read, what it states is None and nothing is concluded.

    Attributes:
        text: the token itself.
        tenant_id: the directory's id, also where a domain was configured.
        roles: the permissions of the application that an administrator has consented to.
        expires_s: when it ends, in seconds since 1970 by this machine's clock.
    """

    text: str = field(repr=False)
    tenant_id: str | None
    roles: frozenset[str] | None
    expires_s: float


class Login:
    """Signs one application in to one tenant. Made, used and closed on one event loop.

    It is the credential that msgraph-sdk asks before each request, too: :meth:`get_token` is azure-core's protocol.

    Args:
        cloud: which of Microsoft's clouds.
        tenant_id: the directory (tenant) id, or one of its domains.
        client_id: the application (client) id.
        secret: what the application proves itself with.
        graph_time: Graph's clock, in seconds since 1970, as well as it is known.
        on_date: told of the ``Date`` of each of Entra's answers, in seconds since 1970.
    """

    def __init__(
        self,
        cloud: Cloud,
        tenant_id: str,
        client_id: str,
        secret: ClientSecret | ClientCertificate,
        *,
        graph_time: Callable[[], float],
        on_date: Callable[[float], None],
    ) -> None:
        self._cloud = cloud
        self._tenant_id = tenant_id
        self._client_id = client_id
        self._secret = secret
        self._graph_time = graph_time
        self._dated_s = 0.0
        self._transport = EntraTransport(LOGIN_TIMEOUT_S, on_date)
        self._credential: ClientSecretCredential | ClientAssertionCredential | None = None
        self._newest: AccessToken | None = None
        # The streams start together: one of them fetches the token.
        self._signing_in = asyncio.Lock()

    async def token(self) -> Token:
        """An access token for the cloud's Graph, from memory as long as it is good.

        Raises:
            CredentialRejected: Entra refuses the app, what it proves itself with, or the tenant. A person must act.
            CertificateUntrusted: somebody else than Entra answered. A person must act.
            ProxyInTheWay: the proxy cannot be reached or refuses.
            LoginUnavailable: Entra could not be asked, or could not answer just now.
        """
        # With the claims that msgraph-sdk asks for: without them it would fetch a token of its own.
        got = await self.get_token(self._cloud.scope, enable_cae=True)
        return _token(got)

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """As azure-core's ``AsyncTokenCredential``; raises what :meth:`token` raises."""
        async with self._signing_in:
            got = await self._ask(scopes, options)
            if isinstance(got, CredentialRejected) and self._was_misdated(got):
                got = await self._ask(scopes, options)
        # Raised out here: the frames of azure-identity hold the secret and the token.
        if isinstance(got, GraphEntraError):
            raise got
        return got

    def provider(self) -> AzureIdentityAuthenticationProvider:
        """What puts the token on msgraph-sdk's requests: on those to the cloud's own Graph host and no other."""
        return AzureIdentityAuthenticationProvider(
            self, scopes=[self._cloud.scope], allowed_hosts=[self._cloud.graph_host]
        )

    def forget(self, refused: Token) -> None:
        """Let go of a token that Graph refused: a permission that was granted meanwhile shows in a new one only."""
        # A refusal that was under way says nothing about the token that another window has got meanwhile.
        if self._newest is not None and self._newest.token == refused.text:
            self._newest = self._credential = None

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self, scopes: tuple[str, ...], options: dict[str, Any]) -> AccessToken | GraphEntraError:
        if self._credential is None:
            self._credential = self._connect()
        try:
            async with asyncio.timeout(LOGIN_TIMEOUT_S):
                self._newest = await self._credential.get_token(*scopes, **options)
        # azure-identity lets what is no JSON object, or one without a token, fail in several ways.
        except (AzureError, TimeoutError, ValueError, TypeError, LookupError, AttributeError) as error:
            is_guid = isinstance(self._secret, ClientSecret) and self._secret.looks_like_its_id
            return login_fault(error, secret_is_guid=is_guid, thumbprint=self._secret.thumbprint)
        return self._newest

    def _connect(self) -> ClientSecretCredential | ClientAssertionCredential:
        # A credential is let go without being closed: another window may be asking through the transport.
        common: dict[str, Any] = {
            "authority": f"https://{self._cloud.login_host}",
            "transport": self._transport,
            "retry_total": 0,
        }
        if isinstance(self._secret, ClientCertificate):
            return ClientAssertionCredential(self._tenant_id, self._client_id, self._assertion, **common)
        return ClientSecretCredential(self._tenant_id, self._client_id, self._secret.value.get_secret_value(), **common)

    def _assertion(self) -> str:
        """Called by azure-identity for each request of a token."""
        assert isinstance(self._secret, ClientCertificate)  # noqa: S101 - _connect has looked
        self._dated_s = self._graph_time()
        audience = f"https://{self._cloud.login_host}/{self._tenant_id}/oauth2/v2.0/token"
        return self._secret.assertion(self._client_id, audience, self._dated_s)

    def _was_misdated(self, rejection: CredentialRejected) -> bool:
        """Whether Entra's refusal has told that its clock is another than the assertion was dated by."""
        return rejection.code == WRONG_TIME_CODE and abs(self._graph_time() - self._dated_s) > _CLOCK_MOVED_S


def _token(got: AccessToken) -> Token:
    claims: Any = None
    try:
        payload = got.token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error):
        pass
    if not isinstance(claims, dict):
        return Token(got.token, None, None, got.expires_on)
    tenant_id, roles = claims.get("tid"), claims.get("roles", [])
    return Token(
        got.token,
        tenant_id if isinstance(tenant_id, str) else None,
        frozenset(str(role) for role in roles) if isinstance(roles, list) else None,
        got.expires_on,
    )
