"""A whole service in one thread: several workers, a log whose deliveries a seed chooses, a clock that jumps."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from perdure.client.client import Client
from perdure.core.limits import DEFAULT_LIMITS
from perdure.core.ops import EventData
from perdure.core.state import STILL
from perdure.engine.engine import Engine
from perdure.engine.services import Services
from perdure.errors import LogError
from perdure.execution.ports import Attempt
from perdure.logs.contract import Topic
from perdure.logs.memory import MemoryLog
from perdure.logs.memory.faults import Delivery, Fault
from perdure.observability.observer import Observers
from perdure.testing.clock import VirtualClock
from tests.simulation import programs
from tests.simulation.attempts import Steps
from tests.simulation.audit import Audit, Broken
from tests.simulation.steering import Steering

PARTITIONS = 3
LIMITS = replace(DEFAULT_LIMITS, snapshot_tail_bytes_min=6_000)
FAULTS = (Fault.LOST_ACK, Fault.FAIL, Fault.DUPLICATE, Fault.LATE)


@dataclass(eq=False)
class Worker:
    """One process."""

    world: World
    name: str
    version: int
    skew: int = 0
    paused: bool = False
    """Does nothing, and hears nothing."""
    cut_off: bool = False
    """Hears nothing, and goes on with what it believes; what it appends lands."""

    def __post_init__(self) -> None:
        world = self.world
        self.log = world.log.connect(self.name)
        self.steps = Steps(self)
        functions = programs.functions(self.version)
        definitions = [
            {
                "id": f.id,
                "triggers": [t.name for t in f.triggers],
                "code": str(self.version),
                "handler": None if f.on_failure is None else f.on_failure.id,
                "flow": [limit.spec(f.id) for limit in f.flow],
            }
            for f in sorted(functions.values(), key=lambda f: f.id)
            if f.kind == "run"
        ]
        self.services = Services(
            log=self.log,
            clock=world.clock,
            steps=self.steps,
            functions=functions,
            limits=world.limits,
            observers=Observers(),
            entropy=world.entropy(self.name),
            on_trouble=world.trouble,
        )
        self.engine = Engine("sim", self.services, definitions)

    def check_start(self, attempt: Attempt) -> None:
        """A step that this worker knows to be completed must not start again (promise 2)."""
        for partition in self.engine.partitions.values():
            run = partition.state.runs.get(attempt.run_id)
            if run is not None and run.status in STILL and self.world.audit.is_known(run):
                raise Broken(f"{attempt.key} starts, and run {attempt.run_id} is {run.status}")
            if run is not None and run.started and attempt.key not in run.pending and run.history:
                settled = self.world.audit.settled[attempt.run_id, attempt.key]
                if settled and run.prev == self.world.audit.states[partition.number].runs[run.id].prev:
                    raise Broken(f"{attempt.key} of run {attempt.run_id} is completed and starts again")


class World:
    """Everything, and the seed that moves it."""

    limits = LIMITS

    def __init__(self, seed: int) -> None:
        self.rnd = random.Random(seed)
        self.seed = seed
        self.clock = VirtualClock()
        self.log = MemoryLog(PARTITIONS, manual=True, now=self.clock.now)
        self.audit = Audit(self.log, LIMITS)
        self.workers: list[Worker] = []
        self.ledger: list[tuple[str, str]] = []
        self.sent: dict[str, EventData] = {}
        self.started: dict[str, tuple[str, int]] = {}
        self.troubles: list[tuple[str, BaseException]] = []
        self.errors: list[dict[str, Any]] = []
        self.calm = False
        self.joining: dict[asyncio.Task[None], Worker] = {}
        self._names = 0
        self._events = 0
        self._entropies = 0
        self._clients: list[asyncio.Task[Any]] = []

    # ------------------------------------------------------------------ parts

    def entropy(self, name: str) -> Callable[[int], bytes]:
        count = 0

        def draw(size: int) -> bytes:
            nonlocal count
            count += 1
            return hashlib.shake_128(f"{self.seed}:{name}:{count}".encode()).digest(size)

        return draw

    def trouble(self, where: str, error: BaseException) -> None:
        self.troubles.append((where, error))
        if not isinstance(error, LogError | TimeoutError):
            raise Broken(f"{where}: {type(error).__name__}: {error}") from error

    def unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(context)

    async def open(self) -> None:
        await self.log.open()
        self.client = Client(self.log, self.entropy("client"))
        await self.client.open()
        self.steering = Steering(self.rnd, self.audit, self.client)
        for _ in range(2):
            await self.add_worker(1)

    async def add_worker(self, version: int) -> None:
        self._names += 1
        worker = Worker(self, f"w{self._names}", version)
        self.workers.append(worker)
        await worker.log.open()
        self.joining[asyncio.get_running_loop().create_task(worker.engine.start())] = worker

    # ------------------------------------------------------------------ actions

    async def settle(self) -> None:
        """Lets the event loop do all that it can without a delivery, and looks at what landed."""
        loop: Any = asyncio.get_running_loop()
        for _ in range(1_000):
            await asyncio.sleep(0)
            if len(loop._ready) <= 1:
                break
        self.audit.read()
        if self.errors:
            context = self.errors[0]
            raise Broken(f"{context['message']}: {context.get('exception')!r}") from context.get("exception")
        for task in [t for t in (*self._clients, *self.joining) if t.done()]:
            worker = self.joining.pop(task, None)
            if worker is None:
                self._clients.remove(task)
            error, killed = task.exception(), worker is not None and worker not in self.workers
            if killed or error is None:
                continue
            if not isinstance(error, LogError):
                raise error
            if worker is not None:
                await self.crash(worker)  # it could not join; whoever looks after it starts it again

    def deliverable(self) -> list[Delivery]:
        deaf = {worker.name for worker in self.workers if worker.paused or worker.cut_off}
        return [d for d in self.log.pending() if d.process not in deaf or d.kind == "append"]

    def send(self) -> None:
        name = self.rnd.choice(programs.TRIGGERS)
        self._events += 1
        event = EventData(
            name=name,
            id=f"e{self._events}",
            ts=self.clock.now(),
            key=f"k{self.rnd.randrange(5)}",
            v=None,
            trace=None,
            data=b'{"n":%d}' % self.rnd.randrange(9),
        )
        self._deliver(event)
        if name == "waiting" and self.rnd.random() < 0.8:
            self._deliver(EventData(**{**event, "name": "paid", "id": f"p{self._events}"}))

    def _deliver(self, event: EventData) -> None:
        async def until_sent() -> None:
            while True:
                try:
                    await self.client.send([event])
                except LogError:
                    continue  # the outcome is unknown: once more, under the same id
                self.sent[event["id"]] = event
                return

        self._clients.append(asyncio.get_running_loop().create_task(until_sent()))

    async def act(self) -> None:
        """One thing happens."""
        roll = self.rnd.random()
        deliveries = self.deliverable()
        busy = [w for w in self.workers if w.steps.held and not w.paused]
        if roll < 0.04 and self._events < 14:
            self.send()
        elif roll < 0.30 and busy:
            steps = self.rnd.choice(busy).steps
            for _ in range(self.rnd.choice((1, 1, 1, 2, len(steps.held)))):
                if steps.held:
                    steps.run(self.rnd.randrange(len(steps.held)))
        elif roll < 0.86 and deliveries:
            self.deliver(self.rnd.choice(deliveries))
        elif 0.86 <= roll < 0.88 and not self.calm:
            self.steering.act()
        elif roll < 0.94:
            self._pass_time()
        elif not self.calm:
            await self._disturb()
        await self.settle()

    def deliver(self, delivery: Delivery) -> None:
        fault = None
        if delivery.kind == "append" and not self.calm and self.rnd.random() < 0.05:
            fault = self.rnd.choice(FAULTS)
        self.log.perform(delivery, fault=fault, entries_max=self.rnd.choice((1, 3, 1_000)))

    def _pass_time(self) -> None:
        due = self.clock.next_due()
        if due is not None and self.rnd.random() < 0.7:
            self.clock.step(due)
        else:
            self.clock.move(self.clock.now() + self.rnd.choice((1_000, 1_000_000, 60_000_000)))

    async def _disturb(self) -> None:
        kind = self.rnd.choice(("crash", "pause", "cut", "cut", "wake", "revoke", "lost", "deploy", "join"))
        worker = self.rnd.choice(self.workers)
        partition = self.rnd.randrange(PARTITIONS)
        if kind == "crash":
            await self.crash(worker)
        elif kind in ("pause", "cut"):
            self._turn_zombie(worker, kind)
        elif kind == "wake":
            worker.paused = worker.cut_off = False
        elif kind == "revoke":
            self.log.force_revoke(partition)
        elif kind == "lost":
            self.log.force_lost(partition)
        elif kind == "deploy":
            await self.crash(worker, version=2)
        elif len(self.workers) < 4:
            await self.add_worker(max(w.version for w in self.workers))

    def _turn_zombie(self, worker: Worker, kind: str) -> None:
        """The worker no longer hears the log; after its session timeout its partitions are another's."""
        if sum(w.paused or w.cut_off for w in self.workers) >= len(self.workers) - 1:
            return
        worker.paused, worker.cut_off = kind == "pause", kind == "cut"
        if self.rnd.random() < 0.8:
            for partition in list(worker.engine.partitions):
                self.log.force_lost(partition)

    async def crash(self, worker: Worker, version: int | None = None) -> None:
        """kill -9, and another in its place."""
        self.workers.remove(worker)
        worker.log.kill()
        worker.engine.abandon()
        await self.add_worker(worker.version if version is None else version)

    # ------------------------------------------------------------------ the end

    async def heal(self, actions_max: int = 60_000) -> None:
        """No more faults: everything that was accepted must come to its end."""
        self.calm = True
        for worker in list(self.workers):
            worker.paused = worker.cut_off = False
            if worker.version < max(w.version for w in self.workers):  # the deploy comes to its end
                await self.crash(worker, version=2)
        for _ in range(actions_max):
            deliveries = self.deliverable()
            late = [d for d in deliveries if d.kind == "late"]
            busy = [w for w in self.workers if w.steps.held]
            if late and self.rnd.random() < 0.5:
                self.log.drop(self.rnd.choice(late))
            elif deliveries:
                self.deliver(self.rnd.choice(deliveries))
            elif busy:
                worker = self.rnd.choice(busy)
                worker.steps.run(self.rnd.randrange(len(worker.steps.held)))
            elif self.steering.resume_all():
                pass
            elif self._finished():
                break
            else:
                due = self.clock.next_due()
                if due is None:
                    break
                self.clock.step(due)
            await self.settle()
        if self._unfinished():
            raise Broken(f"what was accepted is never done: {self._unfinished()}")
        for worker in self.workers:
            for partition in worker.engine.partitions.values():
                self.audit.compare(partition.state, partition._position)
        self._check_complete()

    def _finished(self) -> bool:
        return (
            not (self._clients or self.steering.under_way)
            and all(not run.live for state in self.audit.states for run in state.runs.values())
            and all(
                not self.log.slot(Topic.EVENTS, state.number).read(state.next, 1)
                for state in self.audit.states
            )
            and not any(queue for state in self.audit.states for queue in state.outbox.values())
        )

    def _unfinished(self) -> str:
        """What is left to do. That messages were appended may stay unsaid until their partition writes again."""
        for state in self.audit.states:
            for run in state.live_runs():
                return f"run {run.id} of {run.function} never ended: {run.status} {sorted(run.pending)}"
            if self.log.slot(Topic.EVENTS, state.number).read(state.next, 1):
                return f"events of partition {state.number} from {state.next} on are not routed"
        return "something was not sent" if self._clients or self.steering.under_way else ""

    def _check_complete(self) -> None:
        by_event: dict[str, set[str]] = {}
        for state in self.audit.states:
            for run in state.runs.values():
                if run.live:
                    raise Broken(
                        f"run {run.id} of {run.function} never ended: {run.status} {sorted(run.pending)}"
                    )
                for event_id in (run.event["id"], *(run.seen if run.restarts else ())):
                    by_event.setdefault(event_id, set()).add(run.function)
                data = json.loads(run.event["data"])
                n = data["n"] if "n" in data else data["event"]["data"]["n"]
                got = run.status if run.result is None else run.result.decode()
                if got not in programs.expected(run.function, n):
                    raise Broken(f"run {run.id} of {run.function}({n}) ended with {got} {run.error}")
        for event_id, event in self.sent.items():
            if event["name"] in programs.TRIGGERS and event["name"] not in by_event.get(event_id, set()):
                raise Broken(
                    f"event {event_id} ({event['name']}) was accepted and started nothing (promise 1)"
                )
        told = sum(1 for e in self.sent.values() if e["name"] == "sender")
        heard = sum(1 for s in self.audit.states for run in s.runs.values() if run.function == "listener")
        if told != heard:
            raise Broken(f"{told} events were sent by runs, {heard} were heard")

    async def close(self) -> None:
        for worker in self.workers:
            worker.log.kill()
            worker.engine.abandon()
        tasks = (*self._clients, *self.joining, *self.steering.under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def simulate(seed: int, actions: int = 250, kind: type[World] = World) -> World:
    """One life of the service from one seed. Raises Broken with the seed in it."""
    world = kind(seed)
    asyncio.get_running_loop().set_exception_handler(world.unhandled)
    try:
        await world.open()
        await world.settle()
        for _ in range(actions):
            await world.act()
        await world.heal()
    except Exception as error:
        raise Broken(f"seed {seed}: {error}") from error
    finally:
        await world.close()
    return world
