"""A seeded generator of log records, quick enough for a million of them: shapes are made into byte templates once."""

import re
from bisect import bisect_left
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any

import orjson

from tests.emulator.instants import TICKS_PER_SECOND, instant_text, ticks_of
from tests.emulator.record_shapes import SHAPES, modified_property, policy
from tests.emulator.tenant import AUDITS, Tenant

_TEMPLATES = 24
_SLOT = re.compile(rb"\\u0001(\w+)\\u0002")
_TIE_SHARE = 0.05
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"


@lru_cache(maxsize=64)
def _templates(stream: str, size: int, seed: int) -> tuple[bytes, ...]:
    """Returns %-templates whose records are about `size` bytes long (they vary by a fifth)."""
    rng = Random(f"{stream} {size} {seed}")
    templates = []
    for _ in range(_TEMPLATES):
        record = SHAPES[stream](rng, stream)
        if stream == AUDITS:
            padding, make = record["targetResources"][0]["modifiedProperties"], modified_property
        else:
            padding, make = record.setdefault("appliedConditionalAccessPolicies", []), policy
        wanted = int(size * rng.uniform(0.9, 1.1))
        length = len(orjson.dumps(record)) + 150  # the values are longer than their slots
        while length < wanted:
            padding.append(make(rng))
            length += len(orjson.dumps(padding[-1])) + 1
        text = orjson.dumps(record).replace(b"%", b"%%")
        templates.append(_SLOT.sub(rb"%(\1)b", text))
    return tuple(templates)


def _guid(bits: int) -> str:
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


def _fill_in(template: bytes, rng: Random, ticks: int, stream: str) -> tuple[int, bytes]:
    """Returns one record and its exact time; few times are whole seconds, some audits' have an offset."""
    bits = rng.getrandbits(320)
    choice = bits & 31
    if choice == 0:
        ticks -= ticks % TICKS_PER_SECOND
        time = instant_text(ticks, 0)
    elif choice < 8 and stream == AUDITS:
        ticks -= ticks % 10
        time = instant_text(ticks, 6, "+00:00")
    else:
        time = instant_text(ticks)
    number = bits >> 8 & 0xFFFFFF
    guid = _guid(bits >> 192)
    values = {
        b"id": guid.encode(),
        b"guid": guid.encode(),
        b"guid2": _guid(bits >> 64 & (1 << 128) - 1).encode(),
        b"time": time.encode(),
        b"user": b"user%d" % (number % 5000),
        b"ip": b"203.0.%d.%d" % (number >> 16, number & 255),
        b"token": b"%032x" % (bits >> 128 & (1 << 128) - 1),
        b"shard": "".join([_LETTERS[bits >> shift & 31] for shift in (32, 37, 42, 47, 52)]).encode(),
        b"digits": b"%08d" % (number % 100_000_000),
    }
    return ticks, template % values


def lateness(*points: tuple[float, float]) -> Callable[[Random], float]:
    """Returns a `delay` for `fill` that follows a distribution.

    Args:
        points: (share of the records, seconds within which they are shown), both ascending, the last share being 1.
            `lateness((0.95, 120), (0.99, 300), (1, 4 * 3600))` is what Microsoft once published, with a long tail.
    """
    shares, bounds_s = (0.0, *(share for share, _ in points)), (0.0, *(bound_s for _, bound_s in points))

    def draw(rng: Random) -> float:
        share = rng.random()
        upper = bisect_left(shares, share, lo=1)
        part = (share - shares[upper - 1]) / (shares[upper] - shares[upper - 1])
        return bounds_s[upper - 1] + part * (bounds_s[upper] - bounds_s[upper - 1])

    return draw


def one(stream: str, created: datetime, *, seed: int = 0, size: int = 2000, **members: Any) -> dict[str, Any]:
    """Returns one record, with members of your own (`None` included) in place of the generated ones."""
    rng = Random(f"{stream} {seed}")
    _, text = _fill_in(rng.choice(_templates(stream, size, 0)), rng, ticks_of(created), stream)
    record = orjson.loads(text)
    record["activityDateTime" if stream == AUDITS else "createdDateTime"] = instant_text(ticks_of(created))
    return {**record, **members}


def fill(
    tenant: Tenant,
    stream: str,
    count: int,
    start: datetime,
    end: datetime,
    seed: int,
    delay: float | Callable[[Random], float] | None = None,
    size: int = 2000,
) -> list[bytes]:
    """Adds records created at random moments of [start, end); one in twenty shares its moment with another.

    Args:
        tenant: who gets them.
        stream: one of STREAMS.
        count: how many.
        start: the earliest time of creation.
        end: the latest.
        seed: equal seeds make equal records.
        delay: seconds from creation until Graph shows a record, or a function that draws them; None: no delay.
        size: about how many bytes a record has.

    Returns:
        The records' JSON texts, oldest first.
    """
    rng = Random(seed)
    low, high = ticks_of(start), max(ticks_of(end), ticks_of(start) + 1)
    moments = [rng.randrange(low, high) for _ in range(count)]
    for index in range(1, count):
        if rng.random() < _TIE_SHARE:
            moments[index] = moments[index - 1]
    moments.sort()
    templates = _templates(stream, size, seed)
    made = []
    for moment in moments:
        ticks, text = _fill_in(templates[rng.getrandbits(16) % _TEMPLATES], rng, moment, stream)
        delay_s = delay(rng) if callable(delay) else delay or 0.0
        made.append((ticks, text, ticks + int(delay_s * TICKS_PER_SECOND)))
    tenant.add_many(stream, made)
    return [text for _, text, _ in made]


def fill_all(
    tenant: Tenant, counts: dict[str, int], end: datetime, hours: float, seed: int = 1
) -> dict[str, list[bytes]]:
    """Fills several streams with the last hours before `end`; returns the texts of each."""
    start = end - timedelta(hours=hours)
    return {
        stream: fill(tenant, stream, count, start, end, seed + n) for n, (stream, count) in enumerate(counts.items())
    }
