"""ProblemLog that flap, that two lanes share, and that cost records. The plain rules are in test_problems.py."""

import pytest

from graph_entra.errors import (
    CredentialRejected,
    GraphRefused,
    GraphUnavailable,
)
from graph_entra.streams import graph_time
from graph_entra.telling.problem_log import SIGN_IN, Level, ProblemLog

LIVE = "interactiveUser (live)"
HISTORY = "interactiveUser (history)"
LICENCE = GraphRefused(403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant", "no licence")
FORBIDDEN = GraphRefused(403, "Authentication_MSGraphPermissionMissing", "missing")
DOWN = GraphUnavailable("Graph answered 503")
WRONG_SECRET = CredentialRejected(7000215)


class Desk:
    """ProblemLog, their clock and what they wrote."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0
        self.lines: list[tuple[Level, str]] = []
        self.problems = ProblemLog(lambda text, level: self.lines.append((level, text)), lambda: self.now_s)

    def fail(self, error: Exception, where: str = LIVE, retry_in_s: float = 15.0) -> list[tuple[Level, str]]:
        """Reports a failed try; returns the lines that it caused."""
        before = len(self.lines)
        self.problems.report(where, error, retry_in_s)
        return self.lines[before:]

    def mend(self, where: str = LIVE) -> list[tuple[Level, str]]:
        """Reports that it works; returns the lines that it caused."""
        before = len(self.lines)
        self.problems.recovered(where)
        return self.lines[before:]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_line_says_where_what_and_when(desk: Desk) -> None:
    """Stream and lane, cause, remedy, details, tries, and when it is tried again."""
    assert desk.fail(FORBIDDEN) == [
        (
            "error",
            "interactiveUser (live): Graph forbids the application to read this log: AuditLog.Read.All is missing, or "
            "an administrator has not consented to it. Under API permissions, add Microsoft Graph > Application "
            "permissions > AuditLog.Read.All (not the delegated permission of that name), then press Grant admin "
            "consent. Details: Graph answered 403 Authentication_MSGraphPermissionMissing: missing. Tries: 1; the next "
            "one in 15 s. Nothing is dropped meanwhile.",
        )
    ]


def test_both_lanes_of_a_stream_are_one_problem(desk: Desk) -> None:
    """Who reads that live fails need not read that history does; one that lasts longer is told then."""
    assert len(desk.fail(FORBIDDEN, LIVE)) == 1
    assert desk.fail(FORBIDDEN, HISTORY) == []
    assert len(desk.mend(LIVE)) == 1
    assert desk.fail(FORBIDDEN, HISTORY) == []
    assert len(desk.fail(FORBIDDEN, HISTORY)) == 1
    assert len(desk.mend(HISTORY)) == 1


def test_history_waits_for_live_to_speak_first(desk: Desk) -> None:
    """Whichever lane asks first, the line is the live lane's; history gets its own if only it fails, a little later."""
    assert desk.fail(FORBIDDEN, HISTORY) == []
    assert len(desk.fail(FORBIDDEN, LIVE)) == 1
    for _ in range(5):
        assert desk.fail(FORBIDDEN, HISTORY) == []
    assert [len(desk.fail(DOWN, "servicePrincipal (history)")) for _ in range(5)] == [0, 0, 0, 1, 0]


def test_flapping_licence_answers_are_told_once_an_hour(desk: Desk) -> None:
    """An answer that comes and goes all day makes one line and one recovery an hour, never a critical."""
    for _ in range(12 * 24):
        desk.fail(LICENCE)
        desk.now_s += 20
        desk.mend()
        desk.now_s += 280
    assert {level for level, _ in desk.lines} == {"error", "info"}
    assert len(desk.lines) == 2 * 24


def test_what_comes_back_and_stays_is_told_within_the_hour(desk: Desk) -> None:
    """A second outage, ten minutes after the first, is not passed over: five minutes of it are told."""
    desk.fail(FORBIDDEN)
    desk.mend()
    desk.now_s += 600
    assert desk.fail(FORBIDDEN) == []
    desk.now_s += 299
    assert desk.fail(FORBIDDEN) == []
    desk.now_s += 1
    assert len(desk.fail(FORBIDDEN)) == 1
    assert len(desk.mend()) == 1


@pytest.mark.parametrize("code", [7000215, 7000222, 700016, 7000112, 90002, 53003, 500011, 12345])
def test_a_rejected_application_is_critical_after_three_tries_over_five_minutes(desk: Desk, code: int) -> None:
    """Critical makes the platform stop the connector: one slip of Entra's must not."""
    error = CredentialRejected(code)
    assert [level for level, _ in desk.fail(error)] == ["error"]
    desk.now_s += 299
    assert desk.fail(error) == []
    assert desk.fail(error) == []
    desk.now_s += 1
    assert [level for level, _ in desk.fail(error)] == ["critical"]
    desk.now_s += 60
    assert desk.fail(error) == []
    desk.now_s += 3600
    assert [level for level, _ in desk.fail(error)] == ["error"]


HOUR_S = 3600


def test_recovery_says_exactly_what_was_lost(desk: Desk) -> None:
    """An outage beyond Graph's retention: its line states the bounds, and so does the recovery of that stream only."""
    desk.fail(FORBIDDEN)
    desk.fail(FORBIDDEN, "servicePrincipal (live)")
    desk.now_s += 60
    desk.problems.lost("interactiveUser", (0, HOUR_S))
    assert desk.lines[-1][0] == "error"
    assert desk.lines[-1][1].startswith(
        "interactiveUser: records created from 1970-01-01T00:00:00Z to 1970-01-01T01:00:00Z were not read in time and "
        "are lost"
    )
    ((_, text),) = desk.mend()
    assert (
        "; lost: interactiveUser records created from 1970-01-01T00:00:00Z to 1970-01-01T01:00:00Z, which Graph no "
        "longer keeps. It was: " in text
    )
    ((_, text),) = desk.mend("servicePrincipal (live)")
    assert "nothing was lost" in text


def test_a_loss_that_grows_is_told_hourly_and_when_it_is_over(desk: Desk) -> None:
    """Each try of a long outage loses a minute more: one line an hour, and the last states all of it."""
    for minute in range(90):
        desk.problems.lost("interactiveUser", (minute * 60, minute * 60 + 60))
        desk.now_s += 60
    assert len(desk.lines) == 2
    desk.mend()
    assert len(desk.lines) == 3
    assert f"from {graph_time(0)} to {graph_time(90 * 60)} were not read" in desk.lines[-1][1]
    desk.mend()
    assert len(desk.lines) == 3


def test_two_stretches_are_two_losses(desk: Desk) -> None:
    """What was read between them is not called lost."""
    desk.problems.lost("interactiveUser", (0, HOUR_S))
    desk.problems.lost("interactiveUser", (3 * HOUR_S, 4 * HOUR_S))
    assert [line.split(" were")[0] for _, line in desk.lines] == [
        f"interactiveUser: records created from {graph_time(0)} to {graph_time(HOUR_S)}",
        f"interactiveUser: records created from {graph_time(3 * HOUR_S)} to {graph_time(4 * HOUR_S)}",
    ]


def test_an_outage_of_the_login_names_the_losses_of_every_stream(desk: Desk) -> None:
    """It stopped all of them."""
    desk.fail(WRONG_SECRET)
    desk.problems.lost("interactiveUser", (0, HOUR_S))
    desk.problems.lost("servicePrincipal", (0, HOUR_S))
    text = desk.mend(SIGN_IN)[-1][1]
    assert "interactiveUser records created" in text
    assert "servicePrincipal records created" in text


def test_an_earlier_loss_is_not_told_again(desk: Desk) -> None:
    """A later, harmless outage of the same stream says that nothing was lost."""
    desk.fail(FORBIDDEN)
    desk.problems.lost("interactiveUser", (0, HOUR_S))
    desk.mend()
    desk.now_s += 2 * HOUR_S
    desk.fail(FORBIDDEN)
    assert "nothing was lost" in desk.mend()[-1][1]
