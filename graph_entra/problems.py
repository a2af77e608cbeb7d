"""One line for each distinct problem, at most hourly, and a line when it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final, Literal

from graph_entra.diagnosis import Advice, advise
from graph_entra.errors import CredentialRejected, IntakeRefused, IntakeUnavailable, LoginUnavailable, StorageFailed

Level = Literal["critical", "error", "warning", "info"]
Log = Callable[[str, Level], None]

REPEAT_S: Final = 3600.0
# Critical makes the platform stop the connector: only after so many tries over so long.
CRITICAL_TRIES: Final = 3
CRITICAL_AFTER_S: Final = 300.0


# What a person must mend in one place is one problem, whichever streams meet it.
SIGN_IN: Final = "signing in to Entra"
INTAKE: Final = "pushing to the intake"
STORAGE: Final = "the data path"


@dataclass(slots=True)
class _Problem:
    advice: Advice
    since_s: float
    tries: int = 0
    logged_s: float | None = None


class Problems:
    """The problems of one connector, by where they are: a stream's lane, or one of the three above.

    Args:
        log: writes a line.
        clock: the time, in seconds.
    """

    def __init__(self, log: Log, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._lock = Lock()
        self._open: dict[tuple[str, str], _Problem] = {}
        self._critical = False

    def report(self, lane: str, error: Exception, retry_in_s: float) -> None:
        """A try failed. From any thread.

        Args:
            lane: the stream and lane that met it.
            error: what happened.
            retry_in_s: when it is tried again.
        """
        advice = advise(error)
        where = _where(error) or lane
        now_s = self._clock()
        with self._lock:
            problem = self._open.setdefault((where, advice.cause), _Problem(advice, now_s))
            problem.tries += 1
            level = self._level(problem, now_s)
            if level is not None:
                problem.logged_s = now_s
        if level is not None:
            self._log(
                f"{where}: {advice.cause} {advice.remedy} Details: {error}. Tries: {problem.tries}; "
                f"the next one in {retry_in_s:.0f} s. Nothing is dropped meanwhile.",
                level,
            )

    def recovered(self, where: str) -> None:
        """It works again there: its problems are over. From any thread."""
        if not self._open:
            return
        with self._lock:
            over = [self._open.pop(key) for key in [key for key in self._open if key[0] == where]]
            if where == SIGN_IN:
                self._critical = False
        for problem in over:
            if problem.logged_s is not None:
                self._log(
                    f"{where}: recovered after {self._clock() - problem.since_s:.0f} s and {problem.tries} failed "
                    f"tries; nothing was lost. It was: {problem.advice.cause}",
                    "info",
                )

    def _level(self, problem: _Problem, now_s: float) -> Level | None:
        """At which level to log a problem now; None for not at all."""
        fatal = problem.advice.fatal and problem.tries >= CRITICAL_TRIES
        if fatal and now_s - problem.since_s >= CRITICAL_AFTER_S and not self._critical:
            self._critical = True
            return "critical"
        if problem.logged_s is not None:
            return self._plain(problem) if now_s - problem.logged_s >= REPEAT_S else None
        # A single fault of the moment is answered by the next try, and is nobody's business.
        return None if problem.advice.passes and problem.tries == 1 else self._plain(problem)

    def _plain(self, problem: _Problem) -> Level:
        return "warning" if problem.advice.passes else "error"


def _where(error: Exception) -> str | None:
    if isinstance(error, (CredentialRejected, LoginUnavailable)):
        return SIGN_IN
    if isinstance(error, (IntakeRefused, IntakeUnavailable)):
        return INTAKE
    return STORAGE if isinstance(error, StorageFailed) else None
