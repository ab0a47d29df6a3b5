"""Steps that may have killed their worker, one at a time (A8).

Every step that was in flight when an owner vanished is noted. From the second time on it is a suspect: it waits here
until it can run with no other suspect beside it, and the note that it does is read back before it starts. So a step
that kills its worker every time is found out, and those that only stood beside it are not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from perdure.core import failures
from perdure.core.facts import Fact
from perdure.core.limits import Limits
from perdure.core.ops import Failure
from perdure.core.state import Pending


class Journal(Protocol):
    """Where the notes go: the life of a claim."""

    @property
    def acting(self) -> bool: ...

    def append(
        self, name: str, body: dict[str, Any], on_read: Callable[[Fact, str | None], None], *, key: str = ""
    ) -> object: ...


NOBODY = {"run": "", "key": "/", "alone": True}
"""In a note: no step is alone from now on."""
SUSPECT_FROM = 2
"""Unclean takeovers after which a step runs alone."""


def is_suspect(pending: Pending | None) -> bool:
    return pending is not None and pending.suspect >= SUSPECT_FROM


def is_convicted(pending: Pending | None, limits: Limits) -> bool:
    """Whether the step was the only suspect each time when its worker died."""
    return pending is not None and pending.alone >= limits.takeovers_alone_max


def worker_died(times: int) -> Failure:
    """The error of a step that is not started again."""
    return blamed(times, "this step ran, with no other suspect beside it", "started", "it")


def blamed(times: int, while_: str, again: str, where: str) -> Failure:
    """The error of what was alone when its worker died, so many times."""
    message = (
        f"its worker died {times} times while {while_}, so it is not {again} again. Probably {where} runs out of"
        " memory, crashes in native code or calls os._exit. Mend that, and start the run once more: perdure runs rerun"
        " RUN"
    )
    return failures.of_parts("perdure.WorkerDied", message)


class Suspects:
    """The suspects of one process, in line."""

    def __init__(self) -> None:
        self._line: deque[tuple[Journal, str, str, Callable[[], None]]] = deque()
        self._running: tuple[Journal, str, str] | None = None
        self._trials: deque[tuple[Journal, Callable[[], None]]] = deque()
        """Claims whose bodies are on trial, or wait for theirs: one at a time, and no suspect starts meanwhile."""
        self._let_off = False
        """The suspect that runs is no longer alone: bodies are on trial beside it."""
        self._letting_off: Journal | None = None
        """Where the note of that is on its way; the trial waits for it."""

    def admit(self, life: Journal, run_id: str, key: str, start: Callable[[], None]) -> None:
        """Starts the step when it is its turn and the note is read back."""
        self._line.append((life, run_id, key, start))
        self._next()

    def finished(self, run_id: str, key: str) -> None:
        """An attempt ended; if it was the suspect's, the next one may start."""
        if self._running is not None and self._running[1:] == (run_id, key):
            self._over()
            self._next()

    def _over(self) -> None:
        self._running, self._let_off = None, False

    def _next(self) -> None:
        while self._running is None and self._line and not self._trials:
            life, run_id, key, start = self._line.popleft()
            if not life.acting:
                continue
            self._running = (life, run_id, key)

            def noted(_fact: Fact, void: str | None, start: Callable[[], None] = start) -> None:
                if void is None:
                    start()

            life.append("Resumed", {"steps": [{"run": run_id, "key": key, "alone": True}]}, noted)
            return

    def hold(self, life: Journal, start: Callable[[], None]) -> None:
        """Bodies are to be tried under this claim: `start` is called when it is their turn, until `release`."""
        self._trials.append((life, start))
        if len(self._trials) == 1:
            self._try()

    def _try(self) -> None:
        """Begins the first trial. What kills its worker then is not a suspect that runs already, and the log has to say
        so before: else the step would be convicted of what a body did in another partition."""
        if self._letting_off is not None:
            return
        if self._running is None or self._let_off or not self._running[0].acting:
            self._trials[0][1]()
            return
        self._let_off = True
        life = self._letting_off = self._running[0]
        life.append("Resumed", {"steps": [NOBODY]}, lambda _fact, _void: self._noted(life))

    def _noted(self, life: Journal) -> None:
        """The note is read back, or nobody is there to read it."""
        if self._letting_off is life:
            self._letting_off = None
            if self._trials:
                self._trials[0][1]()

    def release(self, life: Journal) -> None:
        """The trials of a claim are over, if it had any."""
        first = bool(self._trials) and self._trials[0][0] is life
        self._trials = deque(trial for trial in self._trials if trial[0] is not life)
        if first and self._trials:
            self._try()
        # Not at once: the claims of a process that ends do so one after the other.
        asyncio.get_running_loop().call_soon(self._next)

    def drop(self, life: Journal) -> None:
        """A claim is over: what waited under it waits under the next one."""
        self._line = deque(entry for entry in self._line if entry[0] is not life)
        if self._running is not None and self._running[0] is life:
            self._over()
        self._noted(life)
        self.release(life)
