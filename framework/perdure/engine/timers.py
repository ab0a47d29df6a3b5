"""One heap of due times per partition. Entries are never removed: a stale one finds nothing to do when it fires."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from perdure.engine.clock import Alarm, Clock


class Timers:
    """Calls `fire(run, key, due)` for what is due, at most `tick_max` in a row, then lets other work pass."""

    def __init__(self, clock: Clock, fire: Callable[[str, str, int], None], tick_max: int) -> None:
        self._clock = clock
        self._fire = fire
        self._tick_max = tick_max
        self._heap: list[tuple[int, str, str]] = []
        self._alarm: Alarm | None = None
        self._armed_for = 0
        self._closed = False

    def arm(self, run: str, key: str, due: int) -> None:
        heapq.heappush(self._heap, (due, run, key))
        if self._heap[0][0] == due:
            self._set_alarm()

    def next_due(self) -> int | None:
        """When the next one is due (µs), stale ones included."""
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return len(self._heap)

    def close(self) -> None:
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()

    def _set_alarm(self, *, at: int | None = None) -> None:
        due = self._heap[0][0] if at is None else at
        if self._alarm is not None:
            if self._armed_for <= due:
                return
            self._alarm.cancel()
        self._armed_for = due
        self._alarm = self._clock.call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now = self._clock.now()
        for _ in range(self._tick_max):
            if self._closed or not self._heap or self._heap[0][0] > now:
                break
            due, run, key = heapq.heappop(self._heap)
            self._fire(run, key, due)
        if self._heap and not self._closed:
            self._set_alarm()
