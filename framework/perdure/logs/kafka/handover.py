"""From a thread of a client to the event loop, and what a closed or busy loop means for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from perdure.logs.callbacks import guarded

__all__ = ["Handover"]

log = logging.getLogger("perdure.kafka")


class Handover:
    """The loop as threads see it: takes calls, in order, and tells how long it has taken none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._handed = 0
        self._taken = 0
        self._waiting_since = 0.0

    def call(self, call: Callable[..., None], *args: Any) -> bool:
        """Has it called on the loop; False when the loop is closed. What it raises goes to the loop's handler."""
        if self._handed == self._taken:
            self._waiting_since = time.monotonic()
        self._handed += 1
        try:
            self.loop.call_soon_threadsafe(self._take, call, args)
        except RuntimeError:
            return False
        return True

    @property
    def waiting(self) -> int:
        """Calls that the loop has not made yet."""
        return self._handed - self._taken

    def stalled_s(self) -> float:
        """For how long the loop has made none of the calls that wait for it."""
        return time.monotonic() - self._waiting_since if self.waiting else 0.0

    def _take(self, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._taken += 1
        self._waiting_since = time.monotonic()
        self.guarded(call, *args)

    def guarded(self, call: Callable[..., Any], *args: Any) -> None:
        """Calls out; an error there is the loop's, the log goes on."""
        guarded(self.loop, call, *args)
