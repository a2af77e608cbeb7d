"""PURE: what a stream and a window are. A stream is one kind of record, a window what is asked of it at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S

# The most that Graph answers on a page of sign-ins, and its default (https://learn.microsoft.com/graph/api/signin-list).
PAGE_RECORDS: Final = 1000

# The bounds of a piece of creation time.
Stretch = tuple[int, int]

# Why a window is read (reading/plan.py has the table), and what that is called in the log, in CONFIGURE.md and on the
# dashboard.
Work = Literal["edge", "unread", "look", "again", "troubled"]
WORDS: Final[Mapping[Work, str]] = MappingProxyType(
    {
        "edge": "new records",
        "unread": "history",
        "look": "second look",
        "again": "history, once more",
        "troubled": "troubled stretch",
    }
)
# The ages at which a stretch is looked at again.
LookAge = Literal["15 min", "2 h", "24 h"]
LOOK_AGES: Final[Mapping[LookAge, int]] = MappingProxyType({"15 min": 15 * 60, "2 h": 2 * HOUR_S, "24 h": DAY_S})

SignInType = Literal["interactiveUser", "nonInteractiveUser", "servicePrincipal", "managedIdentity"]
ApiVersion = Literal["v1.0", "beta"]

SIGN_IN_TYPES: Final[tuple[SignInType, ...]] = (
    "interactiveUser",
    "nonInteractiveUser",
    "servicePrincipal",
    "managedIdentity",
)

# A change of one of these is news to a detection rule; a change of any other member is not pushed again. What a version
# does not have is null in every record of it: riskEventTypes is v1.0's alone, the two before it are beta's.
SIGN_IN_MATERIAL: Final = (
    "status.errorCode",
    "conditionalAccessStatus",
    "authenticationRequirement",
    "riskDetail",
    "riskLevelAggregated",
    "riskLevelDuringSignIn",
    "riskState",
    "riskEventTypes",
    "riskEventTypes_v2",
)
# Of interactive sign-ins in full detail. Another set than that of v1.0, under which the same records are known: so the
# ledger knows that a difference between the two is the version's, and no change (state/ledger.py).
FULL_MATERIAL: Final = tuple(member for member in SIGN_IN_MATERIAL if member != "riskEventTypes")
AUDIT_MATERIAL: Final = ("result", "resultReason")


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of record.

    Attributes:
        key: name in the state, the logs and the metrics.
        collection: the member of ``/auditLogs`` that is read.
        version: the API version that serves it.
        time_member: the member that Graph filters and orders by.
        material: dotted paths of the members whose change makes a record worth pushing again.
        event_type: the sign-in type that is filtered for; None where the endpoint holds one kind only.
        otherwise: what is read while this one is refused: the same records with less in them; None if nothing is.
    """

    key: str
    collection: Literal["signIns", "directoryAudits"]
    version: ApiVersion
    time_member: str
    material: tuple[str, ...]
    event_type: str | None = None
    otherwise: Stream | None = None

    def filter(self, start_s: int, end_s: int) -> str:
        """The ``$filter`` for records created from ``start_s`` to ``end_s``, both included.

        ``ge`` and ``le`` are the operators that Microsoft documents for the time member
        (https://learn.microsoft.com/graph/api/signin-list); bounds are whole seconds, so that a window begins where
        the one before ended and the ledger drops the ties.
        """
        text = f"{self.time_member} ge {graph_time(start_s)} and {self.time_member} le {graph_time(end_s)}"
        if self.event_type is not None:
            text += f" and signInEventTypes/any(t: t eq '{self.event_type}')"
        return text

    def orderby(self, *, newest_first: bool) -> str:
        """Oldest first, so that what was read can follow the pages; or from the other end."""
        return f"{self.time_member} {'desc' if newest_first else 'asc'}"


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of creation time that is asked for at once, both ends included.

    Attributes:
        work: why it is read (reading/plan.py).
        start_s: its first second.
        end_s: its last second.
        page_records: the most records on a page.
        newest_first: which end comes first.
    """

    work: Work
    start_s: int
    end_s: int
    page_records: int = PAGE_RECORDS
    newest_first: bool = False

    @property
    def is_second(self) -> bool:
        """Whether it cannot be divided: Graph's filter knows whole seconds."""
        return self.end_s - self.start_s <= 1


AUDITS: Final = Stream("directoryAudits", "directoryAudits", "v1.0", "activityDateTime", AUDIT_MATERIAL)


def sign_in_stream(kind: SignInType, *, beta_only: bool, full: bool = False) -> Stream:
    """The stream of one sign-in type.

    Args:
        kind: the sign-in type.
        beta_only: True in the national clouds, whose v1.0 refuses ``/auditLogs/signIns``. In the global cloud,
            interactive sign-ins come from v1.0; ``signInEventTypes`` exists in beta only
            (https://learn.microsoft.com/graph/api/resources/signin).
        full: read interactive sign-ins from beta too, with some 40 members more, and from v1.0 while beta is refused.
    """
    beta = Stream(kind, "signIns", "beta", "createdDateTime", SIGN_IN_MATERIAL, event_type=kind)
    if kind != "interactiveUser" or beta_only:
        return beta
    standard = Stream(kind, "signIns", "v1.0", "createdDateTime", SIGN_IN_MATERIAL)
    return replace(beta, material=FULL_MATERIAL, otherwise=standard) if full else standard


def graph_time(second: int) -> str:
    """A whole second since 1970 as Graph writes it: ``2026-11-23T08:00:00Z``."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
