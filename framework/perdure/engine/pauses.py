"""How long to wait before something that failed is tried again."""

from __future__ import annotations

from collections.abc import Callable

FIRST_US = 500_000
LONGEST_US = 60_000_000
SHORT_US = 5_000_000
"""The longest pause where people wait for what is held up meanwhile."""


def growing(failures: int) -> int:
    """The pause (µs) after so many failures before this one: twice as long each time, up to a minute."""
    return min(FIRST_US << min(failures, 16), LONGEST_US)


def jittered(failures: int, entropy: Callable[[int], bytes]) -> int:
    """The same, and up to half as much again, so that those that failed together do not come back together."""
    pause = growing(failures)
    return pause + pause * int.from_bytes(entropy(2), "big") // (2 * 65_536)
