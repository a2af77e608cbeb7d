"""The module: which tenant, which application, which cloud, and what the application proves itself with."""

# No `from __future__ import annotations` here: the SDK reads the annotation of `configuration` as a class.
import ctypes
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Final

import sentry_sdk
from pydantic import ConfigDict, Field, SecretStr, StringConstraints, field_validator
from sekoia_automation.module import Module

from graph_entra.clock import Clock, SystemClock
from graph_entra.microsoft.certificate import ClientCertificate, read_certificate
from graph_entra.microsoft.clouds import CloudName
from graph_entra.microsoft.login import ClientSecret
from graph_entra.sekoia.configuration import ALLOWED, TidiedConfiguration, tidied

_M_ARENA_MAX: Final = -8  # <malloc.h>
# Addresses of Entra's own that stand for no tenant (AADSTS50194).
_NO_TENANTS: Final = frozenset({"common", "organizations", "consumers", "adfs"})
_NOT_HANDED_OVER: Final[Mapping[str, str]] = {
    "client_secret": "The platform did not hand over client_secret. Enter the secret's Value once more and save.",
    "client_certificate": "The platform did not hand over client_certificate. Paste it and its key once more and save.",
}
_SECRETS: Final = ("client_secret", "client_certificate")


class GraphEntraModuleConfiguration(TidiedConfiguration):
    """What the platform asks for once, for both connectors.

    Attributes:
        tenant_id: the directory (tenant) id, or one of its domains.
        client_id: the application (client) id.
        client_secret: the secret's value. The platform sets it after construction; until then it is a placeholder.
        client_certificate: the PEM of a private key and its certificate; set after construction, too.
        cloud: which of Microsoft's clouds the tenant is in.
    """

    model_config = ConfigDict(validate_assignment=True, hide_input_in_errors=True)

    # azure-identity raises a ValueError for any other character.
    tenant_id: Annotated[str, StringConstraints(min_length=1, pattern=r"^[0-9A-Za-z.-]+$")]
    client_id: Annotated[str, StringConstraints(min_length=1, pattern=r"^[0-9A-Za-z-]+$")]
    client_secret: SecretStr = SecretStr("")
    client_certificate: SecretStr = SecretStr("")
    cloud: CloudName = Field(default="global")

    @field_validator("tenant_id", "client_id", mode="before")
    @classmethod
    def _tidy_id(cls, value: Any) -> Any:
        return tidied(value, also="{}()<>")

    @field_validator("tenant_id")
    @classmethod
    def _is_a_tenant(cls, value: str) -> str:
        if value.lower() in _NO_TENANTS:
            raise ValueError("not a tenant")
        return value

    @field_validator("client_secret", "client_certificate", "cloud", mode="before")
    @classmethod
    def _tidy(cls, value: Any) -> Any:
        return tidied(value)


class GraphEntraModule(Module):
    """Microsoft Entra ID through Microsoft Graph."""

    configuration: GraphEntraModuleConfiguration  # type: ignore[override]
    # By which a certificate has ended; whoever runs the module in another time gives it another.
    clock: Clock = SystemClock()

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

    def set_secrets(self, secrets: Mapping[str, Any]) -> None:
        """As the SDK does, for the secrets that the form knows: another one is no reason to stop."""
        super().set_secrets({name: secrets[name] for name in _SECRETS if name in secrets})

    def missing(self) -> str | None:
        """The sentence about what the application cannot prove itself with; None if it can."""
        entered = self._entered()
        if "client_certificate" in entered:
            read = read_certificate(entered["client_certificate"], self.clock.time())
            return read if isinstance(read, str) else None
        if "client_secret" in entered:
            return _secret_fault(entered["client_secret"])
        for name in _SECRETS:
            # What the platform writes in a secret's place until it hands the secret over.
            if getattr(self.configuration, name).get_secret_value():
                return _NOT_HANDED_OVER[name]
        return (
            f"client_secret is empty. Enter {ALLOWED['client_secret']}; or, as client_certificate, "
            f"{ALLOWED['client_certificate']}."
        )

    def credential(self) -> ClientSecret | ClientCertificate:
        """What the application proves itself with: the certificate, where both were entered.

        Raises:
            ValueError: there is nothing to use; :meth:`missing` says what to do.
        """
        entered = self._entered()
        if "client_certificate" in entered:
            read = read_certificate(entered["client_certificate"], self.clock.time())
            if isinstance(read, str):
                raise ValueError(read)
            return read
        if "client_secret" not in entered:
            raise ValueError("there is neither a client secret nor a certificate")
        return ClientSecret(entered["client_secret"])

    def credential_note(self) -> str | None:
        """The line about a secret that is there and not used; None if there is none."""
        if len(self._entered()) < len(_SECRETS):
            return None
        return (
            "Both client_secret and client_certificate are there: the certificate is used, and the secret is not. Once "
            "records flow, the secret can be taken out of the form and deleted in the app registration."
        )

    def _entered(self) -> dict[str, SecretStr]:
        """The secrets that are there: neither empty nor the platform's placeholder."""
        secrets = {name: getattr(self.configuration, name) for name in _SECRETS}
        return {name: secret for name, secret in secrets.items() if secret.get_secret_value().strip("*")}


def _secret_fault(secret: SecretStr) -> str | None:
    if "BEGIN" in secret.get_secret_value() and "-----" in secret.get_secret_value():
        return "client_secret holds a key or a certificate. Paste it as client_certificate, and empty client_secret."
    return None
