"""Says which step blocks the event loop, while it does (B6).

A loop that a step blocks takes no heartbeats of its consumer group, no outcomes and no signals; the one thing that
can still speak is another thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from time import monotonic

from perdure.worker.stacks import stack_of

__all__ = ["Watchdog"]

_log = logging.getLogger("perdure.worker")
_SECOND_LOOK_S = 0.05
"""A process that was stopped and goes on, or a machine that slept, finds every deadline passed. So look twice."""
_ADVICE = "give blocking work to a def step, which runs in a thread"


class Watchdog:
    """Watches the loop on which it was made, from a thread, and only while it is armed.

    `suspect` names the step that runs on the loop now, `running` how many do; both are called from the thread.
    """

    def __init__(
        self, blocked_s: float, suspect: Callable[[], object | None], running: Callable[[], int]
    ) -> None:
        self.armed = False
        self._blocked_s = blocked_s
        self._suspect = suspect
        self._running = running
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._answered = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def arm(self) -> None:
        """From now on, until no step has run for a while. On the loop."""
        if self._stopped.is_set():
            return
        self.armed = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="perdure-watchdog", daemon=True)
            self._thread.start()
        self._wake.set()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        self._answered.set()

    def _watch(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait()
            self._wake.clear()
            while self._running() and not self._stopped.is_set():
                if not self._look():
                    return
                self._stopped.wait(self._blocked_s / 4)
            self.armed = False
            if self._running():  # it started while this was still armed
                self.armed = True
                self._wake.set()

    def _look(self) -> bool:
        """Asks the loop for a sign of life; False when the loop is closed."""
        self._answered.clear()
        asked = monotonic()
        try:
            self._loop.call_soon_threadsafe(self._answered.set)
        except RuntimeError:
            return False
        if self._answered.wait(self._blocked_s) or self._answered.wait(_SECOND_LOOK_S):
            return True
        who = self._suspect() or "something that is not a step"
        where = stack_of(self._loop_thread)
        _log.warning(
            "the event loop has been blocked for %.1f s by %s; %s. It is at:\n%s",
            monotonic() - asked,
            who,
            _ADVICE,
            where,
        )
        while not self._answered.wait(self._blocked_s):
            if self._loop.is_closed():
                return False
        if not self._stopped.is_set():
            _log.warning("the event loop runs again; %s blocked it for %.1f s", who, monotonic() - asked)
        return not self._stopped.is_set()
