"""The Sekoia intake: POST /batch, with the limits that DESIGN section 5 states."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
from aiohttp import web

from tests.emulator.faults import Fault, FaultBox
from tests.emulator.service import Answer, Service, lower_headers, read_all

MAX_BODY_BYTES = 10_485_760
MAX_EVENT_CHARACTERS = 250_000
SIGNINS_KEY = "intake-key-of-the-sign-ins"
AUDITS_KEY = "intake-key-of-the-audits"

_JSON = {"Content-Type": "application/json"}


class PushedEvent(NamedTuple):
    """One event that the intake has stored."""

    at: datetime
    intake_key: str
    text: str


class Batch(NamedTuple):
    """One push that the intake has stored."""

    at: datetime
    bytes: int
    count: int  # type: ignore[assignment]  # a tuple's own `count` is of no use here


@dataclass(slots=True)
class IntakeRequest:
    """One push as it arrived, stored or not: what a fault's `match` gets."""

    at: datetime
    bytes: int
    headers: dict[str, str]
    intake_key: str | None = None
    count: int = 0
    status: int = 0
    fault: Fault | None = None


class Intake(Service):
    """Plain HTTP on loopback.

    `keep`: True keeps every event, False only counts, a function gets them instead. `refused`: by record id, the
    status that every batch with that record is refused with. `success`: the body of a success instead of the ids.
    `records_per_s`: a push is stored at once and answered as late as that takes.
    """

    def __init__(self, clock: Callable[[], datetime], closing: Event) -> None:
        super().__init__(closing)
        self.keys = {SIGNINS_KEY, AUDITS_KEY}
        self.keep: bool | Callable[[list[PushedEvent]], None] = True
        self.events: list[PushedEvent] = []
        self.batches: list[Batch] = []
        self.requests: list[IntakeRequest] = []
        self.count = 0
        self.faults = FaultBox()
        self.refused: dict[str, int] = {}
        self.success: bytes | None = None
        self.records_per_s = float("inf")
        self._clock = clock

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request. An oversized body is read all the same: the client is to see the 413."""
        raw = await read_all(request)
        info = IntakeRequest(self._clock(), len(raw), lower_headers(request))
        self.requests.append(info)
        if request.method != "POST" or request.rel_url.raw_path != "/batch":
            return self._whole(info, _refusal(404, "not found"))
        if len(raw) > MAX_BODY_BYTES:
            return self._whole(info, _refusal(413, f"the body exceeds {MAX_BODY_BYTES} bytes"))
        try:
            body = orjson.loads(raw)
            info.intake_key, info.count = body["intake_key"], len(body["jsons"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return self._whole(info, _refusal(400, "intake_key and jsons are expected"))
        answer = await self.play(request, self.faults, info, lambda: self._store(info, body["jsons"]))
        await self.pause(info.count / self.records_per_s, self.faults)
        return answer

    def texts(self, intake_key: str | None = None) -> list[str]:
        """Returns the texts kept, of one intake or of all, in the order of their arrival."""
        return [event.text for event in list(self.events) if intake_key in (None, event.intake_key)]

    def _store(self, info: IntakeRequest, jsons: list[Any]) -> Answer:
        key = info.intake_key
        if key is None or key not in self.keys:
            return _refusal(401, "the intake key is unknown")
        for text in jsons:
            if not isinstance(text, str) or len(text) > MAX_EVENT_CHARACTERS:
                return _refusal(400, f"an event is not a text of at most {MAX_EVENT_CHARACTERS} characters")
        for text in jsons if self.refused else ():
            status = self.refused.get(orjson.loads(text).get("id"))
            if status is not None:
                return _refusal(status, "an event is refused for its content")
        if self.keep is not False:
            events = [PushedEvent(info.at, key, text) for text in jsons]
            if callable(self.keep):
                self.keep(events)
            else:
                self.events.extend(events)
        self.batches.append(Batch(info.at, info.bytes, len(jsons)))
        self.count += len(jsons)
        stem = str(uuid4())[:24]
        ids = [f"{stem}{number:012x}" for number in range(len(jsons))]
        return Answer(200, orjson.dumps({"event_ids": ids}) if self.success is None else self.success, _JSON)


def _refusal(status: int, message: str) -> Answer:
    return Answer(status, orjson.dumps({"message": message}), _JSON)
