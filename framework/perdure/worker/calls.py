"""Attempts on their way to another process, and their outcomes on the way back."""

from __future__ import annotations

import pickle

from perdure.authoring.annotations import display_name
from perdure.core import payload
from perdure.core.limits import Limits
from perdure.errors import UsageError
from perdure.execution.failures import rebuilt
from perdure.execution.ports import Outcome
from perdure.worker.child import Call, Reply
from perdure.worker.job import Job

__all__ = ["call_of", "outcome_of"]


def call_of(job: Job, limits: Limits) -> Call:
    """What the child needs to run the attempt. Raises UsageError if its function or arguments cannot be pickled."""
    attempt, details = job.attempt, job.details
    if details is None and attempt.details is not None:
        details = payload.dumps(attempt.details)
    return Call(
        work=_work(job),
        name=display_name(attempt.fn),
        run_id=attempt.run_id,
        function_id=attempt.function_id,
        key=attempt.key,
        step_id=attempt.step_id,
        idempotency_key=attempt.idempotency_key,
        number=attempt.number,
        attempts_max=attempt.attempts_max,
        details=details,
        snapshot=attempt.snapshot,
        limits=limits,
    )


def outcome_of(reply: Reply) -> Outcome:
    """The outcome as if it had come about here, with an exception that a retry policy can look at."""
    outcome = reply.outcome
    if outcome.failure is not None:
        outcome.exception = _unpickled(reply.error) or rebuilt(outcome.failure)
        if outcome.exception is None:
            outcome.exception = Exception(f"{outcome.failure['type']}: {outcome.failure['message']}")
    return outcome


def _work(job: Job) -> bytes:
    attempt = job.attempt
    name = display_name(attempt.fn)
    try:
        pickle.dumps(attempt.fn)
    except Exception as error:
        raise UsageError(
            f"{name} cannot be sent to another process ({error}): it must be defined with def at the top level of a "
            'module. Move it there, or run it with executor="thread"'
        ) from error
    try:
        return pickle.dumps((attempt.fn, attempt.args, attempt.kwargs))
    except Exception as error:
        raise UsageError(
            f"the arguments of {job} cannot be sent to another process ({error}): pass plain values, and open files, "
            'connections and locks in the step itself; or run it with executor="thread"'
        ) from error


def _unpickled(data: bytes | None) -> BaseException | None:
    if data is None:
        return None
    try:
        error = pickle.loads(data)  # noqa: S301 - our own child wrote it
    except Exception:  # noqa: BLE001 - of a class whose constructor wants more than it tells
        return None
    return error if isinstance(error, BaseException) else None
