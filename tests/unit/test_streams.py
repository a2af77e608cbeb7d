"""What a stream asks Graph."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph_entra.streams import (
    AUDIT_MATERIAL,
    AUDITS,
    SIGN_IN_MATERIAL,
    SIGN_IN_TYPES,
    SignInType,
    Stream,
    graph_time,
    sign_in_stream,
)

AT = int(datetime(2026, 11, 23, 8, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("kind", "beta_only", "version", "event_type"),
    [
        ("interactiveUser", False, "v1.0", None),
        ("nonInteractiveUser", False, "beta", "nonInteractiveUser"),
        ("servicePrincipal", False, "beta", "servicePrincipal"),
        ("managedIdentity", False, "beta", "managedIdentity"),
        ("interactiveUser", True, "beta", "interactiveUser"),
        ("nonInteractiveUser", True, "beta", "nonInteractiveUser"),
        ("servicePrincipal", True, "beta", "servicePrincipal"),
        ("managedIdentity", True, "beta", "managedIdentity"),
    ],
)
def test_version_of_each_type(kind: SignInType, beta_only: bool, version: str, event_type: str | None) -> None:
    """Interactive sign-ins come from v1.0 in the global cloud; everything else is beta's, and filtered by type."""
    stream = sign_in_stream(kind, beta_only=beta_only)
    assert (stream.key, stream.collection, stream.version, stream.event_type) == (kind, "signIns", version, event_type)
    assert stream.material == SIGN_IN_MATERIAL


def test_filter_of_a_v1_stream() -> None:
    """Documented operators only, both bounds included, whole seconds."""
    stream = sign_in_stream("interactiveUser", beta_only=False)
    assert stream.filter(AT, AT + 61) == (
        "createdDateTime ge 2026-11-23T08:00:00Z and createdDateTime le 2026-11-23T08:01:01Z"
    )
    assert stream.orderby(newest_first=False) == "createdDateTime asc"
    assert stream.orderby(newest_first=True) == "createdDateTime desc"


def test_filter_of_a_beta_stream() -> None:
    """The type is filtered by Graph, as Microsoft documents it."""
    stream = sign_in_stream("managedIdentity", beta_only=False)
    assert stream.filter(AT, AT) == (
        "createdDateTime ge 2026-11-23T08:00:00Z and createdDateTime le 2026-11-23T08:00:00Z "
        "and signInEventTypes/any(t: t eq 'managedIdentity')"
    )


def test_filter_of_audits() -> None:
    """Audits are ordered by when the activity happened."""
    assert AUDITS.filter(AT, AT + 1) == (
        "activityDateTime ge 2026-11-23T08:00:00Z and activityDateTime le 2026-11-23T08:00:01Z"
    )
    assert AUDITS.orderby(newest_first=False) == "activityDateTime asc"
    assert (AUDITS.version, AUDITS.collection, AUDITS.material) == ("v1.0", "directoryAudits", AUDIT_MATERIAL)


def test_keys_tell_the_streams_apart() -> None:
    """Two streams under one key would overwrite each other's cursors."""
    keys = [sign_in_stream(kind, beta_only=False).key for kind in SIGN_IN_TYPES] + [AUDITS.key]
    assert len(set(keys)) == len(keys) == 5


def test_a_type_keeps_its_key_in_every_cloud() -> None:
    """State and metrics have one name for a type."""
    assert {sign_in_stream(kind, beta_only=True).key for kind in SIGN_IN_TYPES} == set(SIGN_IN_TYPES)


@given(st.integers(0, 4_000_000_000), st.integers(0, 10_000_000))
def test_bounds_are_exact_seconds(start_s: int, length_s: int) -> None:
    """What the filter says is the window, to the second."""
    words = AUDITS.filter(start_s, start_s + length_s).split()
    assert [int(datetime.fromisoformat(words[at]).timestamp()) for at in (2, 6)] == [start_s, start_s + length_s]
    assert all(len(words[at]) == 20 for at in (2, 6))


def test_graph_time_is_utc() -> None:
    """Graph reads a time without an offset as its own; ours ends in Z."""
    assert graph_time(0) == "1970-01-01T00:00:00Z"


def test_a_stream_cannot_be_changed() -> None:
    """It is shared by every window and thread."""
    with pytest.raises(AttributeError):
        AUDITS.key = "x"  # type: ignore[misc]
    assert isinstance(AUDITS, Stream)
