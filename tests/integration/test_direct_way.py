"""With a proxy, without one, and with one that some hosts are exempt from: login and Graph alike."""

from collections.abc import Callable

import pytest

from tests.emulator.hosts import GRAPH_HOSTS, LOGIN_HOSTS
from tests.integration.rig import Rig

STREAMS = ("interactiveUser", "servicePrincipal")
GRAPH = "graph.microsoft.com"
LOGIN = "login.microsoftonline.com"


@pytest.fixture
async def resolved(rig: Rig) -> set[str]:
    """Answers for the DNS, so that Microsoft's names lead to the emulator without a proxy.

    Returns:
        The names that were resolved: those that were reached directly.
    """
    network = rig.clock.loop.network
    network.names |= GRAPH_HOSTS | LOGIN_HOSTS
    network.forward(443, rig.emulator.tls_port)
    return network.resolved


@pytest.mark.parametrize(
    ("variables", "direct"),
    [
        ({}, {GRAPH, LOGIN}),
        ({"HTTPS_PROXY": "proxy"}, set()),
        ({"https_proxy": "proxy"}, set()),
        ({"HTTPS_PROXY": "proxy", "NO_PROXY": f"127.0.0.1,{GRAPH}"}, {GRAPH}),
        ({"HTTPS_PROXY": "proxy", "NO_PROXY": f"127.0.0.1,{LOGIN}"}, {LOGIN}),
        ({"HTTPS_PROXY": "proxy", "NO_PROXY": "127.0.0.1,.microsoft.com"}, {GRAPH}),
        ({"HTTPS_PROXY": "proxy", "no_proxy": f"127.0.0.1,{GRAPH},{LOGIN}"}, {GRAPH, LOGIN}),
        ({"HTTPS_PROXY": "proxy", "NO_PROXY": "*"}, {GRAPH, LOGIN}),
    ],
    ids=["none", "HTTPS_PROXY", "lower case", "Graph exempt", "login exempt", "by suffix", "both exempt", "all exempt"],
)
async def test_the_way_to_microsoft(rig: Rig, resolved: set[str], variables: dict[str, str], direct: set[str]) -> None:
    """Login and Graph are reached the way that the environment says, each by itself, and everything arrives once."""
    for name in ("HTTPS_PROXY", "NO_PROXY"):
        rig.monkeypatch.delenv(name)
    for name, value in variables.items():
        rig.monkeypatch.setenv(name, rig.emulator.proxy_url if value == "proxy" else value)
    rig.fill(*STREAMS)
    async with rig.collecting(*STREAMS) as run:
        await run.complete()
        assert run.complaints() == []
    assert resolved == direct
    assert set(rig.emulator.proxy.tunnels) == {GRAPH, LOGIN} - direct


async def test_untrusted_certificate(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that looks into TLS without its CA being trusted gets no secret and no token; the log says why."""
    monkeypatch.delenv("SSL_CERT_FILE")
    rig.fill(*STREAMS)
    async with rig.collecting(*STREAMS) as run:
        await run.until(lambda: run.said("certificate", "SSL_CERT_FILE"), "a line about the certificate")
    assert rig.emulator.graph.requests == []
    assert rig.emulator.intake.count == 0


async def test_proxy_that_forbids(make_rig: Callable[..., Rig]) -> None:
    """A proxy that refuses Graph's host is told, and when it relents everything arrives once."""
    rig = make_rig()
    rig.fill(*STREAMS)
    hosts = rig.emulator.proxy.hosts
    rig.emulator.proxy.hosts = hosts - {GRAPH}
    async with rig.collecting(*STREAMS) as run:
        await run.until(lambda: run.said("proxy", "HTTPS_PROXY"), "a line about the proxy")
        rig.emulator.proxy.hosts = hosts
        await run.complete()
