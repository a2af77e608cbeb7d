"""CONFIGURE.md's troubleshooting table: `python -m tests.unit.troubleshooting` writes it anew from diagnosis.py."""

import sys
from collections.abc import Iterator
from pathlib import Path

from graph_entra.telling import diagnosis
from graph_entra.telling.diagnosis import ENTRA, GRAPH, Advice

ROOT = Path(__file__).parents[2]
CONFIGURE = ROOT / "CONFIGURE.md"
START, END = "<!-- troubleshooting:start -->", "<!-- troubleshooting:end -->"

# What stands behind each sentence of diagnosis.py that is not in one of its two tables of codes.
BEHIND = {
    "SECRET_ID": "AADSTS7000215, and what was pasted is a GUID",
    "SWAPPED": "AADSTS90002, and client_id is a tenant's id (only when the account is saved)",
    "NO_TENANT": "AADSTS90002, and no cloud's login knows the tenant (only when the account is saved)",
    "ENTRA_OTHER": "any other AADSTS code",
    "NO_PERMISSION": "403, and the access token names other permissions only (only when the account is saved)",
    "NO_CONSENT": "403, and the access token names no permission (only when the account is saved)",
    "_FORBIDDEN": "Graph answers 403",
    "GRAPH_REFUSED": "Graph answers 400, 404 or another refusal",
    "LOGIN_DOWN": "no answer from the login, or 5xx, or AADSTS90006, 90024, 90033, 90055, 90090",
    "PROXY": "the proxy cannot be reached, or answers 403, 407 or 502 to CONNECT",
    "CERTIFICATE": "a certificate authority that the connector does not know",
    "GRAPH_DOWN": "no answer from Graph in time, a reset, 5xx, or something that is not JSON",
    "THROTTLED": "Graph answers 429",
    "TOKEN": "Graph answers 401",
    "PAGING": "a skip token expired, or a next page repeats itself or is on another host",
    "INTAKE": "the intake answers 401, 403 or 404, or refuses every record",
    "INTAKE_DOWN": "no answer from the intake, 429 or 5xx, or fewer acknowledgements than records",
    "STORAGE": "the disk is full, or the bucket or its rights are gone",
    "UNEXPECTED": "a mistake in this module",
}
# Lines that are no failed try: the beginning of their text, which file writes it, and the same two columns.
LINES = (
    (
        "client_secret is empty.",
        "module.py",
        "the account was saved without a secret, or only with blanks",
        "Enter the secret's Value and save the account.",
    ),
    (
        "The platform did not hand over client_secret.",
        "module.py",
        "the connector was given a placeholder in the secret's place",
        "Enter the secret's Value once more and save the account.",
    ),
    (
        "The platform does not hand over the client secret",
        "lifecycle.py",
        "Sekoia.io's own API does not answer the connector",
        "If it lasts, ask Sekoia.io's support.",
    ),
    (
        "The client secret ends in",
        "expiry.py",
        "the secret expires on the day that is named",
        "Make a second secret in time, paste its Value, and delete the first one when records flow.",
    ),
    (
        "nothing was read since",
        "schedule.py",
        "the connector was stopped, or could not read, for more than ten minutes",
        "Nothing needs to be done: what is missing is read as backlog, beside what is new.",
    ),
    (
        "were not read in time and are lost",
        "problems.py",
        "an outage, or a history that was asked for, reaches beyond what Microsoft keeps",
        "Export the stretch that is named from wherever else it is kept. Nothing else is missing.",
    ),
    (
        "in a live pass: it reaches back less than",
        "schedule.py",
        "so many records that Graph's limit does not suffice to read the last minutes twice",
        "Nothing needs to be done at times of rush. If it is the rule, see [How large a tenant](README.md#how-large-a-"
        "tenant).",
    ),
    (
        "is longer than the 250,000 characters that an intake takes",
        "runtime.py",
        "one record is too long for the platform",
        "Nothing needs to be done. The whole record is in the Entra portal, under the id that is named.",
    ),
    (
        "the intake refuses record",
        "runtime.py",
        "the intake takes its neighbours, but not this one",
        "Send the record, which is kept in `refused.jsonl`, to Sekoia.io's support.",
    ),
    (
        "set aside. What it said is read again",
        "runtime.py",
        "a file of the connector's state was damaged, by a crash of the machine for example, or is another tenant's",
        "Nothing needs to be done: records may come twice, none is lost.",
    ),
    (
        "the clock was set back",
        "schedule.py",
        "the clock of the machine was wrong, or is",
        "Have the machine's clock set by NTP.",
    ),
    (
        "The liveness or metrics port cannot be opened",
        "lifecycle.py",
        "another process has the port",
        "Nothing needs to be done where nobody looks at that page; otherwise set LIVENESS_PORT or METRICS_PORT.",
    ),
)


def advices() -> Iterator[tuple[str, Advice]]:
    """Every advice of diagnosis.py with what stands behind it: the refusals of Entra, those of Graph, the others."""
    behind: dict[Advice, list[str]] = {}
    for number, advice in ENTRA.items():
        behind.setdefault(advice, []).append(f"AADSTS{number}")
    for code, advice in GRAPH.items():
        behind.setdefault(advice, []).append(f"Graph answers 403 `{code}`")
    named = {name: value for name, value in vars(diagnosis).items() if isinstance(value, Advice)}
    for advice, codes in behind.items():
        if BEHIND.keys().isdisjoint(name for name, value in named.items() if value == advice):
            yield ", ".join(codes), advice
    for name, why in BEHIND.items():
        yield why, named[name]


def table() -> str:
    """The table, with the two markers around it."""
    rows = ["| The log says | Because | What to do |", "|---|---|---|"]
    rows += [f"| {advice.cause} | {why} | {advice.remedy} |" for why, advice in sorted(advices(), key=_place)]
    rows += [f"| … {says.rstrip('.')} … | {why} | {remedy} |" for says, _, why, remedy in LINES]
    return "\n".join([START, "", *rows, "", END])


def _place(row: tuple[str, Advice]) -> int:
    """Who reads it first: what a person must mend, then what may pass."""
    return 0 if row[1].fatal else 2 if row[1].passes else 1


def rewritten(text: str) -> str:
    """CONFIGURE.md with the table as it should be."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + table() + after


if __name__ == "__main__":
    CONFIGURE.write_text(rewritten(CONFIGURE.read_text()))
    sys.exit(0)
