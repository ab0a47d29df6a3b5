"""A body that kills its worker, beside all other faults of the simulated service: it is found, and it alone (A8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure.core.ops import EventData
from perdure.core.state import Run
from perdure.core.trials import Trials
from perdure.logs.memory.faults import Delivery
from perdure.observability.observer import Observer, Observers
from tests.simulation.audit import Broken
from tests.simulation.test_simulation import chosen_chunks
from tests.simulation.world import Worker, World, simulate

SEEDS = 40
KILLER = "killer"
"""The event of the run that kills whoever wakes it."""


class Killed(BaseException):
    """A worker is gone in the midst of what it did."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.name)
        self.worker = worker


class Kills(Observer):
    """Stands in for the body: called right before its first turn."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def begun(self, run: Run) -> None:
        if is_killer(run):
            raise Killed(self._worker)


def is_killer(run: Run) -> bool:
    return run.event["id"] == KILLER and run.function == "sequence"


class KillersWorld(World):
    """The same seeds, and a killer among the first runs."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.deaths = 0
        self._dead: list[Worker] = []
        for name in ("step", "move"):
            setattr(self.clock, name, self._surviving(getattr(self.clock, name)))

    def _surviving(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any) -> Any:
            try:
                return call(*args)
            except Killed as killed:
                self._dead.append(killed.worker)

        return called

    async def open(self) -> None:
        await super().open()
        data = {"name": "sequence", "key": "k", "v": None, "trace": None, "data": b'{"n":1}'}
        self._deliver(EventData(id=KILLER, ts=self.clock.now(), **data))

    async def add_worker(self, version: int) -> None:
        await super().add_worker(version)
        worker = self.workers[-1]
        worker.services.observers = Observers([Kills(worker)])

    def deliver(self, delivery: Delivery) -> None:
        self._surviving(super().deliver)(delivery)

    def unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Killed):
            self._dead.append(error.worker)
        else:
            super().unhandled(loop, context)

    async def settle(self) -> None:
        await super().settle()
        dead, self._dead = self._dead, []
        for worker in dict.fromkeys(dead):
            if worker in self.workers:
                self.deaths += 1
                await self.crash(worker)

    def _check_complete(self) -> None:
        found = [run for state in self.audit.states for run in state.runs.values() if died(run)]
        if not all(map(is_killer, found)) or len(found) != 1:
            raise Broken(f"found to have killed its worker: {[(run.id, run.function) for run in found]}")
        del self.sent[KILLER]
        for state in self.audit.states:
            for run in found:
                state.runs.pop(run.id, None)
        super()._check_complete()


def died(run: Run) -> bool:
    return run.error is not None and run.error["type"] == "perdure.WorkerDied"


def test_a8_a_killer_is_found_and_nobody_else_whatever_happens() -> None:
    deaths = 0
    for seeds in chosen_chunks(SEEDS, 1):
        for seed in seeds:
            world = asyncio.run(simulate(seed, kind=KillersWorld))
            deaths += world.deaths if isinstance(world, KillersWorld) else 0
    assert deaths > 3 * SEEDS


def test_a8_a_killer_that_is_never_found_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the count of deaths the workers die for ever."""
    monkeypatch.setattr(Trials, "careful", False)
    with pytest.raises(Broken, match="50 workers died of"):
        asyncio.run(simulate(1, kind=ImpatientWorld))


class ImpatientWorld(KillersWorld):
    async def settle(self) -> None:
        await super().settle()
        if self.deaths > 50:
            raise Broken("a run was never found that 50 workers died of")
