"""CPU for a page of 1,000 records: our parse, ledger and encoding against msgraph-sdk's models on the same bytes."""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from kiota_serialization_json.json_parse_node_factory import JsonParseNodeFactory
from kiota_serialization_json.json_serialization_writer_factory import JsonSerializationWriterFactory
from msgraph.generated.models.sign_in_collection_response import SignInCollectionResponse

from graph_entra.delivery.intake import batch_end, bytes_as_sent
from graph_entra.delivery.intake_http import body as push_body
from graph_entra.microsoft.pages import read_page
from graph_entra.state.files import Files
from graph_entra.state.ledger import Ledger
from graph_entra.streams import sign_in_stream
from tests.benchmarks.report import Figure, Report, median_of, table
from tests.emulator import Tenant
from tests.emulator.records import fill

NAME = "page_cost"
STREAM = sign_in_stream("interactiveUser", beta_only=False)
GOAL = 150
_JSON = "application/json"


def run(*, quick: bool = False) -> Report:
    """Compares both on the same pages, in turns."""
    records, rounds = (60, 3) if quick else (1000, 5)
    started = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    ours_us, theirs_us, parts = [], [], []
    # What both import and cache in their first page is not a page's cost.
    body = _page(20, started, seed=99)
    _ours(body, 20)
    _typed(body)
    for seed in range(rounds):
        body = _page(records, started, seed)
        ours_us.append(statistics.median(_ours(body, records) for _ in range(15)))
        theirs_us.append(_cpu_us(lambda body=body: _typed(body)) / records)
        parts.append(_parts(body, records))
    ratios = [theirs / ours for theirs, ours in zip(theirs_us, ours_us, strict=True)]
    ratio = statistics.median(ratios)
    names = list(parts[0])
    text = "\n\n".join(
        [
            f"One page of {records:,} sign-ins of {len(body) / records:,.0f} bytes. Ours: `read_page`, "
            "`Ledger.digest` for each record, `batch_end`, `Ledger.add` with its file. Theirs: kiota's JSON parse "
            "node, `SignInCollectionResponse`, and kiota's JSON writer for each value. CPU of the process, "
            "new ids in each page, both in turns.",
            table(
                ("us of CPU per record", "median"),
                [
                    ("ours", median_of(ours_us)),
                    *((f"ours: {name}", median_of([part[name] for part in parts], 2)) for name in names),
                    ("msgraph-sdk's typed models and writer", median_of(theirs_us, 0)),
                    ("ratio", median_of(ratios, 0)),
                ],
            ),
        ]
    )
    figure = Figure(
        "CPU of a page: parse + ledger + encode, against typed models", f">= {GOAL} times less", f"{ratio:.0f} times",
        ratio >= GOAL,
    )  # fmt: skip
    values = {"ratio": ratio, "ours_us": statistics.median(ours_us), "typed_us": statistics.median(theirs_us)}
    return Report("CPU of a page, against msgraph-sdk's typed models", [figure], text, values)


def _page(records: int, started: datetime, seed: int) -> bytes:
    texts = fill(Tenant(), STREAM.key, records, started, started + timedelta(minutes=10), seed)
    head = b'{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#auditLogs/signIns","value":['
    return head + b",".join(texts) + b"]}"


def _ours(body: bytes, records: int) -> float:
    with TemporaryDirectory() as folder:
        ledger = Ledger(Files(Path(folder)), STREAM.key, lambda _name, _why: None)
        now_s = int(time.time())

        def work() -> None:
            page = read_page(STREAM, body)
            fresh = [record for record in page.records if ledger.digest(record, now_s) is None]
            start = 0
            while start < len(fresh):
                end = batch_end(fresh, start)
                ledger.add(fresh[start:end], now_s)
                start = end

        return _cpu_us(work) / records


def _parts(body: bytes, records: int) -> dict[str, float]:
    with TemporaryDirectory() as folder:
        ledger = Ledger(Files(Path(folder)), STREAM.key, lambda _name, _why: None)
        now_s = int(time.time())
        page = read_page(STREAM, body)
        steps: dict[str, Callable[[], object]] = {
            "read_page": lambda: read_page(STREAM, body),
            "Ledger.digest": lambda: [ledger.digest(record, now_s) for record in page.records],
            "batch_end": lambda: batch_end(page.records, 0),
            "(not counted: the push's body)": lambda: push_body("key", [record.text for record in page.records]),
            "Ledger.add": lambda: ledger.add(page.records, now_s),
            "(where batch_end measures: bytes_as_sent)": lambda: [
                bytes_as_sent(record.text) for record in page.records
            ],
        }
        return {name: _cpu_us(step) / records for name, step in steps.items()}


def _typed(body: bytes) -> list[bytes]:
    node = JsonParseNodeFactory().get_root_parse_node(_JSON, body)
    page = node.get_object_value(SignInCollectionResponse)
    texts = []
    for value in page.value or []:
        writer = JsonSerializationWriterFactory().get_serialization_writer(_JSON)
        writer.write_object_value(None, value)
        texts.append(writer.get_serialized_content())
    return texts


def _cpu_us(work: Callable[[], object]) -> float:
    started_ns = time.process_time_ns()
    work()
    return (time.process_time_ns() - started_ns) / 1000
