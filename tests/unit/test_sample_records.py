"""The records of tests/records have every form that Graph's documentation shows, and odder ones: each in their text."""

import ipaddress
import json
import re
from typing import Any

import pytest

from tests import records

_TIME = re.compile(r'"(?:createdDateTime|activityDateTime)":"[^".]*(?:\.(\d+))?(Z|\+00:00|)"')
_DOCUMENTATION = [
    ipaddress.ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "10.0.0.0/8")
]


def all_texts() -> list[str]:
    """Every record of every kind."""
    return [text.decode() for kind in records.STREAMS for text in records.texts(kind)]


def read(kind: str) -> list[dict[str, Any]]:
    """A kind's records, parsed."""
    return [json.loads(text) for text in records.texts(kind)]


def values(value: Any, member: str) -> list[Any]:
    """Everything that stands under a member's name, at whatever depth."""
    if isinstance(value, list):
        return [found for item in value for found in values(item, member)]
    if not isinstance(value, dict):
        return []
    own = [value[member]] if member in value else []
    return own + [found for item in value.values() for found in values(item, member)]


@pytest.mark.parametrize("kind", records.STREAMS)
def test_every_line_is_a_record_with_an_id(kind: str) -> None:
    """Each line is JSON, and none is empty."""
    assert all(record["id"] for record in read(kind))


def test_times_have_every_offset_and_every_number_of_digits() -> None:
    """Created times come without offset, with Z and with +00:00, and with 0 to 7 digits of a second."""
    forms = [match.groups() for text in all_texts() if (match := _TIME.search(text))]
    assert len(forms) == len(all_texts())
    assert {offset for _, offset in forms} == {"", "Z", "+00:00"}
    assert {len(digits or "") for digits, _ in forms} == set(range(8))
    assert any(len(digits or "") == 0 and offset == "" for digits, offset in forms)


@pytest.mark.parametrize("kind", ["interactive_v1", "directory_audits"])
def test_one_record_is_null_wherever_it_may_be_and_one_is_bare(kind: str) -> None:
    """Every member but the id and the time can be null, and can be missing."""
    kept = {"id", "createdDateTime", "activityDateTime"}
    members = [set(record) for record in read(kind)]
    stated = [{name for name, value in record.items() if value is not None} for record in read(kind)]
    assert any(len(names) > 10 and some <= kept for names, some in zip(members, stated, strict=True))
    assert any(len(names) == 2 for names in members)


@pytest.mark.parametrize(
    ("kind", "member", "wanted"),
    [
        ("interactive_beta", "authenticationProtocol", {"deviceCode", "authenticationTransfer", "oAuth2"}),
        ("interactive_beta", "originalTransferMethod", {"deviceCodeFlow", "authenticationTransfer", "none"}),
        ("interactive_beta", "signInTokenProtectionStatus", {"bound", "unbound", "unknownFutureValue"}),
        ("interactive_beta", "agentSubjectType", {"agentIDuser"}),
        ("non_interactive", "agentType", {"agenticApp"}),
        ("service_principal", "agentType", {"agentIdentityBlueprintPrincipal"}),
        ("interactive_v1", "conditionalAccessStatus", {"unknownFutureValue"}),
        ("interactive_v1", "riskState", {"aStateOfTomorrow"}),
        ("service_principal", "clientCredentialType", {"clientSecret", "federatedIdentityCredential"}),
        ("managed_identity", "msiType", {"systemAssigned", "userAssigned"}),
        ("directory_audits", "result", {"success", "failure", "timeout", "unknownFutureValue"}),
        (
            "directory_audits",
            "type",
            {"User", "Group", "Application", "App", "ServicePrincipal", "Device", "Role", "Policy", "Directory"},
        ),
    ],
)
def test_documented_and_unknown_values_are_there(kind: str, member: str, wanted: set[str]) -> None:
    """What an enumeration of Graph's can say, and what it may say tomorrow."""
    assert wanted <= {value for value in values(read(kind), member) if value is not None}


def test_audits_are_initiated_by_a_user_an_application_and_nobody() -> None:
    """The three kinds of actor, each with its other half null, missing, or the whole of it null."""
    kinds = set()
    for audit in read("directory_audits"):
        initiator = audit.get("initiatedBy") or {}
        kinds.add((bool(initiator.get("user")), bool(initiator.get("app")), len(initiator)))
    assert {(True, False, 2), (True, False, 1), (False, True, 2), (False, True, 1), (False, False, 2)} <= kinds
    assert (False, False, 0) in kinds


def test_audits_have_prefixed_ids_and_parts_that_share_one() -> None:
    """Ids begin with the name of a service, one of them with spaces; two parts of one audit share theirs."""
    ids = [audit["id"] for audit in read("directory_audits")]
    assert {"Directory", "SSGM", "Device Registration Service"} <= {name.split("_")[0] for name in ids}
    assert len(ids) == len(set(ids)) + 1


def test_one_audit_has_many_changes_of_json_within_json() -> None:
    """A huge modifiedProperties, whose values are JSON of their own."""
    changes = max(values(read("directory_audits"), "modifiedProperties"), key=lambda some: len(some or []))
    assert len(changes) > 100
    assert all(isinstance(json.loads(change["newValue"]), list) for change in changes)


@pytest.mark.parametrize(
    "form",
    [
        r"[:,\[]0\.10[,}\]]",  # a zero that a double forgets
        r"\d{30}",  # more digits than 64 bits hold
        r"0\.\d{40}",  # more digits than a double holds
        r"1\.50E\+3",
        r":-0\.0",
        r":\[\]",
        r":\{\}",
        r"\\u00eb",
        r"\\ud83e\\udd8a",
        r"\\/",
        r"会計",
        r'"x_\w+":',
        r"#ext#",
    ],
)
def test_texts_have_forms_that_encoding_again_would_lose(form: str) -> None:
    """Digits, escapes, empty lists and members that no model knows."""
    assert re.search(form, "\n".join(all_texts()))


def test_nobody_and_nothing_real_is_named() -> None:
    """Addresses are of the ranges for documentation, people's domains of example.com."""
    for text in all_texts():
        for address in values(json.loads(text), "ipAddress"):
            if address and address[0].isdigit():
                assert any(ipaddress.ip_address(address) in network for network in _DOCUMENTATION), address
        for name in values(json.loads(text), "userPrincipalName"):
            assert not name or name.endswith(".example.com")
