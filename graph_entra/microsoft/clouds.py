"""Where each of Microsoft's clouds answers.

Source: https://learn.microsoft.com/graph/deployments and
https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

CloudName = Literal["global", "us_gov", "us_gov_dod", "china"]


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud.

    Attributes:
        name: as in the configuration.
        graph_host: the only host that ever gets an access token.
        login_host: the authority that issues it.
        beta_only: True where v1.0 refuses ``/auditLogs/signIns``: beta serves every sign-in type there.
    """

    name: CloudName
    graph_host: str
    login_host: str
    beta_only: bool

    @property
    def scope(self) -> str:
        """The scope of an application's own token: whatever was consented to."""
        return f"https://{self.graph_host}/.default"

    def base_url(self, version: str) -> str:
        """The root of an API version, without the slash at the end that would be doubled."""
        return f"https://{self.graph_host}/{version}"


CLOUDS: Final = MappingProxyType(
    {
        cloud.name: cloud
        for cloud in (
            Cloud("global", "graph.microsoft.com", "login.microsoftonline.com", beta_only=False),
            Cloud("us_gov", "graph.microsoft.us", "login.microsoftonline.us", beta_only=True),
            Cloud("us_gov_dod", "dod-graph.microsoft.us", "login.microsoftonline.us", beta_only=True),
            Cloud("china", "microsoftgraph.chinacloudapi.cn", "login.chinacloudapi.cn", beta_only=True),
        )
    }
)
