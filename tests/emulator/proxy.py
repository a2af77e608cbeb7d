"""A company's HTTP proxy on loopback: CONNECT tunnels (RFC 9110 section 9.3.6) to the emulated hosts and no others."""

import asyncio
import socket
from typing import cast

from tests.emulator.service import abort


class Proxy:
    """Tunnels bytes to the TLS server. `refused` names every other host that somebody tried to reach."""

    def __init__(self, hosts: frozenset[str], loop: asyncio.AbstractEventLoop) -> None:
        self.hosts = hosts
        self.refused: list[str] = []
        self.tunnels: list[str] = []
        self.connections = 0
        self.port = 0
        self.tls_port = 0
        self._down = False
        self._loop = loop
        self._clients: set[_Client] = set()

    @property
    def down(self) -> bool:
        """True: every connection is closed at once, those that stand included, as when the network is cut."""
        return self._down

    @down.setter
    def down(self, value: bool) -> None:
        self._down = value
        if value:
            self._loop.call_soon_threadsafe(self.drop_all)

    def drop_all(self) -> None:
        """Cuts every tunnel; to be called on the loop."""
        for client in list(self._clients):
            client.drop()

    def client(self) -> asyncio.Protocol:
        """Returns what talks to somebody who has connected."""
        return _Client(self)


class _End(asyncio.Protocol):
    """One end of a tunnel: what it receives goes to the other end, no faster than that takes it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport.set_write_buffer_limits(high=1 << 20)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        other = self.other.transport if self.other is not None else None
        if other is None or other.is_closing():
            return
        if isinstance(exc, ConnectionResetError):  # hand the reset on, after the bytes that came before it
            connection = other.get_extra_info("socket")
            if connection is not None and connection.fileno() != -1:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        other.close()


class _Client(_End):
    """The end that the proxy's user connects to; it begins with the CONNECT request."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy
        self._head = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._proxy.connections += 1
        self._proxy._clients.add(self)
        if self._proxy.down:
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy._clients.discard(self)
        super().connection_lost(exc)

    def drop(self) -> None:
        """Resets both ends."""
        for end in (self, self.other):
            if end is not None and end.transport is not None:
                abort(end.transport)

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            super().data_received(data)
            return
        self._head += data
        if self._task is None and b"\r\n\r\n" in self._head:
            self._task = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        head, _, early = self._head.partition(b"\r\n\r\n")
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        host, _, port = rest.partition(" ")[0].rpartition(":")
        if method != "CONNECT":
            self._answer("405 Method Not Allowed")
            return
        if host.lower() not in self._proxy.hosts or port != "443":
            self._proxy.refused.append(host if port == "443" else f"{host}:{port}")
            self._answer("502 Bad Gateway")
            return
        self._proxy.tunnels.append(host)
        loop = asyncio.get_running_loop()
        server = _End()
        try:
            await loop.create_connection(lambda: server, "127.0.0.1", self._proxy.tls_port)
        except OSError:
            self._answer("504 Gateway Timeout")
            return
        server.other = self
        if self.transport is None or self.transport.is_closing() or server.transport is None:
            if server.transport is not None:
                server.transport.abort()
            return
        self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.other = server
        if early:
            server.transport.write(early)

    def _answer(self, status: str) -> None:
        if self.transport is not None:
            self.transport.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            self.transport.close()
