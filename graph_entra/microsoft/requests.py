"""How a question is put with msgraph-sdk's own request builders, and its answer taken as it came."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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

# The most that Graph answers for sign-ins, and its default (https://learn.microsoft.com/graph/api/signin-list).
PAGE_RECORDS: Final = 1000
_ApplicationParameters: Final = (
    ApplicationsWithAppIdRequestBuilder.ApplicationsWithAppIdRequestBuilderGetQueryParameters
)

# Puts one question to a client, and returns the raw answer: its status is for the caller to look at.
Question = Callable[[GraphServiceClient], Awaitable[httpx.Response]]


def first_page(stream: Stream, window: Window) -> Question:
    """The first page of a window, oldest first."""
    chosen = stream.filter(window.start_s, window.end_s)
    parameters = _parameters(stream)(filter=chosen, orderby=[stream.orderby], top=PAGE_RECORDS)
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
    if stream.collection == "signIns":
        return SignInsRequestBuilder.SignInsRequestBuilderGetQueryParameters
    return DirectoryAuditsRequestBuilder.DirectoryAuditsRequestBuilderGetQueryParameters


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
    return client.audit_logs.sign_ins if stream.collection == "signIns" else client.audit_logs.directory_audits
