"""How long Graph is waited for: slow is not broken, and a silence among quick answers is not waited for as long."""

import pytest

from graph_entra.microsoft.patience import LONGEST_ANSWER_S, SHORTEST_PATIENCE_S, Patience


def after(*answers: tuple[float, bool]) -> float:
    """Seconds that the next answer is waited for, after these: how long each took, and whether it came."""
    patience = Patience()
    for took_s, answered in answers:
        patience.waited(took_s, answered=answered)
    return patience.longest_s


@pytest.mark.parametrize(
    ("answers", "longest_s"),
    [
        ([], LONGEST_ANSWER_S),  # nothing is known: answers of five minutes are reported
        ([(0.5, True)], SHORTEST_PATIENCE_S),
        ([(20.0, True)], 160.0),  # eight times the slowest
        ([(60.0, True)], LONGEST_ANSWER_S),
        ([(20.0, True), (0.5, True)], 8 * 18.0),  # which counts less with each answer after it
        ([(20.0, True), *[(0.5, True)] * 30], SHORTEST_PATIENCE_S),
        ([(0.5, True), (60.0, False)], 120.0),  # a silence doubles it
        ([(0.5, True), (60.0, False), (120.0, False)], 240.0),
        ([(0.5, True), *[(60.0, False)] * 9], LONGEST_ANSWER_S),  # never beyond what is ever waited
        ([(0.5, True), (60.0, False), (70.0, True)], LONGEST_ANSWER_S),  # and an answer ends it
        ([(0.5, True), (60.0, False), (0.5, True)], SHORTEST_PATIENCE_S),
        ([(0.5, True), (0.1, False)], SHORTEST_PATIENCE_S),  # a reset at once is no silence
        ([(0.5, True), (60.0, False), (0.1, False)], SHORTEST_PATIENCE_S),
    ],
)
def test_patience(answers: list[tuple[float, bool]], longest_s: float) -> None:
    """By how long the last answers took."""
    assert after(*answers) == pytest.approx(longest_s)


def test_a_graph_that_has_become_slow_is_waited_for_within_four_tries() -> None:
    """From half a second to five minutes an answer: each silence doubles the patience until one comes."""
    patience = Patience()
    patience.waited(0.5, answered=True)
    tries = 0
    while patience.longest_s < 300:
        patience.waited(patience.longest_s, answered=False)
        tries += 1
    assert tries == 3
