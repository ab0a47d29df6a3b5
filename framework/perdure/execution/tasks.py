"""Tasks and futures of a run: their hashes and names depend on the run alone, not on addresses."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from hashlib import blake2b
from typing import Any

__all__ = ["RunFuture", "RunTask", "Scope", "child_path", "current_task", "hash_base"]

current_task: Callable[[Any], Any] = asyncio.current_task
"""The task of a loop that is running. Written in C, and in 3.11, where it is not, the lookup that it does."""
if sys.version_info < (3, 12):
    current_task = asyncio.tasks._current_tasks.get  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]


def hash_base(run_id: str) -> int:
    """Where the hashes of a run's tasks start.

    asyncio iterates sets of tasks, so hashes must be the same on replay (A4). CPython also keeps the tasks of all
    loops in one WeakSet, so equal or clustered hashes of many runs would make it slow.
    """
    return (
        int.from_bytes(blake2b(run_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 4
    )


class Scope:
    """What numbers children and repeated ids where no task is current: in plain callbacks of the loop."""

    __slots__ = ("children", "counts", "path", "rng", "uuids")

    def __init__(self, path: str) -> None:
        self.path = path
        self.children = 0
        self.counts: dict[str, int] = {}
        self.rng: Any = None
        self.uuids = 0


class RunTask(asyncio.Task[Any]):
    """A task that is named by its place in the tree of tasks, and numbers what is asked for in it."""

    __slots__ = ("children", "context", "counts", "number", "path", "rng", "uuids")

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        loop: asyncio.AbstractEventLoop,
        path: str,
        number: int,
        name: str | None,
        context: Context,
    ) -> None:
        self.number = number  # before the base class puts the task into a set
        self.path = path
        self.children = 0
        self.counts: dict[str, int] = {}
        self.rng: Any = None
        self.uuids = 0
        self.context = context
        super().__init__(coro, loop=loop, name=name or f"task {path}", context=context)

    def __hash__(self) -> int:
        return self.number


class RunFuture(asyncio.Future[Any]):
    """A future whose place in a set is the same on replay."""

    __slots__ = ("number",)

    def __init__(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


def child_path(parent: RunTask | Scope) -> str:
    """The path of the next child task of this one: "" → "1", "2"; "1" → "1.1"."""
    parent.children += 1
    return f"{parent.path}.{parent.children}" if parent.path else str(parent.children)
