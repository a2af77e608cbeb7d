"""Everything together: all services on one event loop in a background thread."""

import asyncio
import json
import os
import ssl
import tempfile
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiohttp.connector
import trustme
from aiohttp import web

from tests.emulator.graph import Graph
from tests.emulator.hosts import GRAPH_HOSTS, LOGIN_HOSTS
from tests.emulator.intake import SIGNINS_KEY, Intake
from tests.emulator.login import Login
from tests.emulator.platform import Platform
from tests.emulator.proxy import Proxy
from tests.emulator.service import PlainRequest, lower_headers
from tests.emulator.tenant import Tenant

if TYPE_CHECKING:  # `make run` starts the emulator where pytest need not be
    import pytest

    from tests.virtual import Network

Result = TypeVar("Result")

SECRET_PLACEHOLDER = "*" * 8

_PROXY_VARIABLES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"}
_TRUST_VARIABLES = {"SSL_CERT_DIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SENTRY_DSN"}


class Emulator:
    """Runs from its making to `close()`; a context manager. Every attribute may be read and set from any thread.

    Args:
        tenant: the customer; a plain one by default.
        clock: an aware UTC instant for everything that Graph and login decide by time, and for the `Date` of their
            answers; the real time by default. It need not be the connector's.
        extra_hosts: further hosts that the proxy leads here, where they answer 404 and are written down in
            `extra_requests` (what would a foreign host have been told?).
        network: None: ports of the machine's on loopback, and an event loop in a background thread. Otherwise all
            services are on this network and on its loop, and are closed with `leave()`.
    """

    def __init__(
        self,
        tenant: Tenant | None = None,
        clock: Callable[[], datetime] | None = None,
        extra_hosts: Iterable[str] = (),
        network: "Network | None" = None,
    ) -> None:
        self.tenant = tenant or Tenant()
        self.clock = clock or (lambda: datetime.now(UTC))
        # The secrets that the platform hands over, where it is not the tenant's client secret.
        self.secrets: dict[str, str] | None = None
        self.extra_requests: list[PlainRequest] = []
        # What went wrong in here, which no client should be blamed for: a fault that a test has written badly.
        self.errors: list[Exception] = []
        self._closing = Event()
        self.login = Login(self.tenant, self.clock, self._closing)
        self.graph = Graph(self.tenant, self.login, self.clock, self._closing)
        self.login.dates = self.graph.dates = lambda: self.clock()
        self.intake = Intake(self.clock, self._closing)
        self.platform = Platform(self.module_configuration(), self._secrets(), self._closing)
        hosts = LOGIN_HOSTS | GRAPH_HOSTS | set(extra_hosts)
        self._network = network
        self._loop = asyncio.new_event_loop() if network is None else network.loop
        self.proxy = Proxy(hosts, self._loop)
        self._folder = tempfile.TemporaryDirectory(prefix="emulator-")
        self.ca_file = Path(self._folder.name) / "private-ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.set_alpn_protocols(["http/1.1"])
        authority.issue_cert(*sorted(hosts), "localhost", "127.0.0.1").configure_cert(self._tls)
        self._servers: list[web.Server] = []
        self._listeners: list[asyncio.Server] = []
        self._thread: Thread | None = None
        if network is None:
            self._thread = Thread(target=self._loop.run_forever, name="emulator", daemon=True)
            self._thread.start()
        self.tls_port = self._serve(self._dispatch, self._tls)
        self.platform_port = self._serve(self.platform.serve)
        self.intake_port = self._serve(self.intake.serve)
        self.proxy.tls_port = self.tls_port
        self.proxy.port = self._listen(self.proxy.client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def proxy_url(self) -> str:
        """The value for HTTPS_PROXY."""
        return f"http://127.0.0.1:{self.proxy.port}"

    @property
    def platform_url(self) -> str:
        """The root of /secrets, /logs and /callback."""
        return f"http://127.0.0.1:{self.platform_port}"

    @property
    def intake_url(self) -> str:
        """The value for INTAKE_URL; /batch lies under it."""
        return f"http://127.0.0.1:{self.intake_port}"

    def module_configuration(self, secrets: Iterable[str] = ("client_secret",), **members: Any) -> dict[str, Any]:
        """Returns the module configuration that fits the tenant, its secrets hidden as the platform hides them."""
        base = {
            "tenant_id": self.tenant.tenant_id,
            "client_id": self.tenant.client_id,
            "cloud": self.tenant.cloud or "global",
        }
        return {**base, **members, **dict.fromkeys(secrets, SECRET_PLACEHOLDER)}

    def environment(
        self,
        *,
        data_path: Path,
        connector: dict[str, Any],
        module: dict[str, Any] | None = None,
        intake_key: str | None = None,
        liveness_port: int | None = None,
        metrics_port: int | None = None,
        proxied: bool = True,
    ) -> dict[str, str]:
        """Returns the whole environment of a connector's process, and prepares the platform for it.

        Args:
            data_path: where the SDK keeps its state (SUB_FOLDER).
            connector: the connector's arguments; `intake_key` is added if it is missing.
            module: members of the module configuration other than the tenant's own. A `client_secret` and a
                `client_certificate` are hidden, and told by the platform, as in life; the tenant's secret if neither
                is there.
            intake_key: overrides the connector's.
            liveness_port: None: the process gets one from the kernel, which nobody else has
                (`processes.Connector.port` tells which).
            metrics_port: as `liveness_port`.
            proxied: whether the process is told of the proxy.
        """
        given = dict(module or {})
        names = [name for name in ("client_secret", "client_certificate") if name in given]
        self.platform.secrets = {name: given.pop(name) for name in names} or self._secrets()
        self.platform.module_configuration = self.module_configuration(list(self.platform.secrets), **given)
        key = intake_key or connector.get("intake_key") or SIGNINS_KEY
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.lower() not in _PROXY_VARIABLES and name not in _TRUST_VARIABLES
        }
        proxies = {"HTTPS_PROXY": self.proxy_url, "https_proxy": self.proxy_url} if proxied else {}
        return {
            **kept,
            **proxies,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "SSL_CERT_FILE": str(self.ca_file),
            "REQUESTS_CA_BUNDLE": str(self.ca_file),
            "MODULE_CONFIGURATION": json.dumps(self.platform.module_configuration),
            "CONNECTOR_CONFIGURATION": json.dumps({**connector, "intake_key": key}),
            "TOKEN": self.platform.token,
            "URL_CALLBACK": f"{self.platform_url}/callback",
            "URL_LOGS": f"{self.platform_url}/logs",
            "URL_SECRETS": f"{self.platform_url}/secrets",
            "INTAKE_URL": self.intake_url,
            "LIVENESS_PORT": str(liveness_port or 0),
            "METRICS_PORT": str(metrics_port or 0),
            "SUB_FOLDER": str(data_path),
        }

    def adopt(self, monkeypatch: "pytest.MonkeyPatch") -> None:
        """Leads the clients in this very process here: the proxy, and trust in the private CA.

        aiohttp (under azure-identity) makes its TLS context when it is imported, which a process of its own does
        after SSL_CERT_FILE is set; here it has to be replaced.
        """
        for name in list(os.environ):
            if name.lower() in _PROXY_VARIABLES or name in _TRUST_VARIABLES:
                monkeypatch.delenv(name)
        monkeypatch.setenv("HTTPS_PROXY", self.proxy_url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setenv("SSL_CERT_FILE", str(self.ca_file))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self.ca_file))
        trusting = ssl.create_default_context(cafile=str(self.ca_file))
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)

    def close(self) -> None:
        """Ends everything at once, stalls included; may be called again."""
        if self._closing.is_set():
            return
        self._end_pauses()
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not None:
            self._thread.join(2)
        self._loop.close()
        self._folder.cleanup()

    async def leave(self) -> None:
        """Leaves the network that it was made on, and ends everything there."""
        self._end_pauses()
        if self._network is not None:
            self._network.close((self.tls_port, self.platform_port, self.intake_port, self.proxy.port))
        await self._hang_up()
        self._folder.cleanup()

    def _end_pauses(self) -> None:
        self._closing.set()
        boxes = (self.login.faults, self.graph.faults, self.intake.faults, self.platform.secrets_faults)
        for box in (*boxes, self.platform.logs_faults, self.platform.callback_faults):
            box.pauses.end()
        for service in (self.login, self.graph, self.intake, self.platform):
            service.pauses.end()

    def _run(self, job: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(10)

    def _secrets(self) -> dict[str, str]:
        return self.secrets or {"client_secret": self.tenant.client_secret}

    def _serve(
        self,
        handler: Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]],
        tls: ssl.SSLContext | None = None,
    ) -> int:
        server = web.Server(handler, loop=self._loop, access_log=None, read_bufsize=1 << 20)
        self._servers.append(server)
        return self._listen(server, tls)

    def _listen(self, factory: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None = None) -> int:
        if self._network is not None:
            return self._network.listen(factory, tls)
        return self._run(self._listen_on_loopback(factory, tls))

    async def _listen_on_loopback(self, factory: Callable[[], Any], tls: ssl.SSLContext | None) -> int:
        listener = await self._loop.create_server(factory, "127.0.0.1", 0, ssl=tls)
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        host = request.host.partition(":")[0].lower()
        try:
            if host in LOGIN_HOSTS:
                return await self.login.serve(request, host)
            if host in GRAPH_HOSTS:
                return await self.graph.serve(request, host)
        except Exception as error:
            self.errors.append(error)
            raise
        path = request.rel_url.raw_path
        seen = PlainRequest(self._loop.time(), request.method, host, path, lower_headers(request), None, 404)
        self.extra_requests.append(seen)
        return web.Response(status=404)

    async def _stop(self) -> None:
        for listener in self._listeners:
            listener.close()
        await self._hang_up()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _hang_up(self) -> None:
        self.proxy.drop_all()
        await asyncio.sleep(0)
        await asyncio.gather(*(server.shutdown(0.2) for server in self._servers))
