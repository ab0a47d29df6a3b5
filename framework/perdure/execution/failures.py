"""Exceptions as they are recorded, and back again.

Recording must not fail, whatever an exception does when it is printed. Rebuilding never imports, and never runs a
constructor that the user wrote: names found in data are only looked up among what is loaded already.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from perdure.core import payload
from perdure.core.failures import causes_of, fields_of
from perdure.core.ops import Failure
from perdure.errors import NOTHING, EncodingError, PerdureError, RunFailed, StepError

__all__ = [
    "TRACEBACK_BYTES_MAX",
    "failure_of",
    "has_users_frame",
    "rebuilt",
    "run_failed",
    "step_error",
    "type_name",
]

TRACEBACK_BYTES_MAX = 8 * 1024
_MESSAGE_BYTES_MAX = 4 * 1024
_FRAMES_MAX = 40
_FIELDS_BYTES_MAX = 2 * 1024
"""What the fields of one error may take as JSON; those that do not fit beside the ones before are left out."""
_CAUSES_MAX = 5
_CAUSE_BYTES_MAX = 1024
_attributes: Any = BaseException.__dict__["__dict__"]
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
            "data": _details(error.fields, error.causes),
        }
    return {
        "type": _text(type_name(type(error)), 512),
        "message": _text(_message(error), _MESSAGE_BYTES_MAX),
        "traceback": _text(_traceback(error), traceback_bytes_max, end=True),
        "data": _details(_fields(error), _causes(error)),
    }


def rebuilt(failure: Failure) -> Exception | None:
    """An exception of the recorded class with the recorded message and fields, if that class is loaded; else None.
    What led to it is its `__cause__`, but for those whose class is not."""
    error = _made(failure["type"], failure["message"], fields_of(failure))
    last = error
    for cause in causes_of(failure):
        made = _made(cause["type"], cause["message"], cause.get("fields", NOTHING))
        if last is not None and made is not None:
            last.__cause__ = last = made
    return error


def _made(name: str, message: str, fields: Mapping[str, Any]) -> Exception | None:
    kind = _loaded(name)
    if kind is None:
        return None
    builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    try:
        # Neither the class's own __new__ nor its __init__: they may do anything, and want arguments we do not have.
        error: Exception = builtin.__new__(kind, message)
        error.args = (message,)
        _attributes.__get__(error).update(fields)
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
        fields=fields_of(failure),
        causes=causes_of(failure),
    )
    error.__cause__ = cause
    return error


def run_failed(run_id: str, failure: Mapping[str, Any]) -> RunFailed:
    """How a run failed, of what is recorded or told of it."""
    return RunFailed(
        run_id,
        type_name=failure["type"],
        message=failure["message"],
        traceback=failure["traceback"],
        fields=fields_of(failure),
        causes=causes_of(failure),
    )


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


def _fields(error: BaseException) -> dict[str, Any]:
    """Its public attributes that JSON can hold. Nothing of its class is asked, whose properties may do anything."""
    if isinstance(error, StepError):
        return dict(error.fields)
    found: dict[str, Any] = {}
    left = _FIELDS_BYTES_MAX
    for name, value in _attributes.__get__(error).items():
        size = left + 1 if name.startswith("_") else _size(name, value)
        if size <= left:
            left -= size
            found[name] = value
    return found


def _size(name: str, value: object) -> int:
    """Of a field as JSON; more than there may be when it is none."""
    try:
        return len(payload.dumps(value)) + len(name.encode())
    except Exception:  # noqa: BLE001 - no JSON, or of a class that does what it likes when it is asked
        return _FIELDS_BYTES_MAX + 1


def _causes(error: BaseException) -> list[Mapping[str, Any]]:
    """The errors that led to it, as a traceback would show them."""
    found: list[Mapping[str, Any]] = []
    known = {id(error)}
    here = error
    while len(found) < _CAUSES_MAX:
        led = here.__cause__ or (None if here.__suppress_context__ else here.__context__)
        if led is None or id(led) in known:
            break
        known.add(id(led))
        here = led
        step = led if isinstance(led, StepError) else None
        cause: dict[str, Any] = {
            "type": _text(type_name(type(led)) if step is None else step.type_name, 512),
            "message": _text(_message(led) if step is None else step.message, _CAUSE_BYTES_MAX),
        }
        fields = _fields(led)
        found.append({**cause, "fields": fields} if fields else cause)
        if step is not None:
            found += step.causes
            break
    return found[:_CAUSES_MAX]


def _details(fields: Mapping[str, Any], causes: Sequence[Mapping[str, Any]]) -> str:
    found = {"fields": dict(fields)} if fields else {}
    whole = {**found, "causes": list(causes)} if causes else found
    try:
        return payload.dumps(whole).decode() if whole else ""
    except EncodingError:  # its values were JSON, and have changed
        return ""


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
