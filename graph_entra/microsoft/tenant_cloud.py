"""Which of Microsoft's clouds a tenant lives in, for the one whose login says that there is no such tenant.

Every login authority tells it to everybody, in its OpenID configuration
(https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#find-your-apps-openid-configuration-document-uri).
The global one knows the tenants of the US Government too and says so in ``cloud_instance_name`` and
``tenant_region_sub_scope``; an authority that says neither speaks of its own.
"""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import Any, Final

import httpx
import orjson

from graph_entra.microsoft.clouds import CLOUDS, CloudName

TIMEOUT_S: Final = 5.0
_BY_SUB_SCOPE: Final = MappingProxyType({"DOD": ("us_gov_dod",), "DODCON": ("us_gov",)})
_BY_INSTANCE: Final = MappingProxyType(
    {
        "microsoftonline.com": ("global",),
        "microsoftonline.us": ("us_gov", "us_gov_dod"),
        "partner.microsoftonline.cn": ("china",),
    }
)


async def home_clouds(tenant_id: str) -> list[CloudName] | None:
    """The clouds in which a tenant may live.

    Args:
        tenant_id: its id, or one of its domains.

    Returns:
        Names of clouds; none if every authority says that there is no such tenant; None if that cannot be told.
    """
    hosts = sorted({cloud.login_host for cloud in CLOUDS.values()})
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        answers = await asyncio.gather(*(_ask(client, host, tenant_id) for host in hosts))
    found = {name for answer in answers for name in answer or ()}
    if not found and None in answers:
        return None
    return [name for name in CLOUDS if name in found]


async def _ask(client: httpx.AsyncClient, host: str, tenant_id: str) -> tuple[str, ...] | None:
    try:
        response = await client.get(f"https://{host}/{tenant_id}/v2.0/.well-known/openid-configuration")
        if response.status_code == 400:
            return ()
        said: dict[str, Any] = orjson.loads(response.content) if response.status_code == 200 else {}
        if "token_endpoint" not in said:
            return None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError):
        return None
    own = tuple(cloud.name for cloud in CLOUDS.values() if cloud.login_host == host)
    instance = _BY_INSTANCE.get(str(said.get("cloud_instance_name")), own)
    return _BY_SUB_SCOPE.get(str(said.get("tenant_region_sub_scope")), instance)
