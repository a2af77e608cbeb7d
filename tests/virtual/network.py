"""A network within this process: whoever listens on it has a port of its own, and no port of the machine's is taken.

A connection is a pair of Unix stream sockets: what one end sends is in the other's queue when the call returns, which
a loopback interface does not promise. Everything above is real: asyncio's transports, TLS, httpx, aiohttp, requests.
"""

import asyncio
import errno
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import aiohappyeyeballs
import urllib3.util.connection

if TYPE_CHECKING:
    import pytest

    from tests.virtual.loop import VirtualLoop

_LOOPBACK = ("127.0.0.1", "localhost")
# Below those that a kernel hands out, so that a real server beside this network keeps its own.
_FIRST_PORT = 601
_LINGER_OFF = struct.pack("ii", 1, 0)


class VirtualSocket(socket.socket):
    """One end of a connection."""

    peer: "VirtualSocket"
    was_reset = False

    @classmethod
    def connected(cls) -> tuple[Self, "VirtualSocket"]:
        """An end of this kind, and the plain one that it is connected to."""
        one, other = socket.socketpair()
        mine = cls(one.family, one.type, one.proto, fileno=one.detach())
        theirs = VirtualSocket(other.family, other.type, other.proto, fileno=other.detach())
        mine.peer, theirs.peer = theirs, mine
        return mine, theirs

    def setsockopt(self, level: int, name: int, *value: Any) -> None:  # type: ignore[override]
        """As every socket; there is no TCP here, and whoever switches lingering off wants a reset at the end."""
        if (level, name) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self.peer.was_reset = value == (_LINGER_OFF,)
        elif level != socket.IPPROTO_TCP:
            super().setsockopt(level, name, *value)

    def recv(self, *args: Any) -> bytes:
        """As every socket, with the end that the other side has made of it."""
        data = super().recv(*args)
        if not data:
            self._raise_if_reset()
        return data

    def recv_into(self, *args: Any) -> int:  # type: ignore[override]
        """As `recv`."""
        count = super().recv_into(*args)
        if not count:
            self._raise_if_reset()
        return count

    def _raise_if_reset(self) -> None:
        if self.was_reset:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


class ThreadSocket(VirtualSocket):
    """An end that a worker thread reads: it waits, and times out, in the loop's time."""

    loop: "VirtualLoop"
    patience_s: float | None = None

    def settimeout(self, value: float | None) -> None:
        """How long a reading waits; writing never waits for anything but this process."""
        self.patience_s = value

    def gettimeout(self) -> float | None:
        """What was set."""
        return self.patience_s

    def recv(self, *args: Any) -> bytes:
        """As every socket."""
        self.loop.wait_for_bytes(self.fileno(), self.patience_s)
        return super().recv(*args)

    def recv_into(self, *args: Any) -> int:  # type: ignore[override]
        """As every socket."""
        self.loop.wait_for_bytes(self.fileno(), self.patience_s)
        return super().recv_into(*args)


class Network:
    """Who listens where, on `loop`. `names` are hosts that lead here; `resolved` those that somebody looked up."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self.loop = loop
        self._listeners: dict[int, tuple[Callable[[], asyncio.BaseProtocol], ssl.SSLContext | None]] = {}
        self._accepting: set[asyncio.Task[None]] = set()
        self._next_port = _FIRST_PORT
        self.names: set[str] = set()
        self.resolved: set[str] = set()

    def listen(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        tls: ssl.SSLContext | None = None,
        port: int | None = None,
    ) -> int:
        """Makes a protocol of the factory's for whoever connects; returns the port, one that nobody has."""
        if port is None:
            port, self._next_port = self._next_port, self._next_port + 1
        self._listeners[port] = (factory, tls)
        return port

    def forward(self, port: int, to: int) -> None:
        """Whoever connects to this port reaches another one."""
        self._listeners[port] = self._listeners[to]

    def close(self, ports: Iterable[int]) -> None:
        """Nobody listens there any more."""
        for port in ports:
            self._listeners.pop(port, None)

    def resolve(self, host: Any, port: Any) -> list[Any] | None:
        """The addresses of one of this network's names; None for another."""
        name = host.decode() if isinstance(host, bytes) else host
        if name not in self.names:
            return None
        self.resolved.add(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))]

    def dial(self, host: Any, port: Any, kind: type[VirtualSocket] = VirtualSocket) -> VirtualSocket | None:
        """Connects; None if nobody listens here: it is for the machine's own network."""
        if host not in _LOOPBACK or port not in self._listeners:
            return None
        mine, theirs = kind.connected()
        theirs.setblocking(False)
        self.loop.call_soon_threadsafe(self._accept, theirs, *self._listeners[port])
        return mine

    def adopt(self, monkeypatch: "pytest.MonkeyPatch") -> None:
        """Leads the clients that do not connect by the loop here: aiohttp, and requests on worker threads."""
        start_connection = aiohappyeyeballs.start_connection
        create_connection = urllib3.util.connection.create_connection

        async def start(addr_infos: Any, **options: Any) -> socket.socket:
            end = self.dial(*addr_infos[0][4][:2])
            if end is None:
                return await start_connection(addr_infos, **options)
            end.setblocking(False)
            return end

        def create(address: tuple[str, int], timeout: Any = None, *rest: Any, **options: Any) -> socket.socket:
            end = self.dial(*address, kind=ThreadSocket)
            if end is None:
                return create_connection(address, timeout, *rest, **options)
            assert isinstance(end, ThreadSocket)
            end.loop = self.loop
            end.settimeout(timeout if isinstance(timeout, int | float) else None)
            return end

        monkeypatch.setattr(aiohappyeyeballs, "start_connection", start)
        monkeypatch.setattr(urllib3.util.connection, "create_connection", create)

    def _accept(self, end: VirtualSocket, factory: Callable[[], Any], tls: ssl.SSLContext | None) -> None:
        task = self.loop.create_task(self._serve(end, factory, tls))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _serve(self, end: VirtualSocket, factory: Callable[[], Any], tls: ssl.SSLContext | None) -> None:
        with suppress(OSError):  # a client that does not trust us, or went away
            await self.loop.connect_accepted_socket(factory, end, ssl=tls)
