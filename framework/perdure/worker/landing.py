"""Where what happened in threads comes down on the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context

__all__ = ["Landing"]


class Landing:
    """Calls from any thread, made on the event loop in the order they were posted.

    Waking the loop from another thread costs a system call, so it is woken once for all that have gathered.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop = loop
        self._context = context
        self._calls: deque[Callable[[], None]] = deque()
        self._woken = False

    def post(self, call: Callable[[], None]) -> None:
        """Has `call` made on the loop; nothing happens when the loop is closed already."""
        self._calls.append(call)
        # Without a lock: _land clears the flag before it takes calls, so one that was appended earlier is seen.
        # Two threads that both find it cleared wake the loop twice, which is harmless.
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._land, context=self._context)
            except RuntimeError:
                self._calls.clear()

    def _land(self) -> None:
        self._woken = False
        # What is posted from now on wakes the loop again, so that its other work is not kept waiting.
        for _ in range(len(self._calls)):
            call = self._calls.popleft()
            try:
                call()
            except Exception as error:  # noqa: BLE001 - one that fails must not lose the others
                self._loop.call_exception_handler(
                    {"message": "perdure: an outcome was not taken", "exception": error}
                )
