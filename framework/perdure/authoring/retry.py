"""When a failed attempt is followed by another, and how long after."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from perdure.core.durations import DURATION_US_MAX, Duration, named_us, to_us
from perdure.errors import EncodingError, NonRetriableError, PayloadTooLarge, RetryAfterError, UsageError

__all__ = ["RETRIES_MAX", "Retry", "next_delay", "retry_of"]

RETRIES_MAX: Final = 10_000
"""No policy makes more attempts than this: nothing is retried for ever without anybody noticing."""

RETRY_AFTER_US_MIN: Final = 1_000_000
RETRY_AFTER_US_MAX: Final = 86_400_000_000
"""However soon or late a RetryAfterError asks for the next attempt, it is not sooner or later than this (µs)."""

_FINAL: Final = (NonRetriableError, UsageError, EncodingError, PayloadTooLarge)
"""What another attempt cannot mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A retry policy. Every field has a default: `Retry()` is what a function without a policy gets.

    Durations are `"7d"`, `"1h30m"`, `"250ms"`, seconds, or a timedelta. Raises UsageError for a field out of range.
    """

    limit: int = 4
    """How many retries: 4 retries are 5 attempts. Counted per step."""
    initial: Duration = "1s"
    """The delay before the first retry."""
    factor: float = 2.0
    """By how much an exponential delay grows; the share of `initial` that is added, for a linear one it is 1."""
    maximum: Duration = "1h"
    """No delay is longer, before jitter."""
    jitter: float = 0.1
    """A share of each delay that is random, in both directions: 0.1 is ±10 %."""
    backoff: Literal["exponential", "linear", "constant"] = "exponential"
    """initial × factor^n, initial × n, or always initial."""
    on: tuple[type[BaseException], ...] = (Exception,)
    """Only these are retried."""
    retry_if: Callable[[BaseException], bool] | None = None
    """Asked last; False stops. It should be quick and without effects."""
    max_elapsed: Duration | None = None
    """No attempt starts later than this after the first one started."""
    then: Literal["fail", "pause"] = "fail"
    """What happens when the attempts are used up: the step fails, or the run is paused until somebody resumes it."""

    def __post_init__(self) -> None:
        if isinstance(self.limit, bool) or not isinstance(self.limit, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"Retry(limit={self.limit!r}): use a number of retries, such as 3")
        if not 0 <= self.limit <= RETRIES_MAX:
            raise UsageError(f"Retry(limit={self.limit}): use 0 to {RETRIES_MAX}; 0 means one attempt")
        if not 1 <= self.factor <= 1_000:
            raise UsageError(f"Retry(factor={self.factor}): use 1 to 1000; delays do not shrink")
        if not 0 <= self.jitter <= 1:
            raise UsageError(f"Retry(jitter={self.jitter}): use a share from 0 to 1; 0.1 is ±10 %")
        _one_of("backoff", self.backoff, ("exponential", "linear", "constant"))
        _one_of("then", self.then, ("fail", "pause"))
        # A single class, or a list, is what people write; a tuple is what `isinstance` takes.
        on = (self.on,) if isinstance(self.on, type) else tuple(self.on)
        if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in on):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"Retry(on={self.on!r}): use exception classes, such as on=(TimeoutError,)")
        object.__setattr__(self, "on", on)
        if self.retry_if is not None and not callable(self.retry_if):
            raise UsageError("Retry(retry_if=...): use a function of the exception that returns a bool")
        for name in ("initial", "maximum", "max_elapsed"):
            if (value := getattr(self, name)) is not None:
                _duration(name, value)

    @property
    def attempts_max(self) -> int:
        """How many attempts the policy allows in all."""
        return self.limit + 1


def retry_of(*, retries: int | None, retry: Retry | None, default: Retry, what: str) -> Retry:
    """The policy meant by `retries=3` or `retry=Retry(...)`, else the default. Raises UsageError for both at once."""
    if retry is not None and retries is not None:
        raise UsageError(f"{what} has both retries= and retry=; write Retry(limit={retries}, ...) alone")
    if isinstance(retry, int):
        raise UsageError(
            f"{what} has retry={retry!r}; write retries={retry!r}, or retry=Retry(limit={retry!r})"
        )
    if retries is not None:
        return Retry(limit=retries)
    if retry is None:
        return default
    if not isinstance(retry, Retry):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{what} has retry={retry!r}; write retry=Retry(...)")
    return retry


def next_delay(
    retry: Retry, attempt: int, elapsed_us: int, exception: BaseException, unit: float
) -> int | None:
    """Microseconds until the next attempt, or None if there is none.

    `attempt` is the number of the one that failed, from 1; `elapsed_us` the time since the first one started;
    `unit` a number from 0 up to 1, which decides the jitter: the same unit gives the same delay.
    """
    if attempt > retry.limit or not _retriable(retry, exception):
        return None
    delay = _asked_for(exception)
    if delay is None:
        delay = _jittered(_backoff_us(retry, attempt), retry.jitter, unit)
    if retry.max_elapsed is not None and elapsed_us + delay > to_us(retry.max_elapsed):
        return None
    return delay


def _retriable(retry: Retry, exception: BaseException) -> bool:
    if isinstance(exception, RetryAfterError):
        return True
    if isinstance(exception, _FINAL) or not isinstance(exception, retry.on):
        return False
    try:
        return retry.retry_if is None or bool(retry.retry_if(exception))
    except Exception:  # noqa: BLE001 - a broken predicate costs no attempts; the limit still holds
        return True


def _asked_for(exception: BaseException) -> int | None:
    """The delay of a RetryAfterError: without jitter or maximum, since the other side said when. Within a second and a
    day, since what it said may be nonsense."""
    if not isinstance(exception, RetryAfterError):
        return None
    try:
        return min(max(to_us(exception.delay), RETRY_AFTER_US_MIN), RETRY_AFTER_US_MAX)
    except UsageError:  # computed from a date in the past, or read from a header
        return None


def _backoff_us(retry: Retry, attempt: int) -> int:
    initial, maximum = to_us(retry.initial), to_us(retry.maximum)
    if retry.backoff == "constant":
        delay = initial
    elif retry.backoff == "linear":
        delay = initial * attempt
    elif initial and (attempt - 1) * math.log(retry.factor) > math.log(DURATION_US_MAX):
        delay = maximum  # the power would not fit a float
    else:
        delay = math.ceil(initial * retry.factor ** (attempt - 1))
    return min(delay, maximum)


def _jittered(delay: int, jitter: float, unit: float) -> int:
    return max(0, round(delay * (1 + jitter * (2 * unit - 1))))


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"Retry({name}={value!r}): use one of {', '.join(map(repr, allowed))}")


def _duration(name: str, value: Duration) -> None:
    named_us(f"Retry({name}={value!r})", value)
