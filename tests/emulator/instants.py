"""Instants as whole numbers of 100 ns since 1970: the precision in which Graph states, filters and sorts times."""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

TICKS_PER_SECOND = 10_000_000
FAR_FUTURE = 1 << 62

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE_TIME_OFFSET = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,7}))?(Z|[+-]\d\d:\d\d)", re.ASCII)


def ticks_of(instant: datetime) -> int:
    """Returns an aware datetime as ticks; raises TypeError for a naive one."""
    elapsed = instant - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * TICKS_PER_SECOND + elapsed.microseconds * 10


def datetime_of(ticks: int) -> datetime:
    """Returns ticks as an aware UTC datetime, rounded down to its microsecond."""
    return _EPOCH + timedelta(microseconds=ticks // 10)


def parse_ticks(text: str) -> int:
    """Returns an OData `Edm.DateTimeOffset` literal (OData ABNF `dateTimeOffsetValue`) as ticks.

    Raises:
        ValueError: if the text is not such a literal. Graph answers it with "Invalid filter clause".
    """
    found = _DATE_TIME_OFFSET.fullmatch(text)
    if found is None:
        raise ValueError(f"not an instant: {text!r}")
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    zone = UTC
    if offset != "Z":
        minutes = int(offset[1:3]) * 60 + int(offset[4:6])
        zone = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
    whole = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=zone)
    return ticks_of(whole) + (int(fraction.ljust(7, "0")) if fraction else 0)


@lru_cache(maxsize=200_000)
def _second_text(seconds: int) -> str:
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}"


def instant_text(ticks: int, digits: int = 7, zone: str = "Z") -> str:
    """Returns ticks as Graph writes them, with so many digits of a second (what is finer is cut off)."""
    seconds, fraction = divmod(ticks, TICKS_PER_SECOND)
    if digits == 0:
        return _second_text(seconds) + zone
    return f"{_second_text(seconds)}.{fraction:07d}"[: 20 + digits] + zone
