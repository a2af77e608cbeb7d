"""What every emulated service shares: an answer, and how a fault disturbs it on its way out."""

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import format_datetime
from threading import Event
from typing import Any

from aiohttp import web

from tests.emulator.faults import Fault, FaultBox, Pauses

_TICK_S = 0.01
_LINGER_OFF = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    own_link: str = ""  # of a Graph page: the link that asks for the same page again; not sent


@dataclass(slots=True)
class PlainRequest:
    """A request to the login or the platform, as `match` and the tests see it."""

    at: float
    method: str
    host: str
    path: str
    headers: dict[str, str]
    body: Any = None
    status: int = 0
    fault: Fault | None = None


async def read_all(request: web.BaseRequest) -> bytes:
    """Returns the body, however large: `request.read()` would refuse 1 MiB."""
    return await request.content.read()


def lower_headers(request: web.BaseRequest) -> dict[str, str]:
    """Returns the request's headers under lower-case names."""
    return {name.lower(): value for name, value in request.headers.items()}


class Service:
    """The part of a service that talks HTTP. Subclasses know the rules."""

    def __init__(self, closing: Event) -> None:
        self._closing = closing
        self.pauses = Pauses()
        # What the `Date` of every answer says; None: the machine's own time.
        self.dates: Callable[[], datetime] | None = None

    def error_answer(self, status: int) -> Answer:
        """Returns the service's usual error body for a status."""
        return Answer(status, b'{"error":"injected"}', {"Content-Type": "application/json"})

    def special(self, fault: Fault, answer: Answer) -> Answer:
        """Applies a fault that needs to know the service's format."""
        return answer

    def finish(self, info: Any, answer: Answer) -> Answer:
        """Adds what every answer of the service has."""
        return answer

    async def play(
        self, request: web.BaseRequest, box: FaultBox, info: Any, handle: Callable[[], Answer]
    ) -> web.StreamResponse:
        """Answers a request: with `handle()`, or as the next fault in the box wants it. Sets `info.status`."""
        fault = info.fault = box.take(info)
        if fault is None:
            return self._whole(info, handle())
        if fault.kind == "answer":
            answer = self.error_answer(fault.code) if fault.payload is None else Answer(fault.code, fault.payload)
            headers = {"Content-Type": "application/json", **answer.headers, **fault.headers}
            return self._whole(info, Answer(answer.status, answer.body, headers))
        if fault.kind == "reset" and fault.cut_at is None:
            return reset(request)
        if fault.kind == "stall" and not fault.cut_at:
            await self.pause(fault.seconds, box)
            if _gone(request) or self._closing.is_set():
                return reset(request)
        answer = handle()
        if fault.kind == "truncate":
            return self._whole(info, Answer(answer.status, answer.body[: fault.cut_at], answer.headers))
        if fault.kind == "late":
            await self.pause(fault.seconds, box)
            return self._whole(info, answer)
        if fault.kind == "trickle":
            return await self._trickled(request, info, answer, fault, box)
        if fault.kind in ("reset", "stall") and (fault.kind == "reset" or fault.cut_at):
            return await self._interrupted(request, info, answer, fault, box)
        return self._whole(info, self.special(fault, answer))

    async def pause(self, seconds: float, box: FaultBox | None = None) -> None:
        """Waits by the loop's time; ends at once when the emulator closes or the box is cleared."""
        if not self._closing.is_set():
            await (box.pauses if box else self.pauses).wait(seconds)

    def _dated(self, info: Any, answer: Answer) -> Answer:
        answer = self.finish(info, answer)
        if self.dates is None:
            return answer
        return replace(answer, headers={**answer.headers, "Date": format_datetime(self.dates(), usegmt=True)})

    def _whole(self, info: Any, answer: Answer) -> web.Response:
        answer = self._dated(info, answer)
        info.status = answer.status
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _interrupted(
        self, request: web.BaseRequest, info: Any, answer: Answer, fault: Fault, box: FaultBox
    ) -> web.StreamResponse:
        answer = self._dated(info, answer)
        cut_at = fault.cut_at or 0
        if cut_at == 0:
            return reset(request)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_length = len(answer.body)
        await response.prepare(request)
        await response.write(answer.body[:cut_at])
        if fault.kind == "stall":
            info.status = answer.status
            await self.pause(fault.seconds, box)
            if not _gone(request) and not self._closing.is_set():
                await response.write(answer.body[cut_at:])
                return response
        await _flushed(request)
        reset(request)
        return response

    async def _trickled(
        self, request: web.BaseRequest, info: Any, answer: Answer, fault: Fault, box: FaultBox
    ) -> web.StreamResponse:
        answer = self.finish(info, answer)
        info.status = answer.status
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_length = len(answer.body)
        await response.prepare(request)
        for number in range(len(answer.body)):
            if _gone(request) or self._closing.is_set():
                return reset(request)
            await response.write(answer.body[number : number + 1])
            await self.pause(fault.seconds, box)
        return response


async def _flushed(request: web.BaseRequest) -> None:
    """Waits until the kernel has the bytes: a transport has no event for that."""
    for _ in range(200):
        if request.transport is None or not request.transport.get_write_buffer_size():
            return
        await asyncio.sleep(_TICK_S)


def _gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


def reset(request: web.BaseRequest) -> web.Response:
    """Ends the connection with a TCP RST (lingering off), and returns a response that nobody will see."""
    if request.transport is not None:
        abort(request.transport)
    return web.Response()


def abort(transport: asyncio.BaseTransport) -> None:
    """Ends a connection with a TCP RST; bytes that the kernel already has still arrive."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.fileno() != -1:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
