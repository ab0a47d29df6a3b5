"""Exceptions as they are recorded, and back again.

Recording must not fail, whatever an exception does when it is printed. Rebuilding never imports, and never runs a
constructor that the user wrote: names found in data are only looked up among what is loaded already.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from perdure.core.ops import Failure
from perdure.errors import PerdureError, StepError

__all__ = ["TRACEBACK_BYTES_MAX", "failure_of", "has_users_frame", "rebuilt", "step_error", "type_name"]

TRACEBACK_BYTES_MAX = 8 * 1024
_MESSAGE_BYTES_MAX = 4 * 1024
_FRAMES_MAX = 40
_OWN = (
    "perdure.execution.",
    "perdure.worker.",
    "perdure.engine.",
    "asyncio.",
    "concurrent.futures.",
    "threading",
)


def type_name(kind: type[BaseException]) -> str:
    """How an exception's class is recorded: "ValueError", "shop.errors.CardDeclined"."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def failure_of(error: BaseException, *, traceback_bytes_max: int = TRACEBACK_BYTES_MAX) -> Failure:
    """The exception as it is recorded. A StepError that leaves a body is recorded as what failed the step."""
    if isinstance(error, StepError):
        return {
            "type": _text(error.type_name, 512),
            "message": _text(error.message, _MESSAGE_BYTES_MAX),
            "traceback": _text(error.traceback or _traceback(error), traceback_bytes_max, end=True),
        }
    return {
        "type": _text(type_name(type(error)), 512),
        "message": _text(_message(error), _MESSAGE_BYTES_MAX),
        "traceback": _text(_traceback(error), traceback_bytes_max, end=True),
    }


def rebuilt(failure: Failure) -> Exception | None:
    """An exception of the recorded class with the recorded message, if that class is loaded; else None."""
    kind = _loaded(failure["type"])
    if kind is None:
        return None
    builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    try:
        # Neither the class's own __new__ nor its __init__: they may do anything, and want arguments we do not have.
        error: Exception = builtin.__new__(kind, failure["message"])
        error.args = (failure["message"],)
    except Exception:  # noqa: BLE001 - classes written in C may refuse; then there is just no cause
        return None
    return error


def step_error(failure: Failure, step_id: str, attempts: int) -> StepError:
    """What a body gets for a step, wait or child that failed for good."""
    cause = rebuilt(failure)
    error = StepError(
        failure["message"],
        type_name=failure["type"],
        step_id=step_id,
        attempts=attempts,
        traceback=failure["traceback"],
        cause=cause,
    )
    error.__cause__ = cause
    return error


def _loaded(name: str) -> type[Exception] | None:
    parts = name.split(".")
    if len(parts) == 1:
        parts = ["builtins", *parts]
    for split in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:split]))
        if module is None:
            continue
        found: object = module
        for part in parts[split:]:
            # Not getattr: a module's __getattr__ may import.
            names: Mapping[str, object] = getattr(found, "__dict__", {})
            found = names.get(part)
        return found if isinstance(found, type) and issubclass(found, Exception) else None
    return None


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whatever it is, the failure must be recorded
        return f"<a {type(error).__name__} that cannot be printed>"


def _traceback(error: BaseException) -> str:
    try:
        parts = traceback.TracebackException(
            type(error), error, _shown(error), limit=-_FRAMES_MAX, compact=True
        ).format()
        return "".join(parts)
    except Exception:  # noqa: BLE001
        return f"<the traceback of a {type(error).__name__} that cannot be printed>"


def has_users_frame(error: BaseException) -> bool:
    """Whether code of the user had begun when the exception was raised, or it came from perdure's call of it."""
    return _users(error.__traceback__) is not None


def _shown(error: BaseException) -> TracebackType | None:
    """The traceback without the frames of perdure and asyncio that led to the user's code.

    Where there is no other frame, those are a help with a fault of perdure, and none with what it says on purpose.
    """
    return _users(error.__traceback__) or (None if isinstance(error, PerdureError) else error.__traceback__)


def _users(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if not str(name).startswith(_OWN):
            return trace
        trace = trace.tb_next
    return None


def _text(text: str, bytes_max: int, *, end: bool = False) -> str:
    """Text that any log takes: valid UTF-8, bounded. The end of a traceback says more than its beginning."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > bytes_max:
        kept = max(bytes_max - 3, 0)
        data = b"\xe2\x80\xa6" + data[-kept:] if end else data[:kept] + b"\xe2\x80\xa6"
    return data.decode("utf-8", "ignore")
