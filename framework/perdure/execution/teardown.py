"""How a body that is suspended is let go of (A3).

Python cannot destroy a suspended coroutine silently: its `finally` blocks run, whenever the garbage collector gets to
it, inside whatever turn is going on. So a body is unwound on purpose: first its loop is dead, then Evicted is thrown
into each of its tasks until it ends. What refuses to end is kept for good, in a graveyard of bounded size.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import atexit
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from perdure.execution.conditions import Evicted
from perdure.execution.desk import LoopDesk
from perdure.execution.loop import TurnTooLong
from perdure.execution.tasks import RunTask

__all__ = ["Graveyard", "forget", "graveyard", "register", "tear_down"]

_THROWS_MAX = 20


class Graveyard:
    """Coroutines that refused to end. Never resumed, never closed; the oldest go when there are too many."""

    def __init__(self) -> None:
        self._kept: deque[Any] = deque()
        self.buried = 0
        """How many refused, since the process began."""
        self.pushed_out = 0
        """How many of them were given to the garbage collector after all, for want of room."""
        self.torn_down = 0
        """How many bodies were torn down before they had ended."""

    def __len__(self) -> int:
        return len(self._kept)

    def bury(self, coroutine: Any, graves_max: int) -> None:
        """Keeps a coroutine."""
        self.buried += 1
        self._kept.append(coroutine)
        while len(self._kept) > graves_max:
            self.pushed_out += 1
            self._kept.popleft()

    def seal(self) -> None:
        """At the end of the process: what is kept, and each body that still stands, is never finalized.

        Python would close them while it takes the modules apart: a body that catches everything then spins for ever.
        """
        _make_immortal((*self._kept, *_live))


graveyard = Graveyard()
"""The one of this process."""

_live: set[Any] = set()
"""Executions that are not torn down. Dropping the last reference to one must not leave it to the collector."""


def register(execution: object) -> None:
    """From now on this execution lives until it is torn down."""
    _live.add(execution)


def forget(execution: object) -> None:
    """This execution has nothing left to unwind."""
    _live.discard(execution)


def _make_immortal(things: Iterable[object]) -> None:
    for thing in things:
        import ctypes  # only a process that has such things pays for it

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


atexit.register(graveyard.seal)


def tear_down(execution: object, desk: LoopDesk, graves_max: int) -> None:
    """Unwinds all tasks of a body. Nothing that its code does meanwhile is recorded, logged or run."""
    if desk.dead:
        return
    loop = desk.loop
    if asyncio._get_running_loop() is loop:
        raise RuntimeError("a run cannot be torn down inside its own turn")
    tasks = loop.live_tasks()
    desk.kill()
    forget(execution)
    if tasks:
        graveyard.torn_down += 1
        with suppress(TurnTooLong):  # a cleanup that never ended, and now has; the guard has told of it
            loop.run(_unwind, loop, tasks, graves_max)
    desk.forget()


def _unwind(loop: asyncio.AbstractEventLoop, tasks: list[RunTask], graves_max: int) -> None:
    interrupt: KeyboardInterrupt | None = None
    for task in tasks:
        # It will never be done, and that is as it should be.
        task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue]
        coroutine: Any = task.get_coro()
        asyncio.tasks._enter_task(loop, task)
        try:
            ended = task.context.run(_throw, coroutine)
        except KeyboardInterrupt as error:
            ended, interrupt = True, error
        finally:
            asyncio.tasks._leave_task(loop, task)
        if not ended:
            graveyard.bury(coroutine, graves_max)
        _part(task)
    if interrupt is not None:
        raise interrupt


def _part(task: RunTask) -> None:
    """Cuts a task and what it waited for apart: else only the collector can free them, and all that hangs on them."""
    waited_for: Any = getattr(task, "_fut_waiter", None)
    if waited_for is not None:
        for callback, _ in waited_for._callbacks or ():
            waited_for.remove_done_callback(callback)


def _throw(coroutine: Any) -> bool:
    """Whether the coroutine has ended."""
    for _ in range(_THROWS_MAX):
        try:
            coroutine.throw(Evicted())
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - StopIteration, Evicted, or what its cleanup raised: it has ended
            return True
    return False
