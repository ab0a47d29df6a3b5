"""A clock that never goes back, and never stands still either."""

from __future__ import annotations

import time
from typing import Final

SLOWER: Final = 8
"""While the wall clock is behind, since it was set back, one in so many microseconds is left out."""
KEPT: Final = SLOWER - 1
TICKS: Final = SLOWER * 1_000
"""The slow clock's microseconds are `KEPT / TICKS` of the monotonic clock's nanoseconds."""


def steady_us(monotonic_ns: int) -> int:
    """How far the slow clock has come since the start of the machine (µs)."""
    return monotonic_ns * KEPT // TICKS


class SteadyClock:
    """The wall clock in µs; when that is set back, it goes on more slowly until the other has caught up."""

    def __init__(self) -> None:
        self._last = 0
        self._base = 0

    def __call__(self) -> int:
        # Asked several times in each step: the slow clock is only looked at when it is needed.
        now = time.time_ns() // 1_000
        if now < self._last:
            slow = steady_us(time.monotonic_ns())
            self._base = max(self._base, self._last - slow)
            now = max(now, self._base + slow)
        self._last = now
        return now
