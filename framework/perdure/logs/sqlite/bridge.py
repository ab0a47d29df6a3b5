"""From the committer's thread to the event loop: one `call_soon_threadsafe` for all that one turn has
brought.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from perdure.errors import LogError
from perdure.logs.callbacks import guarded
from perdure.logs.contract import Done
from perdure.logs.sqlite.tails import Batch

Notice = Callable[[], None]


class Bridge:
    """Collects on the thread, delivers on the loop, and knows when the loop has stopped taking."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.notices: list[Notice] = []
        self.acks: list[tuple[Done, int | LogError]] = []
        self.batches: list[Batch] = []
        self.broken = False
        """The loop is closed: nobody will ever take anything."""
        self._loop = loop
        self._handed = 0
        self._taken = 0
        self._since_ns = time.monotonic_ns()

    def hand_over(self, ping: bool = False) -> None:
        """Let the loop take what was collected; `ping`: even nothing, to see that it takes."""
        if not (self.acks or self.batches or self.notices or ping):
            return
        if self._handed == self._taken:
            self._since_ns = time.monotonic_ns()
        self._handed += 1
        try:
            self._loop.call_soon_threadsafe(self._take, self.notices, self.acks, self.batches)
        except RuntimeError:
            self.broken = True
        self.notices, self.acks, self.batches = [], [], []

    def stalled(self, stall_us: int) -> bool:
        """Whether the loop has not taken anything for so long though there is something to take."""
        return self._handed != self._taken and time.monotonic_ns() - self._since_ns > stall_us * 1_000

    @property
    def idle(self) -> bool:
        return self._handed == self._taken

    def _take(
        self, notices: list[Notice], acks: list[tuple[Done, int | LogError]], batches: list[Batch]
    ) -> None:
        self._taken += 1
        self._since_ns = time.monotonic_ns()
        for notice in notices:
            guarded(self._loop, notice)
        for done, outcome in acks:
            guarded(self._loop, done, outcome)
        for tail, entries, size in batches:
            guarded(self._loop, tail.take, entries, size)
