"""What a person may get wrong in the two forms, and what is said about it; and that no secret is ever shown."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from sekoia_automation.exceptions import ModuleConfigurationError

from graph_entra.microsoft.clouds import CLOUDS
from graph_entra.microsoft.login import ClientSecret
from graph_entra.sekoia.assembly import EntraConnector
from graph_entra.sekoia.configuration import ALLOWED, HARMLESS, configuration_sentence
from graph_entra.sekoia.connectors import EntraAuditsConnector, EntraSignInsConnector
from graph_entra.sekoia.module import GraphEntraModule, GraphEntraModuleConfiguration

ROOT = Path(__file__).parents[2]
SECRET = "hush~hush"
APPLICATION = {"tenant_id": "8f0c2a31-5b7e-4d19-9c64-0e7d1f3b2a58", "client_id": "c1"}
CONNECTOR = {"intake_key": "key-of-the-intake"}

Make = Callable[..., EntraConnector]


@pytest.fixture(autouse=True)
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The working directory that the platform starts a module in; and signals as they were."""
    monkeypatch.chdir(ROOT)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Make:
    """Make a connector whose forms were filled in so: members to change, or a text instead of the whole."""

    def connector(
        application: dict[str, Any] | str = {},  # noqa: B006 - not changed
        form: dict[str, Any] | str = {},  # noqa: B006 - not changed
        kind: type[EntraConnector] = EntraSignInsConnector,
    ) -> EntraConnector:
        for name, base, value in (("MODULE", APPLICATION, application), ("CONNECTOR", CONNECTOR, form)):
            filled = value if isinstance(value, str) else json.dumps({**base, **value})
            monkeypatch.setenv(f"{name}_CONFIGURATION", filled)
        return kind(GraphEntraModule(), tmp_path)

    return connector


BAD_APPLICATION: list[tuple[dict[str, Any] | str, str]] = [
    ({"tenant_id": ""}, "tenant_id is empty"),
    ({"tenant_id": "   "}, "tenant_id is empty"),
    ({"tenant_id": None}, "tenant_id is empty"),
    ({"tenant_id": "{}"}, "tenant_id is empty"),
    ({"tenant_id": "a/b"}, "tenant_id cannot be used"),
    ({"tenant_id": "my tenant"}, "tenant_id cannot be used"),
    ({"tenant_id": "Common"}, "tenant_id cannot be used"),
    ({"client_id": ""}, "client_id is empty"),
    ({"client_id": " \t\ufeff"}, "client_id is empty"),
    ({"client_id": 5}, "client_id cannot be used"),
    ({"client_id": SECRET}, "client_id cannot be used"),
    ({"cloud": "mars"}, "cloud is 'mars'"),
    ({"cloud": ""}, "cloud is empty"),
    ({"client_secret": 5}, "client_secret cannot be used"),
    ({"client_certificate": ["x"]}, "client_certificate cannot be used"),
    ('{"client_id": "c"}', "tenant_id is missing"),
    ('{"tenant_id": "t"}', "client_id is missing"),
    ("[]", "The configuration cannot be read"),
    ('"text"', "The configuration cannot be read"),
    ("null", "The configuration cannot be read"),
    ("{", "The configuration cannot be read"),
]
BAD_FORM: list[tuple[dict[str, Any] | str, str]] = [
    ({"intake_key": ""}, "intake_key is empty"),
    ({"intake_key": " \ufeff "}, "intake_key is empty"),
    ({"intake_key": None}, "intake_key is empty"),
    ({"intake_key": 5}, "intake_key cannot be used"),
    ({"intake_key": "two words"}, "intake_key cannot be used"),
    ({"intake_key": "cl\u00e9"}, "intake_key cannot be used"),
    ("{}", "intake_key is missing"),
    ({"frequency": 0}, "frequency is 0"),
    ({"frequency": -1}, "frequency is -1"),
    ({"frequency": 3601}, "frequency is 3601"),
    ({"frequency": 1.5}, "frequency is 1.5"),
    ({"frequency": "often"}, "frequency is 'often'"),
    ({"start_time": 800}, "start_time is 800"),
    ({"start_time": -1}, "start_time is -1"),
    ({"sign_in_types": []}, "sign_in_types is empty"),
    ({"sign_in_types": ["interactiveUser", "robots"]}, "sign_in_types is 'robots'"),
    ({"sign_in_types": "interactiveUser"}, "sign_in_types is 'interactiveUser'"),
    ({"forward_updates": "maybe"}, "forward_updates is 'maybe'"),
    ({"intake_server": 5}, "intake_server cannot be used"),
    ({"intake_server": "FRA1"}, "intake_server cannot be used"),
    ({"intake_server": "intake.sekoia.io"}, "intake_server cannot be used"),
    ({"intake_server": "ftp://intake.sekoia.io"}, "intake_server cannot be used"),
    ({"intake_server": "https://"}, "intake_server cannot be used"),
    ({"intake_server": "https://intake.sekoia.io:port"}, "intake_server cannot be used"),
    ({"intake_server": "https://user:hush@intake.sekoia.io"}, "intake_server cannot be used"),
    ({"intake_server": "https://intake.sekoia.io/?key=hush"}, "intake_server cannot be used"),
    ({"intake_server": "https://intake sekoia.io"}, "intake_server cannot be used"),
    ("[]", "The configuration cannot be read"),
    ('"key-of-the-intake"', "The configuration cannot be read"),
    ("null", "The configuration cannot be read"),
    ("{", "The configuration cannot be read"),
]


def check_sentence(sentence: str | None, beginning: str) -> None:
    """One sentence that names the field and what is allowed."""
    assert sentence is not None
    assert sentence.startswith(beginning)
    assert "\n" not in sentence
    assert "pydantic" not in sentence
    field = beginning.split()[0]
    if field in ALLOWED:
        assert sentence.endswith(f" It must be {ALLOWED[field]}.")
        assert sentence.count("It must be") == 1


@pytest.mark.parametrize(("entry", "beginning"), BAD_APPLICATION, ids=str)
def test_a_bad_account_is_one_clear_sentence(make: Make, entry: dict[str, Any] | str, beginning: str) -> None:
    """The module's own form."""
    check_sentence(make(application=entry)._configuration_fault(), beginning)


@pytest.mark.parametrize(("entry", "beginning"), BAD_FORM, ids=str)
def test_a_bad_intake_is_one_clear_sentence(make: Make, entry: dict[str, Any] | str, beginning: str) -> None:
    """The connectors' form."""
    check_sentence(make(form=entry)._configuration_fault(), beginning)


def test_two_faults_are_two_sentences(make: Make) -> None:
    """Both can be mended at once."""
    sentence = make(form={"frequency": 0, "start_time": 800})._configuration_fault()
    assert sentence == (
        f"frequency is 0. It must be {ALLOWED['frequency']}. start_time is 800. It must be {ALLOWED['start_time']}."
    )


def test_two_bad_types_are_each_named(make: Make) -> None:
    """And the same sentence twice is said once."""
    sentence = make(form={"sign_in_types": ["x", "y", "x"]})._configuration_fault()
    assert sentence is not None
    assert sentence.count("sign_in_types is") == 2


def test_every_field_has_words() -> None:
    """A field that is added is added here too."""
    fields = {
        *GraphEntraModuleConfiguration.model_fields,
        *EntraSignInsConnector.__annotations__["configuration"].model_fields,
        *EntraAuditsConnector.__annotations__["configuration"].model_fields,
    }
    assert set(ALLOWED) == fields
    assert fields - HARMLESS == {
        "tenant_id",
        "client_id",
        "client_secret",
        "client_certificate",
        "intake_key",
        "intake_server",
    }


@pytest.mark.parametrize("kind", [EntraSignInsConnector, EntraAuditsConnector])
def test_the_least_that_can_be_entered(make: Make, kind: type[EntraConnector]) -> None:
    """Defaults are the contract's."""
    connector = make(kind=kind)
    assert connector._configuration_fault() is None
    form = connector.configuration
    assert (form.frequency, form.start_time, form.forward_updates, form.intake_server) == (60, 24, True, None)
    assert connector.module.configuration.cloud == "global"
    if isinstance(connector, EntraSignInsConnector):
        assert len(connector.configuration.sign_in_types) == 4


@pytest.mark.parametrize(
    "form",
    [
        {"frequency": 1, "start_time": 0},
        {"frequency": 3600, "start_time": 720},
        {"frequency": "60"},
        {"sign_in_types": ["managedIdentity"]},
        {"intake_server": "https://intake.sekoia.io"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_the_bounds_are_allowed(make: Make, form: dict[str, Any]) -> None:
    """From 1 to 3600 seconds, from 0 to 720 hours; what the form does not know is left alone."""
    assert make(form=form)._configuration_fault() is None


def test_blanks_around_an_entry_are_left_out(make: Make) -> None:
    """People paste them; an intake server of blanks is none."""
    connector = make({"tenant_id": " t.example "}, {"intake_key": " k\n", "intake_server": "  "})
    assert connector.module.configuration.tenant_id == "t.example"
    assert connector.configuration.intake_key == "k"
    assert connector.configuration.intake_server is None


PASTED = "8f0c2a31-5b7e-4d19-9c64-0e7d1f3b2a58"


AROUND = (
    "{}",
    "\ufeff{}",
    "\u200b{}\u200b",
    "'{}'",
    '"{}"',
    "\u201c{}\u201d",
    "{{{}}}",
    "\u00a0{}\r\n",
    ' "{{{}}}" ',
    "({})",
)


@pytest.mark.parametrize("around", AROUND)
def test_what_a_paste_brings_along_is_taken_off(make: Make, around: str) -> None:
    """Blanks, byte-order marks, characters of no width, quotes and braces are no part of an id, a key or a secret."""
    text = around.format(PASTED)
    connector = make(application={"tenant_id": text, "client_id": text})
    assert connector._configuration_fault() is None
    assert connector.module.configuration.tenant_id == PASTED
    assert connector.module.configuration.client_id == PASTED
    if "{{" in around or "(" in around:
        return
    connector = make(application={"client_secret": text}, form={"intake_key": text})
    assert connector.configuration.intake_key == PASTED
    credential = connector.module.credential()
    assert isinstance(credential, ClientSecret)
    assert credential.value.get_secret_value() == PASTED
    assert credential.looks_like_its_id


@pytest.mark.parametrize(
    ("entered", "used"),
    [
        ("'https://intake.sekoia.io'", "https://intake.sekoia.io"),
        ("https://intake.sekoia.io/", "https://intake.sekoia.io"),
        ("https://intake.sekoia.io/batch", "https://intake.sekoia.io"),
        ("https://relay.example:8443/sekoia/", "https://relay.example:8443/sekoia"),
        ("http://[::1]:5140", "http://[::1]:5140"),
        ("\ufeff", None),
        ('""', None),
        (None, None),
    ],
)
def test_the_address_of_the_intake(make: Make, entered: str | None, used: str | None) -> None:
    """A path is used, for a relay; the one that the SDK adds itself is not added twice."""
    connector = make(form={"intake_server": entered})
    assert connector._configuration_fault() is None
    assert connector.configuration.intake_server == used


def test_null_in_an_optional_field_is_its_default(make: Make) -> None:
    """A platform may store what was not filled in as null."""
    application = {"cloud": None, "client_secret": None, "client_certificate": None}
    names = ("frequency", "start_time", "forward_updates", "intake_server", "sign_in_types")
    connector = make(application, dict.fromkeys(names))
    assert connector._configuration_fault() is None
    assert connector.configuration.model_dump() == make().configuration.model_dump()
    assert connector.module.configuration.cloud == "global"


def test_a_secret_under_an_unknown_name_is_neither_shown_nor_a_reason_to_stop(make: Make) -> None:
    """The platform may hand over more than this version knows."""
    module = make().module
    module.set_secrets({"client_secret": SECRET, "private_key": "-----BEGIN PRIVATE KEY-----"})
    assert module.missing() is None
    with pytest.raises(ValueError, match="private_key") as raised:
        module.configuration.private_key = "-----BEGIN PRIVATE KEY-----"  # type: ignore[attr-defined]
    sentence = configuration_sentence(raised.value)
    assert "BEGIN" not in sentence
    assert sentence == "The configuration holds a value under a name that this version does not know."


def test_a_type_named_twice_is_one_stream(make: Make) -> None:
    """Two streams of one key would push everything twice."""
    connector = make(form={"sign_in_types": ["managedIdentity", "interactiveUser", "managedIdentity"]})
    assert [stream.key for stream in connector.streams(CLOUDS["global"])] == ["managedIdentity", "interactiveUser"]


# The secret


@pytest.mark.parametrize("placeholder", [{}, {"client_secret": ""}, {"client_secret": "********"}])
def test_the_platform_hands_the_secret_over_later(make: Make, placeholder: dict[str, str]) -> None:
    """At construction there is a placeholder, or nothing; ``set_secrets`` sets it by name."""
    connector = make(application=placeholder)
    assert connector._configuration_fault() is None
    missing = connector.module.missing()
    assert missing is not None
    assert "client_secret" in missing
    assert missing.endswith(".")
    connector.module.set_secrets({"client_secret": f" {SECRET}\n"})
    assert connector.module.configuration.client_secret.get_secret_value() == SECRET
    assert connector.module.missing() is None


@pytest.mark.parametrize("blank", ["", "   ", "\n"])
def test_a_blank_secret_is_missing(make: Make, blank: str) -> None:
    """Blanks sign nobody in."""
    module = make().module
    module.set_secrets({"client_secret": blank})
    assert "client_secret is empty" in (module.missing() or "")


@pytest.mark.parametrize("name", ["client_secret", "client_certificate"])
def test_the_secret_is_nowhere_to_be_seen(make: Make, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Not in repr, str, a dump, JSON, a format, the SDK's own list of secrets, or Sentry's contexts."""
    contexts: list[Any] = []
    monkeypatch.setattr(sentry_sdk, "set_context", lambda name, value: contexts.append((name, value)))
    module = make(application={name: SECRET}).module
    shown = module.configuration
    module.set_secrets({name: SECRET})
    assert contexts
    for text in (
        repr(shown),
        str(shown),
        f"{shown}",
        str(shown.model_dump()),
        str(shown.model_dump(mode="json")),
        shown.model_dump_json(),
        str(module.secrets),
        repr(contexts),
        json.dumps(contexts, default=str),
    ):
        assert SECRET not in text
    assert getattr(module.configuration, name).get_secret_value() == SECRET


def test_the_intakes_key_is_nowhere_to_be_seen(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens the intake to anybody: not in repr, a dump, or Sentry's contexts."""
    contexts: list[Any] = []
    monkeypatch.setattr(sentry_sdk, "set_context", lambda name, value: contexts.append((name, value)))
    form = make().configuration
    assert form.intake_key == CONNECTOR["intake_key"]
    assert contexts
    for text in (repr(form), str(form), str(form.model_dump()), form.model_dump_json(), repr(contexts)):
        assert CONNECTOR["intake_key"] not in text


@pytest.mark.parametrize("bad", [[SECRET], {"a": SECRET}, 5], ids=["list", "object", "number"])
def test_a_bad_secret_is_not_quoted(make: Make, bad: Any) -> None:
    """Neither in the sentence, nor in the exception behind it."""
    connector = make(application={"client_secret": bad})
    sentence = connector._configuration_fault()
    check_sentence(sentence, "client_secret cannot be used")
    assert SECRET not in str(sentence)
    with pytest.raises(ModuleConfigurationError) as raised:
        _ = connector.module.configuration
    assert SECRET not in str(raised.value)
    assert SECRET not in str(raised.value.__context__)


def test_a_whole_configuration_is_not_quoted(make: Make) -> None:
    """Where the whole is wrong, the secret is part of it."""
    for connector in (make(application=json.dumps([SECRET])), make(form=json.dumps(SECRET))):
        assert SECRET not in str(connector._configuration_fault())


def test_sentry_gets_no_local_variables(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold tokens, keys and the secret."""
    monkeypatch.setenv("SENTRY_DSN", "http://key@127.0.0.1:9/1")
    monkeypatch.setenv("ENVIRONMENT", "test")
    before = sentry_sdk.get_global_scope().client
    try:
        GraphEntraModule()
        assert sentry_sdk.get_client().is_active()
        assert sentry_sdk.get_client().options["include_local_variables"] is False
    finally:
        sentry_sdk.get_client().close(timeout=0)
        sentry_sdk.get_global_scope().set_client(before)


def test_a_configuration_that_was_set_is_checked() -> None:
    """The platform sets secrets by attribute: what is no text is refused there too."""
    configuration = GraphEntraModuleConfiguration(**APPLICATION)
    with pytest.raises(ValueError, match="client_secret"):
        configuration.client_secret = [SECRET]  # type: ignore[assignment]
