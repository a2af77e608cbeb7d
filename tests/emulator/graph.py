"""Microsoft Graph's log endpoints, by the rules of DESIGN section 4."""

import asyncio
import gzip
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event
from urllib.parse import parse_qsl, quote, unquote
from uuid import uuid4

import orjson
from aiohttp import web

from tests.emulator.applications import application_answer
from tests.emulator.faults import Fault, FaultBox
from tests.emulator.hosts import CLOUD_OF_GRAPH_HOST
from tests.emulator.instants import ticks_of
from tests.emulator.login import Claims, Login
from tests.emulator.odata import GraphError, Query, decode_skip_token, encode_skip_token, parse_query
from tests.emulator.quirks import Quirks, glued
from tests.emulator.service import Answer, Service, lower_headers
from tests.emulator.tenant import AUDITS, SERIAL_BITS, Tenant
from tests.emulator.throttle import SlidingWindow

_JSON = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
_CHALLENGE = 'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize"'
_CODES = {
    429: ("UnknownError", "This request is throttled. Please try again after the value specified in the Retry-After."),
    500: ("InternalServerError", "An internal server error occurred."),
    502: ("BadGateway", "The server encountered a temporary error."),
    503: ("ServiceUnavailable", "The service is temporarily unavailable."),
    504: ("GatewayTimeout", "The request timed out."),
}


@dataclass(slots=True)
class GraphRequest:
    """One request as it arrived; `status` and `records` follow when it is answered (0 until then, or after a reset).

    `at` is the event loop's time, `time` the emulator's clock; header names are lower case; `stream` is None for other
    paths. `span` is what the page answers for: the first and the last creation time, in ticks, of all that Graph has
    shown once it is read; `ends` says that no page follows it, `window` what the whole chain of pages asks for.
    `fault` is what was done to the answer on cue.
    """

    at: float
    time: datetime
    host: str
    version: str
    path: str
    stream: str | None
    query: dict[str, str]
    headers: dict[str, str]
    status: int = 0
    records: int = 0
    is_next_link: bool = False
    method: str = "GET"
    window: tuple[int, int] | None = None
    span: tuple[int, int] | None = None
    ends: bool = False
    fault: Fault | None = None


class Graph(Service):
    """The Graph roots of all clouds.

    `limit` is (requests, seconds) for the tenant, `app_limit` for the application over all tenants, both measured by
    `stopwatch`; `limit` None switches both off. `latency_s` is a number or a function of the request. With
    `honour_orderby` False every page comes newest first, whatever `$orderby` says. `quirks` is what lasts.
    """

    def __init__(self, tenant: Tenant, login: Login, clock: Callable[[], datetime], closing: Event) -> None:
        super().__init__(closing)
        self.limit: tuple[int, float] | None = (5, 10.0)
        self.app_limit = (122, 10.0)
        self.quirks = Quirks()
        self.latency_s: float | Callable[[GraphRequest], float] = 0.0
        self.honour_orderby = True
        self.gzip = False
        self.faults = FaultBox()
        self.requests: list[GraphRequest] = []
        self._tenant = tenant
        self._login = login
        self._clock = clock
        self.stopwatch: Callable[[], float] = lambda: asyncio.get_running_loop().time()
        self._window = SlidingWindow(lambda: self.stopwatch())
        self._app_window = SlidingWindow(lambda: self.stopwatch())

    async def serve(self, request: web.BaseRequest, host: str) -> web.StreamResponse:
        """Answers one request to a Graph host."""
        info, query = self._describe(request, host)
        self.requests.append(info)
        claims = self._login.claims(info.headers.get("authorization", "").removeprefix("Bearer "))
        if claims and "/auditLogs/" in info.path and (wait_s := self._count(claims)):
            return self._whole(info, self.error_answer(429, {"Retry-After": _seconds(wait_s)}))
        latency_s = self.latency_s(info) if callable(self.latency_s) else self.latency_s
        if latency_s:
            await self.pause(latency_s)
        return await self.play(request, self.faults, info, lambda: self._handle(info, query, claims))

    def asked_elsewhere(self, count: int = 1) -> None:
        """Counts requests of the same application in other tenants, to be called on the loop or before any request."""
        for _ in range(count):
            self._app_window.wait_s(self._tenant.client_id, self.app_limit)

    def _count(self, claims: Claims) -> float:
        """Counts a request; returns the seconds until one may pass, or 0 if it passes."""
        if self.limit is None:
            return 0.0
        of_tenant_s = self._window.wait_s((claims.tenant_id, claims.app_id), self.limit)
        return max(of_tenant_s, self._app_window.wait_s(claims.app_id, self.app_limit))

    def error_answer(self, status: int, headers: dict[str, str] | None = None) -> Answer:
        """Returns Graph's usual error body for a status."""
        return self._error(GraphError(status, *_CODES.get(status, ("UnknownError", ""))), str(uuid4()), headers)

    def finish(self, info: GraphRequest, answer: Answer) -> Answer:
        """Adds Graph's usual headers; compresses the body if that is switched on and the client takes it."""
        ours = str(uuid4())
        headers = {
            "Content-Type": _JSON,
            "request-id": ours,
            "client-request-id": info.headers.get("client-request-id", ours),
            "OData-Version": "4.0",
            **answer.headers,
        }
        if self.gzip and "gzip" in info.headers.get("accept-encoding", ""):
            return Answer(answer.status, gzip.compress(answer.body, 1), {**headers, "Content-Encoding": "gzip"})
        return Answer(answer.status, answer.body, headers)

    def special(self, fault: Fault, answer: Answer) -> Answer:
        """Rewrites a page."""
        if answer.status != 200:
            return answer
        page = orjson.loads(answer.body)
        if fault.kind == "empty_page":
            page = {"@odata.nextLink": answer.own_link, "value": []}
        elif fault.kind == "repeated_link":
            page["@odata.nextLink"] = answer.own_link
        elif fault.rewrite is not None:
            page = fault.rewrite(page)
        return replace(answer, body=orjson.dumps(page))

    def _describe(self, request: web.BaseRequest, host: str) -> tuple[GraphRequest, Query | GraphError | None]:
        path = unquote(request.rel_url.raw_path)
        version = path.split("/")[1] if path.count("/") > 1 else ""
        options = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        info = GraphRequest(
            at=asyncio.get_running_loop().time(),
            time=self._clock(),
            host=host,
            version=version,
            path=path,
            stream=None,
            query=options,
            headers=lower_headers(request),
            is_next_link="$skiptoken" in options,
            method=request.method,
        )
        query: Query | GraphError | None = None
        if path in (f"/{version}/auditLogs/signIns", f"/{version}/auditLogs/{AUDITS}"):
            try:
                query = self._query(info)
            except GraphError as error:
                query = error
            else:
                info.stream = ",".join(query.streams)
        return info, query

    def _query(self, info: GraphRequest) -> Query:
        if info.is_next_link:
            return decode_skip_token(info.query["$skiptoken"], self._scope(info))
        oldest = ticks_of(info.time - timedelta(days=self._tenant.retention_days))
        audits = info.path.endswith(AUDITS)
        return parse_query(info.query, audits=audits, beta=info.version == "beta", oldest=oldest)

    def _scope(self, info: GraphRequest) -> str:
        return f"{self._tenant.tenant_id} {info.host}{info.path}"

    def _handle(self, info: GraphRequest, query: Query | GraphError | None, claims: Claims | None) -> Answer:
        try:
            roles = self._authorize(info, claims)
            if query is None:
                return Answer(200, application_answer(self._tenant, roles, info.path, info.query, info.time))
            self._permit(info, roles)
            if isinstance(query, GraphError):
                raise query
            return self._page(info, query)
        except GraphError as error:
            headers = {"WWW-Authenticate": _CHALLENGE} if error.status == 401 else None
            return self._error(error, info.headers.get("client-request-id"), headers)

    def _authorize(self, info: GraphRequest, claims: Claims | None) -> tuple[str, ...]:
        code = "InvalidAuthenticationToken"
        if "authorization" not in info.headers:
            raise GraphError(401, code, "Access token is empty.")
        if claims is None:
            raise GraphError(401, code, "Access token validation failure. Invalid token.")
        if claims.audience != f"https://{info.host}":
            raise GraphError(401, code, "Access token validation failure. Invalid audience.")
        if claims.expires <= info.time:
            raise GraphError(401, code, "Lifetime validation failed, the token is expired.")
        if info.method != "GET" or info.version not in ("v1.0", "beta"):
            raise GraphError(404, "ResourceNotFound", f"Resource not found for '{info.method} {info.path}'.")
        return claims.roles

    def _permit(self, info: GraphRequest, roles: tuple[str, ...]) -> None:
        if "AuditLog.Read.All" not in roles:
            raise GraphError(
                403,
                "Authentication_MSGraphPermissionMissing",
                "The principal does not have required Microsoft Graph permission(s): AuditLog.Read.All to call this "
                "API. For more information about Microsoft Graph permissions, please visit "
                "https://learn.microsoft.com/graph/permissions-overview.",
            )
        if info.path.endswith(AUDITS):
            return
        if not self._tenant.premium:
            raise GraphError(
                403,
                "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
                "Neither tenant is B2C or tenant doesn't have premium license",
            )
        if info.version == "v1.0" and CLOUD_OF_GRAPH_HOST[info.host].name != "global":
            raise GraphError(400, "BadRequest", "This API is not supported in this national cloud.")

    def _page(self, info: GraphRequest, query: Query) -> Answer:
        limit = min(query.top, self._tenant.page_limit)
        low = max(query.low, ticks_of(info.time - timedelta(days=self._tenant.retention_days)))
        now = ticks_of(self._clock())
        self.quirks.refuse(
            query, lambda most: len(self._tenant.page(query.streams, low, query.high, now=now, limit=most)[0])
        )
        descending = query.descending or not self.honour_orderby
        texts, position = self._tenant.page(
            query.streams,
            low,
            query.high,
            now=now,
            limit=limit,
            descending=descending,
            after=query.after,
        )
        texts = self.quirks.thin_out(texts)
        info.records = len(texts)
        info.ends = position is None
        info.window, info.span = (query.low, query.high), _span(query, position, descending=descending)
        context = f"https://{info.host}/{info.version}/$metadata#{info.path.split('/', 2)[2]}"
        head = b'{"@odata.context":"' + context.encode()
        if position is not None and not self.quirks.break_off():
            following = replace(query, after=position, number=query.number + 1)
            head += b'","@odata.nextLink":"' + self._link(info, following).encode()
        head += b'","value":['
        if spoiled := self.quirks.spoils(texts, info.time):
            index, how = spoiled
            info.span = None
            if how == "glued":
                return Answer(200, glued(head, texts, index))
            raise GraphError(int(how), "UnknownError", "")
        body = head + b",".join(texts) + b"]}"
        return Answer(200, body, own_link=self._link(info, query))

    def _link(self, info: GraphRequest, query: Query) -> str:
        token = quote(encode_skip_token(query, self._scope(info)))
        return f"https://{info.host}{info.path}?$top={query.top}&$skiptoken={token}"

    def _error(self, error: GraphError, client_id: str | None, headers: dict[str, str] | None = None) -> Answer:
        request_id = str(uuid4())
        inner = {
            "date": f"{self._clock():%Y-%m-%dT%H:%M:%S}",
            "request-id": request_id,
            "client-request-id": client_id or request_id,
        }
        body = {"error": {"code": error.code, "message": error.message, "innerError": inner}}
        return Answer(error.status, orjson.dumps(body), {"Content-Type": _JSON, **(headers or {})})


def _span(query: Query, position: int | None, *, descending: bool) -> tuple[int, int]:
    """Returns which creation times a page answers for, in ticks: from where the last one ended to where it ends."""
    began, ended = (None if one is None else one >> SERIAL_BITS for one in (query.after, position))
    if descending:
        return query.low if ended is None else ended, query.high if began is None else began
    return query.low if began is None else began, query.high if ended is None else ended


def _seconds(wait_s: float) -> str:
    """Returns a wait as Graph sends it: a fraction of a second is possible, and is rounded up."""
    return f"{math.ceil(wait_s * 1000) / 1000:.3f}"
