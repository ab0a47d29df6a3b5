"""Durations and instants as users write them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.durations import DURATION_US_MAX, from_us, instant_us, to_us
from perdure.errors import UsageError

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("written", "us"),
    [
        ("7d", 7 * 86_400 * SECOND),
        ("1h30m", 5_400 * SECOND),
        ("1h 30m", 5_400 * SECOND),
        (" 90s ", 90 * SECOND),
        ("250ms", 250_000),
        ("5us", 5),
        ("5µs", 5),
        ("2w", 14 * 86_400 * SECOND),
        ("1.5s", 1_500_000),
        ("0s", 0),
        ("5M", 300 * SECOND),
        (0, 0),
        (3, 3 * SECOND),
        (2.3, 2_300_000),
        (0.1 + 0.2, 300_001),
        (timedelta(minutes=2, microseconds=1), 120 * SECOND + 1),
        ("36525d", DURATION_US_MAX),
    ],
)
def test_ways_to_write_a_duration(written: Any, us: int) -> None:
    assert to_us(written) == us


def test_a_duration_is_rounded_up_so_that_nothing_is_early() -> None:
    assert to_us(1e-9) == 1
    assert to_us("0.0001ms") == 1


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (-1, "the duration -1 is negative; .* use 0 or more"),
        (-0.5, "negative"),
        ("-1s", "negative"),
        (timedelta(days=-1), "negative"),
        ("200000d", "longer than 100 years; check its unit"),
        (1e300, "longer than 100 years"),
        pytest.param(10**5000, "the duration of about 1e5000 seconds is longer than 100 years", id="huge"),
        (timedelta(days=36_526), "longer than 100 years"),
        (math.nan, "nan is not a duration"),
        (math.inf, "inf is not a duration"),
        ("", "'' is not a duration; write \"7d\""),
        ("5", "not a duration"),
        ("5 apples", "not a duration"),
        ("1hour", "not a duration"),
        ("s", "not a duration"),
        ("1h1h", "has the unit 'h' twice"),
        ("9" * 10_000 + "d", "not a duration"),
        ("1e3s", "not a duration"),
        (True, "a bool is not a duration"),
        (None, "a NoneType is not a duration"),
        (b"5s", "a bytes is not a duration"),
    ],
)
def test_what_is_no_duration_says_what_to_write(written: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        to_us(written)
    assert len(str(caught.value)) < 300


@given(st.integers(0, DURATION_US_MAX))
def test_every_exact_form_of_a_duration_gives_the_same(us: int) -> None:
    assert to_us(timedelta(microseconds=us)) == us
    assert to_us(f"{us}us") == us
    days, rest = divmod(us, 86_400 * SECOND)
    assert to_us(f"{days}d {rest // 1000}ms {rest % 1000}us") == us


@given(st.floats(0, 3e9))
def test_a_float_is_never_rounded_down(seconds: float) -> None:
    us = to_us(seconds)
    # What is meant is the shortest decimal that reads as this float.
    meant = Fraction(repr(seconds)) * SECOND
    assert meant <= us < meant + 1


@given(st.text(max_size=40))
def test_any_text_is_a_duration_or_a_usage_error(text: str) -> None:
    try:
        assert 0 <= to_us(text) <= DURATION_US_MAX
    except UsageError:
        pass


EARLIEST, LATEST = datetime(1970, 1, 2), datetime(2369, 1, 1)  # noqa: DTZ001 - hypothesis adds the zones


@given(st.datetimes(EARLIEST, LATEST, timezones=st.timezones()))
def test_an_instant_is_the_same_in_every_zone(when: datetime) -> None:
    us = instant_us(when)
    assert from_us(us) == when.astimezone(UTC)
    assert from_us(us).tzinfo is UTC
    assert instant_us(when.astimezone(UTC).isoformat()) == us


def test_ways_to_write_an_instant() -> None:
    when = datetime(2030, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone(timedelta(hours=2)))
    us = 1_893_546_245_678_901
    assert instant_us(when) == us
    assert instant_us("2030-01-02T03:04:05.678901+02:00") == us
    assert instant_us(us / SECOND) == pytest.approx(us, abs=1)
    assert instant_us(1_893_546_245) == 1_893_546_245 * SECOND


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            datetime.fromisoformat("2030-01-01"),
            r"the ts 2030-01-01T00:00:00 has no time zone; use datetime.now\(UTC\)",
        ),
        ("2030-01-01T00:00:00", "has no time zone"),
        ("soon", "'soon' is not ISO 8601"),
        (1_893_546_245_678, r"numbers are seconds since the epoch \(milliseconds / 1000\)"),
        (-5, "before 1970"),
        (math.nan, "the ts is nan"),
        pytest.param(10**5000, "after 2370", id="huge"),
        (True, "is a bool"),
        (datetime(1969, 1, 1, tzinfo=UTC), "before 1970"),
    ],
)
def test_what_is_no_instant_says_so(written: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        instant_us(written, what="the ts")
