"""The Sekoia platform as the SDK sees it: secrets, logs, callback (sekoia_automation/module.py, trigger.py,
account_validator.py of the SDK are the clients)."""

import asyncio
from threading import Event
from typing import Any

import orjson
from aiohttp import web

from tests.emulator.faults import FaultBox
from tests.emulator.service import Answer, PlainRequest, Service, lower_headers, read_all

_JSON = {"Content-Type": "application/json"}


class Platform(Service):
    """Plain HTTP on loopback. `module_configuration` is what a validator is told; `secrets` what a connector is."""

    def __init__(self, module_configuration: dict[str, Any], secrets: dict[str, str], closing: Event) -> None:
        super().__init__(closing)
        self.token = "emulated-platform-token"
        self.module_configuration = module_configuration
        self.secrets = secrets
        self.secrets_faults = FaultBox()
        self.logs_faults = FaultBox()
        self.callback_faults = FaultBox()
        self.requests: list[PlainRequest] = []
        self.logs: list[dict[str, Any]] = []
        self.callbacks: list[dict[str, Any]] = []

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request."""
        raw = await read_all(request)
        path = request.rel_url.raw_path
        info = PlainRequest(
            asyncio.get_running_loop().time(), request.method, request.host, path, lower_headers(request)
        )
        self.requests.append(info)
        if raw:
            try:
                info.body = orjson.loads(raw)
            except orjson.JSONDecodeError:
                return self._whole(info, Answer(400, b'{"message":"not JSON"}', _JSON))
        if info.headers.get("authorization") != f"Bearer {self.token}":
            return self._whole(info, Answer(401, b'{"message":"The token is invalid"}', _JSON))
        match request.method, path:
            case "GET", "/secrets":
                return await self.play(request, self.secrets_faults, info, self._give_secrets)
            case "POST", "/logs":
                return await self.play(request, self.logs_faults, info, lambda: self._take_logs(info.body))
            case (("POST" | "PATCH"), "/callback"):
                return await self.play(request, self.callback_faults, info, lambda: self._call_back(info))
        return self._whole(info, Answer(404, b'{"message":"not found"}', _JSON))

    def messages(self, level: str | None = None) -> list[str]:
        """Returns the texts of the logs received, of one level or of all."""
        return [entry["message"] for entry in list(self.logs) if level in (None, entry["level"])]

    def _give_secrets(self) -> Answer:
        return Answer(200, orjson.dumps({"value": self.secrets}), _JSON)

    def _take_logs(self, body: Any) -> Answer:
        self.logs.extend(body["logs"])
        return Answer(200, b"{}", _JSON)

    def _call_back(self, info: PlainRequest) -> Answer:
        self.callbacks.append(info.body)
        if info.method == "PATCH" and info.body.get("status") == "running":
            value = {**self.module_configuration, **self.secrets}
            return Answer(200, orjson.dumps({"module_configuration": {"value": value}}), _JSON)
        return Answer(200, b"{}", _JSON)
