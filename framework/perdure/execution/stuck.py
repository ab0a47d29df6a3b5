"""Where a body waits, for messages."""

from __future__ import annotations

from collections.abc import Iterable
from types import FrameType
from typing import Any

from perdure.errors import Stuck
from perdure.execution.tasks import RunTask

__all__ = ["stuck_at", "where_waiting"]

_DEPTH_MAX = 1000
_SHOWN_MAX = 3
_INNER = ("asyncio.", "perdure.execution.", "anyio.", "contextlib")


def where_waiting(task: RunTask) -> str:
    """File, line and function of the user's code in which a task is suspended."""
    coroutine: Any = task.get_coro()
    found: FrameType | None = None
    for _ in range(_DEPTH_MAX):
        if coroutine is None:
            break
        frame = _attribute(coroutine, "frame")
        if frame is not None and not str(frame.f_globals.get("__name__", "")).startswith(_INNER):
            found = frame
        coroutine = _attribute(coroutine, "await") or getattr(coroutine, "gi_yieldfrom", None)
    if found is None:
        return "?"
    code = found.f_code
    return f"{code.co_filename}:{found.f_lineno}, in {code.co_qualname}"


def _attribute(coroutine: Any, name: str) -> Any:
    for prefix in ("cr_", "gi_", "ag_"):
        found = getattr(coroutine, prefix + name, None)
        if found is not None:
            return found
    return None


def stuck_at(main: RunTask | None, tasks: Iterable[RunTask]) -> Stuck:
    """The error of a body that waits for nothing which a recorded input can bring."""
    places = list(dict.fromkeys(where_waiting(task) for task in tasks if task is not main))
    first = where_waiting(main) if main is not None else "?"
    others = "; ".join(places[:_SHOWN_MAX]) + ("; …" if len(places) > _SHOWN_MAX else "")
    return Stuck(
        f"the body waits at {first}, but asked for nothing that could wake it: no step, timer, event or signal"
        + (f" (its other tasks wait at {others})" if others else "")
        + ". What a thread, another run or a callback of a library would set has no place in a body; put it in a step"
    )
