"""One line for each trouble, one when it is over, and at most one an hour in between.

A problem is known by its place and its cause. What is mended in one place (the login, the way to Microsoft, the intake,
the data path) is one problem whoever meets it; what Graph answers is one problem for all the streams that get this
answer, and its line names them. When it is told:

    where                                    who mends it             told
    login, way to Microsoft, intake, disk    a person                 at the first try
                                             it passes by itself      at the second
    Graph, new records                       either                   at the second try of a stream, once every stream
                                                                      has met it or was served, or after GATHER_S;
                                                                      never before SETTLE_S, when all have had a turn
    Graph, any other work                    either                   if it stays for STAYS_S: its window is narrowed
                                                                      meanwhile, and what remains is a troubled stretch
    anywhere, again within the hour          either                   if it stays for STAYS_S: some answers flap
    anywhere, asked to wait over a minute    it passes by itself      at once, with the end of the wait

A problem is over for a stream when Graph serves it; told when it is over for all. `critical`, at which the platform
stops the connector, is what errors.py calls so, after CRITICAL_AFTER_S; if this configuration has worked before, after
WORKED_AFTER_S: Entra has denied tenants and applications for hours that were there.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePath
from threading import RLock
from typing import Final, Literal

from graph_entra.clock import Clock
from graph_entra.errors import (
    CertificateUntrusted,
    CredentialRejected,
    GraphEntraError,
    GraphRefused,
    IntakeRefused,
    IntakeUnavailable,
    LoginUnavailable,
    PassesByItself,
    ProxyInTheWay,
    StorageFailed,
    Throttled,
    TokenRefused,
)
from graph_entra.streams import WORDS, Stretch, Work, graph_time
from graph_entra.telling.diagnosis import Advice, advise
from graph_entra.telling.stretch_log import StretchLog

Level = Literal["critical", "error", "warning", "info"]
Log = Callable[[str, Level], None]

REPEAT_S: Final = 3600.0
SETTLE_S: Final = 15.0
GATHER_S: Final = 60.0
STAYS_S: Final = 300.0
STALE_S: Final = 900.0
# An outage that is longer leaves a gap, which is found at the first poll after it.
GAP_S: Final = 600.0
LONG_WAIT_S: Final = 60.0
CRITICAL_TRIES: Final = 3
CRITICAL_AFTER_S: Final = 300.0
WORKED_AFTER_S: Final = 6 * 3600.0

SIGN_IN: Final = "signing in to Entra"
WAY: Final = "the way to Microsoft"
INTAKE: Final = "pushing to the intake"
STORAGE: Final = "the data path"
GRAPH: Final = "Graph"
_PLACES: Final = (
    ((CredentialRejected, LoginUnavailable), SIGN_IN),
    ((CertificateUntrusted, ProxyInTheWay), WAY),
    ((IntakeRefused, IntakeUnavailable), INTAKE),
    ((StorageFailed,), STORAGE),
)
# What is refused to a whole stream, whichever work asks: an answer to any of it ends the problem.
_OF_THE_STREAM: Final = (GraphRefused, Throttled, TokenRefused)

# The stream and the work that met a problem; None where it was none.
Met = tuple[str | None, Work | None]


@dataclass(slots=True)
class _Problem:
    """Something that does not work.

    Attributes:
        place: where it is mended.
        advice: what is wrong, what to do.
        error: the last that was met.
        since_s: when it began.
        tries: failed tries by who met it, and when the next is due; those that were served again are taken out.
        failed: how often it failed in all.
        seen: every stream that met it.
        works: every work that met it.
        wait_s: seconds until the next try.
        told_s: when it was last told; None if it was not.
    """

    place: str
    advice: Advice
    error: Exception
    since_s: float
    tries: dict[Met, tuple[int, float]] = field(default_factory=dict)
    failed: int = 0
    seen: dict[str, None] = field(default_factory=dict)
    works: set[Work | None] = field(default_factory=set)
    wait_s: float = 0.0
    told_s: float | None = None


class ProblemLog:
    """The problems of one connector. Every method may be called from any thread.

    Args:
        log: writes a line.
        clock: the time.

    Attributes:
        worked: this configuration has worked, in this run or (which is for the owner to set) in one before.
    """

    def __init__(self, log: Log, clock: Clock) -> None:
        self.worked = False
        self._log = log
        self._clock = clock
        # Held while a line is written too, so that lines stand in the order of what they tell.
        self._lock = RLock()
        self._open: dict[tuple[str, str], _Problem] = {}
        self._said_s: dict[tuple[str, str], float] = {}
        # When Graph last served a stream.
        self._served_s: dict[str, float] = {}
        self._critical = False
        # When a problem that had been told was over, and when a gap was told.
        self._over_s = self._gap_told_s = float("-inf")
        self._stretches = StretchLog(log, clock)

    def failed(self, error: Exception, stream: str | None, work: Work | None, retry_in_s: float) -> None:
        """A try failed.

        Args:
            error: what happened.
            stream: the key of the stream that met it; None if it was none.
            work: what was read; None if nothing was.
            retry_in_s: when it is tried again, at the latest, in seconds.
        """
        advice, now_s = advise(error), self._clock.monotonic()
        place = next((where for kinds, where in _PLACES if isinstance(error, kinds)), GRAPH)
        with self._lock:
            problem = self._open.setdefault((place, advice.cause), _Problem(place, advice, error, now_s))
            problem.error, problem.wait_s = error, retry_in_s
            problem.failed += 1
            self._take_over(problem, (stream, work))
            met = (stream, work) if place == GRAPH else (None, None)
            problem.tries[met] = problem.tries.get(met, (0, 0.0))[0] + 1, now_s + retry_in_s
            problem.works.add(work)
            if stream is not None:
                problem.seen[stream] = None
                self._served_s.setdefault(stream, float("-inf"))
            if isinstance(error, _OF_THE_STREAM):
                # Graph answered, if only to refuse: there is a token, and a way.
                self._forget(lambda at, _: at.place in (SIGN_IN, WAY))
            self._end(now_s)
            self._tell_due(now_s, problem)

    def served(self, stream: str, work: Work) -> None:
        """Graph answered a page of this stream: the login works, and so does this."""
        now_s = self._clock.monotonic()
        with self._lock:
            self.worked = True
            self._served_s[stream] = now_s
            self._forget(lambda problem, met: _ends(problem, met, stream, work, now_s))
            self._end(now_s)
            self._tell_due(now_s)

    def pushed(self) -> None:
        """The intake acknowledged a batch."""
        self._over(INTAKE)

    def stored(self) -> None:
        """The state was written."""
        self._over(STORAGE)

    def troubled(self, stream: str, stretch: Stretch, why: str, again_s: float) -> None:
        """A stretch cannot be read at present, and is set aside: see :class:`StretchLog`."""
        with self._lock:
            self._stretches.troubled(stream, stretch, why, again_s)
            # What stopped the stream was this stretch, and is told as that.
            self._forget(lambda _, met: met[0] == stream and met[1] not in (None, "edge"))
            self._end(self._clock.monotonic())

    def readable(self, stream: str, stretch: Stretch, left: Sequence[Stretch]) -> None:
        """A stretch was read, and others are left in trouble: see :class:`StretchLog`."""
        with self._lock:
            self._stretches.readable(stream, stretch, left)

    def gap(self, stream: str, stretch: Stretch) -> None:
        """A stream is read again, after a time in which it was not; what is missing is read as history.

        After a problem that was told, that problem's end says so. Otherwise the connector was stopped: every stream
        finds its own gap, and one line tells of it.
        """
        now_s = self._clock.monotonic()
        with self._lock:
            told = any(
                problem.told_s is not None and (problem.place != GRAPH or stream in problem.seen)
                for problem in self._open.values()
            )
            if told or now_s - max(self._over_s, self._gap_told_s) < GAP_S:
                return
            self._gap_told_s = now_s
            start, end = map(graph_time, stretch)
            self._log(
                f"nothing was read from {start} to {end}. New records flow again; what is missing is read as "
                f"{WORDS['unread']}, beside them.",
                "warning",
            )

    def refused_stretch(self, stream: str, stretch: Stretch) -> None:
        """Graph refuses to read a stretch for hours, while it serves the present: it is not lost, and not read."""
        with self._lock:
            self._stretches.refused(stream, stretch)

    def lost(self, stream: str, stretch: Stretch, why: str) -> None:
        """Graph no longer keeps a stretch that was not read.

        Args:
            stream: its key.
            stretch: the bounds of the records' creation.
            why: what tells that it is gone, a clause such as ``Microsoft keeps 30 days``.
        """
        with self._lock:
            self._stretches.lost(stream, stretch, why)

    def gone(self, stream: str, stretch: Stretch) -> None:
        """Graph no longer keeps a stretch, which is told in other words: it is in no trouble any more."""
        with self._lock:
            self._stretches.gone(stream, stretch)

    def open(self) -> Mapping[str, int]:
        """Open problems by kind, troubled stretches among them."""
        with self._lock:
            counts: dict[str, int] = {}
            for problem in self._open.values():
                kind = problem.error.kind if isinstance(problem.error, GraphEntraError) else GraphEntraError.kind
                counts[kind] = counts.get(kind, 0) + 1
            if self._stretches.count:
                counts["troubled"] = self._stretches.count
            return counts

    def _over(self, place: str) -> None:
        if not self._open:
            return
        with self._lock:
            self._forget(lambda problem, _: problem.place == place)
            self._end(self._clock.monotonic())

    def _take_over(self, problem: _Problem, met: Met) -> None:
        """What is met now counts, with the tries that another answer of Graph's took away (401, then 403).

        What concerns the whole stream, a login that fails included, takes over from all of its work.
        """
        whole = problem.place in (SIGN_IN, WAY) or (problem.place == GRAPH and _of_the_stream(problem.error))
        for other in self._open.values():
            if other is problem or other.place != GRAPH or other.told_s is not None:
                continue
            for before in [one for one in other.tries if one == met or (whole and one[0] == met[0])]:
                tries, due_s = other.tries.pop(before)
                if problem.place == GRAPH:
                    problem.since_s = min(problem.since_s, other.since_s)
                    problem.failed += tries
                    problem.tries[before] = problem.tries.get(before, (0, 0.0))[0] + tries, due_s

    def _forget(self, over: Callable[[_Problem, Met], bool]) -> None:
        for problem in self._open.values():
            problem.tries = {met: tried for met, tried in problem.tries.items() if not over(problem, met)}

    def _end(self, now_s: float) -> None:
        """Take away what nobody meets any more, and tell the end of what was told."""
        for key in [key for key, problem in self._open.items() if not problem.tries]:
            problem = self._open.pop(key)
            if problem.place in (SIGN_IN, WAY):
                self._critical = False
            if problem.told_s is None:
                continue
            what = self._stretches.since(problem.since_s, problem.seen if problem.place == GRAPH else None)
            self._over_s = now_s
            lasted_s, where = now_s - problem.since_s, _named(problem, problem.seen)
            if lasted_s > GAP_S:
                what += f"; what is missing of that time is read as {WORDS['unread']}"
            self._log(
                f"{where}: recovered after {lasted_s:.0f} s and {problem.failed} failed tries; {what}. It was: "
                f"{problem.advice.cause}",
                "info",
            )

    def _tell_due(self, now_s: float, failed: _Problem | None = None) -> None:
        """Tell what is due, of the problem that has just failed and of those that waited for other streams."""
        for key, problem in self._open.items():
            level = self._level(key, problem, now_s, failed=problem is failed)
            if level is None:
                continue
            problem.told_s = self._said_s[key] = now_s
            then = "The platform stops the connector now: start it again when this is mended. It goes on where it was."
            if level != "critical":
                then = f"Tries: {problem.failed}; {self._next_try(problem)}. Nothing is dropped meanwhile."
            where = _named(problem, dict.fromkeys(of for of, _ in problem.tries if of))
            self._log(
                f"{where}: {problem.advice.cause} {problem.advice.remedy} Details: {_details(problem.error)}. {then}",
                level,
            )

    def _level(self, key: tuple[str, str], problem: _Problem, now_s: float, *, failed: bool) -> Level | None:
        """At which level to log a problem now; None for not at all."""
        lasted_s = now_s - problem.since_s
        if failed and not self._critical and self._is_critical(problem, lasted_s):
            self._critical = True
            return "critical"
        plain: Level = "warning" if isinstance(problem.error, PassesByItself) else "error"
        if problem.told_s is not None:
            return plain if failed and now_s - problem.told_s >= REPEAT_S else None
        if _asked_to_wait_s(problem) > LONG_WAIT_S:
            return plain
        flaps = now_s - self._said_s.get(key, float("-inf")) < REPEAT_S
        if (flaps and lasted_s < STAYS_S) or not self._ripe(problem, lasted_s, failed=failed):
            return None
        return plain

    def _is_critical(self, problem: _Problem, lasted_s: float) -> bool:
        """Whether it is time for the platform to stop the connector."""
        when = problem.error.critical if isinstance(problem.error, GraphEntraError) else "never"
        if when == "never" or (when == "if it never worked" and self.worked):
            return False
        return problem.failed >= CRITICAL_TRIES and lasted_s >= (WORKED_AFTER_S if self.worked else CRITICAL_AFTER_S)

    def _ripe(self, problem: _Problem, lasted_s: float, *, failed: bool) -> bool:
        """Whether a problem has shown that it is one: a single fault of the moment is nobody's business."""
        if problem.place != GRAPH:
            return problem.failed > (1 if isinstance(problem.error, PassesByItself) else 0)
        if not any(tries > 1 for (_, work), (tries, _) in problem.tries.items() if work in (None, "edge")):
            return failed and lasted_s >= STAYS_S
        if lasted_s < SETTLE_S:
            return False
        undecided = [of for of, at_s in self._served_s.items() if of not in problem.seen and at_s < problem.since_s]
        return not undecided or lasted_s >= GATHER_S

    def _next_try(self, problem: _Problem) -> str:
        if _asked_to_wait_s(problem) > LONG_WAIT_S:
            end = datetime.fromtimestamp(self._clock.time() + _asked_to_wait_s(problem), UTC)
            return f"the other side asked to be left alone until {end:%Y-%m-%d %H:%M:%S} UTC, the next one comes then"
        return f"the next one in {problem.wait_s:.0f} s"


def _named(problem: _Problem, streams: Collection[str]) -> str:
    """Where it is: a place, or streams, with the work if it is one and not what is new."""
    if problem.place != GRAPH or not streams:
        return problem.place
    (work,) = problem.works if len(problem.works) == 1 else (None,)
    return ", ".join(streams) + (f" ({WORDS[work]})" if work is not None and work != "edge" else "")


def _ends(problem: _Problem, met: Met, stream: str, work: Work, now_s: float) -> bool:
    """Whether a page of this stream and work shows that a problem is over for who met it."""
    if problem.place in (SIGN_IN, WAY):
        return True
    if problem.place != GRAPH or met[0] not in (stream, None):
        return False
    # One of the whole stream is over with any page; what is not tried any more has been settled by other means.
    return _of_the_stream(problem.error) or met[1] in (work, None) or now_s - problem.tries[met][1] > STALE_S


def _of_the_stream(error: Exception) -> bool:
    """Whether it concerns all of a stream: a refusal of one question says nothing about another stretch's."""
    about_question = isinstance(error, GraphRefused) and error.status not in (401, 403)
    return isinstance(error, _OF_THE_STREAM) and not about_question


def _asked_to_wait_s(problem: _Problem) -> float:
    error = problem.error
    return (error.retry_after_s or 0.0) if isinstance(error, PassesByItself) else 0.0


def _details(error: Exception) -> str:
    """Our own errors' texts are safe to log; of any other only what it is and where it came from."""
    if isinstance(error, GraphEntraError):
        return str(error).rstrip(".")
    frames = traceback.extract_tb(error.__traceback__)
    return type(error).__name__ + (f" in {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "")
