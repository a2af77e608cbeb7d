"""PURE: when the application's client secret or certificate ends, and which warning that asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

DAY_S: Final = 86_400
# Days before the end at which a warning comes.
WARN_DAYS: Final = (30, 14, 7, 3, 1)
# Graph shows the first characters of a secret's value, so that people can tell their secrets apart
# (https://learn.microsoft.com/graph/api/resources/passwordcredential).
HINT_CHARS: Final = 3


def ends_s(credentials: Iterable[Mapping[str, Any]], hint: str, now_s: float) -> float | None:
    """When the secret in use ends, in seconds since 1970.

    Args:
        credentials: the application's ``passwordCredentials``, as Graph states them.
        hint: the first characters of the secret in use.
        now_s: the clock.

    Returns:
        The end of the secret with that hint; of several, the one that ends first and has not ended. None if none fits.
    """
    ends = []
    for credential in credentials:
        if not isinstance(credential, Mapping) or credential.get("hint") != hint[:HINT_CHARS]:
            continue
        try:
            ends.append(datetime.fromisoformat(credential["endDateTime"]).timestamp())
        except (KeyError, TypeError, ValueError):
            continue
    return min((end for end in ends if end > now_s), default=None)


def until_next_s(end_s: float, now_s: float) -> float:
    """Seconds until the next warning is due; a day at most, since secrets are replaced."""
    waits = [end_s - days * DAY_S - now_s for days in WARN_DAYS]
    return min((wait_s for wait_s in waits if wait_s > 0), default=DAY_S)


class Warnings:
    """Says each warning once."""

    def __init__(self) -> None:
        self._said: set[tuple[float, int]] = set()

    def due(self, thumbprint: str, end_s: float, now_s: float) -> str | None:
        """The warning that is due now; None if none is, or it was said.

        Args:
            thumbprint: of the certificate; empty for a client secret.
            end_s: when it ends, in seconds since 1970.
            now_s: the clock.
        """
        left_days = (end_s - now_s) / DAY_S
        reached = [days for days in WARN_DAYS if left_days <= days]
        if not reached or (end_s, reached[-1]) in self._said:
            return None
        self._said.add((end_s, reached[-1]))
        when = datetime.fromtimestamp(end_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
        left = f"{max(0.0, left_days):.1f} days, on {when}"
        if thumbprint:
            return (
                f"The certificate of thumbprint {thumbprint} ends in {left}. Make a new one, upload its public half "
                "under Certificates & secrets of the app registration, and paste it with its key; until then records "
                "go on flowing."
            )
        return (
            f"The client secret ends in {left}. Make a new one under Certificates & secrets of the app registration "
            "and paste its Value; until then records go on flowing."
        )
