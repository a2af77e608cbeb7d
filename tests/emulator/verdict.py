"""What Graph showed against what the intake got, text by text: delivered, waiting, lost, repeated, altered.

*Waiting* is what Graph shows and the intake has not got yet. *Lost* is only what a settled reading did not bring: Graph
has answered a page that holds the record, undisturbed, and much longer ago than a push takes, and so long ago the
intake refused nothing. So a run that ends early, a machine that is busy, or an intake that is down lose nothing.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from tests.emulator.graph import GraphRequest
from tests.emulator.instants import parse_ticks, ticks_of
from tests.emulator.intake import AUDITS_KEY, Intake
from tests.emulator.tenant import AUDITS, STREAMS, Tenant, time_member

# A page that was answered so long ago has been parsed and pushed, if the intake refused nothing since.
SETTLED_AFTER = timedelta(seconds=30)
_LIVE_S = 120.0


def as_text(text: bytes | str) -> str:
    """Returns what may still be bytes as text."""
    return text if isinstance(text, str) else text.decode()


def canonical(text: bytes | str) -> str:
    """Returns a text that two JSON texts share exactly if they say the same: by member, each number digit by digit."""
    try:
        return json.dumps(json.loads(text, parse_int=_number, parse_float=_number), sort_keys=True)
    except RecursionError:
        return as_text(text)


def _number(digits: str) -> list[str]:
    """A number as its text, in a form that no text of a record's has."""
    return ["number", digits]


@dataclass(frozen=True, slots=True)
class Version:
    """One form of a record, as Graph shows it from `shown` on (as far as anybody looked)."""

    stream: str
    record_id: str
    created: int
    shown: datetime


@dataclass(frozen=True, slots=True)
class Totals:
    """How many records; `updates` are further forms of records that are counted already."""

    delivered: int
    updates: int
    waiting: int
    lost: int
    repeated: int
    altered: int

    @property
    def sound(self) -> bool:
        """Whether nothing went wrong; what waits is not wrong."""
        return not (self.lost or self.repeated or self.altered)


class Verdict:
    """Compares, again and again, while both sides go on. Texts are compared byte for byte, and so is every digit.

    Args:
        tenant: what Graph holds.
        intake: what was pushed.
        requests: what Graph was asked so far.
        kept: the file that keeps every pushed record, one a line.
        clock: an aware instant, the emulator's.
    """

    def __init__(
        self,
        tenant: Tenant,
        intake: Intake,
        requests: Callable[[], Iterable[GraphRequest]],
        kept: Path,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tenant = tenant
        self._intake = intake
        self._requests = requests
        self._kept = kept
        self._clock = clock
        self._taken = 0
        self._shown: dict[bytes, Version] = {}
        self._last: dict[tuple[str, str], bytes] = {}
        self._pushed: Counter[bytes] = Counter()
        self._lag_s: dict[str, float] = {}
        # When a text first arrived.
        self.arrived: dict[bytes, datetime] = {}

    def take(self) -> None:
        """Looks at what Graph shows now and at what was pushed since the last time."""
        # Pushes first: whatever was pushed by now was shown by then.
        events = self._intake.events
        upto = len(events)
        now = self._clock()
        for stream in STREAMS:
            for text in self._tenant.all_texts(stream, now):
                if text not in self._shown:
                    record = orjson.loads(text)
                    created = parse_ticks(record[time_member(stream)])
                    self._shown[text] = Version(stream, record["id"], created, now)
            for text in self._tenant.visible(stream, now=now):
                version = self._shown[text]
                self._last[stream, version.record_id] = text
        with self._kept.open("a") as out:
            for event in events[self._taken : upto]:
                out.write(event.text + "\n")
                text = event.text.encode()
                version = self._shown.get(text)
                if version is not None and (version.stream == AUDITS) != (event.intake_key == AUDITS_KEY):
                    text += b" in the other connector's intake"  # which Graph never showed
                self._pushed[text] += 1
                self.arrived.setdefault(text, event.at)
                if version is not None:
                    self._note_lag(version, event.at)
        self._taken = upto

    def delivered(self, stream: str) -> int:
        """How many records of a stream were pushed as Graph showed them."""
        return sum(1 for text in self._pushed if text in self._shown and self._shown[text].stream == stream)

    def waiting(self, stream: str) -> int:
        """How many records of a stream Graph shows that were not pushed in their present form, lost ones included."""
        return sum(1 for (of, _), text in self._last.items() if of == stream and not self._pushed[text])

    def waiting_ids(self) -> set[str]:
        """Which records of all streams wait."""
        return {record_id for (_, record_id), text in self._last.items() if not self._pushed[text]}

    def lag_s(self, stream: str) -> float | None:
        """How old the newest record was when it arrived, in seconds; None if none was live."""
        return self._lag_s.get(stream)

    def totals(self) -> Totals:
        """What there is to say at present."""
        right = [text for text in self._pushed if text in self._shown]
        records = {(self._shown[text].stream, self._shown[text].record_id) for text in right}
        waiting = [text for text in self._last.values() if not self._pushed[text]]
        lost = sum(map(self._was_read, waiting))
        return Totals(
            delivered=len(records),
            updates=len(right) - len(records),
            waiting=len(waiting) - lost,
            lost=lost,
            repeated=sum(count - 1 for count in self._pushed.values()),
            altered=sum(count for text, count in self._pushed.items() if text not in self._shown),
        )

    def _was_read(self, text: bytes) -> bool:
        """Whether a settled reading held this text."""
        version = self._shown[text]
        settled = self._clock() - SETTLED_AFTER
        if any(one.at > settled and one.status != 200 for one in list(self._intake.requests)):
            return False
        return any(
            one.stream == version.stream
            and one.status == 200
            and one.fault is None
            and one.span is not None
            and one.span[0] <= version.created <= one.span[1]
            and version.shown <= one.time < settled
            for one in self._requests()
        )

    def _note_lag(self, version: Version, at: datetime) -> None:
        age_s = (ticks_of(at) - version.created) / 1e7
        if age_s < _LIVE_S:
            self._lag_s[version.stream] = age_s
