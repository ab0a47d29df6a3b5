"""A rolling deploy from one seed: old workers that start again change nothing, and a rollback is one (decision 9)."""

from __future__ import annotations

import asyncio

import pytest

from perdure.core.deploys import Deploys
from perdure.engine import deploying
from perdure.engine.deploying import Deploying
from perdure.logs.contract import Topic
from tests.simulation import programs
from tests.simulation.audit import Broken
from tests.simulation.world import PARTITIONS, Worker, World

SEEDS = range(40)
ACTIONS = 150
STEP_US = 2_000_000


class Deploy(World):
    """Two workers of old code and two of new; none of the new is away for long, and whoever lives hears in time."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.due: set[str] = set()
        """Events that must start the new function, too."""

    def in_force(self) -> bool:
        """Whether every partition routes by the new code."""
        return all(any(f["id"] == "audit" for f in state.config["functions"]) for state in self.audit.states)

    async def until_in_force(self, wanted: bool) -> None:
        for _ in range(20_000):
            if self.in_force() == wanted and not self.joining:
                return
            await self.go_on()
        raise Broken(f"the {'new' if wanted else 'old'} definitions never came into force")

    async def go_on(self) -> None:
        """Whatever can happen, else time passes."""
        deliveries = self.deliverable()
        busy = [w for w in self.workers if w.steps.held]
        if deliveries:
            self.deliver(self.rnd.choice(deliveries))
        elif busy:
            busy[0].steps.run(0)
        else:
            self._pass_time()
        await self.settle()

    def _pass_time(self) -> None:
        for _ in range(1_000):  # whoever lives hears of the registry in time
            found = [d for d in self.log.pending() if d.topic is Topic.REGISTRY and d.kind != "late"]
            if not found:
                break
            self.log.perform(found[0])
        due = self.clock.next_due()
        self.clock.step(min(self.clock.now() + STEP_US, due if due is not None else 2**62))
        if due is None or self.clock.now() < due:
            self.clock.move(self.clock.now() + STEP_US)

    def send(self) -> None:
        super().send()
        if self.in_force():
            self.due.add(f"e{self._events}")

    async def _disturb(self) -> None:
        kind = self.rnd.choice(("crash", "crash", "crash", "revoke", "lost"))
        partition = self.rnd.randrange(PARTITIONS)
        if kind == "crash":
            await self.crash(self.rnd.choice(self.workers))  # and the same code starts again
        elif kind == "revoke":
            self.log.force_revoke(partition)
        else:
            self.log.force_lost(partition)

    def deliver(self, delivery) -> None:
        self.log.perform(delivery, entries_max=self.rnd.choice((1, 3, 1_000)))

    def check_due(self) -> None:
        ran = {
            run.event["id"] for s in self.audit.states for run in s.runs.values() if run.function == "audit"
        }
        missed = sorted(
            event for event in self.due if self.sent[event]["name"] == "sequence" and event not in ran
        )
        if missed:
            raise Broken(f"events {missed} did not start the function that the new code has for them")


async def deployed(seed: int) -> Deploy:
    """A deploy in the midst of everything, and at its end only the new code."""
    world = Deploy(seed)
    asyncio.get_running_loop().set_exception_handler(world.unhandled)
    try:
        await world.open()
        await world.until_in_force(False)
        for _ in range(2):
            await world.add_worker(2)
        await world.until_in_force(True)
        for _ in range(ACTIONS):
            await world.act()
        await world.heal()
        world.check_due()
    except Exception as error:
        raise Broken(f"seed {seed}: {error}") from error
    finally:
        await world.close()
    return world


@pytest.fixture(autouse=True)
def only_one_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "TRIGGERS", ("sequence",))


def test_no_trigger_of_the_new_code_is_dropped_while_a_worker_of_it_lives() -> None:
    due = 0
    for seed in SEEDS:
        due += len(asyncio.run(deployed(seed)).due)
    assert due > 3 * len(SEEDS)


def test_a_restart_that_puts_old_definitions_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def always(self: Deploying) -> None:
        await self._publish(None, 0)
        self._follower = self._services.log.follow(Topic.REGISTRY, 0, 0, self._take)

    def newest(self: Deploys, offset: int, value: bytes, headers) -> bool:
        self.known.clear()
        self.current = None
        return take(self, offset, value, headers)

    take = Deploys.take
    monkeypatch.setattr(Deploying, "begin", always)
    monkeypatch.setattr(Deploys, "take", newest)

    async def lives() -> None:
        for seed in SEEDS:
            await deployed(seed)

    with pytest.raises(Broken, match="did not start the function that the new code has"):
        asyncio.run(lives())


async def rolled_back(seed: int) -> Deploy:
    world = Deploy(seed)
    asyncio.get_running_loop().set_exception_handler(world.unhandled)
    world.calm = True
    try:
        await world.open()
        await world.until_in_force(False)
        for worker in list(world.workers):
            await world.crash(worker, version=2)
        await world.until_in_force(True)
        new: list[Worker] = list(world.workers)
        await world.add_worker(1)
        for _ in range(200):  # while they live, nothing changes
            await world.go_on()
            assert world.in_force()
        for worker in new:
            await world.crash(worker, version=1)
        gone = world.clock.now()
        await world.until_in_force(False)
        assert world.clock.now() - gone < 2 * (deploying.PERIOD_US + deploying.PATIENCE_US)
    finally:
        await world.close()
    return world


def test_a_rollback_counts_soon_after_the_last_worker_of_the_new_code_is_gone() -> None:
    for seed in SEEDS:
        asyncio.run(rolled_back(seed))


def test_new_code_that_dies_at_once_is_given_up_by_the_old_workers_that_never_ended() -> None:
    async def tried(seed: int) -> None:
        world = Deploy(seed)
        world.calm = True
        try:
            await world.open()
            await world.until_in_force(False)
            await world.add_worker(2)
            await world.until_in_force(True)
            worker = world.workers.pop()
            worker.log.kill()
            worker.engine.abandon()
            await world.until_in_force(False)
        finally:
            await world.close()

    for seed in SEEDS:
        asyncio.run(tried(seed))
