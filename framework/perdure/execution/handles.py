"""Handles of the run's loop. The standard ones copy contexts and ask for debug mode at each callback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

__all__ = ["PlainTimer", "ReadyHandle"]


_NO_ARGS: tuple[Any, ...] = ()


class ReadyHandle(asyncio.Handle):
    """A callback in the ready queue."""

    __slots__ = ()
    # Class attributes hide the slots that are never set, which saves setting them at each callback.
    _repr = None
    _source_traceback = None
    _loop = None

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = None
        self._args = _NO_ARGS


class TimerLoop(Protocol):
    """The loop that a timer belongs to."""

    def wake(self, handle: PlainTimer) -> None:
        """It was recorded as fired."""
        ...

    def drop_timer(self, timer: PlainTimer) -> None:
        """It was cancelled."""
        ...


class PlainTimer(asyncio.TimerHandle):
    """A timer that asyncio itself set (`sleep`, `timeout`, `wait_for`): durable like the run's own."""

    __slots__ = ("due", "key", "loop")
    _repr = None
    _source_traceback = None
    _loop = None

    def __init__(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: TimerLoop,
        context: Context,
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False
        self._scheduled = True
        self.loop = loop
        self.key = ""
        self.due = 0

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._callback = None
            self._args = _NO_ARGS
            self.loop.drop_timer(self)
