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

from graph_entra.clock import SystemClock
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
GOAL = 300
# A page of another kind of record, or one such record on a page, costs at most so many times as much a byte.
KIND_GOAL = 2.0
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
    kinds = _kinds(_page(records, started, seed=0))
    worst, cost = max(((name, one) for name, (_, one) in kinds.items()), key=lambda kind: kind[1])
    text += "\n\n" + "\n\n".join(
        [
            "`read_page` alone, a byte, as a multiple of a plain page: a page on which every record is of a kind that "
            "msgspec refuses or that used to cost more, and a page with one such record.",
            table(
                ("every record, or one, with", "a page of them", "one on a page"),
                [(name, f"{every:.2f}", f"{one:.2f}") for name, (every, one) in kinds.items()],
            ),
        ]
    )
    kind_figure = Figure(
        "CPU of a page with one strange record, against a plain page of its size",
        f"<= {KIND_GOAL} times",
        f"{cost:.2f} times ({worst})",
        cost <= KIND_GOAL,
    )
    figure = Figure(
        "CPU of a page: parse + ledger + encode, against typed models", f">= {GOAL} times less", f"{ratio:.0f} times",
        ratio >= GOAL,
    )  # fmt: skip
    values = {"ratio": ratio, "ours_us": statistics.median(ours_us), "typed_us": statistics.median(theirs_us)}
    return Report("CPU of a page, against msgraph-sdk's typed models", [figure, kind_figure], text, values)


_KINDS: dict[str, bytes] = {
    "a number of 22 digits": b"1234567890123456789012",
    "0.10 and 1e400": b"[0.10,1e400]",
    "escapes": rb'"' + rb"\u00e9\n\"" * 50 + b'"',
    "an unpaired surrogate": rb'"\ud800"',
    "bytes that are no UTF-8": b'"\xff\xed\xa0\x80"',
    "900 levels": b"[" * 900 + b"]" * 900,
    "1,100 levels": b"[" * 1100 + b"]" * 1100,
    "1,100 levels of objects": b'{"a":' * 1100 + b"1" + b"}" * 1100,
}


def _kinds(body: bytes) -> dict[str, tuple[float, float]]:
    """Of each kind: the cost of a page of them, and of a page with one, as multiples of a plain page's, a byte."""
    texts = [record.text.encode() for record in read_page(STREAM, body).records]

    def cost(strange: bytes | None, count: int) -> float:
        changed = [text if strange is None else text[:-1] + b',"n":' + strange + b"}" for text in texts[:count]]
        page = b'{"value":[' + b",".join([*changed, *texts[count:]]) + b"]}"
        return statistics.median(_cpu_us(lambda: read_page(STREAM, page)) for _ in range(7)) / len(page)

    plain = cost(None, 0)
    return {name: (cost(strange, len(texts)) / plain, cost(strange, 1) / plain) for name, strange in _KINDS.items()}


def _page(records: int, started: datetime, seed: int) -> bytes:
    texts = fill(Tenant(), STREAM.key, records, started, started + timedelta(minutes=10), seed)
    head = b'{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#auditLogs/signIns","value":['
    return head + b",".join(texts) + b"]}"


def _ours(body: bytes, records: int) -> float:
    with TemporaryDirectory() as folder:
        ledger = Ledger(Files(Path(folder), SystemClock()), STREAM, lambda _name, _why: None)
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
        ledger = Ledger(Files(Path(folder), SystemClock()), STREAM, lambda _name, _why: None)
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
