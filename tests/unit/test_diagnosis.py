"""Every error has a cause and a remedy, in sentences."""

import inspect

import pytest

from graph_entra import errors
from graph_entra.errors import (
    CredentialRejected,
    GraphEntraError,
    GraphRefused,
    GraphUnavailable,
    IntakeRefused,
    IntakeUnavailable,
    LoginUnavailable,
    PagingBroken,
    PassesByItself,
    PersonMustAct,
    StorageFailed,
    Throttled,
    TokenRefused,
    WindowTooWide,
)
from graph_entra.telling import diagnosis
from graph_entra.telling.diagnosis import ENTRA, ENTRA_OTHER, GRAPH, GRAPH_REFUSED, LICENCE_CODE, Advice, advise


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
    assert not (advice.fatal and advice.passes), "what passes by itself stops no connector"


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (7000215, "Value"),
        (7000222, "expired"),
        (700016, "client_id"),
        (7000112, "disabled"),
        (90002, "tenant_id"),
        (900023, "tenant_id"),
        (900382, "cloud"),
        (53003, "Conditional Access"),
        (500011, "cloud"),
    ],
)
def test_each_code_of_entras_has_its_own_words(code: int, word: str) -> None:
    """What Entra refuses is fatal, and the sentence names what to change."""
    advice = advise(CredentialRejected(code))
    assert advice is ENTRA[code]
    assert word in advice.cause + advice.remedy
    assert advice.fatal


@pytest.mark.parametrize("code", [0, 1, 50034, 99999999])
def test_an_unknown_code_of_entras_has_advice(code: int) -> None:
    """Where to look it up."""
    assert advise(CredentialRejected(code)) is ENTRA_OTHER
    assert "https://" in ENTRA_OTHER.remedy
    assert ENTRA_OTHER.fatal


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (403, "Authentication_MSGraphPermissionMissing", "AuditLog.Read.All"),
        (403, "Authorization_RequestDenied", "AuditLog.Read.All"),
        (403, LICENCE_CODE, "P1 or P2"),
        (403, "Something_New", "AuditLog.Read.All"),
        (403, "", "AuditLog.Read.All"),
        (401, "", "AuditLog.Read.All"),
        (400, "BadRequest", "sign_in_types"),
        (404, "ResourceNotFound", "sign_in_types"),
        (418, "", "sign_in_types"),
    ],
)
def test_graphs_refusals(status: int, code: str, word: str) -> None:
    """Known or not, a refusal has advice; none is fatal: a permission may be granted, a licence answer flaps."""
    advice = advise(GraphRefused(status, code, ""))
    assert word in advice.cause + advice.remedy
    assert not advice.fatal
    assert not advice.passes


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (IntakeRefused(401), diagnosis.INTAKE),
        (IntakeUnavailable("x"), diagnosis.INTAKE_DOWN),
        (LoginUnavailable("x"), diagnosis.LOGIN_DOWN),
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


def test_what_passes_by_itself_says_so() -> None:
    """Of the whole tree: a fault of the moment is a warning, never fatal; what a person must mend never 'passes'."""
    arguments = {CredentialRejected: (1,), GraphRefused: (400, "", ""), IntakeRefused: (401,)}
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GraphEntraError)]
    assert len(kinds) >= 14
    for kind in kinds:
        advice = advise(kind(*arguments.get(kind, ("text",))))
        if issubclass(kind, PassesByItself):
            assert advice.passes
        if issubclass(kind, PersonMustAct):
            assert not advice.passes


def test_the_unexpected_is_no_reason_to_stop() -> None:
    """A defect of ours is logged and tried again."""
    assert not diagnosis.UNEXPECTED.fatal
