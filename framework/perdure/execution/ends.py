"""The op with which a run ends."""

from __future__ import annotations

from typing import Any

from perdure.core import ops
from perdure.core.ops import EventData, Op
from perdure.errors import PerdureError
from perdure.execution.desk import Desk
from perdure.execution.failures import failure_of

__all__ = ["cancelled_end", "failed_end", "restarted_end", "result_end"]


def result_end(desk: Desk, value: Any) -> tuple[Op, BaseException | None]:
    """RunDone with the encoded result; RunFailed, and the error, when it cannot be recorded."""
    try:
        data = desk.function.codec.encode(value)
        if len(data) > desk.limits.payload_bytes_max:
            fault = desk.limits.fault(f"the result of {desk.function.id}", len(data))
            if fault is not None:
                raise fault
    except PerdureError as error:
        return failed_end(desk, error), error
    return (ops.RUN_DONE, {"time": desk.now_us, "result": data}), None


def failed_end(desk: Desk, error: BaseException) -> Op:
    """RunFailed by an exception. Whether a handler follows is not for the body's side to say."""
    failure = failure_of(error, traceback_bytes_max=desk.limits.traceback_bytes_max)
    return ops.RUN_FAILED, {"time": desk.now_us, "error": failure, "handler": None}


def restarted_end(desk: Desk, event: EventData) -> Op:
    """RunRestarted."""
    return ops.RUN_RESTARTED, {"time": desk.now_us, "event": event}


def cancelled_end(desk: Desk, reason: str) -> Op:
    """RunCancelled."""
    return ops.RUN_CANCELLED, {"time": desk.now_us, "reason": reason}
