"""Many timers that are due at once: recorded together as fired, and their runs made again one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from perdure.core.facts import Fact
from perdure.engine.life import Life
from perdure.engine.timers import Due, Together

TIMERS_PER_RECORD = 250
WOKEN_PER_GO = 25
"""Runs made again in one go of the event loop: a few ms."""


class Firing:
    """The part of one claim's life that fires timers of packed runs.

    To make a run again takes ten times as long as to note that its timer has fired. So that is noted first, of all that
    are due, and the runs are woken in slices.
    """

    def __init__(self, life: Life, fire: Callable[[str, str, int], None]) -> None:
        self._life = life
        self._fire = fire
        self._todo: deque[Due] = deque()
        self._soon = False
        life.timers.together = self.record
        life.timers.backlog = lambda: len(self._todo)

    @property
    def busy(self) -> bool:
        """Whether runs are still to be woken."""
        return bool(self._todo)

    def close(self) -> None:
        self._todo.clear()

    def record(self, timers: Sequence[Together]) -> None:
        """Notes that timers of packed runs have fired."""
        for at in range(0, len(timers), TIMERS_PER_RECORD):
            some = timers[at : at + TIMERS_PER_RECORD]
            body = {"timers": [{"run": run, "key": key, "due": due} for due, run, key, _ in some]}
            digests = [digest for *_, digest in some]

            def read(_fact: Fact, _void: str | None, digests: list[int] = digests) -> None:
                self._life.timers.fired(digests)

            if not self._life.append("Fired", body, read):
                self._life.timers.alone(digests)

    def due(self, run: str, key: str, due: int) -> None:
        """The log says that a timer has fired."""
        self._todo.append((due, run, key))
        if not self._soon:
            self._soon = True
            self._life.services.soon(self._wake)

    def _wake(self) -> None:
        self._soon = False
        for _ in range(min(WOKEN_PER_GO, len(self._todo))):
            if not self._life.acting:
                return
            due, run, key = self._todo.popleft()
            try:
                self._fire(run, key, due)
            except Exception as error:  # noqa: BLE001 - of one run: the others are due as well
                self._life.timers.arm(run, key, due)
                self._life.services.trouble(f"a timer of run {run} failed and is tried again", error)
        if self._todo:
            self._soon = True
            self._life.services.soon(self._wake)
        self._life.timers.go_on()
