"""Delivery: returns only when the intake has acknowledged every record.

``push_events_to_intakes`` bounds its chunks by characters before they are escaped; the intake bounds the body as sent.
So batches are bounded here, by their size as sent, and a record that the SDK would discard is cut first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from threading import Event, Lock
from typing import Any, Final, Protocol

import orjson
from sekoia_automation.constants import EVENT_BYTES_MAX_SIZE
from tenacity import Retrying, retry_if_exception_type, wait_exponential
from tenacity.stop import stop_when_event_set

from graph_entra.clock import Clock
from graph_entra.errors import IntakeRefused, IntakeUnavailable
from graph_entra.records import Record

MAX_BATCH_RECORDS: Final = 1000
# The intake takes 10 MiB (SDK: INTAKE_PAYLOAD_BYTES_MAX_SIZE); the envelope and the headers fit in what is left.
MAX_BATCH_BYTES: Final = 9 * 1024 * 1024
# The SDK discards longer events. Counted in characters.
MAX_RECORD_CHARS: Final = EVENT_BYTES_MAX_SIZE
# The marker of a cut, at its longest: cutting something as small would make it larger.
_MARKER_CHARS: Final = 128
# Statuses that may be one record's fault: the batch is halved to find it.
_ABOUT_CONTENT: Final = frozenset({400, 413, 422})


class Push(Protocol):
    """The SDK's ``push_events_to_intakes``, made to raise."""

    def __call__(self, events: Sequence[str]) -> Sequence[str]:
        """Push, and return one event id for each event.

        Raises:
            IntakeRefused: a 4xx that no retry mends.
            IntakeUnavailable: anything else.
        """


class Intake:
    """One intake.

    Args:
        push: sends one batch.
        stopping: set when the connector is told to stop; no retry begins after that.
        on_fault: told of each failed try.
        clock: the time.
    """

    def __init__(
        self, push: Push, stopping: Event, on_fault: Callable[[IntakeUnavailable], None], clock: Clock
    ) -> None:
        self._clock = clock
        self._push = push
        self._stopping = stopping
        self._on_fault = on_fault
        # Held from a batch's push to the note of it, by whichever stream: a kill repeats that one batch at most.
        self.in_flight = Lock()

    def deliver(self, batch: Sequence[Record]) -> list[Record]:
        """Push one batch until the intake has acknowledged all of it.

        Returns:
            The records that the intake refuses by themselves while it takes their neighbours. All others are in.

        Raises:
            IntakeRefused: the intake takes nothing of it. Nothing of the batch is known to be delivered.
            IntakeUnavailable: the connector was told to stop before the intake answered.
        """
        try:
            self._send([record.text for record in batch])
        except IntakeRefused as refusal:
            if refusal.status not in _ABOUT_CONTENT or len(batch) == 1:
                raise
        else:
            return []
        refused = self._halve(batch)
        if len(refused) == len(batch):
            raise IntakeRefused(400)
        return refused

    def _halve(self, batch: Sequence[Record]) -> list[Record]:
        middle = len(batch) // 2
        refused: list[Record] = []
        for half in (batch[:middle], batch[middle:]):
            try:
                self._send([record.text for record in half])
            except IntakeRefused as refusal:
                if refusal.status not in _ABOUT_CONTENT:
                    raise
                refused += half if len(half) == 1 else self._halve(half)
        return refused

    def _send(self, texts: list[str]) -> None:
        for attempt in Retrying(
            retry=retry_if_exception_type(IntakeUnavailable),
            wait=wait_exponential(multiplier=1, min=1, max=20),
            sleep=self._pause,
            stop=stop_when_event_set(self._stopping),
            reraise=True,
        ):
            with attempt:
                self._send_once(texts)

    def _pause(self, seconds: float) -> None:
        self._clock.wait(self._stopping, seconds)

    def _send_once(self, texts: list[str]) -> None:
        try:
            acknowledged = len(self._push(texts))
        except IntakeUnavailable as fault:
            self._on_fault(fault)
            raise
        if acknowledged < len(texts):
            short = IntakeUnavailable(f"the intake acknowledged {acknowledged} of {len(texts)} records")
            self._on_fault(short)
            raise short


def batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Split into batches that the intake takes, in order."""
    batch: list[Record] = []
    batch_bytes = 0
    for record in records:
        record_bytes = bytes_as_sent(record.text)
        if batch and (len(batch) == MAX_BATCH_RECORDS or batch_bytes + record_bytes > MAX_BATCH_BYTES):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(record)
        batch_bytes += record_bytes
    if batch:
        yield batch


def bytes_as_sent(text: str) -> int:
    """How many bytes a record's text takes in the request's body: escaped into ASCII, with quotes and a separator."""
    if text.isascii() and "\x7f" not in text and "\n" not in text and "\r" not in text and "\t" not in text:
        return len(text) + text.count('"') + text.count("\\") + 4
    return len(json.dumps(text)) + 2


def fit(text: str) -> str:
    """A record's text, cut to what the SDK sends if it is longer.

    The largest members go first. Of a text or a list the beginning is kept, followed by a marker that states the
    original size and SHA-256; any other value is replaced by the marker. ``id`` and the time members are small and
    stay.
    """
    if len(text) <= MAX_RECORD_CHARS:
        return text
    with suppress(ValueError, RecursionError):
        # Not orjson, which rounds integers beyond 64 bits.
        value = json.loads(text)
        if isinstance(value, dict):
            _cut_members(value)
            if len(fitting := _text(value)) <= MAX_RECORD_CHARS:
                return fitting
    # Not an object, or one of countless small members, or too deep to read: what is left is the beginning of its
    # text. A control character is escaped into six.
    return _text({"graph_entra_cut": _marker(text), "beginning": text[: MAX_RECORD_CHARS // 8]})


def _cut_members(value: dict[str, Any]) -> None:
    sizes = sorted(((len(_text(member)), name) for name, member in value.items()), reverse=True)
    total = len(_text(value))
    for size, name in sizes:
        if total <= MAX_RECORD_CHARS or size <= _MARKER_CHARS:
            return
        value[name] = _cut(value[name], max(0, MAX_RECORD_CHARS - (total - size)))
        total += len(_text(value[name])) - size


def _cut(value: Any, room: int) -> Any:
    text = _text(value)
    marker = _marker(text)
    room -= len(marker) + 8
    if isinstance(value, str):
        kept = value[: max(0, room - 2)]
        while len(_text(kept)) > max(2, room):
            kept = kept[: len(kept) * 3 // 4]
        return kept + marker
    if isinstance(value, list):
        kept_items = []
        for item in value:
            room -= len(_text(item)) + 1
            if room < 0:
                break
            kept_items.append(item)
        return [*kept_items, marker]
    return marker


def _marker(text: str) -> str:
    digest = sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"[graph_entra cut this: {len(text)} characters of JSON, SHA-256 {digest}]"


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":"))
