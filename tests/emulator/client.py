"""A plain client of the emulated login and Graph, for the emulator's own tests: it knows no rule of theirs."""

import ssl
from typing import Any, Self

import httpx

from tests.emulator.emulator import Emulator
from tests.emulator.tenant import AUDITS


class PlainClient:
    """Asks through the proxy, as the connector does; a context manager."""

    def __init__(self, emulator: Emulator, *, graph: str = "graph.microsoft.com", login: str | None = None) -> None:
        self.emulator = emulator
        self.graph_host = graph
        self.login_host = login or "login.microsoftonline.com"
        trust = ssl.create_default_context(cafile=str(emulator.ca_file))
        self.http = httpx.Client(proxy=emulator.proxy_url, verify=trust, timeout=10, trust_env=False)
        self.token: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def ask_token(self, *, tenant: str | None = None, without: tuple[str, ...] = (), **changes: str) -> httpx.Response:
        """Asks for a token; `changes` replace members of the right form, those of `without` are left out."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.emulator.tenant.client_id,
            "client_secret": self.emulator.tenant.client_secret,
            "scope": f"https://{self.graph_host}/.default",
            **changes,
        }
        form = {name: value for name, value in form.items() if name not in without}
        url = f"https://{self.login_host}/{tenant or self.emulator.tenant.tenant_id}/oauth2/v2.0/token"
        return self.http.post(url, data=form)

    def log_in(self) -> str:
        """Gets a token and uses it from now on."""
        self.token = self.ask_token().raise_for_status().json()["access_token"]
        return self.token

    def get(self, path_or_url: str, params: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        """Asks Graph, with a token unless `token` was set to an empty text."""
        if self.token is None:
            self.log_in()
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        whole = path_or_url.startswith("https://")
        url = path_or_url if whole else f"https://{self.graph_host}{path_or_url}"
        return self.http.get(url, params=params, headers={**bearer, **headers})

    def stream(self, stream: str, *clauses: str, **options: Any) -> httpx.Response:
        """Asks for the first page of a stream; options are named without their dollar."""
        if stream == AUDITS:
            path = "/v1.0/auditLogs/directoryAudits"
        elif stream == "interactiveUser" and self.graph_host == "graph.microsoft.com":
            path = "/v1.0/auditLogs/signIns"
        else:
            path = "/beta/auditLogs/signIns"
            clauses = (*clauses, f"signInEventTypes/any(t: t eq '{stream}')")
        params = {f"${name}": value for name, value in options.items()}
        if clauses:
            params["$filter"] = " and ".join(clauses)
        return self.get(path, params)

    def all_pages(self, first: httpx.Response) -> list[list[dict[str, Any]]]:
        """Follows every nextLink; returns the records page by page."""
        pages = []
        response = first
        while True:
            page = response.raise_for_status().json()
            pages.append(page["value"])
            if "@odata.nextLink" not in page:
                return pages
            response = self.get(page["@odata.nextLink"])


def error_code(response: httpx.Response) -> str:
    """Returns the code of a Graph error body."""
    return str(response.json()["error"]["code"])
