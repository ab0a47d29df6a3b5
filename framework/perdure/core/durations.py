"""Durations and instants as users write them, turned into integer microseconds."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from perdure.errors import UsageError

__all__ = ["DURATION_US_MAX", "Duration", "from_us", "instant_us", "named_us", "to_us"]

Duration = str | int | float | timedelta
"""A length of time: `"7d"`, `"1h30m"`, `"250ms"`, a number of seconds, or a timedelta."""

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
DURATION_US_MAX = 36_525 * DAY_US
"""A hundred years: longer is a mistake in the unit, and would overflow dates."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INSTANT_US_MAX = 400 * 36_525 * DAY_US // 100  # the year 2370

_UNITS_US = {
    "us": 1,
    "µs": 1,
    "ms": 1_000,
    "s": SECOND_US,
    "m": 60 * SECOND_US,
    "h": 3_600 * SECOND_US,
    "d": DAY_US,
    "w": 7 * DAY_US,
}
_TERM = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*(us|µs|ms|s|m|h|d|w)(?![a-zµ])", re.IGNORECASE)
_FORMS = 'write "7d", "1h30m", "250ms" (units w d h m s ms us), a number of seconds, or a timedelta'


def to_us(value: Duration) -> int:
    """The duration in microseconds, rounded up, so that nothing is ever early.

    Numbers are seconds. Raises UsageError for what is no duration, is negative or NaN, or exceeds 100 years.
    """
    if isinstance(value, str):
        return _parsed(value)
    if isinstance(value, timedelta):
        return _bounded(value // _MICROSECOND, value)
    # Type checkers know better; callers without one do not.
    if isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"a {type(value).__name__} is not a duration; {_FORMS}")
    if isinstance(value, int):
        return _bounded(value * SECOND_US, value)
    if math.isnan(value) or math.isinf(value):
        raise UsageError(f"{value} is not a duration; {_FORMS}")
    # Through the shortest decimal that reads as this float: 2.3 is 2,300,000 and not one more or less.
    return _bounded(_ceil(Decimal(repr(value)) * SECOND_US), value)


def named_us(what: str, value: Duration) -> int:
    """As `to_us`; what it raises begins with `what`, so that somebody finds the call."""
    try:
        return to_us(value)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from None


def instant_us(value: datetime | str | int | float, *, what: str = "the time") -> int:
    """An instant in microseconds since the epoch.

    Takes an aware datetime, an ISO 8601 string with an offset, or seconds since the epoch. Raises UsageError for
    a naive datetime (it would mean another instant on each machine), and for what lies before 1970 or after 2370.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise UsageError(
                f'{what} {value[:60]!r} is not ISO 8601; write it like "2031-05-01T12:00:00+00:00"'
            ) from None
    if isinstance(value, datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise UsageError(
                f"{what} {value.isoformat()} has no time zone; use datetime.now(UTC) or add tzinfo="
            )
        us = (value - _EPOCH) // _MICROSECOND
    elif isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{what} is a {type(value).__name__}; use an aware datetime")
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{what} is {value}; use an aware datetime")
    else:
        us = value * SECOND_US if isinstance(value, int) else round(value * SECOND_US)
    if not 0 <= us <= _INSTANT_US_MAX:
        raise UsageError(
            f"{what} lies before 1970 or after 2370; numbers are seconds since the epoch (milliseconds / 1000)"
        )
    return us


def from_us(us: int) -> datetime:
    """The aware UTC datetime of an instant given in microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=us)


def _bounded(us: int, value: object) -> int:
    if us < 0:
        raise UsageError(
            f"the duration {_shown(value)} is negative; a duration counts forward, use 0 or more"
        )
    if us > DURATION_US_MAX:
        raise UsageError(f"the duration {_shown(value)} is longer than 100 years; check its unit: {_FORMS}")
    return us


def _shown(value: object) -> str:
    # An int of 5,000 digits cannot even be printed.
    if isinstance(value, int) and abs(value) > 10**30:
        return f"of about 1e{round(value.bit_length() * math.log10(2))} seconds"
    return repr(value) if len(repr(value)) <= 60 else repr(value)[:60] + "…"


def _ceil(number: Decimal) -> int:
    return int(number.to_integral_value(rounding=ROUND_CEILING))


@lru_cache(maxsize=1024)
def _parsed(text: str) -> int:
    total, position, seen = Decimal(0), 0, set[str]()
    if text.lstrip().startswith("-"):
        raise UsageError(f"the duration {_shown(text)} is negative; a duration counts forward, use 0 or more")
    while match := _TERM.match(text, position):
        unit = match[2].lower()
        if unit in seen:
            raise UsageError(f"the duration {_shown(text)} has the unit {unit!r} twice; {_FORMS}")
        seen.add(unit)
        total += Decimal(match[1]) * _UNITS_US[unit]
        position = match.end()
    if not seen or text[position:].strip():
        raise UsageError(f"{_shown(text)} is not a duration; {_FORMS}")
    return _bounded(_ceil(total), text)
