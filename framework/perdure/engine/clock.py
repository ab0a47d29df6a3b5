"""Time as the engine sees it. A port, so that tests and the simulator bring their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Alarm(Protocol):
    """Something that will be called; cancelled, it never is."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Wall-clock time in microseconds, and calls at a time."""

    def now(self) -> int:
        """Microseconds since the epoch."""
        ...

    def call_at(self, due: int, call: Callable[[], None]) -> Alarm:
        """Calls once, on the event loop, when `now()` has reached `due`, never before."""
        ...


class _SystemAlarm:
    def __init__(self, clock: Clock, due: int, call: Callable[[], None]) -> None:
        self._clock, self._due, self._call = clock, due, call
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._arm()

    def _arm(self) -> None:
        # Long waits are cut in pieces: the wall clock may be set while we wait for it.
        delay = min((self._due - self._clock.now()) / 1e6, 60.0)
        self._handle = self._loop.call_later(max(delay, 0.0), self._ring)

    def _ring(self) -> None:
        if self._clock.now() < self._due:
            self._arm()
        else:
            self._handle = None
            self._call()

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class SystemClock:
    """The machine's clock and the running event loop."""

    def now(self) -> int:
        return time.time_ns() // 1_000

    def call_at(self, due: int, call: Callable[[], None]) -> Alarm:
        return _SystemAlarm(self, due, call)
