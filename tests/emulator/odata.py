"""The OData options that the log endpoints honour, and how they refuse the others.

`$filter` with `ge`, `le` and `eq` on the time member, `$orderby` on it, `$top` up to 1,000 (signin-list.md);
`signInEventTypes/any(...)` in beta only. Everything else is a 400 here, also what Graph may happen to let pass.
"""

import re
from dataclasses import dataclass

import orjson

from tests.emulator.instants import FAR_FUTURE, parse_ticks
from tests.emulator.tenant import ALWAYS, AUDITS, SIGN_IN_TYPES, time_member

MAX_TOP = 1000

_COMPARISON = re.compile(r"(\w+) (\w+) (\S+)")
_ANY = re.compile(r"signInEventTypes/any\((\w+): ?(.+)\)")
_LEAF = re.compile(r"(\w+) eq '([^']*)'")


class GraphError(Exception):
    """A refusal, in the words of Graph's error body."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def _bad(message: str) -> GraphError:
    return GraphError(400, "BadRequest", message)


@dataclass(frozen=True, slots=True)
class Query:
    """What a page is asked for; `after` is the position at which the last page ended, `number` how many came before."""

    streams: tuple[str, ...]
    low: int
    high: int
    descending: bool
    top: int
    after: int | None = None
    number: int = 0


def parse_query(options: dict[str, str], *, audits: bool, beta: bool, oldest: int) -> Query:
    """Reads the options of a first page.

    Args:
        options: the query string's options by name.
        audits: whether directoryAudits is asked, or signIns.
        beta: whether the beta version is asked.
        oldest: the beginning of the tenant's retention, in ticks.

    Raises:
        GraphError: 400, as Graph refuses an option, an operator or a member.
    """
    for name in options:
        if name not in ("$filter", "$orderby", "$top", "$skiptoken"):
            raise _bad(
                f"Query option '{name.removeprefix('$').capitalize()}' is not allowed. To allow it, set the "
                "'AllowedQueryOptions' property on EnableQueryAttribute or QueryValidationSettings."
            )
    member = time_member(AUDITS if audits else SIGN_IN_TYPES[0])
    default = (AUDITS,) if audits else SIGN_IN_TYPES[:1]
    low, high, streams = _parse_filter(options.get("$filter"), member, beta and not audits)
    if low is not None and low < oldest:
        raise _bad("Invalid filter clause: the requested time range is older than the retention of this tenant's logs")
    return Query(
        streams or default,
        oldest if low is None else low,
        high,
        _parse_order(options.get("$orderby"), member),
        _parse_top(options.get("$top")),
    )


def _parse_filter(text: str | None, member: str, typed: bool) -> tuple[int | None, int, tuple[str, ...]]:
    low: int | None = None
    high = FAR_FUTURE
    streams: tuple[str, ...] = ()
    if text is None:
        return low, high, streams
    for clause in text.split(" and "):
        if clause.startswith("signInEventTypes/"):
            if streams or not typed:
                raise _bad("Could not find a property named 'signInEventTypes' on type 'microsoft.graph.signIn'.")
            streams = _parse_types(clause)
            continue
        found = _COMPARISON.fullmatch(clause)
        if found is None or found[1] != member or found[2] not in ("ge", "le", "eq"):
            raise _bad("Invalid filter clause")
        try:
            ticks = parse_ticks(found[3])
        except ValueError:
            raise _bad("Invalid filter clause") from None
        if found[2] in ("ge", "eq"):
            low = max(ALWAYS if low is None else low, ticks)
        if found[2] in ("le", "eq"):
            high = min(high, ticks)
    return low, high, streams


def _parse_types(clause: str) -> tuple[str, ...]:
    found = _ANY.fullmatch(clause)
    leaves = [_LEAF.fullmatch(leaf) for leaf in found[2].split(" or ")] if found else [None]
    types = [leaf[2] for leaf in leaves if leaf and found and leaf[1] == found[1]]
    if len(types) != len(leaves) or not set(types) <= set(SIGN_IN_TYPES):
        raise _bad("Invalid filter clause")
    return tuple(dict.fromkeys(types))


def _parse_order(text: str | None, member: str) -> bool:
    if text is None:
        return True
    name, _, direction = text.partition(" ")
    if name != member or direction not in ("", "asc", "desc"):
        raise _bad(f"Invalid orderby clause: sorting by '{text}' is not supported")
    return direction == "desc"


def _parse_top(text: str | None) -> int:
    if text is None:
        return MAX_TOP
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_TOP:
        raise _bad(f"Invalid page size specified: '{text}'. Must be between 1 and {MAX_TOP} inclusive.")
    return int(text)


def encode_skip_token(query: Query, scope: str) -> str:
    """Returns an opaque token that holds the query and its position; `scope` ties it to one tenant and path."""
    members = [scope, query.streams, query.low, query.high, query.descending, query.top, str(query.after), query.number]
    return orjson.dumps(members).hex()


def decode_skip_token(token: str, scope: str) -> Query:
    """Returns the query of a token; raises GraphError 400 for one that this path did not issue."""
    try:
        issued_for, streams, low, high, descending, top, after, number = orjson.loads(bytes.fromhex(token))
    except (ValueError, TypeError):
        raise _bad("Invalid Skip Token") from None
    if issued_for != scope:
        raise _bad("Invalid Skip Token")
    return Query(tuple(streams), low, high, descending, top, None if after == "None" else int(after), number)
