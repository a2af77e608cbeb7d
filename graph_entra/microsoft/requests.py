"""How a question is put with msgraph-sdk's own request builders, and its answer taken as it came."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import httpx
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.headers_collection import HeadersCollection
from kiota_abstractions.native_response_handler import NativeResponseHandler
from kiota_http.middleware.options import ResponseHandlerOption
from msgraph.generated.applications_with_app_id.applications_with_app_id_request_builder import (
    ApplicationsWithAppIdRequestBuilder,
)
from msgraph.generated.audit_logs.directory_audits.directory_audits_request_builder import DirectoryAuditsRequestBuilder
from msgraph.generated.audit_logs.sign_ins.sign_ins_request_builder import SignInsRequestBuilder
from msgraph.graph_service_client import GraphServiceClient

from graph_entra.streams import Stream, Window

_ApplicationParameters: Final = (
    ApplicationsWithAppIdRequestBuilder.ApplicationsWithAppIdRequestBuilderGetQueryParameters
)

# Each member of /auditLogs that can be read: its query parameters, and its request builder. A collection that is not
# here is a KeyError, never another one.
_COLLECTIONS: Final[Mapping[str, tuple[Callable[..., Any], Callable[[GraphServiceClient], Any]]]] = MappingProxyType(
    {
        "signIns": (
            SignInsRequestBuilder.SignInsRequestBuilderGetQueryParameters,
            lambda client: client.audit_logs.sign_ins,
        ),
        "directoryAudits": (
            DirectoryAuditsRequestBuilder.DirectoryAuditsRequestBuilderGetQueryParameters,
            lambda client: client.audit_logs.directory_audits,
        ),
    }
)

# Puts one question to a client, and returns the raw answer: its status is for the caller to look at.
Question = Callable[[GraphServiceClient], Awaitable[httpx.Response]]


def first_page(stream: Stream, window: Window) -> Question:
    """The first page of a window."""
    parameters = _parameters(stream)(
        filter=stream.filter(window.start_s, window.end_s),
        orderby=[stream.orderby(newest_first=window.newest_first)],
        top=window.page_records,
    )
    return lambda client: _collection(stream, client).get(_configuration(parameters))


def next_page(stream: Stream, link: str) -> Question:
    """The page behind a nextLink."""
    return lambda client: _collection(stream, client).with_url(link).get(_configuration(None))


def one_record(stream: Stream) -> Question:
    """Any single record."""
    return lambda client: _collection(stream, client).get(_configuration(_parameters(stream)(top=1)))


def credentials_of(client_id: str) -> Question:
    """The application's own ``passwordCredentials``."""
    configuration = _configuration(_ApplicationParameters(select=["passwordCredentials"]))

    def ask(client: GraphServiceClient) -> Awaitable[httpx.Response]:
        application: Any = client.applications_with_app_id(client_id)
        answer: Awaitable[httpx.Response] = application.get(configuration)
        return answer

    return ask


def _parameters(stream: Stream) -> Callable[..., Any]:
    return _COLLECTIONS[stream.collection][0]


def _configuration(parameters: Any) -> RequestConfiguration[Any]:
    headers = HeadersCollection()
    # Not carried by a nextLink: sent with every page
    # (https://learn.microsoft.com/graph/best-practices-concept#handling-future-members-in-evolvable-enumerations).
    headers.add("Prefer", "include-unknown-enum-members")
    return RequestConfiguration(
        headers=headers,
        options=[ResponseHandlerOption(NativeResponseHandler())],
        query_parameters=parameters,
    )


def _collection(stream: Stream, client: GraphServiceClient) -> Any:
    return _COLLECTIONS[stream.collection][1](client)
