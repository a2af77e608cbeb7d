"""What most would write: msgraph-sdk's typed models, its PageIterator, and a push of what the models serialize to.

Run as a process with a connector's environment, with the client secret in CLIENT_SECRET: reads 24 h and ends.
"""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import requests
from azure.identity.aio import ClientSecretCredential
from kiota_serialization_json.json_serialization_writer_factory import JsonSerializationWriterFactory
from msgraph.generated.audit_logs.sign_ins.sign_ins_request_builder import SignInsRequestBuilder
from msgraph.graph_service_client import GraphServiceClient
from msgraph_core.tasks.page_iterator import PageIterator

BATCH_RECORDS = 1000


async def read() -> int:
    """Returns how many records it pushed."""
    module = json.loads(os.environ["MODULE_CONFIGURATION"])
    connector = json.loads(os.environ["CONNECTOR_CONFIGURATION"])
    credential = ClientSecretCredential(module["tenant_id"], module["client_id"], os.environ["CLIENT_SECRET"])
    client = GraphServiceClient(credential)
    # The default ends in a slash, which gives "v1.0//auditLogs"; the emulator is strict.
    client.request_adapter.base_url = "https://graph.microsoft.com/v1.0"
    start = datetime.now(UTC) - timedelta(hours=24)
    parameters = SignInsRequestBuilder.SignInsRequestBuilderGetQueryParameters(
        filter=f"createdDateTime ge {start:%Y-%m-%dT%H:%M:%SZ}", orderby=["createdDateTime asc"], top=1000
    )
    pushed = 0
    batch: list[str] = []
    writers = JsonSerializationWriterFactory()
    session = requests.Session()

    def push() -> None:
        nonlocal pushed
        body = {"intake_key": connector["intake_key"], "jsons": batch}
        session.post(f"{os.environ['INTAKE_URL']}/batch", json=body, timeout=30).raise_for_status()
        pushed += len(batch)
        batch.clear()

    def take(record: Any) -> bool:
        writer = writers.get_serialization_writer("application/json")
        writer.write_object_value(None, record)
        batch.append(orjson.dumps(orjson.loads(writer.get_serialized_content())).decode())
        if len(batch) == BATCH_RECORDS:
            push()
        return True

    try:
        first = await client.audit_logs.sign_ins.get(
            SignInsRequestBuilder.SignInsRequestBuilderGetRequestConfiguration(query_parameters=parameters)
        )
        if first is not None and first.value:
            await PageIterator(first, client.request_adapter).iterate(take)
            if batch:
                push()
    finally:
        await credential.close()
    return pushed


if __name__ == "__main__":
    print(f"pushed {asyncio.run(read())}")
