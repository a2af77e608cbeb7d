"""What each cloud is asked, and by which authority's leave: every request, checked member by member."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from graph_entra.errors import GraphRefused
from graph_entra.microsoft.clouds import CLOUDS as CONFIGURED
from graph_entra.microsoft.graph import Graph
from graph_entra.microsoft.login import ClientSecret, Login
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.streams import sign_in_stream
from tests.emulator import Tenant
from tests.emulator.hosts import CLOUDS
from tests.emulator.tenant import AUDITS, SIGN_IN_TYPES
from tests.integration.rig import Rig

INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def _bounds(member: str) -> str:
    return rf"{member} ge {INSTANT} and {member} le {INSTANT}"


def _expected(stream: str, cloud: str) -> tuple[str, str, str]:
    """Returns version, time member and $filter of a stream, stated apart from the module on purpose."""
    if stream == AUDITS:
        return "v1.0", "activityDateTime", _bounds("activityDateTime")
    bounds = _bounds("createdDateTime")
    if stream == "interactiveUser" and cloud == "global":
        return "v1.0", "createdDateTime", bounds
    return "beta", "createdDateTime", bounds + re.escape(f" and signInEventTypes/any(t: t eq '{stream}')")


def _check_graph(rig: Rig, request: Any, cloud: str, host: str) -> None:
    assert (request.method, request.host, request.status) == ("GET", host, 200)
    assert request.headers["host"] == host
    if request.stream is None:  # the watch over the secret's end
        return
    version, member, pattern = _expected(request.stream, cloud)
    collection = "directoryAudits" if request.stream == AUDITS else "signIns"
    assert request.path == f"/{version}/auditLogs/{collection}"
    assert request.headers["prefer"] == "include-unknown-enum-members"
    claims = rig.emulator.login.claims(request.headers["authorization"].removeprefix("Bearer "))
    assert claims is not None
    assert claims.audience == f"https://{host}"
    if request.is_next_link:
        assert set(request.query) == {"$top", "$skiptoken"}
        return
    assert set(request.query) == {"$filter", "$orderby", "$top"}
    assert re.fullmatch(pattern, request.query["$filter"]), request.query["$filter"]
    assert request.query["$orderby"] == f"{member} asc"
    assert request.query["$top"] == "1000"


@pytest.mark.parametrize("types", [SIGN_IN_TYPES, (AUDITS,)], ids=["sign-ins", "audits"])
@pytest.mark.parametrize("cloud", CLOUDS, ids=[cloud.name for cloud in CLOUDS])
async def test_every_request(make_rig: Callable[..., Rig], cloud: Any, types: tuple[str, ...]) -> None:
    """Host, path, version, filter, order, page size, Prefer, scope and authority are the cloud's own, on all pages."""
    rig = make_rig(Tenant(cloud=cloud.name))
    rig.fill(*types)
    async with rig.collecting(*types) as run:
        await run.complete()
        assert run.complaints() == []
    requests = rig.graph_requests
    for request in requests:
        _check_graph(rig, request, cloud.name, cloud.graph_host)
    assert {request.stream for request in requests} - {None} == set(types)
    assert {request.is_next_link for request in requests} == {True, False}
    assert rig.emulator.login.requests
    for login in rig.emulator.login.requests:
        assert (login.method, login.host) == ("POST", cloud.login_host)
        assert login.path == f"/{rig.emulator.tenant.tenant_id}/oauth2/v2.0/token"
        assert login.body["scope"] == f"https://{cloud.graph_host}/.default"
        assert login.body["grant_type"] == "client_credentials"
    assert set(rig.emulator.proxy.tunnels) == {cloud.login_host, cloud.graph_host}
    assert rig.emulator.proxy.refused == []


@pytest.mark.parametrize("cloud", ["us_gov", "us_gov_dod", "china"])
async def test_v1_refuses_sign_ins_outside_the_global_cloud(make_rig: Callable[..., Rig], cloud: str) -> None:
    """This is why interactive sign-ins come from beta there: v1.0 answers 400, beta answers."""
    tenant = Tenant(cloud=cloud)
    clock = make_rig(tenant).clock
    login = Login(
        CONFIGURED[cloud],
        tenant.tenant_id,
        tenant.client_id,
        ClientSecret(SecretStr(tenant.client_secret)),
        graph_time=clock.time,
        on_date=lambda _date_s: None,
    )
    graph = Graph(CONFIGURED[cloud], login, tenant.client_id, rate_limiter=RateLimiter(clock), clock=clock)
    try:
        with pytest.raises(GraphRefused) as refused:
            await graph.one(sign_in_stream("interactiveUser", beta_only=False))
        assert refused.value.status == 400
        await graph.one(sign_in_stream("interactiveUser", beta_only=True))
    finally:
        await graph.close()


@pytest.mark.parametrize(("is_in", "told"), [("us_gov", "global"), ("global", "china"), ("us_gov_dod", "us_gov")])
async def test_wrong_cloud_is_told(make_rig: Callable[..., Rig], is_in: str, told: str) -> None:
    """A tenant of one cloud and the configuration of another: the line says to check the cloud; no log is asked."""
    rig = make_rig(Tenant(cloud=is_in))
    rig.fill("interactiveUser")
    async with rig.collecting("interactiveUser", cloud=told) as run:
        await run.until(lambda: run.said("signing in to Entra", "cloud"), "a line about the cloud")
    assert rig.emulator.graph.requests == []
    assert rig.emulator.intake.count == 0
