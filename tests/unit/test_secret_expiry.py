"""When the client secret ends, and the warnings before it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from graph_entra.microsoft.secret_expiry import DAY_S, WARN_DAYS, Warnings, ends_s, until_next_s

SECRET = ""
NOW_S = datetime(2026, 11, 23, 8, tzinfo=UTC).timestamp()


def credential(days: float, hint: Any = "abc") -> dict[str, Any]:
    """A secret that ends in so many days."""
    end = datetime.fromtimestamp(NOW_S + days * DAY_S, UTC).isoformat().replace("+00:00", "Z")
    return {"hint": hint, "endDateTime": end}


def test_the_secret_in_use_is_found_by_its_hint() -> None:
    """Another secret that ends sooner does not matter."""
    assert ends_s([credential(2, "xyz"), credential(40)], "abcdef", NOW_S) == NOW_S + 40 * DAY_S


def test_of_two_with_one_hint_the_first_to_end_counts() -> None:
    """Too early a warning is better than none; one that has ended cannot be the one in use."""
    assert ends_s([credential(40), credential(5), credential(-1)], "abc", NOW_S) == NOW_S + 5 * DAY_S


@pytest.mark.parametrize(
    "credentials",
    [
        [],
        [credential(5, "xyz")],
        [credential(5, None)],
        [credential(-1)],
        [{"hint": "abc"}],
        [{"hint": "abc", "endDateTime": None}],
        [{"hint": "abc", "endDateTime": "soon"}],
        ["abc"],
        [None],
    ],
)
def test_nothing_is_known_where_nothing_fits(credentials: list[Any]) -> None:
    """Whatever Graph tells, a strange answer is no error."""
    assert ends_s(credentials, "abcdef", NOW_S) is None


def test_seven_digits_of_a_second_are_read() -> None:
    """Graph writes instants with seven digits."""
    said = [{"hint": "abc", "endDateTime": "2026-11-24T08:00:00.1234567Z"}]
    assert ends_s(said, "abc", NOW_S) == pytest.approx(NOW_S + DAY_S, abs=1)


def test_each_warning_comes_once_and_on_its_day() -> None:
    """Asked hourly for 40 days: five warnings, within the hour of 30, 14, 7, 3 and 1 days before the end."""
    warnings = Warnings()
    end_s = NOW_S + 40 * DAY_S
    said = {}
    for hour in range(40 * 24):
        now_s = NOW_S + hour * 3600
        warning = warnings.due(SECRET, end_s, now_s)
        if warning is not None:
            said[(end_s - now_s) / DAY_S] = warning
    assert list(said) == list(WARN_DAYS)
    assert said[30.0].startswith("The client secret ends in 30.0 days, on 2027-01-02 08:00 UTC. ")
    assert "paste its Value" in said[1.0]


def test_a_secret_that_is_replaced_gets_its_own_warnings() -> None:
    """The new one's end is another."""
    warnings = Warnings()
    assert warnings.due(SECRET, NOW_S + 2 * DAY_S, NOW_S) is not None
    assert warnings.due(SECRET, NOW_S + 2 * DAY_S, NOW_S) is None
    assert warnings.due(SECRET, NOW_S + 20 * DAY_S, NOW_S) is not None
    assert warnings.due(SECRET, NOW_S + 90 * DAY_S, NOW_S) is None


def test_a_late_start_says_the_most_urgent_only() -> None:
    """A connector that starts five days before the end warns once, not three times."""
    warnings = Warnings()
    assert "5.0 days" in str(warnings.due(SECRET, NOW_S + 5 * DAY_S, NOW_S))
    assert warnings.due(SECRET, NOW_S + 5 * DAY_S, NOW_S + 3600) is None


@pytest.mark.parametrize(
    ("left_days", "wait_days"), [(31.5, 1.5), (30.0, 16.0), (1.5, 0.5), (1.0, 1.0), (0.2, 1.0), (-3.0, 1.0)]
)
def test_the_next_look_is_in_time_for_the_next_warning(left_days: float, wait_days: float) -> None:
    """Once a day would warn of the last day up to a day late."""
    assert until_next_s(NOW_S + left_days * DAY_S, NOW_S) == wait_days * DAY_S


def test_a_certificates_warning_names_it_and_how_to_renew() -> None:
    """By its thumbprint, as the portal shows it."""
    warning = Warnings().due("AB12", NOW_S + 6 * DAY_S, NOW_S)
    assert str(warning).startswith("The certificate of thumbprint AB12 ends in 6.0 days, on 2026-11-29 08:00 UTC. ")
    assert "upload its public half" in str(warning)
    assert "Value" not in str(warning)
