"""What a step's function returned or raised, as the outcome of its attempt. Pure: runs nothing itself."""

from __future__ import annotations

import inspect

from perdure.authoring.annotations import display_name
from perdure.core.durations import to_us
from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.errors import (
    EncodingError,
    NonRetriableError,
    PayloadTooLarge,
    PerdureError,
    RetryAfterError,
    UsageError,
)
from perdure.execution.desk import snapshot_of
from perdure.execution.failures import failure_of, has_users_frame
from perdure.execution.ports import Attempt, Outcome

__all__ = ["raised", "returned"]

_FINAL = (NonRetriableError, EncodingError, PayloadTooLarge, UsageError)


def returned(attempt: Attempt, value: object, took: int, limits: Limits = DEFAULT_LIMITS) -> Outcome:
    """The outcome of an attempt whose function returned `value` after `took` µs.

    A final failure when the value cannot be recorded or is too large, or when watched arguments were changed.
    """
    try:
        data = attempt.codec.encode(value)
        if len(data) > limits.payload_bytes_max:
            fault = limits.fault(f"the result of step {attempt.step_id!r}", len(data))
            if fault is not None:
                raise fault
    except PerdureError as error:
        return raised(attempt, error, took, limits)
    if (changed := _changed(attempt)) is not None:
        return raised(attempt, changed, took, limits)
    return Outcome(data, None, None, took, None, final=False)


def raised(attempt: Attempt, error: BaseException, took: int, limits: Limits = DEFAULT_LIMITS) -> Outcome:
    """The outcome of an attempt that raised."""
    retry_after = None
    if isinstance(error, RetryAfterError):
        try:
            retry_after = to_us(error.delay)
        except UsageError as wrong:
            return raised(attempt, wrong, took, limits)
    if isinstance(error, TypeError) and (wrong := _wrong_call(attempt, error)) is not None:
        error = wrong
    changed = None if isinstance(error, _FINAL) else _changed(attempt)
    if changed is not None:
        changed.__cause__ = error
        error = changed
    failure = failure_of(error, traceback_bytes_max=limits.traceback_bytes_max)
    return Outcome(None, failure, error, took, retry_after, final=isinstance(error, _FINAL))


def _wrong_call(attempt: Attempt, error: TypeError) -> UsageError | None:
    """The error of a step that was given arguments which its function does not take: no attempt can mend that.

    Looked for where it has failed, since binding arguments at each ask would cost as much as the ask. A TypeError that
    comes out of the function's own code has a frame of it.
    """
    if has_users_frame(error):
        return None
    try:
        signature = inspect.signature(attempt.fn)
    except (TypeError, ValueError):  # written in C
        return None
    try:
        signature.bind(*attempt.args, **attempt.kwargs)
    except TypeError as fault:
        plain = str(signature.replace(return_annotation=inspect.Signature.empty))
        return UsageError(
            f"step {attempt.step_id!r} was given other arguments than {display_name(attempt.fn)}{plain:.200} takes: "
            f"{fault}"
        )
    return None


def _changed(attempt: Attempt) -> UsageError | None:
    """The error of an attempt whose arguments are not what they were when the body asked (A9)."""
    if attempt.snapshot is None or snapshot_of(attempt.args, attempt.kwargs) == attempt.snapshot:
        return None
    return UsageError(
        f"an argument of step {attempt.step_id!r} was changed after the step was asked for, by the step or by another "
        "branch of the body; on replay, and in another attempt, it would be another one. Give the step a copy"
    )
