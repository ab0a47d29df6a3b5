"""Stops a body that computes and never comes back (B1): a `while True: pass` must not hold up all runs of a worker."""

from __future__ import annotations

import logging
import threading
import time

from perdure.execution import loop as run_loop
from perdure.execution import turns
from perdure.worker.stacks import stack_of

__all__ = ["TurnGuard"]

_log = logging.getLogger("perdure.worker")
_DRIVER = run_loop.__file__
_LOOKS = 20
"""How often a turn is looked at until it is stopped. They are counted instead of the time that passes: a process that
was stopped and goes on has not computed meanwhile, and its guard was stopped with it."""
_EVERY_S_MIN = 0.005
_BUSY = 0.5
"""The share of a core that tells a turn which computes from one that waits: at a debugger's prompt, or for a lock,
where nothing could be raised in it anyway."""


class TurnGuard:
    """Watches the turns on the thread that makes it, from a thread of its own.

    A turn that has taken `named_s` is named in the log of `perdure.worker`, with its line. One that has computed for
    `turn_s_max` is stopped by `turns.interrupt`, again and again if its code catches that; one that waits instead
    cannot be stopped.
    """

    def __init__(self, turn_s_max: float, named_s: float) -> None:
        self._every_s = max(min(turn_s_max, named_s) / _LOOKS, _EVERY_S_MIN)
        self._turn_s_max = turn_s_max
        self._named_s = named_s
        self._watched = threading.get_ident()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="perdure-guard", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        seen: turns.Turning | None = None
        turn, looks, began_s, named = 0, 0, 0.0, False
        while not self._stopped.wait(self._every_s):
            loop = turns.turning_on(self._watched)
            if loop is None:
                seen = None
                continue
            if seen is not loop or turn != loop.turn:
                seen, turn, looks, began_s, named = loop, loop.turn, 0, self._computed_s(), False
            looks += 1
            taken_s = (looks - 1) * self._every_s
            if taken_s >= self._turn_s_max and self._computed_s() - began_s >= self._turn_s_max * _BUSY:
                self._stop_turn(loop, turn, taken_s)
            elif taken_s >= self._named_s and not named:
                named = True
                _log.warning(
                    "%s has held the event loop for %.1f s, and all other runs of this worker wait. Put what takes "
                    "long, or waits for something outside, in a step. It is at:\n%s",
                    loop,
                    taken_s,
                    self._where(),
                )

    def _stop_turn(self, loop: turns.Turning, turn: int, taken_s: float) -> None:
        where = self._where()
        if turns.interrupt(self._watched, loop, turn, where):
            _log.error(
                "%s has computed for %.1f s in one turn; it is stopped, and fails. It was at:\n%s",
                loop,
                taken_s,
                where,
            )

    def _where(self) -> str:
        return stack_of(self._watched, inside=_DRIVER) or "?"

    def _computed_s(self) -> float:
        """CPU time of the watched thread; where the system does not tell, as if it had computed all the time."""
        if not hasattr(time, "pthread_getcpuclockid"):
            return time.monotonic()
        return time.clock_gettime(time.pthread_getcpuclockid(self._watched))
