"""What Graph held against what the intake got: delivered, waiting, lost, repeated, altered."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from tests.emulator.intake import AUDITS_KEY, Intake
from tests.emulator.tenant import AUDITS, STREAMS, Tenant, time_member


def canonical(text: bytes | str) -> bytes:
    """A record's JSON in one form: equal for equal members and values, whatever their order."""
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)


class Verdict:
    """Compares, again and again, while both sides go on.

    Args:
        tenant: what Graph holds.
        intake: what was pushed.
        kept: the file that keeps every pushed record, one a line.
        say: prints a line.
    """

    def __init__(self, tenant: Tenant, intake: Intake, kept: Path, say: Callable[[str], Any]) -> None:
        self._tenant = tenant
        self._intake = intake
        self._kept = kept
        self._say = say
        self._taken = 0
        # Canonical text of each version that Graph showed -> (stream, id); and how often each was pushed.
        self._shown: dict[bytes, tuple[str, str]] = {}
        self._pushed: Counter[bytes] = Counter()
        self._last_version: dict[tuple[str, str], bytes] = {}
        self._known: dict[bytes, bytes] = {}
        self._lag_s: dict[str, float] = {}
        self._by_stream: Counter[str] = Counter()

    def take(self) -> None:
        """Looks at what Graph shows now and at what was pushed since the last time."""
        for stream in STREAMS:
            for text in self._tenant.visible(stream):
                form = self._known.get(text)
                if form is None:
                    form = self._known[text] = canonical(text)
                    record_id = orjson.loads(text)["id"]
                    self._shown[form] = (stream, record_id)
                    self._last_version[stream, record_id] = form
        events = self._intake.events
        with self._kept.open("a") as out:
            while self._taken < len(events):
                event = events[self._taken]
                self._taken += 1
                out.write(event.text + "\n")
                form = canonical(event.text)
                self._pushed[form] += 1
                stream = self._shown[form][0] if form in self._shown else None
                if stream is not None and (stream == AUDITS) == (event.intake_key == AUDITS_KEY):
                    self._by_stream[stream] += 1
                    self._note_lag(stream, event.text, event.at)

    def delivered(self, stream: str) -> int:
        """How many records of a stream were pushed as Graph showed them."""
        return self._by_stream[stream]

    def waiting(self, stream: str) -> int:
        """How many records of a stream Graph shows that were not pushed in their present form."""
        return sum(1 for (of, _), form in self._last_version.items() if of == stream and not self._pushed[form])

    def lag_s(self, stream: str) -> float | None:
        """How old the newest record was when it arrived, in seconds; None if none was live."""
        return self._lag_s.get(stream)

    def totals(self) -> tuple[int, int, int, int, int]:
        """Records delivered, updates delivered besides, lost, repeated, altered."""
        delivered = {self._shown[form] for form in self._pushed if form in self._shown}
        versions = sum(1 for form in self._pushed if form in self._shown)
        lost = sum(map(self.waiting, STREAMS))
        repeated = sum(count - 1 for count in self._pushed.values())
        altered = sum(count for form, count in self._pushed.items() if form not in self._shown)
        return len(delivered), versions - len(delivered), lost, repeated, altered

    def _note_lag(self, stream: str, text: str, at: datetime) -> None:
        created = datetime.fromisoformat(orjson.loads(text)[time_member(stream)])
        age_s = (at - created).total_seconds()
        if age_s < 120:
            self._lag_s[stream] = age_s
