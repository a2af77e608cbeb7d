"""How Entra checks the statement that an application signs with its certificate (RFC 7523 section 3).

learn.microsoft.com/entra/identity-platform/certificate-credentials, and the codes of
learn.microsoft.com/entra/identity-platform/reference-error-codes.
"""

import base64
from datetime import datetime
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.emulator.tenant import Tenant

_SKEW_S = 300


class Assertions:
    """The statements that one login has seen."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._used: set[str] = set()

    def refusal(self, assertion: str, app: str, audience: str, now: datetime) -> tuple[int, str] | None:
        """Returns the AADSTS code and the reason for which a statement is refused; None if it is accepted."""
        try:
            header = jwt.get_unverified_header(assertion)
            claims = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return 50027, "token format is not proper"
        if header.get("alg") not in ("PS256", "RS256"):
            return 5002738, str(header.get("alg"))
        certificate = self._registered(header)
        if certificate is None:
            return 700027, "The key was not found."
        if certificate.not_valid_after_utc <= now:
            return 700027, "The key used is expired."
        try:
            jwt.decode(
                assertion,
                certificate.public_key(),  # type: ignore[arg-type]
                algorithms=[header["alg"]],
                options={"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return 700027, "The signature is not that of the key."
        return self._claims_refusal(claims, app, audience, now)

    def _registered(self, header: dict[str, Any]) -> x509.Certificate | None:
        for certificate in self._tenant.certificates:
            names = {"x5t#S256": hashes.SHA256(), "x5t": hashes.SHA1()}
            for member, digest in names.items():
                thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(digest)).decode().rstrip("=")
                if str(header.get(member, "")).rstrip("=") == thumbprint:
                    return certificate
        return None

    def _claims_refusal(self, claims: dict[str, Any], app: str, audience: str, now: datetime) -> tuple[int, str] | None:
        if claims.get("aud") != audience:
            return 700023, ""
        if claims.get("iss") != app or claims.get("sub") != app:
            return 700021, ""
        instant_s = now.timestamp()
        if not claims.get("nbf", 0) - _SKEW_S <= instant_s <= claims.get("exp", 0) + _SKEW_S:
            return 700024, ""
        jti = claims.get("jti")
        if not jti or jti in self._used:
            return 50027, "the jti is missing or was used before"
        self._used.add(jti)
        return None
