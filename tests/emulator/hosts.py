"""The host names of Microsoft's national clouds (learn.microsoft.com/graph/deployments), stated again on purpose.

The emulator must not learn them from the module under test: a wrong host there has to fail here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cloud:
    """One national cloud."""

    name: str
    login_host: str
    graph_host: str


CLOUDS = (
    Cloud("global", "login.microsoftonline.com", "graph.microsoft.com"),
    Cloud("us_gov", "login.microsoftonline.us", "graph.microsoft.us"),
    Cloud("us_gov_dod", "login.microsoftonline.us", "dod-graph.microsoft.us"),
    Cloud("china", "login.chinacloudapi.cn", "microsoftgraph.chinacloudapi.cn"),
)
LOGIN_HOSTS = frozenset(cloud.login_host for cloud in CLOUDS)
CLOUD_OF_GRAPH_HOST = {cloud.graph_host: cloud for cloud in CLOUDS}
GRAPH_HOSTS = frozenset(CLOUD_OF_GRAPH_HOST)


def clouds_of_login_host(host: str) -> tuple[Cloud, ...]:
    """Returns the clouds whose login authority this host is (both US Government clouds share one)."""
    return tuple(cloud for cloud in CLOUDS if cloud.login_host == host)
