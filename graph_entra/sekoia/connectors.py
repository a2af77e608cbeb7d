"""The two connectors: what each asks for, and which streams that means."""

# No `from __future__ import annotations` here: the SDK reads the annotation of `configuration` as a class.
from typing import Literal

from pydantic import Field

from graph_entra.microsoft.clouds import Cloud
from graph_entra.sekoia.assembly import EntraConnector
from graph_entra.sekoia.configuration import EntraConnectorConfiguration
from graph_entra.streams import AUDITS, SIGN_IN_TYPES, SignInType, Stream, sign_in_stream


class EntraSignInsConfiguration(EntraConnectorConfiguration):
    """The sign-in logs' configuration.

    Attributes:
        sign_in_types: which kinds of sign-in to read; each is a stream of its own.
        interactive_detail: whether interactive sign-ins come from v1.0 or, with more members, from beta.
    """

    sign_in_types: list[SignInType] = Field(default=list(SIGN_IN_TYPES), min_length=1)
    interactive_detail: Literal["standard", "full"] = "standard"


class EntraSignInsConnector(EntraConnector):
    """Sign-in logs."""

    configuration: EntraSignInsConfiguration

    def streams(self, cloud: Cloud) -> list[Stream]:
        """One stream for each chosen type, the type named twice counted once."""
        kinds = dict.fromkeys(self.configuration.sign_in_types)
        full = self.configuration.interactive_detail == "full"
        return [sign_in_stream(kind, beta_only=cloud.beta_only, full=full) for kind in kinds]


class EntraAuditsConnector(EntraConnector):
    """Directory audit logs."""

    configuration: EntraConnectorConfiguration

    def streams(self, cloud: Cloud) -> list[Stream]:  # noqa: ARG002 - audits are the same in every cloud
        """The one stream."""
        return [AUDITS]
