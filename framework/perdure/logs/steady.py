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
        self._base = 0

    def __call__(self) -> int:
        slow = steady_us(time.monotonic_ns())
        now = max(self._base + slow, time.time_ns() // 1_000)
        self._base = now - slow
        return now
