"""A worker as a whole process: runs until a signal says stop, drains, and exits with the code that people expect."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from types import FrameType
from typing import Any, Final, TypeVar

from perdure.errors import UsageError

__all__ = ["calm_collector", "event_loop", "run_until_signalled"]

T = TypeVar("T")

_log = logging.getLogger("perdure.worker")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_MARGIN_S: Final = 10.0
"""Past the drain: for flushing, leaving the group and closing files. Then the process ends whatever hangs."""
_AT_ONCE_S: Final = 2.0
"""What "at once" leaves to clean up."""
_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3
_YOUNG_OBJECTS: Final = 50_000
"""New objects after which the collector looks at the young ones; Python's own default is 700 to 2,000."""


def calm_collector() -> None:
    """Tunes the garbage collector of a process that is a worker and nothing else.

    What is loaded by now stays for good and is not looked at again. A run makes some hundred objects that live for its
    whole life, so looking at the young ones after every 700 finds little; that took 8 to 15 % of a worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 10, 10)
    _share_heap()


def _share_heap() -> None:
    """Has all threads take memory from one heap, and gives large blocks back when they are free. glibc alone has such
    settings; by itself it keeps 64 MB for what the log's thread needed once."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, 128 * 1024)


def event_loop() -> asyncio.AbstractEventLoop:
    """A new event loop for a process that is a worker: uvloop's where it is installed (`perdure[fast]`), or asyncio's.

    Runs have a loop of their own either way; this is the one that their steps and the log's answers come to.
    """
    try:
        uvloop = import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run_until_signalled(
    serve: Callable[[], AbstractAsyncContextManager[T]],
    *,
    drain_timeout_s: float,
    until: Callable[[T], Awaitable[Any]] | None = None,
    say: Callable[[str], None] = _log.info,
) -> int:
    """Enters `serve()` on an event loop of its own, leaves it at SIGTERM or SIGINT, and returns the exit code.

    Leaving the context is the drain; it has to keep to `drain_timeout_s` by itself, and the process is ended when it
    overruns that by far. A second signal cancels the drain, a third ends the process on the spot. The code is 0
    after a drain, 128 + signal (130, 143) when a signal cut it short or came before the start was complete.
    `until` gives another end: when what it returns is done, the context is left too; what it raises is raised here.
    Outside of the main thread signals cannot be had, and `until` is the only end. Raises UsageError in the import of
    a child process that has the program's main module imported again.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            "a worker was started while a step's process imports the main module of the program; put what starts "
            'the worker under if __name__ == "__main__":'
        )
    with asyncio.Runner(loop_factory=event_loop) as runner:
        stop = _Stop(runner.get_loop(), drain_timeout_s, say)
        previous = {number: signal.getsignal(number) for number in _SIGNALS} if _in_main_thread() else {}
        try:
            for number in previous:
                stop.listen(number)
            return runner.run(stop.serve(serve, until))
        except asyncio.CancelledError:
            if not stop.code:
                raise
            return stop.code
        finally:
            runner.close()  # while a signal, or the time, can still end what hangs in it
            stop.over()
            for number, handler in previous.items():
                signal.signal(number, handler)


class _Stop:
    """What the signals mean, one after the other."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, drain_timeout_s: float, say: Callable[[str], None]
    ) -> None:
        self.code = 0
        self._loop = loop
        self._drain_timeout_s = drain_timeout_s
        self._say = say
        self._count = 0
        self._heard = 0
        self._asked = asyncio.Event()
        self._serving = False
        self._task: asyncio.Task[Any] | None = None
        self._last: threading.Timer | None = None

    async def serve(
        self,
        serve: Callable[[], AbstractAsyncContextManager[T]],
        until: Callable[[T], Awaitable[Any]] | None,
    ) -> int:
        self._task = asyncio.current_task()
        async with serve() as served:
            self._serving = True
            await self._end(until(served) if until is not None else None)
        return self.code

    async def _end(self, until: Awaitable[Any] | None) -> None:
        asked = asyncio.ensure_future(self._asked.wait())
        ends: set[asyncio.Future[Any]] = {asked}
        if until is not None:
            ends.add(asyncio.ensure_future(until))
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        for end in done:
            end.result()

    def listen(self, number: int) -> None:
        # Twice: the loop's own handler has the loop wake up for a signal. The other one runs also while a step
        # blocks the loop, and is what makes a second signal work then.
        self._loop.add_signal_handler(number, self._hear, number)
        signal.signal(number, self._receive)

    def over(self) -> None:
        if self._last is not None:
            self._last.cancel()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self._end_after(self._drain_timeout_s + _MARGIN_S, number)
        elif self._count == 2:
            self._end_after(_AT_ONCE_S, number)
        else:
            _exit(number, "exiting on the spot")

    def _hear(self, number: int) -> None:
        self._heard += 1
        if self._heard > 1 or not self._serving:
            self.code = 128 + number
            if self._heard == 1:
                self._say(f"{_name(number)}: stopping before the start was complete")
            else:
                self._say(f"{_name(number)} again: stopping at once")
            if self._task is not None:
                self._task.cancel()
            return
        self._say(
            f"{_name(number)}: draining; running steps have {self._drain_timeout_s:g} s to end. Again: stop at once"
        )
        self._asked.set()

    def _end_after(self, delay_s: float, number: int) -> None:
        self.over()
        self._last = threading.Timer(delay_s, _exit, (number, "something hangs; exiting without it"))
        self._last.daemon = True
        self._last.start()


def _exit(number: int, why: str) -> None:
    """Ends the process without asking anyone: a handler, a thread or a lock may be what hangs."""
    os.write(2, f"perdure: {_name(number)}: {why}\n".encode())
    os._exit(128 + number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _name(number: int) -> str:
    return signal.Signals(number).name
