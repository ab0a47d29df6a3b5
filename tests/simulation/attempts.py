"""Attempts in the simulated service: they wait until the seed runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from perdure.execution import outcome
from perdure.execution.ports import Attempt, Outcome
from tests.simulation import programs

if TYPE_CHECKING:
    from tests.simulation.world import Worker


class Steps:
    """Holds every attempt until the seed runs it, and keeps the ledger of what was really done."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.held: list[tuple[Attempt, Callable[[Outcome], None]]] = []

    @property
    def waiting(self) -> int:
        """There are slots for all."""
        return 0

    def start(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        self._worker.check_start(attempt)
        self.held.append((attempt, done))

    def cancel(self, run_id: str, key: str) -> None:
        for attempt, done in [w for w in self.held if (w[0].run_id, w[0].key) == (run_id, key)]:
            if attempt.fn in programs.STUBBORN:
                continue
            self.held.remove((attempt, done))
            done(outcome.raised(attempt, asyncio.CancelledError(), 0))

    def compute(self, fn: Callable[[], Any], done: Callable[[Any], None]) -> None:
        done(fn())

    def run(self, index: int) -> None:
        attempt, done = self.held.pop(index)
        self._worker.world.ledger.append((attempt.run_id, attempt.key))
        done(_attempted(attempt))


def _attempted(attempt: Attempt) -> Outcome:
    """Runs an `async def` that never suspends."""
    from perdure.execution.current import StepInfo, running_step

    info = StepInfo(attempt.idempotency_key, attempt.number, attempt.attempts_max)
    try:
        with running_step(info):
            attempt.fn(*attempt.args, **attempt.kwargs).send(None)
    except StopIteration as stop:
        return outcome.returned(attempt, stop.value, 1)
    except Exception as error:
        return outcome.raised(attempt, error, 1)
    raise AssertionError("a simulated step suspended")
