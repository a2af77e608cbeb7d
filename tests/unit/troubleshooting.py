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
    "ENTRA_OTHER": "any other AADSTS code; Entra's own first sentence follows",
    "NO_PERMISSION": "403, and the access token names other permissions only (only when the account is saved)",
    "NO_CONSENT": "403, and the access token names no permission (only when the account is saved)",
    "_FORBIDDEN": "Graph answers 403",
    "GRAPH_REFUSED": "Graph answers 400, 404 or another refusal",
    "LOGIN_DOWN": "no answer from the login, or 5xx, 429, `temporarily_unavailable`, `server_error`, or AADSTS50196, "
    "90006, 90019, 90024, 90033, 90055, 90090",
    "PROXY": "the proxy cannot be reached, or answers 403, 407 or 502 to CONNECT",
    "CERTIFICATE": "a certificate authority that the connector does not know",
    "GRAPH_DOWN": "no answer from Graph in time, a reset, 5xx, or something that is not JSON",
    "THROTTLED": "Graph answers 429",
    "TOKEN": "Graph answers 401",
    "PAGING": "a skip token expired, or a next page repeats itself or is on another host",
    "INTAKE": "the intake answers 401, 403 or 404, or refuses every record",
    "INTAKE_DOWN": "no answer from the intake, 429 or 5xx, or fewer acknowledgements than records",
    "STORAGE": "the disk is full, or the bucket or its rights are gone",
    "IN_USE": "two connectors were started on one data path",
    "UNEXPECTED": "a mistake in this module",
}
# What an error of the tree's PassesByItself says; all else is a person's.
PASSING = frozenset(
    {
        diagnosis.LOGIN_DOWN,
        diagnosis.PROXY,
        diagnosis.GRAPH_DOWN,
        diagnosis.THROTTLED,
        diagnosis.TOKEN,
        diagnosis.PAGING,
        diagnosis.INTAKE_DOWN,
    }
)
# Lines that are no failed try: the beginning of their text, which file writes it, and the same two columns.
LINES = (
    (
        "client_secret is empty.",
        "sekoia/module.py",
        "the account was saved without a secret, or only with blanks",
        "Enter the secret's Value and save the account.",
    ),
    (
        "The platform did not hand over",
        "sekoia/module.py",
        "the connector was given a placeholder in the place of the secret or the certificate",
        "Enter the secret's Value, or the certificate, once more and save the account.",
    ),
    (
        "The platform does not hand over the client secret",
        "sekoia/lifecycle.py",
        "Sekoia.io's own API does not answer the connector",
        "If it lasts, ask Sekoia.io's support.",
    ),
    (
        "days, on",
        "microsoft/secret_expiry.py",
        "the secret, or the certificate, ends on the day that is named",
        "Make a second one in time, put it into the account, and delete the first one when records flow.",
    ),
    (
        "Directory audits can be read, sign-ins cannot.",
        "sekoia/account_check.py",
        "the account's check: the reason follows",
        "Do what the rest of the sentence says; or collect the audits only, with this account as it is.",
    ),
    (
        "cannot be read at present:",
        "telling/stretch_log.py",
        "a troubled stretch: Graph cannot serve one of its records, or all of them, in Graph's own words",
        "Nothing needs to be done: everything around it is read, and it is asked for every hour. If it lasts for a "
        "day, open a case with Microsoft and name the bounds.",
    ),
    (
        "are read now.",
        "telling/stretch_log.py",
        "a troubled stretch was read after all",
        "Nothing needs to be done.",
    ),
    (
        "are refused by Graph, again and again, while it serves what is newer",
        "telling/stretch_log.py",
        "Graph refuses a stretch for hours, and answers for the present",
        "It may be older than Microsoft keeps in your tenant (7 days without P1 or P2). Otherwise open a case with "
        "Microsoft and name the bounds.",
    ),
    (
        "were not read in time and are lost",
        "telling/stretch_log.py",
        "an outage, or a history that was asked for, reaches beyond what Microsoft keeps",
        "Export the stretch that is named from wherever else it is kept. Nothing else is missing.",
    ),
    (
        "the other side asked to be left alone until",
        "telling/problem_log.py",
        "an answer of Graph's named a time before which it must not be asked",
        "Nothing needs to be done. Of more than an hour, an hour is kept.",
    ),
    (
        "The platform stops the connector now:",
        "telling/problem_log.py",
        "a critical line: what is told before it lasted for minutes; for 6 hours, if this account has worked before",
        "Do what the line says, then switch the connector on again. It goes on where it was.",
    ),
    (
        "nothing was read from",
        "telling/problem_log.py",
        "the connector was stopped for more than ten minutes",
        "Nothing needs to be done: what is missing is read as history, beside what is new.",
    ),
    (
        "is longer than the 250,000 characters that an intake takes",
        "sekoia/assembly.py",
        "one record is too long for the platform",
        "Nothing needs to be done. The whole record is in the Entra portal, under the id that is named.",
    ),
    (
        "the intake refuses record",
        "sekoia/assembly.py",
        "the intake takes its neighbours, but not this one",
        "Send the record, which is kept in `refused.jsonl`, to Sekoia.io's support.",
    ),
    (
        "What it said is read again from Graph",
        "sekoia/assembly.py",
        "a file of the connector's state was damaged, by a crash of the machine for example, or deleted, or is another "
        "tenant's",
        "Nothing needs to be done: records may come twice, none is lost.",
    ),
    (
        "holds bytes that are no UTF-8",
        "sekoia/assembly.py",
        "a record is not text as JSON has to be",
        "Nothing needs to be done: the record is delivered with these bytes spelled out.",
    ),
    (
        "refused.jsonl is full",
        "sekoia/assembly.py",
        "the intake has refused very many records",
        "Send the file to Sekoia.io's support, and find out why.",
    ),
    (
        "This machine's clock is",
        "sekoia/assembly.py",
        "the machine's clock differs from Microsoft's by a minute or more",
        "Nothing is lost or late by it. Have the machine's clock set by NTP.",
    ),
    (
        "late, because the rate limit",
        "reading/reports.py",
        "more records than Graph's limit lets through, for the time being",
        "Nothing needs to be done at times of rush. If it is the rule, give each connector an app registration of its "
        "own.",
    ),
    (
        "looked at again before Graph dropped it",
        "reading/reports.py",
        "a second look came so late that Graph no longer kept the records",
        "As above. Records that Graph showed late may be missing in the stretch that is named.",
    ),
    (
        "The liveness or metrics port cannot be opened",
        "sekoia/lifecycle.py",
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
    """Who reads it first: what a person must mend, then what passes by itself."""
    return 1 if row[1] in PASSING else 0


def rewritten(text: str) -> str:
    """CONFIGURE.md with the table as it should be."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + table() + after


if __name__ == "__main__":
    CONFIGURE.write_text(rewritten(CONFIGURE.read_text()))
    sys.exit(0)
