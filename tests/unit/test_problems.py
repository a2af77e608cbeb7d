"""One line for each distinct problem, at most hourly, and a line when it is over."""

import pytest

from graph_entra.errors import (
    CredentialRejected,
    GraphRefused,
    GraphUnavailable,
    IntakeRefused,
    IntakeUnavailable,
    LoginUnavailable,
    StorageFailed,
    Throttled,
)
from graph_entra.telling.diagnosis import INTAKE_DOWN, advise
from graph_entra.telling.problem_log import INTAKE, SIGN_IN, STORAGE, Level, ProblemLog

LIVE = "interactiveUser (live)"
BLIP = GraphUnavailable("Graph answered 503")
FORBIDDEN = GraphRefused(403, "Authorization_RequestDenied", "no")
WRONG_SECRET = CredentialRejected(7000215)


class Desk:
    """A person who reads the log, with a clock in hand."""

    def __init__(self) -> None:
        self.now_s = 1_795_420_800.0
        self.lines: list[tuple[str, Level]] = []
        self.problems = ProblemLog(lambda text, level: self.lines.append((text, level)), lambda: self.now_s)

    def report(self, error: Exception, *, where: str = LIVE, times: int = 1, every_s: float = 1) -> list[Level]:
        """Report an error some times; returns the levels of the lines that this made."""
        before = len(self.lines)
        for _ in range(times):
            self.problems.report(where, error, 15)
            self.now_s += every_s
        return self.levels()[before:]

    def levels(self) -> list[Level]:
        """The levels of all lines so far."""
        return [level for _, level in self.lines]


@pytest.fixture
def desk() -> Desk:
    """A quiet night."""
    return Desk()


def test_a_line_says_where_what_and_what_to_do(desk: Desk) -> None:
    """Stream and lane, cause, remedy, details, tries, and when it is tried again."""
    desk.problems.report(LIVE, FORBIDDEN, 14.6)
    [(line, level)] = desk.lines
    advice = advise(FORBIDDEN)
    assert level == "error"
    assert line.startswith(f"{LIVE}: {advice.cause} {advice.remedy} ")
    for part in ("403 Authorization_RequestDenied", "Tries: 1", "15 s", "Nothing is dropped"):
        assert part in line


def test_a_single_blip_is_nobodys_business(desk: Desk) -> None:
    """One fault of the moment, answered by the next try: not a line, not even of its recovery."""
    for _ in range(20):
        assert desk.report(BLIP, every_s=1000) == []
        desk.problems.recovered(LIVE)
    assert desk.lines == []


def test_a_fault_that_stays_is_a_warning(desk: Desk) -> None:
    """From the second try on, once."""
    assert desk.report(BLIP, times=50) == ["warning"]


def test_what_a_person_must_mend_is_told_at_once(desk: Desk) -> None:
    """At the first try: waiting for the next one gains nothing."""
    assert desk.report(FORBIDDEN, times=50) == ["error"]


@pytest.mark.parametrize(("error", "level"), [(BLIP, "warning"), (FORBIDDEN, "error")])
def test_a_line_comes_again_every_hour(desk: Desk, error: Exception, level: Level) -> None:
    """Three hours of trying every minute: the first line, and three more."""
    assert desk.report(error, times=182, every_s=60) == [level] * 4


def test_distinct_problems_have_lines_of_their_own(desk: Desk) -> None:
    """Another stream, or another cause in the same stream, is another problem."""
    assert desk.report(FORBIDDEN) == ["error"]
    assert desk.report(FORBIDDEN, where="servicePrincipal (live)") == ["error"]
    assert desk.report(GraphRefused(400, "BadRequest", "")) == ["error"]
    assert desk.report(FORBIDDEN, times=5) == []


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (WRONG_SECRET, SIGN_IN),
        (LoginUnavailable("x"), SIGN_IN),
        (IntakeRefused(401), INTAKE),
        (IntakeUnavailable("x"), INTAKE),
        (StorageFailed("x"), STORAGE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_mended_in_one_place_is_one_problem(desk: Desk, error: Exception, where: str) -> None:
    """Five streams that cannot sign in are one wrong secret: one line, under the place where it is mended."""
    for stream in "abcde":
        desk.report(error, where=f"{stream} (live)", times=3)
    assert len(desk.lines) == 1
    assert desk.lines[0][0].startswith(f"{where}: ")


def test_a_recovery_says_how_long_it_lasted(desk: Desk) -> None:
    """Once, and nothing after it."""
    desk.report(FORBIDDEN, times=4, every_s=30)
    desk.problems.recovered(LIVE)
    [_, (line, level)] = desk.lines
    assert level == "info"
    assert line.startswith(f"{LIVE}: recovered after 120 s and 4 failed tries; nothing was lost. It was: ")
    assert advise(FORBIDDEN).cause in line
    desk.problems.recovered(LIVE)
    assert len(desk.lines) == 2


def test_a_recovery_elsewhere_ends_nothing(desk: Desk) -> None:
    """One stream's success says nothing about another's problem."""
    desk.report(FORBIDDEN)
    for where in ("servicePrincipal (live)", SIGN_IN, INTAKE, STORAGE, "interactiveUser (history)"):
        desk.problems.recovered(where)
    assert desk.levels() == ["error"]


def test_all_problems_of_a_place_end_together(desk: Desk) -> None:
    """A live pass that succeeds has passed everything that stopped it."""
    desk.report(FORBIDDEN)
    desk.report(BLIP, times=2)
    desk.problems.recovered(LIVE)
    assert desk.levels() == ["error", "warning", "info", "info"]


def test_recovered_when_nothing_was_wrong(desk: Desk) -> None:
    """The usual case says nothing."""
    desk.problems.recovered(LIVE)
    assert desk.lines == []


# Critical


@pytest.mark.parametrize(
    ("times", "every_s", "critical"),
    [
        # At 0, 150, 300 s: the third try, five minutes after the first.
        (3, 150, True),
        (2, 10_000, False),
        (3, 149, False),
        (100, 2, False),
        (152, 2, True),
    ],
)
def test_critical_takes_three_tries_and_five_minutes(desk: Desk, times: int, every_s: float, critical: bool) -> None:
    """The platform stops the connector then: neither one bad moment nor a burst of tries is enough."""
    assert ("critical" in desk.report(WRONG_SECRET, times=times, every_s=every_s)) is critical


def test_critical_comes_once(desk: Desk) -> None:
    """Hours of a rejected secret: error, critical, then an error every hour."""
    levels = desk.report(WRONG_SECRET, times=400, every_s=30)
    assert levels[:2] == ["error", "critical"]
    assert levels.count("critical") == 1
    assert set(levels[2:]) <= {"error"}


@pytest.mark.parametrize(
    "error",
    [BLIP, FORBIDDEN, IntakeRefused(401), LoginUnavailable("x"), Throttled("x"), StorageFailed("x"), ValueError("x")],
    ids=lambda error: type(error).__name__,
)
def test_nothing_else_is_ever_critical(desk: Desk, error: Exception) -> None:
    """A retry may help: a licence's answer flaps, a permission may be granted, an intake may be made anew."""
    assert "critical" not in desk.report(error, times=2000, every_s=60)


def test_a_secret_that_was_mended_may_be_critical_again(desk: Desk) -> None:
    """Next year's expiry is another event."""
    desk.report(WRONG_SECRET, times=20, every_s=60)
    desk.problems.recovered(SIGN_IN)
    desk.now_s += 86_400
    assert "critical" in desk.report(WRONG_SECRET, times=20, every_s=60)


def test_a_recovery_in_between_begins_the_count_anew(desk: Desk) -> None:
    """Three refusals in a day with successes between them are no reason to stop."""
    for _ in range(10):
        assert "critical" not in desk.report(WRONG_SECRET, times=2, every_s=400)
        desk.problems.recovered(SIGN_IN)


# What a line may say


def test_a_foreign_exceptions_text_is_not_repeated(desk: Desk) -> None:
    """Only our own errors' texts are known to be safe: another's may quote a token or an address."""
    desk.report(ValueError("Bearer ey-hush"), times=3)
    assert "hush" not in str(desk.lines)
    assert "ValueError" in desk.lines[0][0]


def test_our_own_texts_are_shown(desk: Desk) -> None:
    """They name status and code."""
    desk.report(IntakeUnavailable("the intake answered 502"), times=2)
    assert "the intake answered 502" in desk.lines[0][0]
    assert INTAKE_DOWN.cause in desk.lines[0][0]


# Losses


def test_a_loss_is_told_with_its_bounds(desk: Desk) -> None:
    """To the second, as an error, once."""
    desk.problems.lost("interactiveUser", (1_795_420_800, 1_795_424_400))
    desk.problems.lost("interactiveUser", (1_795_420_800, 1_795_424_400))
    [(line, level)] = desk.lines
    assert level == "error"
    assert line.startswith("interactiveUser: ")
    assert "from 2026-11-23T08:00:00Z to 2026-11-23T09:00:00Z" in line


def test_a_recovery_does_not_deny_a_loss(desk: Desk) -> None:
    """'Nothing was lost' is said only where it is true."""
    desk.report(FORBIDDEN, times=3)
    desk.problems.lost("interactiveUser", (1_795_420_800, 1_795_424_400))
    desk.problems.recovered(LIVE)
    recovery = desk.lines[-1][0]
    assert "nothing was lost" not in recovery
    assert "2026-11-23T09:00:00Z" in recovery
