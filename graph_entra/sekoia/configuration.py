"""What a person may enter in the forms, how it is tidied, and the sentence about what cannot be used.

What is pasted brings along what nobody sees: blanks, line breaks, a byte-order mark, characters of no width, quotes.
They are taken off. No value is ever quoted in a sentence but those of the fields in :data:`HARMLESS`: people paste a
secret into the wrong field, and the platform may hand one over under a name that is new.
"""

# No `from __future__ import annotations` here: the SDK reads the annotations as classes.
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from sekoia_automation.connector import DefaultConnectorConfiguration

# What a person may enter, for the sentence that names a wrong entry. Keys: module and connector configuration.
ALLOWED: Mapping[str, str] = {
    "tenant_id": "the Directory (tenant) ID of the app registration, letters, digits, dots and dashes, and not a word "
    "such as common",
    "client_id": "the Application (client) ID of the app registration, letters, digits and dashes",
    "client_secret": "the Value of a client secret of the app registration",
    "client_certificate": "the PEM of a private key and its certificate, which is uploaded to the app registration",
    "cloud": "one of global, us_gov, us_gov_dod, china",
    "intake_key": "the key of the Sekoia intake",
    "intake_server": "an address such as https://intake.sekoia.io, or nothing at all",
    "frequency": "a whole number of seconds from 1 to 3600",
    "start_time": "a whole number of hours from 0 to 720",
    "sign_in_types": "at least one of interactiveUser, nonInteractiveUser, servicePrincipal, managedIdentity",
    "interactive_detail": "standard or full",
    "forward_updates": "true or false",
}
# Fields with so few possible values that whatever stands there is not a secret: these values are quoted.
HARMLESS: Final = frozenset(
    {"cloud", "frequency", "start_time", "sign_in_types", "interactive_detail", "forward_updates"}
)
_QUOTED_CHARS: Final = 40

_SERVER: Final = re.compile(
    r"https?://(?:\[[0-9a-f:.]+\]|[0-9a-z_](?:[0-9a-z_.-]*[0-9a-z_])?)(?::\d{1,5})?(?:/[0-9a-z._~/-]*)?", re.IGNORECASE
)
_UNSEEN: Final = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060\u00ad"
_AROUND: Final = " \t\r\n\u00a0\"'`\u00b4\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
_NO_UNSEEN: Final = str.maketrans("", "", _UNSEEN)


class TidiedConfiguration(BaseModel):
    """A form in which null is the same as nothing: an optional field has its default."""

    @field_validator("*", mode="before")
    @classmethod
    def _default_for_null(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        return field.get_default(call_default_factory=True) if value is None and not field.is_required() else value


class EntraConnectorConfiguration(TidiedConfiguration, DefaultConnectorConfiguration):
    """What both connectors ask for.

    Attributes:
        intake_key: the intake's key; kept out of every dump.
        intake_server: the intake's address; None for the platform's own.
        frequency: seconds between two polls.
        start_time: hours of history that the first run reads.
        forward_updates: push a record again when Graph has materially changed it.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    # It is sent in a header, too.
    intake_key: str = Field(min_length=1, pattern=r"^[!-~]+$", repr=False, exclude=True)
    intake_server: str | None = None
    frequency: int = Field(default=60, ge=1, le=3600)
    start_time: int = Field(default=24, ge=0, le=720)
    forward_updates: bool = True

    @field_validator("intake_key", mode="before")
    @classmethod
    def _tidy_key(cls, value: Any) -> Any:
        return tidied(value)

    @field_validator("intake_server", mode="before")
    @classmethod
    def _tidy_server(cls, value: Any) -> Any:
        value = tidied(value)
        if not isinstance(value, str):
            return value
        if value and not _SERVER.fullmatch(value):
            raise ValueError("not the address of a server")
        # The SDK puts /batch behind it.
        return value.rstrip("/").removesuffix("/batch") or None


def tidied(value: Any, also: str = "") -> Any:
    """A text without what a paste brings along.

    Args:
        value: what was entered; what is no text is left alone.
        also: further characters to take off at both ends.
    """
    if not isinstance(value, str):
        return value
    return value.translate(_NO_UNSEEN).strip(_AROUND + also)


def configuration_sentence(error: BaseException) -> str:
    """One clear sentence for each entry that the configuration's models refuse.

    Args:
        error: what the SDK raised; pydantic's own error is in its context.
    """
    context: BaseException | None = error
    while context is not None and not isinstance(context, ValidationError):
        context = context.__context__
    if context is None:
        return f"The configuration cannot be read: {type(error).__name__}."
    return " ".join(dict.fromkeys(_sentences(context)))


def _sentences(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=True):
        if not fault["loc"]:  # its input is the whole configuration, secrets included
            yield "The configuration cannot be read: it is not a set of named values."
            continue
        name = str(fault["loc"][0])
        allowed = ALLOWED.get(name)
        if allowed is None:
            yield "The configuration holds a value under a name that this version does not know."
        elif fault["type"] == "missing":
            yield f"{name} is missing. It must be {allowed}."
        elif _is_blank(fault["input"]):
            yield f"{name} is empty. It must be {allowed}."
        elif name in HARMLESS:
            yield f"{name} is {repr(fault['input'])[:_QUOTED_CHARS]}. It must be {allowed}."
        else:
            yield f"{name} cannot be used. It must be {allowed}."


def _is_blank(value: Any) -> bool:
    return value in (None, []) or (isinstance(value, str) and not tidied(value))
