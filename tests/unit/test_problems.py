"""One line for each trouble, at most one an hour, and one when it is over; none of them false."""

import inspect
from threading import Thread

import pytest

from graph_entra import errors
from graph_entra.errors import (
    CertificateUntrusted,
    CredentialRejected,
    GraphEntraError,
    GraphRefused,
    GraphUnavailable,
    IntakeRefused,
    IntakeUnavailable,
    LoginUnavailable,
    PagingBroken,
    PersonMustAct,
    ProxyInTheWay,
    StorageFailed,
    Throttled,
    TokenRefused,
    WindowTooWide,
)
from graph_entra.streams import Work
from graph_entra.telling import problem_log
from graph_entra.telling.diagnosis import INTAKE_DOWN, advise
from graph_entra.telling.metrics import PROBLEM_KINDS
from graph_entra.telling.problem_log import INTAKE, SIGN_IN, STORAGE, WAY, Level, ProblemLog
from tests.clocks import ManualClock

ONE, TWO, THREE = "interactiveUser", "nonInteractiveUser", "servicePrincipal"
DOWN = GraphUnavailable("Graph answered 503")
FORBIDDEN = GraphRefused(403, "Authentication_MSGraphPermissionMissing", "missing")
LICENCE = GraphRefused(403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant", "no licence")
WRONG_SECRET = CredentialRejected(7000215)
TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GraphEntraError)]
ARGUMENTS = {CredentialRejected: (1,), GraphRefused: (400, "", ""), IntakeRefused: (401,)}
HOUR_S = 3600
# 2026-11-18T08:26:40Z
START_S = 1_795_000_000


class Desk:
    """A person who reads the log, with a clock in hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.lines: list[tuple[Level, str]] = []
        self.problems = ProblemLog(lambda text, level: self.lines.append((level, text)), self.clock)

    def fail(
        self,
        error: Exception,
        stream: str | None = ONE,
        work: Work | None = "edge",
        *,
        times: int = 1,
        every_s: float = 15,
    ) -> list[tuple[Level, str]]:
        """Lets some tries fail, with so much time after each; returns the lines that this made."""
        before = len(self.lines)
        for _ in range(times):
            self.problems.failed(error, stream, work, every_s)
            self.clock.advance(every_s)
        return self.lines[before:]

    def serve(self, stream: str = ONE, work: Work = "edge") -> list[tuple[Level, str]]:
        """Graph serves a page; returns the lines that this made."""
        before = len(self.lines)
        self.problems.served(stream, work)
        return self.lines[before:]

    def mend(self) -> list[tuple[Level, str]]:
        """Everything works for the first stream; returns the lines that this made."""
        before = len(self.lines)
        self.problems.served(ONE, "edge")
        self.problems.pushed()
        self.problems.stored()
        return self.lines[before:]

    def levels(self) -> list[Level]:
        """The levels of all lines so far."""
        return [level for level, _ in self.lines]


@pytest.fixture
def desk() -> Desk:
    """A quiet night."""
    return Desk()


# When


def test_a_line_says_where_what_and_what_to_do(desk: Desk) -> None:
    """Stream, cause, remedy, details, tries, and when it is tried again."""
    assert desk.fail(FORBIDDEN, times=2) == [
        (
            "error",
            "interactiveUser: Graph forbids the application to read this log: AuditLog.Read.All is missing, or "
            "an administrator has not consented to it. Under API permissions, add Microsoft Graph > Application "
            "permissions > AuditLog.Read.All (not the delegated permission of that name), then press Grant admin "
            "consent. Details: Graph answered 403 Authentication_MSGraphPermissionMissing: missing. Tries: 2; the next "
            "one in 15 s. Nothing is dropped meanwhile.",
        )
    ]


@pytest.mark.parametrize("error", [DOWN, FORBIDDEN, LoginUnavailable("x"), ProxyInTheWay("x"), IntakeUnavailable("x")])
def test_a_single_blip_is_nobodys_business(desk: Desk, error: Exception) -> None:
    """One fault of the moment, answered by the next try: not a line, not even of its recovery."""
    for _ in range(20):
        assert desk.fail(error, every_s=1000) == []
        assert desk.mend() == []


@pytest.mark.parametrize("error", [WRONG_SECRET, CertificateUntrusted("x"), IntakeRefused(401), StorageFailed("x")])
def test_what_a_person_must_mend_in_one_place_is_told_at_once(desk: Desk, error: Exception) -> None:
    """At the first try: waiting for the next one gains nothing."""
    assert [level for level, _ in desk.fail(error)] == ["error"]


@pytest.mark.parametrize(
    ("error", "level"), [(DOWN, "warning"), (FORBIDDEN, "error"), (IntakeUnavailable("x"), "warning")]
)
def test_a_line_comes_again_every_hour(desk: Desk, error: Exception, level: Level) -> None:
    """Three hours of trying every minute: the first line, and three more."""
    assert [of for of, _ in desk.fail(error, times=183, every_s=60)] == [level] * 4


def test_another_works_failures_are_told_if_they_stay(desk: Desk) -> None:
    """History that fails is read in narrower windows first; what is told after five minutes says that it is history."""
    assert desk.fail(DOWN, ONE, "unread", times=10, every_s=30) == []
    ((level, text),) = desk.fail(DOWN, ONE, "unread", every_s=30)
    assert level == "warning"
    assert text.startswith("interactiveUser (history): ")
    assert desk.serve(ONE, "edge") == []
    ((_, text),) = desk.serve(ONE, "unread")
    assert text.startswith("interactiveUser (history): recovered")


def test_what_is_not_tried_any_more_is_over(desk: Desk) -> None:
    """A second look that failed and was settled otherwise does not stay open for ever."""
    desk.fail(DOWN, ONE, "look", times=12, every_s=30)
    assert desk.serve(ONE, "edge") == []
    desk.clock.advance(problem_log.STALE_S + 60)
    assert len(desk.serve(ONE, "edge")) == 1
    assert desk.problems.open() == {}


def test_flapping_answers_make_no_line(desk: Desk) -> None:
    """An answer that comes and goes all day, one try at a time."""
    for _ in range(12 * 24):
        desk.fail(LICENCE, every_s=20)
        desk.serve()
        desk.clock.advance(280)
    assert desk.lines == []


def test_flapping_troubles_are_told_once_an_hour(desk: Desk) -> None:
    """Two failed tries every five minutes, all day: one line and one recovery an hour."""
    for _ in range(12 * 24):
        desk.fail(LICENCE, times=2, every_s=20)
        desk.serve()
        desk.clock.advance(260)
    assert set(desk.levels()) == {"error", "info"}
    assert len(desk.lines) <= 2 * 24


def test_what_comes_back_and_stays_is_told_within_the_hour(desk: Desk) -> None:
    """A second outage, ten minutes after the first, is not passed over: five minutes of it are told."""
    desk.fail(FORBIDDEN, times=2)
    desk.serve()
    desk.clock.advance(600)
    assert desk.fail(FORBIDDEN, times=10, every_s=30) == []
    assert len(desk.fail(FORBIDDEN)) == 1
    assert len(desk.serve()) == 1


# One cause, one line


def test_streams_with_one_cause_share_a_line(desk: Desk) -> None:
    """A permission that is missing stops all: one line that names them, one when the last is served again."""
    for stream in (ONE, TWO, THREE):
        desk.serve(stream)
    for _ in range(20):
        for stream in (ONE, TWO, THREE):
            desk.fail(FORBIDDEN, stream, every_s=5)
            desk.fail(FORBIDDEN, stream, "unread", every_s=5)
    ((level, text),) = desk.lines
    assert level == "error"
    assert text.startswith("interactiveUser, nonInteractiveUser, servicePrincipal: Graph forbids")
    assert desk.serve(ONE) + desk.serve(TWO) == []
    ((level, text),) = desk.serve(THREE)
    assert level == "info"
    assert text.startswith("interactiveUser, nonInteractiveUser, servicePrincipal: recovered after")
    assert desk.problems.open() == {}


def test_a_line_waits_for_the_streams_that_are_polled_later(desk: Desk) -> None:
    """The second stream meets it 50 s after the first, at its own poll: it is in the line all the same."""
    desk.serve(ONE)
    desk.serve(TWO)
    desk.clock.advance(1)
    assert desk.fail(FORBIDDEN, ONE, times=3, every_s=16) == []
    ((_, text),) = desk.fail(FORBIDDEN, TWO)
    assert text.startswith("interactiveUser, nonInteractiveUser: ")


def test_a_line_does_not_wait_for_a_stream_that_is_served(desk: Desk) -> None:
    """A licence concerns sign-ins of one type only: the others' success is enough to know that."""
    desk.serve(ONE)
    desk.serve(TWO)
    desk.clock.advance(1)
    desk.fail(LICENCE, ONE)
    desk.serve(TWO)
    ((_, text),) = desk.fail(LICENCE, ONE)
    assert text.startswith("interactiveUser: ")


def test_a_line_waits_no_longer_than_a_minute(desk: Desk) -> None:
    """A stream that says nothing at all holds nobody's line up."""
    desk.serve(ONE)
    desk.serve(TWO)
    desk.clock.advance(1)
    assert desk.fail(FORBIDDEN, ONE, times=4, every_s=20)[0][1].startswith("interactiveUser: ") is True


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (WRONG_SECRET, SIGN_IN),
        (LoginUnavailable("x"), SIGN_IN),
        (ProxyInTheWay("x"), WAY),
        (CertificateUntrusted("x"), WAY),
        (IntakeRefused(401), INTAKE),
        (IntakeUnavailable("x"), INTAKE),
        (StorageFailed("x"), STORAGE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_mended_in_one_place_is_one_problem(desk: Desk, error: Exception, where: str) -> None:
    """Five streams that cannot sign in are one wrong secret: one line, one recovery, under where it is mended."""
    for stream in "abcde":
        desk.fail(error, stream, times=3, every_s=1)
    ((_, text),) = desk.lines
    assert text.startswith(f"{where}: ")
    ((_, text),) = desk.mend()
    assert text.startswith(f"{where}: recovered after 15 s and 15 failed tries; nothing was lost. It was: ")


def test_each_place_ends_with_its_own_success(desk: Desk) -> None:
    """A page says nothing of the intake, an acknowledged batch nothing of the login."""
    desk.fail(WRONG_SECRET)
    desk.fail(IntakeRefused(401))
    desk.fail(StorageFailed("x"))
    desk.problems.pushed()
    desk.problems.stored()
    assert desk.problems.open() == {"login": 1}
    desk.fail(IntakeRefused(401))
    desk.serve()
    assert desk.problems.open() == {"intake": 1}


def test_a_refusal_of_graphs_shows_that_the_login_works(desk: Desk) -> None:
    """A mended secret, and then a missing permission: the secret's problem is over, and never turns critical."""
    desk.fail(WRONG_SECRET, times=2)
    assert desk.fail(FORBIDDEN)[-1][1].startswith(f"{SIGN_IN}: recovered")
    desk.fail(FORBIDDEN, times=100, every_s=60)
    assert "critical" not in desk.levels()


def test_a_problem_ends_for_the_stream_that_is_served(desk: Desk) -> None:
    """A 503 of one work ends with that work; a refusal of the whole stream with any page of it."""
    desk.fail(DOWN, ONE, "unread")
    desk.serve(ONE, "edge")
    assert desk.problems.open() == {"graph": 1}
    desk.serve(ONE, "unread")
    desk.fail(GraphRefused(400, "UnknownError", "Unsupported Query."), ONE, "unread")
    desk.serve(ONE, "edge")
    assert desk.problems.open() == {"graph": 1}, "a refusal of one question says nothing of another"
    desk.serve(ONE, "unread")
    desk.fail(FORBIDDEN, ONE, "unread")
    desk.serve(TWO, "unread")
    assert desk.problems.open() == {"graph": 1}
    desk.serve(ONE, "edge")
    assert desk.problems.open() == {}


def test_what_graph_answers_now_counts(desk: Desk) -> None:
    """A token is refused once, then a permission is missing: one trouble, told as what it is."""
    for stream in (ONE, TWO):
        desk.fail(TokenRefused("401"), stream, every_s=1)
        desk.fail(FORBIDDEN, stream, every_s=15)
    for _ in range(30):
        desk.fail(FORBIDDEN, ONE)
        desk.fail(FORBIDDEN, TWO)
    ((_, text),) = desk.lines
    assert text.startswith("interactiveUser, nonInteractiveUser: Graph forbids")
    assert desk.problems.open() == {"graph": 1}


def test_what_stops_a_whole_stream_takes_over_from_all_its_work(desk: Desk) -> None:
    """Each work got one 401, then the polls get 403: what is not tried meanwhile makes no line of its own."""
    for work in ("unread", "look", "again"):
        desk.fail(TokenRefused("401"), ONE, work, every_s=1)
    desk.fail(FORBIDDEN, ONE, "edge", times=60, every_s=60)
    assert desk.levels() == ["error"]
    assert desk.problems.open() == {"graph": 1}


def test_another_work_is_told_only_while_it_fails(desk: Desk) -> None:
    """A look that failed once, and was not tried again since, is no line five minutes later."""
    desk.fail(DOWN, ONE, "look")
    desk.clock.advance(400)
    assert desk.serve(ONE, "edge") + desk.serve(TWO, "edge") == []


def test_a_login_that_fails_is_the_trouble(desk: Desk) -> None:
    """A token is refused, and no new one is to be had: Graph's 401 is no problem beside that."""
    desk.fail(TokenRefused("401"))
    desk.fail(WRONG_SECRET)
    assert desk.problems.open() == {"login": 1}


def test_faults_in_turn_are_not_overlooked(desk: Desk) -> None:
    """503 and a broken chain by turns, for a quarter of an hour: one line, and one when both are over."""
    for _ in range(30):
        desk.fail(DOWN)
        desk.fail(PagingBroken("x"))
    assert desk.levels() == ["warning"]
    desk.serve()
    assert desk.levels() == ["warning", "info"]


def test_recovered_when_nothing_was_wrong(desk: Desk) -> None:
    """The usual case says nothing."""
    assert desk.mend() == []


# Critical


@pytest.mark.parametrize(
    ("times", "every_s", "critical"),
    [(3, 150, True), (2, 10_000, False), (3, 149, False), (100, 2, False), (152, 2, True)],
)
def test_critical_takes_three_tries_and_five_minutes(desk: Desk, times: int, every_s: float, critical: bool) -> None:
    """The platform stops the connector then: neither one bad moment nor a burst of tries is enough."""
    desk.fail(WRONG_SECRET, times=times, every_s=every_s)
    assert ("critical" in desk.levels()) is critical


@pytest.mark.parametrize("code", [7000215, 7000222, 700016, 90002, 53003, 12345])
def test_what_has_worked_before_is_critical_after_hours_only(desk: Desk, code: int) -> None:
    """Entra has denied tenants and applications for hours that were there, whatever the code."""
    desk.problems.worked = True
    desk.fail(CredentialRejected(code), times=359, every_s=60)
    assert "critical" not in desk.levels()
    desk.fail(CredentialRejected(code), times=3, every_s=60)
    assert desk.levels().count("critical") == 1


def test_a_certificate_that_worked_before_is_never_critical(desk: Desk) -> None:
    """A proxy's slip ends by itself; a certificate that was never trusted does not."""
    desk.fail(CertificateUntrusted("x"), times=10, every_s=60)
    assert "critical" in desk.levels()
    other = Desk()
    other.problems.worked = True
    other.fail(CertificateUntrusted("x"), times=2000, every_s=60)
    assert "critical" not in other.levels()


def test_a_critical_line_promises_no_next_try(desk: Desk) -> None:
    """The platform stops the connector: the line says that, and what starts it again."""
    desk.fail(WRONG_SECRET, times=30)
    (text,) = [text for level, text in desk.lines if level == "critical"]
    assert text.endswith(
        "The platform stops the connector now: start it again when this is mended. It goes on where it was."
    )
    assert "next one in" not in text


def test_a_line_comes_of_its_own_tries_only(desk: Desk) -> None:
    """Hours in which the login was not tried make it neither critical nor an hourly line: nobody knows how it is."""
    desk.fail(WRONG_SECRET, times=3, every_s=10)
    desk.clock.advance(2 * HOUR_S)
    assert desk.fail(DOWN, every_s=1) == []
    assert desk.levels() == ["error"]
    desk.clock.advance(60)
    assert [level for level, _ in desk.fail(WRONG_SECRET)] == ["critical"]


def test_critical_comes_once(desk: Desk) -> None:
    """Hours of a rejected secret: error, critical, then an error every hour."""
    desk.fail(WRONG_SECRET, times=400, every_s=30)
    assert desk.levels()[:2] == ["error", "critical"]
    assert desk.levels().count("critical") == 1
    assert set(desk.levels()[2:]) <= {"error"}


@pytest.mark.parametrize(
    "error",
    [
        DOWN,
        FORBIDDEN,
        IntakeRefused(401),
        LoginUnavailable("x"),
        ProxyInTheWay("x"),
        Throttled("x"),
        StorageFailed("x"),
        ValueError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_nothing_else_is_ever_critical(desk: Desk, error: Exception) -> None:
    """A retry may help: a licence's answer flaps, a permission may be granted, an intake may be made anew."""
    desk.fail(error, times=2000, every_s=60)
    assert "critical" not in desk.levels()


def test_another_recovery_does_not_make_it_critical_again(desk: Desk) -> None:
    """The intake's outage is over, and the data path's: the secret was critical once, which is enough."""
    desk.fail(WRONG_SECRET, times=30)
    for error in (IntakeRefused(401), StorageFailed("x")):
        desk.fail(error, None, None, times=2)
        desk.problems.pushed()
        desk.problems.stored()
        desk.fail(WRONG_SECRET, times=30)
    assert desk.levels().count("critical") == 1


def test_a_secret_that_was_mended_may_be_critical_again(desk: Desk) -> None:
    """Next year's expiry is another event, hours of it; and refusals with successes between them are none."""
    for _ in range(10):
        desk.fail(WRONG_SECRET, times=2, every_s=400)
        desk.serve()
    assert "critical" not in desk.levels()
    for _ in range(2):
        desk.fail(WRONG_SECRET, times=370, every_s=60)
        desk.serve()
        desk.clock.advance(86_400)
    assert desk.levels().count("critical") == 2


def test_what_worked_in_this_run_has_worked(desk: Desk) -> None:
    """The first run of a connector has no state from before, and is no worse known for it once it was served."""
    desk.serve()
    desk.fail(WRONG_SECRET, times=100, every_s=60)
    assert "critical" not in desk.levels()


# What a line may say


def test_a_long_wait_is_told_at_once_with_its_end(desk: Desk) -> None:
    """Half an hour of silence is not a blip, and the line says when it is over."""
    assert desk.fail(Throttled("429", 60.0)) == []
    desk.serve()
    ((level, text),) = desk.fail(Throttled("429", 1800.0))
    assert level == "warning"
    assert "the other side asked to be left alone until 2026-11-18 11:36:55 UTC" in text
    assert "in 15 s" not in text


def test_a_foreign_exceptions_text_is_not_repeated(desk: Desk) -> None:
    """Only our own errors' texts are known to be safe: another's may quote a token or an address."""
    ((level, text),) = desk.fail(ValueError("Bearer ey-hush"), times=3)
    assert level == "error"
    assert "hush" not in text
    assert "ValueError" in text


def test_our_own_texts_are_shown(desk: Desk) -> None:
    """They name status and code."""
    ((_, text),) = desk.fail(IntakeUnavailable("the intake answered 502"), None, None, times=2)
    assert "the intake answered 502" in text
    assert INTAKE_DOWN.cause in text


def test_a_detail_that_is_a_sentence_ends_once(desk: Desk) -> None:
    """Graph's messages end in a full stop, and ours do not."""
    ((_, text),) = desk.fail(GraphRefused(400, "BadRequest", "Unknown member."), times=2)
    assert "Unknown member. Tries:" in text


def test_every_kind_of_the_tree_is_a_label() -> None:
    """The gauge of open problems has every kind from the start; each error is counted under its own."""
    seen = {"troubled"}
    for kind in TREE:
        desk = Desk()
        desk.fail(kind(*ARGUMENTS.get(kind, ("text",))))
        seen |= set(desk.problems.open())
    assert seen == set(PROBLEM_KINDS)


def test_who_can_mend_it_decides_the_level() -> None:
    """Of the whole tree: what passes by itself is a warning, all else an error; critical is a person's business."""
    for kind in TREE:
        desk = Desk()
        desk.fail(kind(*ARGUMENTS.get(kind, ("text",))), times=4)
        assert desk.levels() == (["warning"] if issubclass(kind, errors.PassesByItself) else ["error"]), kind
        assert kind.critical == "never" or issubclass(kind, PersonMustAct)


# Stretches


def test_a_troubled_stretch_is_told_once(desk: Desk) -> None:
    """With its bounds and Graph's own words, as an error; hourly tries add nothing; one line when it is over."""
    for _ in range(30):
        desk.problems.troubled(ONE, (START_S, START_S + 1), "Graph answered 500 UnknownError", 3600)
        desk.clock.advance(3600)
    assert desk.lines == [
        (
            "error",
            "interactiveUser: records created from 2026-11-18T11:06:40Z to 2026-11-18T11:06:41Z cannot be read at "
            "present: Graph answered 500 UnknownError. Everything around them is read. They are asked for again in "
            "60 min and hourly, for as long as Graph keeps them; a line says when they are read.",
        )
    ]
    desk.problems.readable(ONE, (START_S, START_S + 1), [])
    assert desk.lines[1:] == [
        (
            "info",
            "interactiveUser: records created from 2026-11-18T11:06:40Z to 2026-11-18T11:06:41Z, which could not be "
            "read for 1800 min, are read now.",
        )
    ]
    assert desk.problems.open() == {}


def test_a_stretch_that_was_told_as_one_is_over_when_all_of_it_is_read(desk: Desk) -> None:
    """A part that is read makes no line as long as another part is left."""
    desk.problems.troubled(ONE, (START_S, START_S + 100), "the intake answered 400", 3600)
    desk.problems.readable(ONE, (START_S + 40, START_S + 100), [(START_S, START_S + 40)])
    assert len(desk.lines) == 1
    desk.problems.readable(ONE, (START_S, START_S + 40), [])
    assert "to 2026-11-18T11:08:20Z, which could not be read" in desk.lines[1][1]


def test_many_troubled_stretches_are_few_lines(desk: Desk) -> None:
    """A hundred seconds that cannot be read, found one after the other: two lines, the second an hour later."""
    for second in range(0, 200, 2):
        desk.problems.troubled(ONE, (START_S + second, START_S + second + 1), "500", 3600)
    assert len(desk.lines) == 1
    desk.clock.advance(3600)
    desk.problems.troubled(ONE, (START_S, START_S + 1), "500", 3600)
    assert len(desk.lines) == 2
    assert "in 99 stretches, of which the first are from 2026-11-18T11:06:42Z to" in desk.lines[1][1]
    assert desk.problems.open() == {"troubled": 100}
    for second in range(0, 200, 2):
        desk.problems.readable(ONE, (START_S + second, START_S + second + 1), [])
    assert desk.levels() == ["error", "error", "info"]


def test_a_second_troubled_stretch_of_the_hour_is_told_when_the_hour_is_over(desk: Desk) -> None:
    """It is set aside once: the line must not wait until a third one is."""
    for second in (0, 10):
        desk.problems.troubled(ONE, (START_S + second, START_S + second + 1), "500", 3600)
    left = [(START_S, START_S + 1), (START_S + 10, START_S + 11)]
    for _ in range(80):
        desk.clock.advance(60)
        desk.problems.readable(ONE, (START_S + 100, START_S + 160), left)
    assert [text.count("from 2026") for _, text in desk.lines] == [1, 1]
    assert "to 2026-11-18T11:06:51Z cannot be read at present: 500. Everything" in desk.lines[1][1]


def test_what_was_not_told_is_not_told_to_be_over(desk: Desk) -> None:
    """A second stretch within the hour, read again before anybody heard of it."""
    desk.problems.troubled(ONE, (START_S, START_S + 1), "500", 3600)
    desk.problems.troubled(ONE, (START_S + 10, START_S + 11), "500", 3600)
    desk.clock.advance(HOUR_S)
    desk.problems.readable(ONE, (START_S + 10, START_S + 11), [])
    assert desk.levels() == ["error"]
    desk.problems.readable(ONE, (START_S, START_S + 1), [])
    assert desk.levels() == ["error", "info"]
    assert "12:06:50" not in desk.lines[-1][1]


def test_a_refused_stretch_that_was_read_is_forgotten(desk: Desk) -> None:
    """The next recovery does not speak of it; a lost one is no trouble any more."""
    desk.problems.refused_stretch(ONE, (START_S, START_S + HOUR_S))
    desk.problems.readable(ONE, (START_S, START_S + HOUR_S), [])
    desk.fail(FORBIDDEN, times=2)
    assert "nothing was lost" in desk.serve()[-1][1]
    desk.problems.troubled(ONE, (START_S, START_S + 1), "500", 3600)
    desk.problems.lost(ONE, (START_S, START_S + HOUR_S), "x")
    assert desk.problems.open() == {}


def test_a_stretch_that_was_narrowed_is_the_same_trouble(desk: Desk) -> None:
    """An hour that is halved down to a second is told as it was first told; the rest of it is not troubled."""
    desk.problems.troubled(ONE, (START_S, START_S + 3600), "504", 60)
    desk.problems.troubled(ONE, (START_S + 5, START_S + 6), "500", 3600)
    assert len(desk.lines) == 1
    assert desk.problems.open() == {"troubled": 1}


def test_a_trouble_that_stopped_a_stream_is_told_as_a_stretch(desk: Desk) -> None:
    """The failures that led there are over; their line is not left hanging."""
    desk.fail(DOWN, ONE, "unread", times=12, every_s=30)
    desk.problems.troubled(ONE, (START_S, START_S + 1), "500", 3600)
    assert desk.levels() == ["warning", "error", "info"]
    assert "nothing was lost" not in desk.lines[2][1]
    assert desk.problems.open() == {"troubled": 1}


def test_a_recovery_does_not_deny_a_trouble(desk: Desk) -> None:
    """'Nothing was lost' is not said of a stream while a stretch of it cannot be read."""
    desk.problems.troubled(ONE, (START_S, START_S + 1), "500", 3600)
    desk.fail(DOWN, ONE, times=3)
    desk.fail(DOWN, TWO, times=3)
    ((_, text),) = desk.serve(ONE) + desk.serve(TWO)
    assert "nothing was lost" not in text
    assert "interactiveUser records created from 2026-11-18T11:06:40Z to 2026-11-18T11:06:41Z cannot be read" in text
    desk.problems.readable(ONE, (START_S, START_S + 1), [])
    desk.clock.advance(HOUR_S)
    desk.serve(TWO)
    desk.fail(DOWN, ONE, times=6)
    assert "nothing was lost" in desk.serve(ONE)[-1][1]


def test_a_recovery_elsewhere_is_not_touched_by_a_trouble(desk: Desk) -> None:
    """Another stream's recovery speaks of its own records; the login's of everybody's."""
    desk.problems.troubled(ONE, (START_S, START_S + 1), "500", 3600)
    desk.fail(DOWN, TWO, times=3)
    assert "nothing was lost" in desk.serve(TWO)[-1][1]
    desk.fail(WRONG_SECRET, TWO)
    assert "nothing was lost" not in desk.serve(TWO)[-1][1]


def test_a_refusal_is_never_called_a_loss(desk: Desk) -> None:
    """Exact bounds, told once while they do not grow, and nobody says lost."""
    for _ in range(5):
        desk.problems.refused_stretch(ONE, (START_S, START_S + HOUR_S))
        desk.clock.advance(HOUR_S)
    ((level, text),) = desk.lines
    assert level == "error"
    assert "records created from 2026-11-18T11:06:40Z to 2026-11-18T12:06:40Z are refused by Graph" in text
    desk.fail(FORBIDDEN, times=3)
    recovery = desk.serve()[-1][1]
    assert "Graph refuses interactiveUser records created from 2026-11-18T11:06:40Z" in recovery
    assert "lost" not in text + recovery


def test_several_refused_stretches_are_a_line_an_hour(desk: Desk) -> None:
    """Apart from each other, each is refused anew every hour: each is named once, and none makes another news again."""
    bad = [(START_S + minute * 60, START_S + minute * 60 + 1) for minute in range(3)]
    for second in bad:
        desk.problems.troubled(ONE, second, "400", 3600)
    for _ in range(20):
        for second in bad:
            desk.problems.refused_stretch(ONE, second)
            desk.problems.troubled(ONE, second, "400", 3600)
        desk.clock.advance(HOUR_S)
    refused = [text for _, text in desk.lines if "are refused by Graph" in text]
    assert [text.count("from 2026") for text in refused] == [1, 2]
    assert len(desk.lines) == 3, "and one of the first, before it was refused for hours"
    assert desk.problems.open() == {"troubled": 3}
    for index, second in enumerate(bad):
        desk.problems.readable(ONE, second, bad[index + 1 :])
    assert [text.count("from 2026") for _, text in desk.lines[3:]] == [1, 1, 1]
    assert desk.problems.open() == {}


def test_what_was_read_and_is_in_trouble_again_is_not_called_read(desk: Desk) -> None:
    """The line that it is read waits for the hour, because others are left; when it comes, it must be true."""
    bad, other = (START_S, START_S + 1), (START_S + 60, START_S + 61)
    for second in (bad, other):
        desk.problems.troubled(ONE, second, "500", 3600)
    desk.problems.readable(ONE, bad, [other])
    for _ in range(3):
        desk.problems.readable(ONE, (START_S + 100, START_S + 200), [bad, other])
        desk.clock.advance(HOUR_S)
    assert [level for level, _ in desk.lines] == ["error", "error"]
    desk.problems.readable(ONE, bad, [other])
    assert "to 2026-11-18T11:06:41Z, which could not be read for 180 min, are read now" in desk.lines[2][1]


def test_that_a_stretch_is_read_is_told_within_the_hour(desk: Desk) -> None:
    """With the next that is read, whatever it was; and it says how long it was in trouble, not how long ago."""
    bad, other = (START_S, START_S + 1), (START_S + 60, START_S + 61)
    for second in (bad, other):
        desk.problems.troubled(ONE, second, "500", 3600)
    desk.clock.advance(600)
    desk.problems.readable(ONE, bad, [other])
    for _ in range(60):
        desk.clock.advance(60)
        desk.problems.readable(ONE, (START_S + 100, START_S + 200), [other])
    assert len(desk.lines) == 2
    assert "could not be read for 10 min, are read now. 1 such stretches are left." in desk.lines[1][1]


def test_what_graph_no_longer_keeps_is_in_no_trouble(desk: Desk) -> None:
    """It was read once, and is told as not looked at again: it is not called read, and counts no more."""
    desk.problems.troubled(ONE, (START_S, START_S + 1), "500", 3600)
    desk.problems.gone(ONE, (START_S - 10, START_S + 10))
    desk.problems.readable(ONE, (START_S - 10, START_S + 10), [])
    assert len(desk.lines) == 1
    assert desk.problems.open() == {}


def test_losses_apart_from_each_other_are_a_line_an_hour(desk: Desk) -> None:
    """The second is told within the hour, with the next that is read."""
    for hour in (0, 2):
        desk.problems.lost(ONE, (START_S + hour * HOUR_S, START_S + hour * HOUR_S + 60), "Graph no longer keeps them")
    assert len(desk.lines) == 1
    desk.clock.advance(HOUR_S)
    desk.problems.readable(ONE, (START_S, START_S + 1), [])
    assert [text.count("from 2026") for _, text in desk.lines] == [1, 1]


def test_a_loss_that_grows_is_told_hourly_and_when_it_is_over(desk: Desk) -> None:
    """Each try of a long outage loses a minute more: one line an hour, and the last states all of it."""
    desk.fail(FORBIDDEN, times=2)
    for minute in range(90):
        desk.problems.lost(ONE, (START_S + minute * 60, START_S + minute * 60 + 60), "Microsoft keeps 30 days")
        desk.clock.advance(60)
    assert desk.levels() == ["error", "error", "error"]
    _, loss, recovery = desk.lines[-1], *desk.serve()
    assert "from 2026-11-18T11:06:40Z to 2026-11-18T12:36:40Z were not read in time and are lost" in loss[1]
    assert "Microsoft keeps 30 days" in loss[1]
    assert "; lost: interactiveUser records created from 2026-11-18T11:06:40Z to 2026-11-18T12:36:40Z" in recovery[1]


def test_a_recovery_speaks_of_its_own_losses(desk: Desk) -> None:
    """A loss of last week, or of another stream, is not this outage's."""
    desk.problems.lost(ONE, (START_S, START_S + HOUR_S), "x")
    desk.clock.advance(2 * HOUR_S)
    desk.fail(FORBIDDEN, times=2)
    assert "nothing was lost" in desk.serve()[-1][1]
    desk.clock.advance(2 * HOUR_S)
    desk.fail(FORBIDDEN, times=2)
    desk.problems.lost(TWO, (START_S, START_S + HOUR_S), "x")
    assert "nothing was lost" in desk.serve()[-1][1]


# Gaps


def test_a_gap_after_a_stop_is_one_line(desk: Desk) -> None:
    """Every stream finds its own gap at its first poll: one cause, one line."""
    for stream in (ONE, TWO, THREE):
        desk.problems.gap(stream, (START_S, START_S + HOUR_S))
        desk.clock.advance(20)
    assert desk.lines == [
        (
            "warning",
            "nothing was read from 2026-11-18T11:06:40Z to 2026-11-18T12:06:40Z. New records flow again; what is "
            "missing is read as history, beside them.",
        )
    ]
    desk.clock.advance(86_400)
    desk.problems.gap(ONE, (START_S, START_S + HOUR_S))
    assert len(desk.lines) == 2


@pytest.mark.parametrize("error", [FORBIDDEN, WRONG_SECRET])
def test_a_gap_after_a_problem_is_told_with_its_end(desk: Desk, error: Exception) -> None:
    """Whether the gap is found just before or just after: two lines in all."""
    desk.problems.worked = True
    desk.fail(error, times=100)
    desk.problems.gap(ONE, (START_S, START_S + HOUR_S))
    ((_, text),) = desk.serve()
    assert "; nothing was lost; what is missing of that time is read as history. It was: " in text
    desk.problems.gap(TWO, (START_S, START_S + HOUR_S))
    assert len(desk.lines) == 2


# Threads


def test_any_thread_may_tell(desk: Desk) -> None:
    """Streams, the intake and the disk tell from threads of their own: no call fails, none is forgotten."""
    raised: list[BaseException] = []

    def tell(stream: str) -> None:
        try:
            for number in range(300):
                desk.problems.failed(DOWN, stream, "edge", 1)
                desk.problems.failed(IntakeUnavailable("x"), None, None, 1)
                desk.problems.troubled(stream, (number * 2, number * 2 + 1), "500", 60)
                desk.problems.open()
                desk.problems.served(stream, "edge")
                desk.problems.pushed()
                desk.problems.readable(stream, (0, 10**6), [])
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            raised.append(error)

    threads = [Thread(target=tell, args=(stream,)) for stream in (ONE, TWO, THREE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert desk.problems.open() == {}


def test_the_advice_is_that_of_the_error(desk: Desk) -> None:
    """Each class's own sentence reaches the log."""
    for error in (WindowTooWide("x"), PagingBroken("x"), TokenRefused("x"), Throttled("x")):
        assert advise(error).cause in desk.fail(error, times=3)[0][1]
