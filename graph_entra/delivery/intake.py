"""Delivery: what is pushed together, what is tried again, and whose fault a refusal is.

Theory of operation. A push is acknowledged whole, refused, or not answered.

*Acknowledged*: the caller notes it at once (``then``), before anything else is pushed in this process: a kill repeats
that one batch. If it cannot be noted (the disk is full), it is remembered here as acknowledged, and nothing more of
that caller is pushed until noting works again: it is not repeated as long as the process lives, and once after a kill.

*Not answered*: it may have been stored. It is tried again until it is answered; after a time-out with half as many
records, growing back while answers come quickly, so that a slow intake is sent each record twice at most.

*Failed at*: one record may make the intake answer 500, or not at all, whoever comes with it. So a push that fails again
and again for such a reason is tried with half as many records, down to one; what fails alone is a suspect, as below,
and the rest goes on. It is asked ever more seldom, and convicted only after a day, because such answers do pass. If
nothing else is taken either, it is an outage, and is waited for.

*Refused for its content*: halved until the records that are to blame stand alone. None of them is convicted at once,
because refusals pass: it is a suspect, tried again alone, minutes apart, and convicted when it was refused
:data:`TRIES` times, :data:`AGAIN_S` apart, and the intake has taken another record since the first refusal. If the
intake takes nothing while two records or more are refused, it is the intake's address or key that is wrong, and a
person's business: nobody is convicted then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Final, NamedTuple, Protocol

from graph_entra.clock import Clock
from graph_entra.delivery.intake_http import as_sent, meaning
from graph_entra.errors import IntakeRefused, IntakeTimedOut, IntakeUnavailable
from graph_entra.records import Record

MAX_BATCH_RECORDS: Final = 1000
# The intake takes 10 MiB (SDK: INTAKE_PAYLOAD_BYTES_MAX_SIZE); the envelope and the headers fit in what is left.
MAX_BATCH_BYTES: Final = 9 * 1024 * 1024

# A suspect is tried again after so long, and convicted after so many refusals that lie so far apart: 5 min at least.
AGAIN_S: Final = 150.0
TRIES: Final = 3
# A push that failed so often, as one record may make it fail, is tried with half as many records.
_TRIES_TOGETHER: Final = 3
# So long a record fails alone before it is a suspect, and so many may be while nothing else is taken.
_ALONE_S: Final = 60.0
_MOST_UNPROVEN: Final = 8
# As AGAIN_S and TRIES, for a record at which the intake fails: the longest pause, and a day of them.
_LONGEST_AGAIN_S: Final = 3600.0
_FAILED_TRIES: Final = 26
# An intake that is overloaded, or limits a rate, says nothing of a record.
_OVERLOADED: Final = frozenset({429, 503})
# Splits of refused batches without a single record taken, after which the intake is taken to refuse everything: enough
# to reach single records in a batch of 1,000 (10), and to try a few of them.
_MAX_SPLITS: Final = 16

# After a time-out, batches grow while they are answered within so long: twice as many would still be in time.
_QUICK_S: Final = 7.5
_LONGEST_PAUSE_S: Final = 20.0
# How far an intake's Retry-After is honoured.
_LONGEST_ASKED_S: Final = 60.0

# Called with records that the intake has acknowledged.
Then = Callable[[Sequence[Record]], None]


class Push(Protocol):
    """The SDK's ``push_events_to_intakes``, made to raise."""

    def __call__(self, events: Sequence[str]) -> int:
        """Push, once, and return how many events were acknowledged.

        Raises:
            IntakeRefused: a status that does not pass by itself.
            IntakeTimedOut: no answer in time; the intake may have stored the events.
            IntakeUnavailable: anything else.
        """


@dataclass(frozen=True, slots=True)
class Suspect:
    """A record that was refused for its content and is not convicted: not noted, to be read and delivered again.

    Attributes:
        record: as it was handed in.
        status: what the intake answered last; 0 if it did not answer.
        tries: how often it was refused, minutes apart.
        again_in_s: when to hand it in again, in seconds from now; until then it would not be pushed.
    """

    record: Record
    status: int
    tries: int
    again_in_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that the intake refuses for good while it takes others: the caller keeps it, and notes it.

    Attributes:
        record: as it was handed in.
        status: what the intake answered last; 0 if it did not answer.
    """

    record: Record
    status: int


@dataclass(slots=True)
class Delivery:
    """What became of records that were not taken; all others were, and ``then`` was called for them.

    Attributes:
        suspects: to be handed in again.
        refused: convicted.
    """

    suspects: list[Suspect] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


@dataclass(slots=True)
class _Doubt:
    """What is known of a suspect. In memory only: a restart counts anew.

    Attributes:
        last_s: when it was refused last, if that counted, by the monotonic clock.
        tries: refusals that counted.
        status: of the last one.
        taken_before: how many records the intake had taken before the first refusal, of a batch with this record in it.
    """

    last_s: float
    tries: int
    status: int
    taken_before: int

    @property
    def again_s(self) -> float:
        """When it is tried again, by the monotonic clock."""
        if meaning(self.status) == "content":
            return self.last_s + AGAIN_S
        return self.last_s + min(_LONGEST_AGAIN_S, AGAIN_S * 2.0 ** min(max(0, self.tries - 1), 10))

    @property
    def enough_tries(self) -> bool:
        """Whether it was refused often enough to be convicted."""
        return self.tries >= (TRIES if meaning(self.status) == "content" else _FAILED_TRIES)


class _Refusal(NamedTuple):
    """A batch that was refused for its content, and how many records had been taken before."""

    batch: Sequence[Record]
    status: int
    taken_before: int


@dataclass(slots=True)
class _Call:
    """One call of :meth:`Intake.deliver`."""

    then: Then
    taken_before: int
    delivery: Delivery = field(default_factory=Delivery)
    splits: int = 0


class Intake:
    """One intake, shared by all streams of a connector; any thread may deliver.

    Args:
        push: sends one batch, once.
        clock: the time.
        stopping: set when the connector is told to stop; no push begins after that.
        on_fault: told of each push that was not answered properly.
    """

    def __init__(
        self, push: Push, *, clock: Clock, stopping: Event, on_fault: Callable[[IntakeUnavailable], None]
    ) -> None:
        self._push = push
        self._clock = clock
        self._stopping = stopping
        self._on_fault = on_fault
        # Held from a batch's push until it is noted, by whichever stream: a kill repeats that one batch at most.
        self._in_flight = Lock()
        self._most_records = MAX_BATCH_RECORDS
        self._taken = 0
        self._doubts: dict[int, _Doubt] = {}
        # identity -> digest of what was acknowledged and could not be noted.
        self._unnoted: dict[int, int] = {}

    def deliver(self, records: Sequence[Record], then: Then) -> Delivery:
        """Push records in batches, in their order, until each is taken or was refused by itself.

        Args:
            records: what to push.
            then: called with each part that the intake has acknowledged, at once, before anything else is pushed.
                After it has raised, the next call begins with it: with those of ``records`` that were acknowledged
                and not noted, perhaps none; so that nothing is pushed as long as noting fails.

        Returns:
            The records that were refused by themselves. ``then`` was called for all others.

        Raises:
            IntakeRefused: the intake takes nothing at all, and a person must act. What was taken before that was noted.
            IntakeUnavailable: the connector was told to stop. What was taken before that was noted.
            Exception: whatever ``then`` raises. Nothing is pushed after it.
        """
        call = _Call(then, self._taken)
        together, alone = self._sort(self._note_first(records, then), call.delivery)
        refusals = self._push_all(together, call)
        for record in alone:
            refusals += self._push_all([record], call)
        for refusal in refusals:
            self._isolate(refusal, call)
        if self._taken == call.taken_before:
            self._blame_the_intake(call.delivery.suspects)
        return call.delivery

    def _note_first(self, records: Sequence[Record], then: Then) -> Sequence[Record]:
        """Note what was acknowledged and could not be noted before; returns what is left to push."""
        if not self._unnoted:
            return records
        with self._in_flight:
            known = [record for record in records if self._unnoted.get(record.identity) == record.digest]
            then(known)
            for record in known:
                self._unnoted.pop(record.identity, None)
        noted = {(record.identity, record.digest) for record in known}
        return [record for record in records if (record.identity, record.digest) not in noted]

    # Pushing

    def _push_all(self, records: Sequence[Record], call: _Call) -> list[_Refusal]:
        """Push all of it; returns the batches that were refused for their content."""
        refusals: list[_Refusal] = []
        start = 0
        while start < len(records):
            batch, refusal = self._push_next(records, start, call.then)
            if refusal is not None:
                refusals.append(refusal)
            start += len(batch)
        return refusals

    def _push_next(self, records: Sequence[Record], start: int, then: Then) -> tuple[Sequence[Record], _Refusal | None]:
        """Push the batch that begins at ``start`` until it is answered, and note it, unless it was refused.

        Returns:
            The batch, and its refusal.
        """
        tries = 0
        alone_s: float | None = None
        with self._in_flight:
            while True:
                if self._stopping.is_set():
                    raise IntakeUnavailable("the connector was told to stop")
                batch = records[start : batch_end(records, start, self._most_records)]
                try:
                    self._push_once(batch)
                except IntakeUnavailable as fault:
                    tries += 1
                    fault.next_try_s = _pause_s(tries, fault)
                    self._on_fault(fault)
                    if len(batch) == 1 and alone_s is None:
                        alone_s = self._clock.monotonic()
                    if alone_s is not None and self._failed_at(batch, fault, alone_s):
                        return batch, _Refusal(batch, fault.status, self._taken)
                    if isinstance(fault, IntakeTimedOut) or (tries >= _TRIES_TOGETHER and _may_be_a_records(fault)):
                        self._most_records = max(1, len(batch) // 2)
                    if self._clock.wait(self._stopping, fault.next_try_s):
                        raise
                except IntakeRefused as refusal:
                    if meaning(refusal.status) != "content":
                        raise
                    return batch, _Refusal(batch, refusal.status, self._taken)
                else:
                    # Crash here: the batch is pushed and not noted. It is read again and repeated: the one in flight.
                    self._note(batch, then)
                    return batch, None

    def _push_once(self, batch: Sequence[Record]) -> None:
        began_s = self._clock.monotonic()
        acknowledged = self._push([record.text for record in batch])
        if acknowledged < len(batch):
            raise IntakeUnavailable(f"the intake acknowledged {acknowledged} of {len(batch)} records", status=200)
        self._taken += len(batch)
        if self._doubts:
            for record in batch:
                self._doubts.pop(record.identity, None)
        if len(batch) == self._most_records and self._clock.monotonic() - began_s < _QUICK_S:
            self._most_records = min(MAX_BATCH_RECORDS, self._most_records * 2)

    def _note(self, batch: Sequence[Record], then: Then) -> None:
        try:
            then(batch)
        except Exception:
            self._unnoted.update((record.identity, record.digest) for record in batch)
            raise
        if self._unnoted:
            # What is known of these is newer now: a record that changes back is pushed again.
            for record in batch:
                self._unnoted.pop(record.identity, None)

    # Whose fault a refusal is

    def _failed_at(self, batch: Sequence[Record], fault: IntakeUnavailable, alone_s: float) -> bool:
        """Whether it may be this one record that the intake fails at, and not the intake: others are tried then."""
        if not _may_be_a_records(fault):
            return False
        if batch[0].identity in self._doubts:
            return True
        now_s = self._clock.monotonic()
        unproven = sum(doubt.taken_before == self._taken for doubt in list(self._doubts.values()))
        if now_s - alone_s < _ALONE_S or unproven >= _MOST_UNPROVEN:
            return False
        self._doubts[batch[0].identity] = _Doubt(now_s, 1, fault.status, self._taken)
        return True

    def _sort(self, records: Sequence[Record], delivery: Delivery) -> tuple[Sequence[Record], list[Record]]:
        """Which records to push together, and which suspects alone; those that are not due yet are told at once."""
        if not self._doubts:
            return records, []
        together: list[Record] = []
        alone: list[Record] = []
        intake_in_doubt = self._takes_nothing()
        now_s = self._clock.monotonic()
        for record in records:
            doubt = self._doubts.get(record.identity)
            if doubt is None or (intake_in_doubt and doubt.taken_before == self._taken):
                together.append(record)
            elif now_s >= doubt.again_s:
                alone.append(record)
            else:
                delivery.suspects.append(Suspect(record, doubt.status, doubt.tries, doubt.again_s - now_s))
        return together, alone

    def _isolate(self, refusal: _Refusal, call: _Call) -> None:
        """Halve a refused batch until who is to blame stands alone."""
        if len(refusal.batch) == 1:
            self._suspect(refusal, call.delivery)
            return
        call.splits += 1
        if call.splits > _MAX_SPLITS and self._taken == call.taken_before:
            raise IntakeRefused(refusal.status)
        middle = len(refusal.batch) // 2
        # Both halves before either is split further: if only one has a culprit, it shows at once that others are taken.
        halves = (refusal.batch[:middle], refusal.batch[middle:])
        for smaller in [one for half in halves for one in self._push_all(half, call)]:
            self._isolate(smaller._replace(taken_before=refusal.taken_before), call)

    def _suspect(self, refusal: _Refusal, delivery: Delivery) -> None:
        """A record was refused alone: convict it if that has happened often enough, while others were taken."""
        (record,), status, taken_before = refusal
        now_s = self._clock.monotonic()
        doubt = self._doubts.get(record.identity)
        if doubt is None:
            doubt = self._doubts[record.identity] = _Doubt(now_s, 1, status, taken_before)
        elif now_s >= doubt.again_s:
            doubt.tries += 1
            doubt.last_s = now_s
        doubt.status = status
        others_are_taken = self._taken > doubt.taken_before
        if doubt.enough_tries and others_are_taken:
            # Remembered all the same: if the caller cannot keep it, it is handed in again, and convicted at once.
            doubt.last_s = now_s - _LONGEST_AGAIN_S
            delivery.refused.append(Refused(record, status))
        else:
            again_in_s = max(0.0, doubt.again_s - now_s)
            delivery.suspects.append(Suspect(record, status, doubt.tries, again_in_s))

    def _takes_nothing(self) -> bool:
        """Whether two records or more were refused since the intake last took one."""
        doubts = (doubt for doubt in list(self._doubts.values()) if meaning(doubt.status) == "content")
        return sum(doubt.taken_before == self._taken for doubt in doubts) >= 2

    def _blame_the_intake(self, suspects: Sequence[Suspect]) -> None:
        """Raise if the intake takes nothing; its refusals do not count against anyone then."""
        doubts = [self._doubts.get(suspect.record.identity) for suspect in suspects]
        unproven = [
            doubt
            for doubt in doubts
            if doubt is not None and doubt.taken_before == self._taken and meaning(doubt.status) == "content"
        ]
        if unproven and self._takes_nothing():
            now_s = self._clock.monotonic()
            for doubt in unproven:
                doubt.tries, doubt.last_s = 0, now_s - AGAIN_S
            raise IntakeRefused(unproven[-1].status)


def batch_end(records: Sequence[Record], start: int, most_records: int = MAX_BATCH_RECORDS) -> int:
    """Where the batch that begins at ``start`` ends: as many records as the intake takes, at least one."""
    candidates = records[start : start + most_records]
    # Most pages fit whole, whatever stands in them: then nothing is measured. A character of JSON takes 4 bytes at
    # most; half a surrogate pair takes 6, and if a batch of those is too large, it is halved like any that is refused.
    if sum(4 * len(record.text) + 3 for record in candidates) <= MAX_BATCH_BYTES:
        return start + len(candidates)
    end = start
    batch_bytes = 0
    for record in candidates:
        batch_bytes += bytes_as_sent(record.text)
        if batch_bytes > MAX_BATCH_BYTES and end > start:
            break
        end += 1
    return end


def bytes_as_sent(text: str) -> int:
    """How many bytes a record's text takes in the request's body: as a JSON string, with a separator."""
    return len(as_sent(text)) + 1


def _may_be_a_records(fault: IntakeUnavailable) -> bool:
    """Whether one record may be why: the intake answered something, or began to and did not."""
    return (fault.status != 0 and fault.status not in _OVERLOADED) or isinstance(fault, IntakeTimedOut)


def _pause_s(tries: int, fault: IntakeUnavailable) -> float:
    """Seconds until the next try, after so many failed ones: 1, 2, 4, up to 20, or what was asked."""
    asked_s = min(_LONGEST_ASKED_S, fault.retry_after_s or 0.0)
    return max(asked_s, min(_LONGEST_PAUSE_S, 2.0 ** min(tries - 1, 10)))
