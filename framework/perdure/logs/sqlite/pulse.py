"""Renews this process's leases while the thread of the log waits for its disk.

One sync may take longer than a lease lasts. To take over helps nobody then: the file is the same, and so is the disk.
Workers that took their partitions from each other after each sync would do nothing but claim them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Final

PER_LEASE: Final = 4
LONGEST_S: Final = 1.0


class Pulse:
    """Calls `beat` some times in each lease, on a thread of its own, from `begin` to `end`."""

    def __init__(self, lease_us: int, beat: Callable[[], None]) -> None:
        self._every_s = min(lease_us / 1e6 / PER_LEASE, LONGEST_S)
        self._beat = beat
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="perdure-pulse", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            with contextlib.suppress(OSError):  # the log's own thread meets it as well, and tells
                self._beat()

    def end(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
