"""Both intake formats: nothing raises, nobody is lost, nothing that the catalogue's format fills is missing."""

import json
import struct
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from tests import records
from tests.emulator.records import one
from tests.formats import ECS, FOLDER, FORMATS, Count, fields, load, parse
from tests.formats.filled_fields import connector_of, with_table
from tests.formats.language import is_ip_address
from tests.formats.smart_descriptions import describe

ROOT = FOLDER.parent
SAMPLES = [
    pytest.param(kind, text, id=f"{kind}-{n}") for kind in records.STREAMS for n, text in enumerate(records.texts(kind))
]
STREAMS = sorted(set(records.STREAMS.values()))
FIXTURES = sorted(FOLDER.glob("*/tests/*.json"))
PROPERTIES = "azure.entraid.properties."


def at(record: Any, path: str) -> Any:
    """Returns what is at a dotted path of a record, None if nothing is."""
    for member in path.split("."):
        record = record.get(member) if isinstance(record, dict) else None
    return record


ACTORS = (
    "userId",
    "userPrincipalName",
    "servicePrincipalId",
    "appId",
    "initiatedBy.user.id",
    "initiatedBy.user.userPrincipalName",
    "initiatedBy.app.servicePrincipalId",
    "initiatedBy.app.appId",
)


def has_actor(record: dict[str, Any]) -> bool:
    """Whether a record states who did it: a user, a service principal, an application."""
    return any(at(record, path) for path in ACTORS)


def seen(kind: str, text: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns a sample's members, and the fields of its event."""
    return json.loads(text), fields(parse(connector_of(kind), text))


@pytest.mark.parametrize(("kind", "text"), SAMPLES)
def test_a_sample_gets_an_actor_an_outcome_and_a_category(kind: str, text: bytes) -> None:
    """Whoever is stated is in user.*; nothing raises; what every event must say, it says."""
    record, flat = seen(kind, text)
    assert bool(flat.get("user.id") or flat.get("user.name")) is has_actor(record)
    assert flat["event.outcome"] in ("success", "failure", "unknown")
    assert flat.get("action.outcome", "unknown") == flat["event.outcome"]
    assert flat["event.category"] == (["iam"] if kind == "directory_audits" else ["authentication"])
    assert flat["event.type"] in (["start"], ["creation"], ["deletion"], ["change"], ["info"])
    assert flat["event.id"] == flat[PROPERTIES + "id"] == record["id"]
    assert flat["@timestamp"][:19] == (record.get("createdDateTime") or record["activityDateTime"])[:19]


@pytest.mark.parametrize("stream", STREAMS)
def test_every_record_of_the_emulator_gets_an_actor_and_a_sentence(stream: str) -> None:
    """`make run` counts on it: n of n parsed with an actor, n with an outcome."""
    connector = "graph_entra_audits" if stream == "directoryAudits" else "graph_entra_signins"
    for seed in range(60):
        flat = fields(parse(connector, orjson.dumps(one(stream, datetime(2026, 3, 2, tzinfo=UTC), seed=seed))))
        assert flat["user.id"]
        assert flat["event.outcome"]
        assert describe(load(connector).descriptions, flat)


def test_events_are_counted_with_their_actor_and_outcome() -> None:
    """What `make run` says at its end; a record that is no JSON is not parsed, and the count goes on."""
    count = Count()
    for kind in records.STREAMS:
        for text in records.texts(kind):
            count.add(connector_of(kind), text)
    count.add("graph_entra_signins", b"not a record")
    flats = [seen(kind, text)[1] for kind in records.STREAMS for text in records.texts(kind)]
    assert (count.parsed, count.actors) == (len(flats), sum("user.id" in flat or "user.name" in flat for flat in flats))
    assert count.outcomes == sum(flat["event.outcome"] != "unknown" for flat in flats)
    assert count.raised


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a record, members of members and of lists included."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in steps:
        yield (*path, step)
        yield from places(item, (*path, step))


def without(parent: Any, step: Any) -> None:
    """Takes a member away."""
    del parent[step]


def with_value(value: Any) -> Callable[[Any, Any], None]:
    """Returns a change to another value."""
    return lambda parent, step: parent.__setitem__(step, value)


@pytest.mark.parametrize("change", [without, *map(with_value, (None, "aValueOfTomorrow", {}, [None]))])
@pytest.mark.parametrize("kind", records.STREAMS)
def test_nothing_raises_whatever_is_missing_null_or_of_another_kind(
    kind: str, change: Callable[[Any, Any], None]
) -> None:
    """Each place of the fullest sample of each kind is changed in turn; its time stays one, or goes."""
    connector = connector_of(kind)
    fullest = json.loads(max((text for text in records.texts(kind) if len(text) < 9000), key=len))
    for *parents, last in list(places(fullest)):
        changed = parent = deepcopy(fullest)
        for step in parents:
            parent = parent[step]
        change(parent, last)
        time = changed.get("createdDateTime") or changed.get("activityDateTime") or ""
        if time != "aValueOfTomorrow":
            assert load(connector).parse(json.dumps(changed)).raised == [], (parents, last)


# What the catalogue's format (a9b9f7be-a036-4e10-a407-53bc3b8308b4) fills, and from which member of a record.
CATALOGUE_SIGN_INS = {
    "event.code": "status.errorCode",
    "event.reason": "status.additionalDetails",
    "event.provider": "resourceDisplayName",
    "error.message": "status.failureReason",
    "trace.id": "correlationId",
    "user.id": "userId",
    "user.name": "userDisplayName",
    "user.email": "userPrincipalName",
    "source.ip": "ipAddress",
    "source.geo.city_name": "location.city",
    "source.geo.region_name": "location.state",
    "source.geo.country_iso_code": "location.countryOrRegion",
    "source.geo.location.lat": "location.geoCoordinates.latitude",
    "source.geo.location.lon": "location.geoCoordinates.longitude",
    "host.id": "deviceDetail.deviceId",
    "host.name": "deviceDetail.displayName",
    "host.os.name": "deviceDetail.operatingSystem",
    "user_agent.original": "deviceDetail.browser",
    "service.id": "appId",
    "service.name": "appDisplayName",
    **{
        PROPERTIES + member: member
        for member in (
            "clientAppUsed",
            "conditionalAccessStatus",
            "isInteractive",
            "riskDetail",
            "riskLevelAggregated",
            "riskLevelDuringSignIn",
            "riskState",
            "riskEventTypes",
            "resourceId",
            "appliedConditionalAccessPolicies",
        )
    },
}
CATALOGUE_AUDITS = {
    "event.action": "activityDisplayName",
    "event.dataset": "category",
    "event.provider": "loggedByService",
    "trace.id": "correlationId",
    "user.id": "initiatedBy.user.id",
    "user.name": "initiatedBy.user.displayName",
    "user.email": "initiatedBy.user.userPrincipalName",
    "source.ip": "initiatedBy.user.ipAddress",
    PROPERTIES + "operationType": "operationType",
}


def differs_on_purpose(field: str, record: dict[str, Any], value: Any) -> bool:
    """The README's table: where the catalogue's format is plainly wrong."""
    return (
        (field == "source.ip" and not is_ip_address(value))
        or (field == "user_agent.original" and bool(record.get("userAgent")))
        or (field.startswith("source.geo.location") and not any(list(at(record, "location.geoCoordinates").values())))
    )


def as_field(field: str, value: Any) -> Any:
    """What a member's value is in a field: lists and geo points stay what they are, all else is a text."""
    if isinstance(value, list) or field.startswith("source.geo.location"):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(("kind", "text"), SAMPLES)
def test_what_the_catalogues_format_fills_stays_filled(kind: str, text: bytes) -> None:
    """The same name with the same value, but for what the README names."""
    record, flat = seen(kind, text)
    for field, member in (CATALOGUE_AUDITS if kind == "directory_audits" else CATALOGUE_SIGN_INS).items():
        value = at(record, member)
        if value in (None, "") or differs_on_purpose(field, record, value):
            continue
        assert flat[field] == as_field(field, value), field
    assert (flat["cloud.provider"], flat["cloud.service.name"]) == ("Azure", "Azure EntraId")


@pytest.mark.parametrize(
    ("kind", "number", "wanted"),
    [
        ("interactive_v1", 0, {"event.action": "user-sign-in", "event.outcome": "success"}),
        ("interactive_v1", 0, {PROPERTIES + "signInEventTypes": ["interactiveUser"]}),
        ("interactive_v1", 2, {"event.outcome": "failure", "error.code": "50126"}),
        ("interactive_v1", 2, {"event.reason": "The user name or the password is wrong."}),
        ("interactive_v1", 4, {PROPERTIES + "failedConditionalAccessPolicies": ["Länder sperren"]}),
        ("interactive_v1", 4, {PROPERTIES + "riskEventTypes_v2": ["unfamiliarFeatures", "anonymizedIPAddress"]}),
        ("interactive_v1", 4, {"source.geo.location.lat": None, "source.geo.city_name": None}),
        ("interactive_v1", 6, {"user.id": None, "user.name": "who.is.this@contoso.example.com"}),
        ("interactive_beta", 0, {PROPERTIES + "authenticationMethods": ["Password", "Mobile app notification"]}),
        ("interactive_beta", 0, {PROPERTIES + "authenticationRequirement": "multiFactorAuthentication"}),
        ("interactive_beta", 0, {PROPERTIES + "sessionId": "5e551010-0002-4000-8000-000000000001"}),
        ("interactive_beta", 0, {PROPERTIES + "signInTokenProtectionStatus": "bound", "source.as.number": 64496}),
        ("interactive_beta", 1, {PROPERTIES + "authenticationProtocol": "deviceCode"}),
        ("interactive_beta", 1, {PROPERTIES + "originalTransferMethod": "deviceCodeFlow"}),
        ("interactive_beta", 1, {PROPERTIES + "riskEventTypes": ["suspiciousAuthTokenRequest", "unfamiliarFeatures"]}),
        ("interactive_beta", 1, {"user_agent.original": "python-requests/2.32.5"}),
        ("interactive_beta", 3, {"user.name": "Lucía Fernández", PROPERTIES + "agent.agentSubjectType": "agentIDuser"}),
        ("non_interactive", 0, {"event.action": "non-interactive-user-sign-in", "event.code": "0"}),
        ("non_interactive", 3, {"event.outcome": "unknown", "source.ip": None}),
        ("service_principal", 0, {"event.action": "service-principal-sign-in", "service.name": "nightly-export"}),
        ("service_principal", 0, {"user.id": "5e4b1ce0-0004-4000-8000-000000000001", "user.name": "nightly-export"}),
        ("service_principal", 1, {"source.geo.location.lon": None, "event.outcome": "failure"}),
        ("managed_identity", 0, {"event.action": "managed-identity-sign-in", "source.as.number": None}),
        ("managed_identity", 2, {"user.id": "c0ffee05-0000-4000-8000-00000000aa03", "user.name": None}),
        ("directory_audits", 0, {"user.email": "helena.brandt@contoso.example.com"}),
        ("directory_audits", 0, {"user.target.email": "ravi.patel@contoso.example.com", "event.type": ["change"]}),
        ("directory_audits", 1, {"user.target.group.name": "Finance Réviseurs"}),
        ("directory_audits", 2, {"user.target.group.name": "GS_DYN_LAPTOPS", "user.name": "Group Sync"}),
        ("directory_audits", 3, {PROPERTIES + "roleName": "Global Administrator"}),
        ("directory_audits", 3, {PROPERTIES + "targetResources.type": ["User", "Role"]}),
        (
            "directory_audits",
            4,
            {"host.name": "KIOSK-31", "event.type": ["deletion"], "user.name": "Device Registration Service"},
        ),
        (
            "directory_audits",
            4,
            {PROPERTIES + "initiatorType": "application", "user.id": "c0ffee06-0000-4000-8000-00000000aa02"},
        ),
        (
            "directory_audits",
            6,
            {"user_agent.original": "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"},
        ),
        ("directory_audits", 6, {"service.name": "Payroll API", "service.id": "c0ffee06-0000-4000-8000-0000000000e1"}),
        ("directory_audits", 7, {"event.reason": "Microsoft.Online.Security.UserConsentBlockedForRiskyAppsException"}),
        ("directory_audits", 10, {"event.outcome": "failure", PROPERTIES + "result": "timeout", "user.id": None}),
        ("directory_audits", 10, {PROPERTIES + "targetResources.displayName": ["Security Reader", "", "contoso"]}),
        ("directory_audits", 10, {PROPERTIES + "modifiedPropertyNames": ["RoleDefinitionOriginId"]}),
        ("directory_audits", 11, {"event.outcome": "unknown", PROPERTIES + "initiatorType": None}),
        ("directory_audits", 14, {"event.type": ["creation"], "user.target.name": "Łukasz Żółć"}),
    ],
)
def test_what_the_catalogues_format_never_mapped_is_there(kind: str, number: int, wanted: dict[str, Any]) -> None:
    """Some values of each field that is new, of each type; None: the field is not set."""
    _, flat = seen(kind, records.texts(kind)[number])
    assert {name: flat.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("kind", "number", "members", "actor"),
    [
        # Whatever stands in a user's members, an application's own sign-in is the application's.
        ("service_principal", 0, {"userId": "00000000-0000-0000-0000-000000000000"}, "nightly-export"),
        ("managed_identity", 1, {"userId": "5e5e", "userDisplayName": "Somebody"}, "func-orders"),
        # A user's id and an agent's name are two; an unknown type of sign-in by an application has its actor too.
        ("non_interactive", 2, {"userDisplayName": None, "userPrincipalName": None}, None),
        ("service_principal", 1, {"signInEventTypes": ["aTypeOfTomorrow"]}, "Build Pipeline"),
        ("directory_audits", 4, {"initiatedBy": {"user": {"id": "5e5e"}, "app": {"displayName": "App"}}}, None),
        ("directory_audits", 4, {"initiatedBy": {"user": {"id": ""}, "app": {"displayName": "App"}}}, "App"),
    ],
)
def test_the_id_and_the_name_are_of_one_actor(
    kind: str, number: int, members: dict[str, Any], actor: str | None
) -> None:
    """user.name never belongs to somebody else than user.id."""
    record = json.loads(records.texts(kind)[number]) | members
    flat = fields(parse(connector_of(kind), json.dumps(record)))
    assert flat.get("user.name") == actor
    if "userId" in members:
        assert flat["user.id"] == record["servicePrincipalId"]


def test_every_target_and_every_change_of_an_audit_is_there() -> None:
    """Old and new value of each, of whichever target, as Graph states them."""
    for text in records.texts("directory_audits"):
        record, flat = seen("directory_audits", text)
        targets = [target for target in record.get("targetResources") or [] if target]
        changes = [change for target in targets for change in target["modifiedProperties"] or [] if change]
        assert flat.get(PROPERTIES + "targetResources.id", []) == [target["id"] or "" for target in targets]
        assert flat.get(PROPERTIES + "modifiedProperties", []) == changes


@pytest.mark.parametrize(
    ("kind", "number", "sentence"),
    [
        ("interactive_v1", 0, "Noor van Dijk signed in to Payroll Portal from 192.0.2.17, Utrecht"),
        ("interactive_v1", 1, "A sign-in whose result is not stated"),
        (
            "interactive_v1",
            2,
            "Ji-woo Han failed to sign in to Azure Portal from 198.51.100.200: The user name or the password is wrong.",
        ),
        (
            "interactive_beta",
            1,
            "Ingrid Solheim signed in to Microsoft Authentication Broker from 198.51.100.41 with a device code",
        ),
        ("non_interactive", 0, "Microsoft Office renewed access to Microsoft Graph for Noor van Dijk from 192.0.2.17"),
        ("service_principal", 0, "The application nightly-export signed in to Microsoft Graph from 192.0.2.80"),
        ("managed_identity", 0, "The managed identity vm-backup-07 signed in to Azure Storage"),
        ("managed_identity", 2, "A managed identity signed in"),
        ("directory_audits", 0, "Helena Brandt changed the user Ravi Patel"),
        ("directory_audits", 2, "The application Group Sync removed Sota Kimura from the group GS_DYN_LAPTOPS"),
        ("directory_audits", 3, "Priya Raman gave Tomás Núñez the role Global Administrator"),
        ("directory_audits", 8, "Priya Raman: Update conditional access policy, target Require MFA for all"),
        ("directory_audits", 12, "An operation of which no more is stated"),
    ],
)
def test_a_smart_description_reads_like_a_sentence(kind: str, number: int, sentence: str) -> None:
    """One for each type, chosen as the platform chooses."""
    _, flat = seen(kind, records.texts(kind)[number])
    assert describe(load(connector_of(kind)).descriptions, flat) == sentence


@pytest.mark.parametrize(("kind", "text"), SAMPLES)
def test_every_sample_has_a_smart_description(kind: str, text: bytes) -> None:
    """Whatever is missing, some sentence fits, and names nothing that is missing."""
    assert describe(load(connector_of(kind)).descriptions, seen(kind, text)[1])


# What the platform adds to an event by itself: the public repository's tests see it, the parser does not make it.
ADDED = (
    "message",
    "related.",
    "source.address",
    "user_agent.device.",
    "user_agent.name",
    "user_agent.os.",
    "user_agent.version",
)


def in_any_order(value: Any) -> Any:
    """Lists without their order, as the public repository compares them and as its linter writes them."""
    return sorted(value, key=repr) if isinstance(value, list) else value


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_a_formats_own_test_holds(path: Path) -> None:
    """The tests in the public repository's form give what they expect."""
    connector = next(name for name, folder in FORMATS.items() if folder == path.parts[-3])
    case = json.loads(path.read_text())
    expected = {name: value for name, value in fields(case["expected"]).items() if not name.startswith(ADDED)}
    flat = fields(parse(connector, case["input"]["message"]))
    assert {name: in_any_order(value) for name, value in flat.items()} == {
        name: in_any_order(value) for name, value in expected.items()
    }
    assert case["input"]["sekoiaio"]["intake"]["dialect_uuid"] == load(connector).manifest["uuid"]


@pytest.mark.parametrize("connector", FORMATS)
def test_the_manifest_leads_to_this_modules_connector(connector: str) -> None:
    """The intake creation form finds the connector by these identifiers; the format's own is nobody else's."""
    manifest = load(connector).manifest
    form = next(
        form
        for path in ROOT.glob("connector_*.json")
        if (form := json.loads(path.read_text()))["docker_parameters"] == connector
    )
    module = json.loads((ROOT / "manifest.json").read_text())
    assert manifest["automation_module_uuid"] == module["uuid"]
    assert manifest["automation_connector_uuid"] == form["uuid"]
    assert UUID(manifest["uuid"]).version == 4
    assert manifest["slug"] == load(connector).folder.name == load(connector).parser.source["name"]
    assert len({load(one).manifest["uuid"] for one in FORMATS} | {"a9b9f7be-a036-4e10-a407-53bc3b8308b4"}) == 3


@pytest.mark.parametrize("connector", FORMATS)
def test_the_taxonomy_has_what_the_parser_sets_and_no_more(connector: str) -> None:
    """A field outside the taxonomy would be dropped; each has a description."""
    form = load(connector)
    set_by_parser = {
        name for stage in form.parser.source["stages"].values() for action in stage["actions"] for name in action["set"]
    }
    assert set_by_parser - set(ECS) == set(form.taxonomy)
    assert all(name == field["name"] and field["description"] for name, field in form.taxonomy.items())
    conditions = {c["field"] for one in form.descriptions for c in one["conditions"]}
    assert conditions <= set_by_parser


@pytest.mark.parametrize("connector", FORMATS)
def test_the_logo_is_a_small_transparent_square(connector: str) -> None:
    """A PNG with an alpha channel, of less than 50 KiB."""
    image = (load(connector).folder / "_meta" / "logo.png").read_bytes()
    width, height, _, colour = struct.unpack(">IIBB", image[16:26])
    assert image.startswith(b"\x89PNG")
    assert width == height
    assert colour == 6
    assert len(image) < 50 * 1024


@pytest.mark.parametrize("connector", FORMATS)
def test_the_readmes_table_of_filled_fields_is_current(connector: str) -> None:
    """If it is not: python -m tests.formats.filled_fields."""
    readme = (load(connector).folder / "README.md").read_text()
    assert readme == with_table(readme, connector)
