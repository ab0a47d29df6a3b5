"""The last resort: ends a worker process whose event loop does not come back (B6).

A body that computes is stopped, and a step that blocks the loop is named. What sits in C code, or in an `async def`
step that never awaits, nothing in the process can end. Its partitions may go to others, but whoever looks after the
process sees one that runs. So it ends itself, as a `kill -9` would, and is started again.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Final

from perdure.execution.turns import turning_on
from perdure.worker.job import Job
from perdure.worker.stacks import stack_of

__all__ = ["EXIT_HELD", "HeldLoop"]

EXIT_HELD: Final = 70
"""EX_SOFTWARE of sysexits.h: not a signal, and not what ends a worker that has refused to start."""
_LOOKS: Final = 20
"""How often the loop is looked at until the process ends. They are counted instead of the time that passes: a process
that was stopped and goes on, or a machine that slept, has not held anything meanwhile."""


class HeldLoop:
    """Watches the loop on which it is made, from a thread, until `stop`. `step` is the attempt on the loop now.

    With `held_s` of 0 it never ends anything.
    """

    def __init__(self, held_s: float, step: Callable[[], Job | None]) -> None:
        self._every_s = held_s / _LOOKS
        self._held_s = held_s
        self._step = step
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._answered = threading.Event()
        self._stopped = threading.Event()
        if held_s:
            threading.Thread(target=self._watch, name="perdure-held", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self._every_s):
            self._answered.clear()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:  # closed
                return
            looks = 0
            while not self._answered.wait(self._every_s):
                looks += 1
                if self._stopped.is_set() or self._loop.is_closed():
                    return
                if looks >= _LOOKS:
                    self._end()

    def _end(self) -> None:
        """Without logging: what holds the loop may hold a lock of that, too."""
        where = stack_of(self._loop_thread) or "?"
        line = (
            f"perdure: {self._who()} has held the event loop for {self._held_s:g} s. This worker ends with exit code"
            f" {EXIT_HELD}, so that another goes on with its runs. It was at:\n{where}\n"
        )
        os.write(2, line.encode(errors="replace"))
        os._exit(EXIT_HELD)

    def _who(self) -> str:
        job, body = self._step(), turning_on(self._loop_thread)
        if body is not None:
            return str(body)
        return "something that is not a step" if job is None else f"{job} of {job.attempt.function_id}"
