"""Certificates of a customer's own making: what `openssl req -x509` would give."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate."""

    key: Key
    certificate: x509.Certificate

    @property
    def key_pem(self) -> str:
        """The key as openssl writes it today: PKCS #8."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def old_key_pem(self) -> str:
        """The key as openssl wrote it before: RSA PRIVATE KEY."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()

    def locked_key_pem(self, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
        """The key with a password."""
        return self.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"password")).decode()

    @property
    def certificate_pem(self) -> str:
        """The public half."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def pem(self) -> str:
        """Both, as people are told to paste them."""
        return self.key_pem + self.certificate_pem

    @property
    def pfx(self) -> str:
        """Both as PKCS #12, in base64."""
        locked = pkcs12.serialize_key_and_certificates(
            b"x", self.key, self.certificate, None, BestAvailableEncryption(b"password")
        )
        return base64.b64encode(locked).decode()

    @property
    def thumbprint(self) -> str:
        """As the portal shows it."""
        return self.certificate.fingerprint(hashes.SHA1()).hex().upper()


@cache
def spare_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One of a few RSA keys: making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def make_pair(
    key: Key | None = None, *, start: datetime | None = None, days: float = 365, name: str = "sekoia-entra-logs"
) -> Pair:
    """Makes a self-signed certificate.

    Args:
        key: an RSA key of 2048 bits if it is None.
        start: an hour ago if it is None.
        days: for how long it is good.
        name: the subject.
    """
    key = key or spare_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = start or datetime.now(UTC) - timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
    )
    return Pair(key, builder.sign(key, hashes.SHA256()))
