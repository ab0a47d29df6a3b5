"""Cron expressions on the clocks of time zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.authoring.calendar import calendar
from perdure.errors import UsageError

US = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BERLIN = "Europe/Berlin"


def us(text: str) -> int:
    return (datetime.fromisoformat(text).astimezone(UTC) - EPOCH) // US


def due(expression: str, tz: str, after: str, count: int) -> list[str]:
    """The next times, as the zone's clocks show them."""
    found, at = list[str](), us(after)
    for _ in range(count):
        at = calendar(expression, tz).next(at)
        local = (EPOCH + at * US).astimezone(UTC if tz == "UTC" else ZoneInfo(tz))
        found.append(local.strftime("%d %H:%M:%S%z")[:-2])
    return found


@pytest.mark.parametrize(
    ("expression", "tz", "after", "expected"),
    [
        ("0 9 * * *", "UTC", "2026-01-01T09:00:00+00:00", ["02 09:00:00+00", "03 09:00:00+00"]),
        ("0 9 * * *", "UTC", "2026-01-01T08:59:59.999999+00:00", ["01 09:00:00+00"]),
        (
            "*/20 * * * * *",
            "UTC",
            "2026-01-01T00:00:00+00:00",
            ["01 00:00:20+00", "01 00:00:40+00", "01 00:01:00+00"],
        ),
        ("0 9 * * mon-fri", BERLIN, "2026-01-02T12:00:00+00:00", ["05 09:00:00+01"]),
        ("@daily", "Asia/Kolkata", "2026-01-01T00:00:00+00:00", ["02 00:00:00+05", "03 00:00:00+05"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00+00:00", ["29 00:00:00+00"]),
        # The clocks go from 02:00 to 03:00: what they leave out is due at the jump, once.
        ("30 2 * * *", BERLIN, "2026-03-28T12:00:00+01:00", ["29 03:00:00+02", "30 02:30:00+02"]),
        ("0,20,40 2 * * *", BERLIN, "2026-03-28T12:00:00+01:00", ["29 03:00:00+02", "30 02:00:00+02"]),
        ("0 2,3 * * *", BERLIN, "2026-03-28T12:00:00+01:00", ["29 03:00:00+02", "30 02:00:00+02"]),
        ("0 */2 * * *", BERLIN, "2026-03-29T00:30:00+01:00", ["29 03:00:00+02", "29 04:00:00+02"]),
        # They go from 03:00 back to 02:00: what they show twice is due the first time.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00:00+02:00", ["25 02:30:00+02", "26 02:30:00+01"]),
        ("30 2 * * *", BERLIN, "2026-10-25T02:45:00+02:00", ["26 02:30:00+01"]),
        ("30 2 * * *", BERLIN, "2026-10-25T02:15:00+01:00", ["26 02:30:00+01"]),
        ("30 2,3 * * *", BERLIN, "2026-10-25T02:31:00+02:00", ["25 03:30:00+01"]),
        # Whoever leaves the hour open means time that passes.
        (
            "*/30 * * * *",
            BERLIN,
            "2026-10-25T02:15:00+02:00",
            ["25 02:30:00+02", "25 02:00:00+01", "25 02:30:00+01"],
        ),
        (
            "*/30 * * * *",
            BERLIN,
            "2026-03-29T01:15:00+01:00",
            ["29 01:30:00+01", "29 03:00:00+02", "29 03:30:00+02"],
        ),
        ("15 * * * *", BERLIN, "2026-03-29T01:15:00+01:00", ["29 03:15:00+02", "29 04:15:00+02"]),
        # Half an hour, and a whole day.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00+10:30",
            ["04 02:30:00+11", "05 02:15:00+11"],
        ),
        ("0 9 * * *", "Pacific/Apia", "2011-12-29T12:00:00-10:00", ["31 00:00:00+14", "31 09:00:00+14"]),
    ],
)
def test_when_it_is_due(expression: str, tz: str, after: str, expected: list[str]) -> None:
    assert due(expression, tz, after, len(expected)) == expected


ZONES = ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo"]
EXPRESSIONS = [
    "30 2 * * *",
    "*/7 * * * *",
    "0 */3 * * *",
    "15 1-3 * * sun",
    "0 0 1 * *",
    "30 59 23 * * *",
    "*/45 2 * * *",
]


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(ZONES),
    st.integers(us("2000-01-01T00:00:00Z"), us("2030-01-01T00:00:00Z")),
)
def test_it_goes_forward_and_is_the_same_from_wherever_one_asks(expression: str, tz: str, after: int) -> None:
    mine = calendar(expression, tz)
    first = mine.next(after)
    second = mine.next(first)
    assert after < first < second
    assert mine.next((after + first) // 2) == first
    assert mine.next(first - 1) == first
    assert first % 1_000_000 == 0


def test_what_was_due_while_nobody_looked() -> None:
    hourly = calendar("0 * * * *", "UTC")
    last, now = us("2026-01-01T00:00:00Z"), us("2026-01-01T05:30:00Z")
    assert hourly.due(last, now, 10) == ([us(f"2026-01-01T0{hour}:00:00Z") for hour in range(1, 6)], False)
    assert hourly.due(last, now, 2) == ([us("2026-01-01T04:00:00Z"), us("2026-01-01T05:00:00Z")], True)
    assert hourly.due(now, now, 2) == ([], False)
    every_second = calendar("* * * * * *", "UTC")
    found, more = every_second.due(us("2020-01-01T00:00:00Z"), now, 100)
    assert (found[0], found[-1], len(found), more) == (now - 99_000_000, now, 100, True)
    yearly = calendar("0 0 1 1 *", "UTC")
    assert len(yearly.due(us("1990-06-01T00:00:00Z"), now, 100)[0]) == 36


@pytest.mark.parametrize(
    ("expression", "tz", "says"),
    [
        ("", "UTC", "has 0 fields; write five fields"),
        ("* * * *", "UTC", "has 4 fields"),
        ("0 0 1 1 * * *", "UTC", "has 7 fields"),
        ("61 * * * *", "UTC", "cannot be read: .*out of range"),
        ("a b c d e", "UTC", "cannot be read"),
        ("H * * * *", "UTC", "cannot be read"),
        ("@reboot", "UTC", "cannot be read"),
        ("0 0 30 2 *", "UTC", "names a day that never comes"),
        ("0 " * 300, "UTC", "fields"),
        ("0 9 * * *", "Europe/Berln", "there is no time zone 'Europe/Berln', did you mean \"Europe/Berlin\""),
        ("0 9 * * *", "../../etc/passwd", "there is no time zone"),
        ("0 9 * * *", "", "there is no time zone ''; use a name such as"),
    ],
)
def test_what_is_no_calendar_is_refused(expression: str, tz: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        calendar(expression, tz)
