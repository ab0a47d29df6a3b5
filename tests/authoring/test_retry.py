"""When another attempt follows, and after how long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.authoring.retry import Retry, next_delay, retry_of
from perdure.errors import EncodingError, NonRetriableError, PayloadTooLarge, RetryAfterError, UsageError

SECOND = 1_000_000
EVEN = 0.5  # the unit in the middle of the jitter


def delays(retry: Retry, exception: BaseException, unit: float = EVEN) -> list[int | None]:
    return [next_delay(retry, attempt, 0, exception, unit) for attempt in range(1, retry.limit + 2)]


def test_the_default_is_five_attempts_with_doubling_delays() -> None:
    assert Retry().attempts_max == 5
    assert delays(Retry(), ValueError()) == [1 * SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND, None]


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (Retry(limit=3, backoff="constant", initial="250ms"), [250_000, 250_000, 250_000, None]),
        (Retry(limit=3, backoff="linear", initial=2), [2 * SECOND, 4 * SECOND, 6 * SECOND, None]),
        (Retry(limit=3, factor=10, maximum="30s"), [SECOND, 10 * SECOND, 30 * SECOND, None]),
        (Retry(limit=2, initial=timedelta(milliseconds=1), factor=1), [1000, 1000, None]),
        (Retry(limit=2, initial=0), [0, 0, None]),
        (Retry(limit=0), [None]),
    ],
)
def test_backoff(retry: Retry, expected: list[int | None]) -> None:
    assert delays(retry, OSError()) == expected


def test_a_large_number_of_attempts_does_not_overflow() -> None:
    assert next_delay(Retry(limit=10_000, factor=1000), 10_000, 0, OSError(), EVEN) == 3600 * SECOND


@given(
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1),
    st.integers(1, 50),
    st.sampled_from(["exponential", "linear", "constant"]),
)
def test_jitter_stays_within_its_share_and_is_a_function_of_the_unit(
    unit: float, jitter: float, attempt: int, backoff: Any
) -> None:
    retry = Retry(limit=50, jitter=jitter, backoff=backoff)
    delay = next_delay(retry, attempt, 0, OSError(), unit)
    middle = next_delay(Retry(limit=50, jitter=0, backoff=backoff), attempt, 0, OSError(), unit)
    assert delay is not None
    assert middle is not None
    assert abs(delay - middle) <= middle * jitter + 1
    assert delay == next_delay(retry, attempt, 0, OSError(), unit)


def test_which_exceptions_are_retried() -> None:
    retry = Retry(on=(TimeoutError, ConnectionError))
    assert next_delay(retry, 1, 0, TimeoutError(), EVEN) == SECOND
    assert next_delay(retry, 1, 0, ConnectionResetError(), EVEN) == SECOND
    assert next_delay(retry, 1, 0, ValueError(), EVEN) is None
    assert next_delay(Retry(), 1, 0, KeyboardInterrupt(), EVEN) is None


def test_one_exception_class_needs_no_tuple() -> None:
    retry = Retry(on=TimeoutError)  # type: ignore[arg-type]
    assert retry.on == (TimeoutError,)


@pytest.mark.parametrize("error", [NonRetriableError(), UsageError(), EncodingError(), PayloadTooLarge()])
def test_what_another_attempt_cannot_mend_stops_at_once(error: BaseException) -> None:
    assert next_delay(Retry(), 1, 0, error, EVEN) is None


def test_the_predicate_is_asked_last_and_may_be_broken() -> None:
    retry = Retry(on=(OSError,), retry_if=lambda error: error.args == ("again",))
    assert next_delay(retry, 1, 0, OSError("again"), EVEN) == SECOND
    assert next_delay(retry, 1, 0, OSError("no"), EVEN) is None
    assert next_delay(retry, 1, 0, ValueError("again"), EVEN) is None

    def broken(_error: BaseException) -> bool:
        raise ZeroDivisionError

    assert delays(Retry(limit=1, retry_if=broken), OSError()) == [SECOND, None]


def test_retry_after_sets_the_delay() -> None:
    retry = Retry(limit=2, on=(ValueError,), maximum="5s")
    assert delays(retry, RetryAfterError("10m"), unit=0.9) == [600 * SECOND, 600 * SECOND, None]
    assert next_delay(retry, 1, 0, RetryAfterError(1.5), EVEN) == 1_500_000


@pytest.mark.parametrize(("asked", "given"), [(timedelta(0), 1), (0.2, 1), ("23h", 82_800), ("3d", 86_400)])
def test_retry_after_is_at_least_a_second_and_at_most_a_day(asked: Any, given: int) -> None:
    assert next_delay(Retry(), 1, 0, RetryAfterError(asked), EVEN) == given * SECOND


@pytest.mark.parametrize("delay", [-3, "soon", float("nan")])
def test_a_retry_after_that_is_no_duration_falls_back_to_the_policy(delay: Any) -> None:
    assert next_delay(Retry(), 2, 0, RetryAfterError(delay), EVEN) == 2 * SECOND


def test_no_attempt_starts_after_max_elapsed() -> None:
    retry = Retry(max_elapsed="10s", backoff="constant", initial="4s")
    assert next_delay(retry, 1, 6 * SECOND, OSError(), EVEN) == 4 * SECOND
    assert next_delay(retry, 1, 6 * SECOND + 1, OSError(), EVEN) is None
    assert next_delay(retry, 1, 0, RetryAfterError("11s"), EVEN) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"limit": -1}, r"Retry\(limit=-1\): use 0 to 10000"),
        ({"limit": 10**9}, "use 0 to 10000"),
        ({"limit": True}, "use a number of retries"),
        ({"limit": 2.0}, "use a number of retries"),
        ({"factor": 0.5}, "use 1 to 1000; delays do not shrink"),
        ({"factor": float("nan")}, "use 1 to 1000"),
        ({"jitter": 2}, "use a share from 0 to 1"),
        ({"backoff": "fast"}, "use one of 'exponential', 'linear', 'constant'"),
        ({"then": "explode"}, "use one of 'fail', 'pause'"),
        ({"initial": -1}, r"Retry\(initial=-1\): the duration -1 is negative"),
        ({"maximum": "1 apple"}, r"Retry\(maximum='1 apple'\): .* is not a duration"),
        ({"max_elapsed": 10**12}, "longer than 100 years"),
        ({"on": ("TimeoutError",)}, "use exception classes"),
        ({"on": (int,)}, "use exception classes"),
        ({"retry_if": "yes"}, "use a function of the exception"),
    ],
)
def test_a_field_out_of_range_says_what_to_write(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Retry(**fields)


def test_retries_is_short_for_a_limit() -> None:
    default = Retry()
    assert retry_of(retries=3, retry=None, default=default, what="f") == Retry(limit=3)
    assert retry_of(retries=None, retry=None, default=default, what="f") is default
    policy = Retry(limit=9)
    assert retry_of(retries=None, retry=policy, default=default, what="f") is policy
    with pytest.raises(UsageError, match=r"f has both retries= and retry=; write Retry\(limit=3"):
        retry_of(retries=3, retry=policy, default=default, what="f")
    wrong: Any = 3
    with pytest.raises(UsageError, match="f has retry=3; write retries=3"):
        retry_of(retries=None, retry=wrong, default=default, what="f")
    wrong = {"limit": 3}
    with pytest.raises(UsageError, match=r"write retry=Retry\(...\)"):
        retry_of(retries=None, retry=wrong, default=default, what="f")
