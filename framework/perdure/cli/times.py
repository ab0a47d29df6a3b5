"""Durations and times as they are typed in a shell; a fault names the flag."""

from __future__ import annotations

import re

from perdure.core.durations import instant_us, to_us
from perdure.errors import UsageError

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def duration_us(flag: str, text: str, sign: str = "") -> int:
    """`90s`, `1h30m`, or a number of seconds, in µs. `sign` stood in front of it."""
    plain = text.strip()
    try:
        return to_us(float(plain) if _NUMBER.fullmatch(plain) else plain)
    except UsageError as error:
        raise UsageError(
            f"{flag} {sign}{text}: {_fault(plain, error)}; write a number of seconds, or 250ms, 90s, 10m, 1h30m, 7d"
        ) from None


def seconds(flag: str, text: str) -> float:
    """The same in seconds."""
    return duration_us(flag, text) / 1_000_000


def _fault(plain: str, error: UsageError) -> str:
    if plain.startswith("-"):
        return "a duration counts forward"
    return "that is more than 100 years" if "100 years" in str(error) else "that is no duration"


def time_s(flag: str, text: str, now_us: int) -> float:
    """`+10m` from now, or ISO 8601 with a zone; seconds since the epoch."""
    if text.startswith("+"):
        return (now_us + duration_us(flag, text[1:], "+")) / 1_000_000
    try:
        return instant_us(text) / 1_000_000
    except UsageError as error:
        fault = "it has no time zone" if "time zone" in str(error) else "that is no time"
        fault = "it is before 1970 or after 2370" if "1970" in str(error) else fault
        raise UsageError(
            f"{flag} {text}: {fault}; write +10m or +90 (seconds) for a time from now, or ISO 8601 with a zone: "
            "2031-05-01T12:00:00Z"
        ) from None
