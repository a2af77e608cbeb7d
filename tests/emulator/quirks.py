"""What Graph does to whole streams for as long as it lasts, where a fault concerns one answer: DESIGN section 4.

Each quirk is off until a test or `make run` switches it on; several may be on at once. All of them are part of the
service's own answer: the log of requests shows what was answered.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Literal

import orjson

from tests.emulator.odata import GraphError, Query

Spoils = Literal["500", "400", "glued"]

_UNKNOWN = "UnknownError"


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A record that no page can hold; `until` is when Graph can serve it again, None for never."""

    how: Spoils
    until: datetime | None


@dataclass
class Quirks:
    """How Graph misbehaves at present; safe to set from any thread.

    Attributes:
        spoiled: records by id (microsoft-graph-docs#3648, #3612): each page that would hold one answers 500 or 400, or
            200 with the records before it, half of it, and an error glued on.
        left_out: the probability with which an answer leaves a record out, drawn anew each time
            (microsoft-graph-docs#16188).
        unsupported: the probability with which a well-formed first question is a 400 (msgraph-beta-sdk-dotnet#269).
        widest: a window of more records than this is a 504; None: every window is answered.
        token_pages: so many pages of a chain are answered; the skip token of the next one has expired. None: they live.
        ends_early: the probability with which a page that is not the last has no nextLink.
        random: whence the probabilities are drawn.
    """

    spoiled: dict[str, Spoiled] = field(default_factory=dict)
    left_out: float = 0.0
    unsupported: float = 0.0
    widest: int | None = None
    token_pages: int | None = None
    ends_early: float = 0.0
    random: Random = field(default_factory=lambda: Random(4))

    def spoil(self, record_id: str, how: Spoils = "500", until: datetime | None = None) -> None:
        """Lets a record spoil each page that holds it, for ever or until an instant of Graph's clock."""
        self.spoiled[record_id] = Spoiled(how, until)

    def mend(self, record_id: str) -> None:
        """Lets Graph serve it."""
        del self.spoiled[record_id]

    def refuse(self, query: Query, count: Callable[[int], int]) -> None:
        """Refuses a question that is not answered at present.

        Args:
            query: what is asked.
            count: tells how many records the window holds, counting no further than its argument.

        Raises:
            GraphError: the refusal.
        """
        if self.token_pages is not None and query.number >= self.token_pages:
            raise GraphError(400, "BadRequest", "Invalid Skip Token, skip token has expired")
        if query.after is None and self.unsupported and self.random.random() < self.unsupported:
            raise GraphError(400, _UNKNOWN, "Unsupported Query.")
        if self.widest is not None and count(self.widest + 1) > self.widest:
            raise GraphError(504, "GatewayTimeout", "The request timed out.")

    def thin_out(self, texts: list[bytes]) -> list[bytes]:
        """Returns the page's records without those that this answer leaves out."""
        if not self.left_out:
            return texts
        return [text for text in texts if self.random.random() >= self.left_out]

    def break_off(self) -> bool:
        """Returns whether this page's nextLink is missing."""
        return bool(self.ends_early) and self.random.random() < self.ends_early

    def spoils(self, texts: list[bytes], now: datetime) -> tuple[int, Spoils] | None:
        """Returns which of a page's records spoils it, and how; None if none does."""
        lasting = {key: one.how for key, one in self.spoiled.items() if one.until is None or now < one.until}
        if not lasting:
            return None
        wanted = re.compile(b"|".join(re.escape(orjson.dumps(key)) for key in lasting))
        for index, text in enumerate(texts):
            if wanted.search(text) and (record_id := orjson.loads(text).get("id")) in lasting:
                return index, lasting[record_id]
        return None


def glued(head: bytes, texts: list[bytes], spoiled: int) -> bytes:
    """Returns the body of a page that broke off within a record: an error follows where the record should go on."""
    error = {"error": {"code": _UNKNOWN, "message": "", "innerError": {}}}
    half = texts[spoiled][: len(texts[spoiled]) // 2]
    return head + b",".join([*texts[:spoiled], half]) + orjson.dumps(error)


def slow(first_s: float, last_s: float, seed: int = 0) -> Callable[[object], float]:
    """Returns a latency for `Graph.latency_s`: each answer takes its own time between the two."""
    random = Random(seed)
    return lambda _request: random.uniform(first_s, last_s)
