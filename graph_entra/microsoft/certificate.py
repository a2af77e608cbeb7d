"""A certificate and its private key, as a person pastes them, and the assertion that is signed with them.

What people paste is a PEM file that a form, a shell or a ticket has had between its fingers: in one line, with ``\\n``
written out, with openssl's remarks around the blocks, quoted, in either order. So the blocks are looked for by their
BEGIN and END, and of what stands between them only the characters of base64 count.

No exception leaves a frame that holds the text or the key: faults come back as sentences.

Source: https://learn.microsoft.com/entra/identity-platform/certificate-credentials (PS256 and ``x5t#S256``; so the key
is an RSA key: Entra takes no elliptic curve here).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from pydantic import SecretStr

# "5 to 10 minutes after nbf at most", says the source; the longer of them, since a proxy may hold a request.
ASSERTION_S: Final = 600
# Shorter ones cannot sign with PS256, or are refused as weak (AADSTS50032).
LEAST_KEY_BITS: Final = 1024

# Word processors make one long dash of two. Those behind END may be the next block's, where line breaks were lost.
_DASHES: Final = r"[-\u2013\u2014]+"
_BLOCK: Final = re.compile(rf"{_DASHES} ?BEGIN ([A-Z0-9 ]+?) ?{_DASHES}(.*?){_DASHES} ?END \1 ?(?={_DASHES})")
# Blanks of every kind, line breaks written out, byte-order marks and characters of no width.
_BLANK: Final = re.compile(r"(?:\s|\\+[rnt]|[\u200b-\u200f\u2060\ufeff])+")
_NOT_BASE64: Final = re.compile(r"[^A-Za-z0-9+/=]")
_PFX_FILE: Final = re.compile(r"\.(?:pfx|p12)['\"]?\s*$", re.IGNORECASE)
# SEQUENCE, then INTEGER 3: the outermost of PKCS #12 (RFC 7292 section 4).
_PFX: Final = re.compile(rb"\x30(?:\x80|[\x81-\x84].{1,4}|.)\x02\x01\x03", re.DOTALL)
# In the older form the header of the block tells it (RFC 1421 section 4.6.1.1).
_PASSWORD: Final = re.compile(r"Proc-Type: ?4, ?ENCRYPTED")
_MAKE_ONE: Final = "CONFIGURE.md has the command that makes one."


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate with its private key, ready to sign.

    Attributes:
        thumbprint: SHA-1 of the certificate, in hexadecimal, as the portal shows it.
        sha256: the certificate's SHA-256, as an assertion's header states it.
        ends_s: when it ends, in seconds since 1970.
        key: the private key.
    """

    thumbprint: str
    sha256: str
    ends_s: float
    key: RSAPrivateKey = field(repr=False)

    def assertion(self, client_id: str, audience: str, now_s: float) -> str:
        """A signed statement that we are the application (RFC 7523 section 3), good for one request.

        Args:
            client_id: the application.
            audience: the address of the token endpoint.
            now_s: Microsoft's clock, in seconds since 1970.
        """
        header = {"alg": "PS256", "typ": "JWT", "x5t#S256": self.sha256}
        claims = {
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": str(uuid4()),
            "iat": int(now_s),
            "nbf": int(now_s),
            "exp": int(now_s) + ASSERTION_S,
        }
        signed = b".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        # The salt is as long as the digest (RFC 7518 section 3.5).
        signature = self.key.sign(signed, PSS(MGF1(hashes.SHA256()), hashes.SHA256.digest_size), hashes.SHA256())
        return b".".join((signed, _base64url(signature))).decode()


def read_certificate(pasted: SecretStr, now_s: float) -> ClientCertificate | str:
    """Read what was pasted.

    Args:
        pasted: the PEM of a private key and its certificate, in any form that a person pastes.
        now_s: the clock.

    Returns:
        The certificate; or one sentence that says why it cannot be used and what to do.
    """
    text = _BLANK.sub(" ", pasted.get_secret_value())
    blocks = [(label, _decoded(body)) for label, body in _BLOCK.findall(text)]
    fault = _form_fault(text, blocks)
    if fault is not None:
        return fault
    keys, certificates = list(_keys(blocks)), list(_certificates(blocks))
    if None in keys or None in certificates:
        return "client_certificate is damaged: a part of it is missing or changed. Paste the whole file once more."
    return _pair([key for key in keys if key], [one for one in certificates if one], now_s)


def _form_fault(text: str, blocks: Sequence[tuple[str, bytes | None]]) -> str | None:
    """The sentence about a text that does not hold a readable key and a certificate; None if it does."""
    labels = [label for label, _ in blocks]
    if not blocks:
        return _without_blocks(text)
    if any("ENCRYPTED" in label for label in labels) or _PASSWORD.search(text):
        return (
            "The private key in client_certificate is protected by a password, which nobody could enter here. Take the "
            "password off (openssl rsa -in key.pem -out open.pem) and paste that key with its certificate."
        )
    has_key = any(label.endswith("PRIVATE KEY") for label in labels)
    has_certificate = any(label.endswith("CERTIFICATE") for label in labels)
    if has_key and has_certificate:
        return None
    if has_key:
        return (
            "client_certificate holds a private key without its certificate. Paste both, the key and the certificate "
            "that was uploaded to the app registration."
        )
    if has_certificate:
        return (
            "client_certificate holds a certificate without its private key. The public half belongs on the app "
            "registration; paste it here together with the key, the text from BEGIN PRIVATE KEY to END PRIVATE KEY."
        )
    return f"client_certificate holds neither a private key nor a certificate, but {labels[0]}. {_MAKE_ONE}"


def _without_blocks(text: str) -> str:
    der = _decoded(text) or b""
    if _PFX_FILE.search(text) or _PFX.match(der):
        return (
            "client_certificate is a PFX (PKCS #12). Turn it into a PEM file (openssl pkcs12 -in file.pfx -nodes -out "
            "file.pem) and paste that file's text."
        )
    if "BEGIN " in text:
        return (
            "client_certificate is cut off: it begins (BEGIN) but does not end (END). Paste the whole file, from the "
            "first BEGIN line to the last END line."
        )
    return (
        "client_certificate is not the PEM of a private key and its certificate: it has no line such as BEGIN PRIVATE "
        f"KEY. Paste the text of the file itself. {_MAKE_ONE}"
    )


def _pair(keys: list[PrivateKeyTypes], certificates: list[x509.Certificate], now_s: float) -> ClientCertificate | str:
    for key in keys:
        for certificate in certificates:
            if _public(key) == _public(certificate):
                return _usable(key, certificate, now_s)
    return (
        "The private key in client_certificate is not that of the certificate (thumbprint "
        f"{_thumbprint(certificates[0])}). Paste the two that were made together."
    )


def _usable(key: PrivateKeyTypes, certificate: x509.Certificate, now_s: float) -> ClientCertificate | str:
    thumbprint = _thumbprint(certificate)
    if not isinstance(key, RSAPrivateKey):
        return (
            f"The key of the certificate (thumbprint {thumbprint}) is not an RSA key, and Entra takes no other for an "
            f"application. Make one with an RSA key of 2048 bits or more. {_MAKE_ONE}"
        )
    if key.key_size < LEAST_KEY_BITS:
        return (
            f"The key of the certificate (thumbprint {thumbprint}) has {key.key_size} bits, which is too weak. Make "
            f"one with an RSA key of 2048 bits or more. {_MAKE_ONE}"
        )
    ends_s = certificate.not_valid_after_utc.timestamp()
    if ends_s <= now_s:
        return (
            f"The certificate (thumbprint {thumbprint}) ended on {_day(ends_s)}; this machine's clock says "
            f"{_day(now_s)}. Make a new one, upload its public half to the app registration and paste it with its key."
        )
    digest = certificate.fingerprint(hashes.SHA256())
    return ClientCertificate(thumbprint, _base64url(digest).decode(), ends_s, key)


def _keys(blocks: Sequence[tuple[str, bytes | None]]) -> Iterator[PrivateKeyTypes | None]:
    for label, der in blocks:
        if label.endswith("PRIVATE KEY"):
            try:
                yield load_der_private_key(der or b"", None)
            except (ValueError, TypeError, UnsupportedAlgorithm):
                yield None


def _certificates(blocks: Sequence[tuple[str, bytes | None]]) -> Iterator[x509.Certificate | None]:
    for label, der in blocks:
        if label.endswith("CERTIFICATE"):
            try:
                yield x509.load_der_x509_certificate(der or b"")
            except (ValueError, TypeError, UnsupportedAlgorithm):
                yield None


def _decoded(body: str) -> bytes | None:
    """What base64 says; None if it says nothing."""
    letters = _NOT_BASE64.sub("", body).rstrip("=")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _public(half: PrivateKeyTypes | x509.Certificate) -> bytes | None:
    """The public key, in the one form by which two can be compared; None for a kind that has no such form."""
    try:
        return half.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _thumbprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - a name, the one that the portal shows


def _day(instant_s: float) -> str:
    return datetime.fromtimestamp(instant_s, UTC).strftime("%Y-%m-%d")


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
