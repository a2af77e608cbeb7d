"""Where each cloud answers: the table of DESIGN section 4, row by row."""

from typing import get_args

import pytest

from graph_entra.microsoft.clouds import CLOUDS, CloudName


@pytest.mark.parametrize(
    ("name", "graph_host", "login_host", "beta_only"),
    [
        ("global", "graph.microsoft.com", "login.microsoftonline.com", False),
        ("us_gov", "graph.microsoft.us", "login.microsoftonline.us", True),
        ("us_gov_dod", "dod-graph.microsoft.us", "login.microsoftonline.us", True),
        ("china", "microsoftgraph.chinacloudapi.cn", "login.chinacloudapi.cn", True),
    ],
)
def test_each_cloud_has_its_own_hosts(name: CloudName, graph_host: str, login_host: str, beta_only: bool) -> None:
    """A token of one cloud is asked for, and sent, in that cloud only."""
    cloud = CLOUDS[name]
    assert (cloud.name, cloud.graph_host, cloud.login_host, cloud.beta_only) == (
        name,
        graph_host,
        login_host,
        beta_only,
    )
    assert cloud.scope == f"https://{graph_host}/.default"
    assert cloud.base_url("beta") == f"https://{graph_host}/beta"


def test_every_cloud_that_can_be_configured_is_known() -> None:
    """The configuration's names and the table's are the same."""
    assert set(CLOUDS) == set(get_args(CloudName))


def test_a_base_url_never_ends_in_a_slash() -> None:
    """The builders add one: two would make ``v1.0//auditLogs``."""
    assert not any(cloud.base_url("v1.0").endswith("/") for cloud in CLOUDS.values())


def test_the_table_cannot_be_changed() -> None:
    """No code can send a token elsewhere by editing the table."""
    with pytest.raises(TypeError):
        CLOUDS["global"] = CLOUDS["china"]  # type: ignore[index]
