"""When a cron expression is due: croniter's fields, read on the clocks of a time zone.

Where the clocks jump ahead, what they leave out is due at the jump, once; where they are set back, what they show twice
is due the first time. An expression that leaves the hour open is about how much time passes and not about what clocks
show: "every 15 minutes" stays that.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from importlib import import_module
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from perdure.core.durations import from_us
from perdure.errors import UsageError

__all__ = ["Calendar", "calendar"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
_FIRST_LOOK_US: Final = 3_600_000_000
_EXPRESSION_CHARACTERS_MAX: Final = 256
_FIELDS: Final = (
    'write five fields, minute hour day month weekday, such as "0 9 * * mon-fri", or six with seconds before'
    " them"
)


@lru_cache(maxsize=4_096)
def calendar(expression: str, tz: str) -> Calendar:
    """The calendar of an expression in a time zone. Raises UsageError for what is none of them."""
    return Calendar(expression, tz)


class Calendar:
    """A cron expression of five fields, or of six with seconds first, or a name such as @daily; and a time zone."""

    def __init__(self, expression: str, tz: str) -> None:
        self._zone = _zone(tz)
        self._expression = expression
        fields = len(expression.split())
        named = expression.startswith("@")
        if len(expression) > _EXPRESSION_CHARACTERS_MAX or not (fields in (5, 6) or (named and fields == 1)):
            raise UsageError(f"the cron expression {expression!r:.80} has {fields} fields; {_FIELDS}")
        try:
            made = self._from(_EPOCH)
            self._elapsed = made.expanded[1] == ["*"]
            made.get_next(datetime)
        except ValueError as error:  # what croniter's errors have in common
            if type(error).__name__ == "CroniterBadDateError":
                raise UsageError(f"the cron expression {expression!r} names a day that never comes") from None
            raise UsageError(
                f"the cron expression {expression!r:.80} cannot be read: {error}; {_FIELDS}"
            ) from None

    def _from(self, wall: datetime) -> Any:
        """What goes on from there. Wall clocks are written as if they were UTC, so that nobody else corrects them."""
        return _croniter()(self._expression, wall, second_at_beginning=True)

    def next(self, after: int) -> int:
        """When it is due next after that instant (µs). Raises UsageError when that is never."""
        try:
            return self._next_elapsed(after) if self._elapsed else self._next_on_clocks(after)
        except ValueError as error:
            raise UsageError(
                f"the cron expression {self._expression!r} is not due any more: {error}"
            ) from error

    def due(self, after: int, until: int, count_max: int) -> tuple[list[int], bool]:
        """When it was due after one instant and up to another (µs), the newest so many; and whether there were more."""
        look, found = _FIRST_LOOK_US, list[int]()
        while True:
            start = max(after, until - look)
            found, at = list[int](), self.next(start)
            while at <= until:
                found.append(at)
                at = self.next(at)
            if start == after or len(found) > count_max:
                return found[-count_max:], len(found) > count_max
            look *= 4

    def _next_on_clocks(self, after: int) -> int:
        walls = self._from(self._wall(from_us(after)))
        while True:
            at = _us(self._instant(walls.get_next(datetime)))
            if at > after:  # else the clocks show it again
                return at

    def _next_elapsed(self, after: int) -> int:
        since = from_us(after)
        offset = self._offset(since)
        found = self._from(since + offset).get_next(datetime) - offset
        if self._offset(found) != offset:
            jump = self._jump(since, found)
            offset = self._offset(jump)
            found = self._from(jump - _SECOND + offset).get_next(datetime) - offset
        return _us(found)

    def _offset(self, at: datetime) -> timedelta:
        return at.astimezone(self._zone).utcoffset() or timedelta()

    def _wall(self, at: datetime) -> datetime:
        return at.astimezone(self._zone).replace(tzinfo=UTC)

    def _instant(self, wall: datetime) -> datetime:
        """When clocks show that: the first time, or the jump at which they leave it out."""
        shown = wall.replace(tzinfo=self._zone)
        at = shown.astimezone(UTC)
        if self._wall(at) == wall:
            return at
        # Of a time that is left out, fold tells the offset before the jump and the one after it (PEP 495).
        return self._jump(shown.replace(fold=1).astimezone(UTC), at)

    def _jump(self, before: datetime, after: datetime) -> datetime:
        """The instant between two at which the offset becomes that of the second one."""
        offset = self._offset(after)
        while after - before > _SECOND:
            middle = before + (after - before) // 2
            if self._offset(middle) == offset:
                after = middle
            else:
                before = middle
        return after.replace(microsecond=0)


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _croniter() -> Any:
    try:
        return import_module("croniter").croniter
    except ImportError as error:
        raise UsageError('a Cron needs croniter: pip install "perdure[cron]"') from error


def _zone(tz: str) -> tzinfo:
    if tz == "UTC":
        return UTC
    try:
        return ZoneInfo(tz)
    except (LookupError, ValueError, OSError):
        names = available_timezones()
        near = difflib.get_close_matches(tz, names, n=1)
        hint = f', did you mean "{near[0]}"?' if near else '; use a name such as "Europe/Berlin"'
        if not names:
            hint = ": this machine has no time zones at all; pip install tzdata"
        raise UsageError(f"there is no time zone {tz!r:.80}{hint}") from None
