"""Time as the engine sees it. A port, so that tests and the simulator bring their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from perdure.logs.contract import Log


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


class _LoopAlarm:
    def __init__(self, clock: Clock, due: int, call: Callable[[], None]) -> None:
        self._clock, self._due, self._call = clock, due, call
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._arm()

    def _arm(self) -> None:
        # Long waits are cut in pieces: the clock may be set while we wait for it.
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
        return _LoopAlarm(self, due, call)


class LogClock:
    """The clock of a log, and the running event loop.

    What is due is reckoned from the times that the log has stamped. A machine's clock that was ahead for a while is
    behind them when it is set right, for as long as it was ahead; the log's own goes on from there.
    """

    def __init__(self, log: Log) -> None:
        self.now = log.now

    def call_at(self, due: int, call: Callable[[], None]) -> Alarm:
        return _LoopAlarm(self, due, call)


def clock_for(log: Log, clock: Clock) -> Clock:
    """What an engine on this log goes by: the log's clock in place of the machine's; any other stays."""
    return LogClock(log) if isinstance(clock, SystemClock) else clock
