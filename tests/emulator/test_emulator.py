"""The proxy, the environment of a process, starting and stopping, and the real SDKs at work."""

import json
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from azure.identity.aio import ClientSecretCredential
from msgraph.graph_service_client import GraphServiceClient

from tests.emulator import Emulator
from tests.emulator.client import PlainClient
from tests.emulator.hosts import CLOUDS
from tests.emulator.records import fill


def test_foreign_hosts_and_ports_are_refused_and_written_down(client: PlainClient, emulator: Emulator) -> None:
    """Whoever asks for another host gets a 502, and a test can see it."""
    for url in ("https://evil.example/", "https://graph.microsoft.com:8443/"):
        with pytest.raises(httpx.ProxyError, match="502"):
            client.http.get(url)
    assert emulator.proxy.refused == ["evil.example", "graph.microsoft.com:8443"]
    assert emulator.proxy.tunnels == []


def test_every_cloud_is_behind_the_proxy(client: PlainClient, emulator: Emulator) -> None:
    """The certificate and the tunnels cover all the names of all clouds."""
    for cloud in CLOUDS:
        assert client.http.get(f"https://{cloud.graph_host}/v1.0/x").status_code == 401
        assert client.http.get(f"https://{cloud.login_host}/x").status_code == 404
    assert emulator.proxy.refused == []


def test_extra_host_is_served_and_written_down() -> None:
    """A host named on purpose shows what it was told."""
    with Emulator(extra_hosts=["graph.evil.example"]) as emulator, PlainClient(emulator) as client:
        response = client.http.get("https://graph.evil.example/steal", headers={"Authorization": "Bearer t"})
        assert response.status_code == 404
        [request] = emulator.extra_requests
        assert (request.host, request.headers["authorization"]) == ("graph.evil.example", "Bearer t")


def test_proxy_that_is_down(client: PlainClient, emulator: Emulator) -> None:
    """A proxy that is down cuts what stands and takes nothing new; then it comes back."""
    client.log_in()
    emulator.proxy.down = True
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            client.get("/v1.0/auditLogs/signIns")
    emulator.proxy.down = False
    assert client.get("/v1.0/auditLogs/signIns").status_code == 200
    assert emulator.proxy.connections >= 4


def test_only_connect_is_served(emulator: Emulator) -> None:
    """The proxy forwards no plain HTTP."""
    with httpx.Client(proxy=emulator.proxy_url, trust_env=False) as client:
        assert client.get("http://graph.microsoft.com/").status_code == 405


def test_tls_port_serves_without_the_proxy(emulator: Emulator) -> None:
    """A test may go to the TLS server directly, by its loopback name."""
    trust = ssl.create_default_context(cafile=str(emulator.ca_file))
    headers = {"Host": "graph.microsoft.com"}
    url = f"https://127.0.0.1:{emulator.tls_port}/v1.0/auditLogs/signIns"
    assert httpx.get(url, headers=headers, verify=trust, trust_env=False).status_code == 401


def test_environment_is_whole_and_hides_the_secret(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process gets everything the SDK reads, none of this process's proxies, and no secret."""
    monkeypatch.setenv("all_proxy", "http://elsewhere")
    monkeypatch.setenv("SSL_CERT_DIR", "/elsewhere")
    environment = emulator.environment(
        data_path=tmp_path, connector={"frequency": 1}, module={"cloud": "china", "client_secret": "told later"}
    )
    assert json.loads(environment["MODULE_CONFIGURATION"])["cloud"] == "china"
    assert "told later" not in str(environment)
    assert emulator.platform.secrets == {"client_secret": "told later"}
    assert json.loads(environment["CONNECTOR_CONFIGURATION"])["intake_key"] in emulator.intake.keys
    assert environment["HTTPS_PROXY"] == environment["https_proxy"] == emulator.proxy_url
    assert environment["SSL_CERT_FILE"] == str(emulator.ca_file)
    assert environment["SUB_FOLDER"] == str(tmp_path)
    assert "all_proxy" not in environment
    assert "SSL_CERT_DIR" not in environment
    assert environment["LIVENESS_PORT"] == environment["METRICS_PORT"] == "0", "the kernel chooses: nobody has it"
    direct = emulator.environment(data_path=tmp_path, connector={}, proxied=False, liveness_port=5)
    assert "HTTPS_PROXY" not in direct
    assert direct["LIVENESS_PORT"] == "5"


def test_close_is_quick_and_may_be_repeated() -> None:
    """Nothing of the emulator outlives it."""
    emulator = Emulator()
    began = time.monotonic()
    emulator.close()
    emulator.close()
    assert time.monotonic() - began < 1
    assert not emulator.ca_file.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(emulator.platform_url, trust_env=False)


def test_environment_suffices_for_a_process_of_its_own(emulator: Emulator, tmp_path: Path) -> None:
    """azure-identity in a subprocess finds proxy and private CA by the environment alone."""
    tenant = emulator.tenant
    program = f"""
import asyncio
from azure.identity.aio import ClientSecretCredential
async def main():
    async with ClientSecretCredential({tenant.tenant_id!r}, {tenant.client_id!r}, {tenant.client_secret!r}) as it:
        print((await it.get_token("https://graph.microsoft.com/.default")).token)
asyncio.run(main())
"""
    environment = emulator.environment(data_path=tmp_path, connector={})
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert emulator.login.claims(done.stdout.strip()), done.stderr
    assert emulator.proxy.tunnels == ["login.microsoftonline.com"]


async def test_msgraph_sdk_and_azure_identity_read_a_page(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real SDKs log in and read two pages and the application through the proxy, and contact nobody else."""
    now = datetime.now(UTC)
    fill(emulator.tenant, "interactiveUser", 25, now - timedelta(hours=1), now, seed=1)
    emulator.tenant.page_limit = 20
    emulator.adopt(monkeypatch)
    tenant = emulator.tenant
    async with ClientSecretCredential(tenant.tenant_id, tenant.client_id, tenant.client_secret) as credential:
        graph = GraphServiceClient(credential, ["https://graph.microsoft.com/.default"])
        graph.request_adapter.base_url = "https://graph.microsoft.com/v1.0"
        first = await graph.audit_logs.sign_ins.get()
        assert first is not None
        assert first.value is not None
        assert len(first.value) == 20
        assert first.odata_next_link is not None
        second = await graph.audit_logs.sign_ins.with_url(first.odata_next_link).get()
        assert second is not None
        assert len(second.value or []) == 5
        application = await graph.applications_with_app_id(tenant.client_id).get()
        assert application is not None
        assert application.password_credentials
    assert [request.status for request in emulator.graph.requests] == [200, 200, 200]
    assert emulator.proxy.refused == []
