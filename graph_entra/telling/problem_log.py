"""One line for each distinct problem, at most hourly, and a line when it is over."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from threading import Lock
from typing import Final, Literal

from graph_entra.clock import Clock
from graph_entra.errors import (
    CredentialRejected,
    GraphEntraError,
    IntakeRefused,
    IntakeUnavailable,
    LoginUnavailable,
    StorageFailed,
)
from graph_entra.streams import graph_time
from graph_entra.telling.diagnosis import Advice, advise

Level = Literal["critical", "error", "warning", "info"]
Log = Callable[[str, Level], None]

REPEAT_S: Final = 3600.0
# What comes back within the hour is told again only if it stays for so long: some answers flap.
STAYS_S: Final = 300.0
# Critical makes the platform stop the connector: only after so many tries over so long.
CRITICAL_TRIES: Final = 3
CRITICAL_AFTER_S: Final = 300.0


# What a person must mend in one place is one problem, whichever streams meet it.
SIGN_IN: Final = "signing in to Entra"
INTAKE: Final = "pushing to the intake"
STORAGE: Final = "the data path"
_LIVE: Final = " (live)"
_HISTORY: Final = " (history)"


@dataclass(slots=True)
class _Problem:
    advice: Advice
    since_s: float
    tries: int = 0
    logged_s: float | None = None


@dataclass(slots=True)
class _Loss:
    """Records of a stream that Graph no longer keeps, by the bounds of their creation."""

    start_s: int
    end_s: int
    last_s: float
    logged_s: float | None = None
    told_end_s: int = 0


class ProblemLog:
    """The problems of one connector, by where they are: a stream's lane, or one of the three above.

    Args:
        log: writes a line.
        clock: the time.
    """

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._lock = Lock()
        self._open: dict[tuple[str, str], _Problem] = {}
        self._said_s: dict[tuple[str, str], float] = {}
        self._losses: dict[str, _Loss] = {}
        self._critical = False

    def report(self, lane: str, error: Exception, retry_in_s: float) -> None:
        """A try failed. From any thread.

        Args:
            lane: the stream and lane that met it, such as ``interactiveUser (live)``.
            error: what happened.
            retry_in_s: when it is tried again, at the latest.
        """
        advice = advise(error)
        where = _where(error) or lane
        now_s = self._clock.monotonic()
        with self._lock:
            problem = self._open.setdefault((where, advice.cause), _Problem(advice, now_s))
            problem.tries += 1
            level = self._level(where, problem, now_s)
            if level is not None:
                problem.logged_s = self._said_s[where, advice.cause] = now_s
        if level is not None:
            self._log(
                f"{where}: {advice.cause} {advice.remedy} Details: {_details(error)}. Tries: {problem.tries}; "
                f"the next one in {retry_in_s:.0f} s. Nothing is dropped meanwhile.",
                level,
            )

    def recovered(self, where: str) -> None:
        """It works again there: its problems are over. From any thread."""
        if not self._open and not self._losses:
            return
        now_s = self._clock.monotonic()
        with self._lock:
            over = [self._open.pop(key) for key in [key for key in self._open if key[0] == where]]
            if where == SIGN_IN:
                self._critical = False
            logged = [problem for problem in over if problem.logged_s is not None]
            stream = where.removesuffix(_LIVE).removesuffix(_HISTORY)
            lost = self._lost_since(min((problem.since_s for problem in logged), default=now_s), stream)
        self._tell_losses(now_s, stream)
        for problem in logged:
            self._log(
                f"{where}: recovered after {now_s - problem.since_s:.0f} s and {problem.tries} failed tries; "
                f"{lost}. It was: {problem.advice.cause}",
                "info",
            )

    def lost(self, stream: str, bounds: tuple[int, int]) -> None:
        """Graph no longer keeps the records created between ``bounds``, and they were not read. From any thread.

        A long outage loses a little more with every try: it is told at once, then hourly, and when it is over.
        """
        now_s = self._clock.monotonic()
        with self._lock:
            loss = self._losses.get(stream)
            if loss is None or bounds[0] > loss.end_s:
                loss = self._losses[stream] = _Loss(*bounds, last_s=now_s)
            loss.start_s, loss.end_s, loss.last_s = min(loss.start_s, bounds[0]), max(loss.end_s, bounds[1]), now_s
            hourly = loss.logged_s is None or now_s - loss.logged_s >= REPEAT_S
        if hourly:
            self._tell_losses(now_s, stream)

    def _tell_losses(self, now_s: float, stream: str) -> None:
        with self._lock:
            loss = self._losses.get(stream)
            if loss is None or loss.told_end_s == loss.end_s:
                return
            loss.logged_s, loss.told_end_s = now_s, loss.end_s
        self._log(
            f"{stream}: records created {_stretch(loss)} were not read in time and are lost: Graph no longer keeps "
            "them. If they matter, export them from the Entra portal's storage or Event Hub, if one was set up.",
            "error",
        )

    def _lost_since(self, since_s: float, where: str) -> str:
        everywhere = where in (SIGN_IN, INTAKE, STORAGE)
        losses = [
            f"{stream} records created {_stretch(loss)}"
            for stream, loss in self._losses.items()
            if loss.last_s >= since_s and (everywhere or stream == where)
        ]
        return f"lost: {', '.join(losses)}, which Graph no longer keeps" if losses else "nothing was lost"

    def _level(self, where: str, problem: _Problem, now_s: float) -> Level | None:
        """At which level to log a problem now; None for not at all."""
        fatal = problem.advice.fatal and problem.tries >= CRITICAL_TRIES
        if fatal and now_s - problem.since_s >= CRITICAL_AFTER_S and not self._critical:
            self._critical = True
            return "critical"
        plain: Level = "warning" if problem.advice.passes else "error"
        if problem.logged_s is not None:
            return plain if now_s - problem.logged_s >= REPEAT_S else None
        # A single fault of the moment is answered by the next try, and is nobody's business.
        patience = 1 if problem.advice.passes else 0
        if where.endswith(_HISTORY):
            # The stream's line is the live lane's, which gets there first if it fails too.
            patience += 2
            live = self._open.get((where.removesuffix(_HISTORY) + _LIVE, problem.advice.cause))
            if live is not None and live.logged_s is not None:
                return None
        if problem.tries <= patience:
            return None
        said_s = self._said_s.get((where, problem.advice.cause), float("-inf"))
        again = now_s - said_s < REPEAT_S and now_s - problem.since_s < STAYS_S
        return None if again else plain


def _where(error: Exception) -> str | None:
    if isinstance(error, (CredentialRejected, LoginUnavailable)):
        return SIGN_IN
    if isinstance(error, (IntakeRefused, IntakeUnavailable)):
        return INTAKE
    return STORAGE if isinstance(error, StorageFailed) else None


def _details(error: Exception) -> str:
    """Our own errors' texts are safe to log; of any other only what it is and where it came from."""
    if isinstance(error, GraphEntraError):
        return str(error).rstrip(".")
    frames = traceback.extract_tb(error.__traceback__)
    return type(error).__name__ + (f" in {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "")


def _stretch(loss: _Loss) -> str:
    return f"from {graph_time(loss.start_s)} to {graph_time(loss.end_s)}"
