"""The module: which tenant, which application, which cloud."""

# No `from __future__ import annotations` here: the SDK reads the annotation of `configuration` as a class.
import ctypes
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final

import sentry_sdk
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError, field_validator
from sekoia_automation.module import Module

from graph_entra.microsoft.clouds import CloudName

# What a person may enter, for the sentence that names a wrong entry. Keys: module and connector configuration.
ALLOWED: Mapping[str, str] = {
    "tenant_id": "the Directory (tenant) ID of the app registration, letters, digits, dots and dashes",
    "client_id": "the Application (client) ID of the app registration",
    "client_secret": "the Value of a client secret of the app registration",
    "cloud": "one of global, us_gov, us_gov_dod, china",
    "intake_key": "the key of the Sekoia intake",
    "intake_server": "an address such as https://intake.sekoia.io, or nothing at all",
    "frequency": "a whole number of seconds from 1 to 3600",
    "start_time": "a whole number of hours from 0 to 720",
    "sign_in_types": "at least one of interactiveUser, nonInteractiveUser, servicePrincipal, managedIdentity",
    "forward_updates": "true or false",
}

_M_ARENA_MAX: Final = -8  # <malloc.h>


class GraphEntraModuleConfiguration(BaseModel):
    """What the platform asks for once, for both connectors.

    Attributes:
        tenant_id: the directory (tenant) id.
        client_id: the application (client) id.
        client_secret: the secret's value. The platform sets it after construction; until then it is a placeholder.
        cloud: which of Microsoft's clouds the tenant is in.
    """

    model_config = ConfigDict(validate_assignment=True, str_strip_whitespace=True, hide_input_in_errors=True)

    # azure-identity raises a ValueError for any other character.
    tenant_id: Annotated[str, StringConstraints(min_length=1, pattern=r"^[0-9A-Za-z.-]+$")]
    client_id: Annotated[str, StringConstraints(min_length=1)]
    client_secret: SecretStr = SecretStr("")
    cloud: CloudName = Field(default="global")

    @field_validator("client_secret", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else value


class GraphEntraModule(Module):
    """Microsoft Entra ID through Microsoft Graph."""

    configuration: GraphEntraModuleConfiguration  # type: ignore[override]

    def __init__(self) -> None:
        # Before any thread starts: a page is fetched in one and parsed in another, and a heap for each keeps from the
        # others what it does not use itself, 60 MB with large records.
        with suppress(AttributeError, OSError, TypeError):  # not glibc
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
        super().__init__()

    def init_sentry(self) -> None:
        """As the SDK does, without the local variables of stack frames, which hold tokens, keys and the secret."""
        super().init_sentry()
        client = sentry_sdk.get_client()
        if client.is_active():
            client.options["include_local_variables"] = False

    def manifest_required_properties(self) -> list[str]:
        """None that the SDK should check: the model does, in our words, and secrets come later."""
        return []

    def missing(self) -> str | None:
        """The sentence about a secret that is not there; None if it is."""
        secret = self.configuration.client_secret.get_secret_value()
        if not secret:
            return f"client_secret is empty. It must be {ALLOWED['client_secret']}."
        if not secret.strip("*"):
            # What the platform writes in a secret's place until it hands the secret over.
            return "The platform did not hand over client_secret. Enter the secret's Value once more and save."
        return None


def configuration_sentence(error: BaseException) -> str:
    """One clear sentence for each entry that the configuration's models refuse.

    Args:
        error: what the SDK raised; pydantic's own error is in its context.
    """
    context: BaseException | None = error
    while context is not None and not isinstance(context, ValidationError):
        context = context.__context__
    if context is None:
        return f"The configuration cannot be read: {' '.join(str(error).split())}"
    return " ".join(dict.fromkeys(_sentences(context)))


def _sentences(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=True):
        if not fault["loc"]:  # its input is the whole configuration, secrets included
            yield "The configuration cannot be read: it is not a set of named values."
            continue
        name = str(fault["loc"][0])
        allowed = ALLOWED.get(name, fault["msg"])
        if fault["type"] == "missing":
            yield f"{name} is missing. It must be {allowed}."
        elif name in ("client_secret", "intake_key"):
            yield f"{name} cannot be used. It must be {allowed}."
        elif fault["input"] in (None, []) or not str(fault["input"]).strip():
            yield f"{name} is empty. It must be {allowed}."
        else:
            yield f"{name} is {fault['input']!r}. It must be {allowed}."
