"""What `make run` lets happen, so that it shows its own features, and what it says of each at the end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import orjson

from tests.emulator.emulator import Emulator
from tests.emulator.faults import Fault
from tests.emulator.records import fill, one
from tests.emulator.tenant import AUDITS, SIGN_IN_TYPES, STREAMS, Tenant
from tests.emulator.verdict import Verdict

SIGN_INS_EACH = 600
AUDIT_COUNT = 400
LATE_SHARE = 0.35
LATE_S = (3, 8, 20)
CHANGED_SHARE = 0.2
# Most have been delivered by then, in their first form.
CHANGED_AFTER_S = 25.0
OUTAGE_FROM_S = 36.0
OUTAGE_S = 8.0
# One record of the history that Graph cannot serve for a while, with every page that holds it.
SPOILED = True
SPOILED_STREAM = "servicePrincipal"
SPOILED_S = 25.0


@dataclass(frozen=True, slots=True)
class Expected:
    """A text that Graph shows from an instant on."""

    text: bytes
    from_time: datetime


@dataclass
class Programme:
    """Makes records and trouble, second by second, on an emulator's tenant."""

    emulator: Emulator
    began: datetime
    rng: Random = field(default_factory=lambda: Random(2026))
    late: list[Expected] = field(default_factory=list)
    changed: list[Expected] = field(default_factory=list)
    spoiled: Expected | None = None
    outage: tuple[datetime, datetime] | None = None
    _made: int = 0
    _over: bool = False

    @staticmethod
    def furnished(now: datetime) -> Tenant:
        """Returns a tenant with a day of history."""
        tenant = Tenant()
        yesterday = now - timedelta(hours=23, minutes=59)
        for seed, stream in enumerate(STREAMS):
            fill(tenant, stream, AUDIT_COUNT if stream == AUDITS else SIGN_INS_EACH, yesterday, now, seed=seed)
        return tenant

    def begin(self) -> None:
        """Spoils the one record, if that is part of the programme."""
        if SPOILED:
            text = self.emulator.tenant.all_texts(SPOILED_STREAM)[SIGN_INS_EACH // 2]
            until = self.began + timedelta(seconds=SPOILED_S)
            self.emulator.graph.quirks.spoil(orjson.loads(text)["id"], "500", until)
            self.spoiled = Expected(text, until)

    def step(self, ends: datetime | None) -> None:
        """One new record in each of two streams; the outage begins or ends.

        Args:
            ends: when the tenant stops making records; by then all of them are shown. None: not yet.
        """
        now = self.emulator.clock()
        self._turn_intake(now)
        for stream in (self.rng.choice(SIGN_IN_TYPES), self.rng.choice(STREAMS)):
            self._made += 1
            self._add(stream, one(stream, now, seed=self.rng.getrandbits(48) + self._made), now, ends)

    def stop(self) -> None:
        """The tenant makes nothing any more, and the intake takes everything."""
        self._over = True
        self._turn_intake(self.emulator.clock())

    def _add(self, stream: str, record: dict[str, Any], now: datetime, ends: datetime | None) -> None:
        tenant, visible = self.emulator.tenant, now
        if self.rng.random() < LATE_SHARE:
            visible += timedelta(seconds=self.rng.choice(LATE_S))
            if ends is None or visible < ends:
                self.late.append(Expected(orjson.dumps(record), visible))
            else:
                visible = now
        tenant.add(stream, record, visible_at=visible)
        changes = visible + timedelta(seconds=CHANGED_AFTER_S)
        if stream != AUDITS and self.rng.random() < CHANGED_SHARE and (ends is None or changes < ends):
            revised = {**record, "riskState": "confirmedCompromised", "riskLevelAggregated": "high"}
            tenant.change(stream, record["id"], revised, changes)
            self.changed.append(Expected(orjson.dumps(revised), changes))

    def _turn_intake(self, now: datetime) -> None:
        down = self.outage is not None and self.emulator.intake.faults.waiting > 0
        due = self.began + timedelta(seconds=OUTAGE_FROM_S) <= now
        if self.outage is None and due and not self._over:
            self.emulator.intake.faults.inject(Fault.status(503), times=None)
            self.outage = (now, now + timedelta(seconds=OUTAGE_S))
        elif down and self.outage is not None and (self._over or now >= self.outage[1]):
            self.emulator.intake.faults.clear()
            self.outage = (self.outage[0], now)

    def report(self, verdict: Verdict) -> Iterator[str]:
        """One sentence for each thing that was shown: how it arrived."""
        shown = self.emulator.clock()
        if late := [one for one in self.late if one.from_time <= shown]:
            yield f"Shown late, {min(LATE_S)} to {max(LATE_S)} s after they were created: {_arrivals(verdict, late)}."
        if changed := [one for one in self.changed if one.from_time <= shown]:
            yield f"Changed by Graph after it had shown them: {_arrivals(verdict, changed)}, in their new form."
        if self.outage is not None:
            began, ended = self.outage
            after = sum(1 for at in verdict.arrived.values() if at >= ended)
            refused = sum(1 for one in list(self.emulator.intake.requests) if one.status == 503)
            yield (
                f"The intake was down for {(ended - began).total_seconds():.0f} s and refused {refused} pushes: "
                f"{after:,} records arrived afterwards, those that had waited among them."
            )
        if self.spoiled is not None:
            wait_s = _waits_s(verdict, [self.spoiled])
            how = f"it arrived {wait_s[0]:.0f} s after Graph could" if wait_s else "it is asked for again later"
            yield f"One record that Graph could not serve for {SPOILED_S:.0f} s, nor any page that held it: {how}."


def _waits_s(verdict: Verdict, expected: list[Expected]) -> list[float]:
    """How long each of those that have arrived took from the moment when Graph could show it."""
    arrived = [(verdict.arrived[one.text], one.from_time) for one in expected if one.text in verdict.arrived]
    return [max(0.0, (at - shown).total_seconds()) for at, shown in arrived]


def _arrivals(verdict: Verdict, expected: list[Expected]) -> str:
    waits_s = _waits_s(verdict, expected)
    if not waits_s:
        return f"{len(expected)}, none of which has arrived yet"
    half_s, all_s = sorted(waits_s)[len(waits_s) // 2], max(waits_s)
    return (
        f"{len(waits_s)} of {len(expected)} arrived, half of them within {half_s:.0f} s and all within {all_s:.0f} s "
        "of their being shown"
    )
