"""What people paste as a certificate: every form that holds one is read, and every fault has its sentence."""

import base64
import pickle
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from graph_entra.microsoft.certificate import ASSERTION_S, ClientCertificate, read_certificate
from tests.emulator.certificates import Pair, make_pair, spare_key

NOW = datetime.now(UTC)
NOW_S = NOW.timestamp()
PAIR = make_pair()
OTHER = make_pair(spare_key(1), name="another")
CURVE = make_pair(ec.generate_private_key(ec.SECP256R1()))
EXPIRED = make_pair(start=NOW - timedelta(days=400), days=365)

BREAKS = ("\n", "\r\n", "\r", " ", "\\n", "\\r\\n", "\\\\n", "\n\n", "\n    ", "\u00a0", "\t\n", "")
REMARKS = (
    "",
    "Bag Attributes\n    localKeyID: 01 00\nKey Attributes: <No Attributes>\n",
    "subject=CN = x",
    "-- see ticket 5",
)
QUOTES = ("{}", "'{}'", '"{}"', "\ufeff{}", "\u200b{}", "  {}  ", "```{}```")


def read(text: str, now_s: float = NOW_S) -> ClientCertificate | str:
    """As the module does."""
    return read_certificate(SecretStr(text), now_s)


@settings(deadline=None)
@given(
    old_key=st.booleans(),
    chain=st.booleans(),
    key_first=st.booleans(),
    line_break=st.sampled_from(BREAKS),
    remarks=st.tuples(*[st.sampled_from(REMARKS)] * 3),
    quotes=st.sampled_from(QUOTES),
)
def test_every_form_in_which_people_paste_is_read(
    old_key: bool, chain: bool, key_first: bool, line_break: str, remarks: Any, quotes: str
) -> None:
    """With line breaks of any kind or none, written out, in either order, with text around, with a chain, quoted."""
    key = PAIR.old_key_pem if old_key else PAIR.key_pem
    parts = [PAIR.certificate_pem, *([OTHER.certificate_pem] if chain else [])]
    parts = [key, *parts] if key_first else [*parts, key]
    text = "".join(remark + "\n" + part for remark, part in zip(remarks, parts, strict=False)) + remarks[2]
    certificate = read(quotes.format(text.replace("\n", line_break)))
    assert isinstance(certificate, ClientCertificate), certificate
    assert certificate.thumbprint == PAIR.thumbprint
    assert certificate.ends_s == PAIR.certificate.not_valid_after_utc.timestamp()


FAULTS: dict[str, tuple[str, str, str]] = {
    "a key with a password": (PAIR.locked_key_pem() + PAIR.certificate_pem, "protected by a password", "openssl rsa"),
    "an old key with a password": (
        PAIR.locked_key_pem(PrivateFormat.TraditionalOpenSSL) + PAIR.certificate_pem,
        "protected by a password",
        "openssl rsa",
    ),
    "the same in one line": (
        (PAIR.locked_key_pem(PrivateFormat.TraditionalOpenSSL) + PAIR.certificate_pem).replace("\n", " "),
        "protected by a password",
        "openssl rsa",
    ),
    "a key alone": (PAIR.key_pem, "a private key without its certificate", "Paste both"),
    "a certificate alone": (PAIR.certificate_pem, "a certificate without its private key", "The public half belongs"),
    "another's key": (OTHER.key_pem + PAIR.certificate_pem, "is not that of the certificate", PAIR.thumbprint),
    "an elliptic curve": (CURVE.pem, "is not an RSA key", CURVE.thumbprint),
    "an old elliptic curve": (CURVE.old_key_pem + CURVE.certificate_pem, "is not an RSA key", CURVE.thumbprint),
    "an expired one": (EXPIRED.pem, "ended on", EXPIRED.thumbprint),
    "a PFX": (PAIR.pfx, "is a PFX (PKCS #12)", "openssl pkcs12"),
    "a PFX in lines": ("\n".join(re.findall(".{1,64}", PAIR.pfx)), "is a PFX (PKCS #12)", "openssl pkcs12"),
    "a PFX's name": (r"C:\keys\entra.PFX", "is a PFX (PKCS #12)", "openssl pkcs12"),
    "a cut text": (PAIR.pem[:600], "is cut off", "the last END line"),
    "cut between": (PAIR.pem[:-30], "a private key without its certificate", "Paste both"),
    "a damaged key": (PAIR.pem.replace(PAIR.key_pem[400:500], ""), "is damaged", "once more"),
    "a damaged certificate": (
        PAIR.key_pem + PAIR.certificate_pem.replace(PAIR.certificate_pem[300:400], ""),
        "is damaged",
        "once more",
    ),
    "an empty block": (
        "-----BEGIN PRIVATE KEY----- -----END PRIVATE KEY-----" + PAIR.certificate_pem,
        "is damaged",
        "once more",
    ),
    "a request": (
        "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----",
        "neither a private key nor a certificate, but CERTIFICATE REQUEST",
        "CONFIGURE.md",
    ),
    "a secret": ("emu8Q~emulated-secret-value", "is not the PEM", "CONFIGURE.md"),
    "a thumbprint": (PAIR.thumbprint, "is not the PEM", "CONFIGURE.md"),
    "a certificate without its frame": (
        "".join(PAIR.certificate_pem.splitlines()[1:-1]),
        "is not the PEM",
        "CONFIGURE.md",
    ),
}


@pytest.mark.parametrize(("text", "says", "advises"), FAULTS.values(), ids=FAULTS)
def test_every_fault_is_one_sentence_that_names_no_key(text: str, says: str, advises: str) -> None:
    """What is wrong, what to do, the thumbprint where there is one; never a part of the key."""
    sentence = read(text)
    assert isinstance(sentence, str)
    assert says in sentence
    assert advises in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert_hides(sentence, PAIR, OTHER, CURVE)


def assert_hides(text: str, *pairs: Pair) -> None:
    """No line of any key stands in a text."""
    for pair in pairs:
        for line in pair.key_pem.splitlines()[1:-1] + pair.old_key_pem.splitlines()[1:-1]:
            assert line not in text


@settings(deadline=None)
@given(st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()))
def test_whatever_is_pasted_is_a_sentence(text: str) -> None:
    """No text makes it raise."""
    assert isinstance(read(text), str)


@settings(deadline=None)
@given(st.integers(0, len(PAIR.pem) - 1), st.sampled_from(["", "A", "\n", "-", "%"]))
def test_a_slip_anywhere_is_read_or_a_sentence(at: int, instead: str) -> None:
    """One character that was lost or changed: the certificate or a sentence, never an exception."""
    got = read(PAIR.pem[:at] + instead + PAIR.pem[at + 1 :])
    if isinstance(got, ClientCertificate):
        signed = got.assertion("app", "there", time.time())
        claims = jwt.decode(signed, PAIR.certificate.public_key(), algorithms=["PS256"], audience="there")  # type: ignore[arg-type]
        assert claims["sub"] == "app"


def test_the_last_second_of_a_certificate() -> None:
    """It ends when it says."""
    ends_s = PAIR.certificate.not_valid_after_utc.timestamp()
    assert isinstance(read(PAIR.pem, ends_s - 1), ClientCertificate)
    assert isinstance(read(PAIR.pem, ends_s), str)


def test_the_assertion_is_what_entra_wants() -> None:
    """PS256, the SHA-256 thumbprint, the application twice, the token endpoint, ten minutes, and an id of its own."""
    certificate = read(PAIR.pem)
    assert isinstance(certificate, ClientCertificate)
    # By the clock that jwt.decode goes by: an assertion of the suite's beginning may have ended.
    now_s = int(time.time())
    texts = [certificate.assertion("app", "https://there/token", now_s) for _ in range(2)]
    header = jwt.get_unverified_header(texts[0])
    digest = PAIR.certificate.fingerprint(hashes.SHA256())
    assert header == {
        "alg": "PS256",
        "typ": "JWT",
        "x5t#S256": base64.urlsafe_b64encode(digest).decode().rstrip("="),
    }
    one, other = (
        jwt.decode(text, PAIR.certificate.public_key(), algorithms=["PS256"], audience="https://there/token")  # type: ignore[arg-type]
        for text in texts
    )
    assert one.pop("jti") != other.pop("jti")
    assert one == {
        "aud": "https://there/token",
        "iss": "app",
        "sub": "app",
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + ASSERTION_S,
    }


def test_a_certificate_shows_no_key() -> None:
    """Neither printed nor written down."""
    certificate = read(PAIR.pem)
    assert_hides(repr(certificate) + str(certificate) + f"{certificate}", PAIR)
    assert "key" not in repr(certificate)
    with pytest.raises(TypeError):
        pickle.dumps(certificate)
