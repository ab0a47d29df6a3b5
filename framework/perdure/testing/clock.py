"""A clock that moves when it is told to."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class VirtualAlarm:
    """A call at a time of a virtual clock."""

    __slots__ = ("call", "cancelled")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """Stands still until `step` or `move`; the engine's clock and the log's."""

    def __init__(self, now: int = 1_767_225_600_000_000) -> None:  # 2026-01-01T00:00Z
        self._now = now
        self._heap: list[tuple[int, int, VirtualAlarm]] = []
        self._count = itertools.count()

    def now(self) -> int:
        return self._now

    def call_at(self, due: int, call: Callable[[], None]) -> VirtualAlarm:
        alarm = VirtualAlarm(call)
        heapq.heappush(self._heap, (due, next(self._count), alarm))
        return alarm

    def next_due(self) -> int | None:
        """When the next call is due (µs), if there is one."""
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def step(self, until: int) -> bool:
        """Moves to the next due time, not past `until`, and makes the calls of that time. False when there is none."""
        due = self.next_due()
        if due is None or due > until:
            return False
        self._now = max(self._now, due)
        while (again := self.next_due()) is not None and again <= self._now:
            heapq.heappop(self._heap)[2].call()
        return True

    def move(self, to: int) -> None:
        """Sets the time; calls that became due are made by the next `step`."""
        self._now = max(self._now, to)
