"""Every error has a cause and a remedy, in sentences."""

import pytest

from graph_entra.errors import (
    CertificateUntrusted,
    CredentialRejected,
    GraphEntraError,
    GraphRefused,
    GraphUnavailable,
    IntakeRefused,
    IntakeUnavailable,
    LoginUnavailable,
    PagingBroken,
    PassesByItself,
    ProxyInTheWay,
    StorageFailed,
    Throttled,
    TokenRefused,
    WindowTooWide,
)
from graph_entra.telling import diagnosis
from graph_entra.telling.diagnosis import (
    DIRECTORY_CODE,
    ENTRA,
    ENTRA_OTHER,
    GRAPH,
    GRAPH_REFUSED,
    LICENCE_CODE,
    Advice,
    advise,
)


def written() -> list[tuple[str, Advice]]:
    """Every advice of the file, under its name."""
    single = [(name, value) for name, value in vars(diagnosis).items() if isinstance(value, Advice)]
    tables = [(f"AADSTS{code}", advice) for code, advice in ENTRA.items()]
    return single + tables + list(GRAPH.items())


@pytest.mark.parametrize(("name", "advice"), written(), ids=lambda value: value if isinstance(value, str) else "")
def test_an_advice_is_whole_sentences(name: str, advice: Advice) -> None:
    """Both stand in one log line: each begins with a capital, or a field's name, and ends in a full stop."""
    for text in (advice.cause, advice.remedy):
        assert text.endswith("."), text
        assert not text.endswith(".."), text
        assert text == " ".join(text.split()), text
        assert text[0].isupper() or text.startswith("tenant_id"), text


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (7000215, "Value"),
        (7000222, "expired"),
        (700016, "client_id"),
        (7000112, "disabled"),
        (90002, "tenant_id"),
        (900023, "tenant_id"),
        (50194, "tenant_id"),
        (90038, "cloud"),
        (900382, "cloud"),
        (900432, "cloud"),
        (900439, "cloud"),
        (53003, "Conditional Access"),
        (500011, "cloud"),
    ],
)
def test_each_code_of_entras_has_its_own_words(code: int, word: str) -> None:
    """The sentence names what to change."""
    advice = advise(CredentialRejected(code))
    assert advice is ENTRA[code]
    assert word in advice.cause + advice.remedy


@pytest.mark.parametrize("code", [0, 1, 50034, 99999999])
def test_an_unknown_code_of_entras_has_advice(code: int) -> None:
    """Where to look it up."""
    assert advise(CredentialRejected(code)) is ENTRA_OTHER
    assert "https://" in ENTRA_OTHER.remedy


def test_an_unknown_code_of_entras_speaks_for_itself() -> None:
    """Entra's own first sentence is the cause, where it gave one; a known code's stays ours."""
    advice = advise(CredentialRejected(50034, sentence="The user account does not exist."))
    assert advice.cause == "Entra refuses to sign the application in: The user account does not exist."
    assert advice.remedy == ENTRA_OTHER.remedy
    assert advise(CredentialRejected(700016, sentence="Application not found.")) is ENTRA[700016]


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (403, "Authentication_MSGraphPermissionMissing", "AuditLog.Read.All"),
        (403, "Authorization_RequestDenied", "AuditLog.Read.All"),
        (403, LICENCE_CODE, "P1 or P2"),
        (403, DIRECTORY_CODE, "Directory.Read.All is missing"),
        (403, "Something_New", "AuditLog.Read.All"),
        (403, "", "AuditLog.Read.All"),
        (401, "", "AuditLog.Read.All"),
        (400, "BadRequest", "sign_in_types"),
        (404, "ResourceNotFound", "sign_in_types"),
        (418, "", "sign_in_types"),
    ],
)
def test_graphs_refusals(status: int, code: str, word: str) -> None:
    """Known or not, a refusal has advice."""
    advice = advise(GraphRefused(status, code, ""))
    assert word in advice.cause + advice.remedy


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (IntakeRefused(401), diagnosis.INTAKE),
        (IntakeUnavailable("x"), diagnosis.INTAKE_DOWN),
        (LoginUnavailable("x"), diagnosis.LOGIN_DOWN),
        (ProxyInTheWay("x"), diagnosis.PROXY),
        (CertificateUntrusted("x"), diagnosis.CERTIFICATE),
        (Throttled("x"), diagnosis.THROTTLED),
        (TokenRefused("x"), diagnosis.TOKEN),
        (PagingBroken("x"), diagnosis.PAGING),
        (GraphUnavailable("x"), diagnosis.GRAPH_DOWN),
        (WindowTooWide("x"), diagnosis.GRAPH_DOWN),
        (PassesByItself("x"), diagnosis.GRAPH_DOWN),
        (StorageFailed("x"), diagnosis.STORAGE),
        (GraphRefused(400, "", ""), GRAPH_REFUSED),
        (ZeroDivisionError(), diagnosis.UNEXPECTED),
        (GraphEntraError(), diagnosis.UNEXPECTED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_has_its_own(error: Exception, advice: Advice) -> None:
    """An intake that is down is not Graph's fault, and the other way round."""
    assert advise(error) is advice


def test_the_throttling_sentence_is_true() -> None:
    """Both limits of Microsoft's; the module's own two connectors are named, which is no reason to worry."""
    text = diagnosis.THROTTLED.cause + diagnosis.THROTTLED.remedy
    for part in (
        "5 in 10 s in a tenant",
        "both connectors of this module together",
        "122 in 10 s over all the tenants",
    ):
        assert part in text
    assert "Nothing needs to be done while a connector reads history" in text
