"""`environment(app)`: an app on a log in memory, with a virtual clock and steps that can be mocked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from perdure.app import App, Events
from perdure.authoring.functions import Function
from perdure.authoring.payloads import Codec, codec_of
from perdure.client.connections import Connections
from perdure.config import payload_vault
from perdure.core import payload
from perdure.core.durations import Duration, to_us
from perdure.core.ops import EventData, Failure
from perdure.core.state import Run
from perdure.engine.engine import Engine
from perdure.engine.services import Services
from perdure.errors import RunNotFound, UsageError
from perdure.execution.ports import Attempt
from perdure.index.opening import Reading
from perdure.index.reader import JournalReader
from perdure.index.views import RunView, StepView
from perdure.logs.contract import Producer
from perdure.logs.memory import MemoryLog
from perdure.observability.logging import RunLogging
from perdure.observability.observer import Observers
from perdure.observability.tracing import tracing
from perdure.payloads.settings import Payloads, check_functions
from perdure.payloads.store import MemoryStore
from perdure.testing.clock import VirtualClock
from perdure.testing.steps import Mock, MockedSteps, Mocks
from perdure.worker.steps import LocalSteps

E = TypeVar("E")
R = TypeVar("R")
SETTLE_TIMEOUT_S = 30.0
PARTITIONS = 4
FOREVER_US = 2**62
KEPT_RUNS = 1_000_000
"""A test may look at runs that a real log has long forgotten."""


class Entropy:
    """Bytes that look random and are the same in every run of a test."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_128(f"{self._seed}:{self._count}".encode()).digest(size)


class Environment:
    """An app under test. Made by `environment(app)`."""

    def __init__(self, app: App, log: MemoryLog, clock: VirtualClock, connections: Connections) -> None:
        self.app = app
        self.log = log
        self.clock = clock
        kept = replace(app.limits, ended_run_time_max=FOREVER_US, ended_runs_max=KEPT_RUNS)
        self.reader = JournalReader(log, kept, Reading(connections.vault, fetches=True))
        """The log, folded by a reader of its own; up to date whenever the environment has settled."""
        self._connections = connections
        self.vault = connections.vault
        """What becomes of payloads: by the codecs of the app, with a store in memory."""
        self.mocks = Mocks()
        self._steps: LocalSteps | None = None
        self._engine: Engine | None = None
        self._workers = 0
        self._leaving: list[LocalSteps] = []
        self.on_attempt: Callable[[Attempt], None] | None = None
        """Called with every attempt before it starts."""
        self.wrap_producer: Callable[[Producer], Producer] | None = None
        """Stands between the worker and its producers."""
        self.on_settled: Callable[[], Awaitable[None]] | None = None
        """Awaited whenever the environment has settled, before whoever asked for it goes on."""

    # ------------------------------------------------------------------ the worker

    async def start_worker(self) -> None:
        """Starts the worker, or starts it again after `crash_worker`."""
        self.app.functions.check()
        check_functions(self.app.functions, self._connections.vault)
        log = self.log.connect(f"worker-{self._workers}")
        await log.open()
        self._workers += 1
        observers = Observers([*self.app.observers, RunLogging(), *tracing(self.app.name)])
        self._steps = LocalSteps(slots=1_000, limits=self._connections.vault.limits, around=observers.around)
        mocked = MockedSteps(self._steps, self.mocks)
        mocked.on_attempt = self.on_attempt
        services = Services(
            log=log,
            clock=self.clock,
            steps=mocked,
            functions={function.id: function for function in self.app.functions},
            limits=self.app.limits,
            observers=observers,
            entropy=Entropy(f"worker-{self._workers}"),
            sealing=self._connections.vault,
            strict=True,
            wrap_producer=self.wrap_producer,
        )
        self._engine = Engine(self.app.name, services, self.app.functions.definitions())
        starting = asyncio.get_running_loop().create_task(self._engine.start())
        while not starting.done() and not self.worker_is_gone:  # noqa: ASYNC110 - a crash is no event
            await asyncio.sleep(0)
        if self.worker_is_gone:
            starting.cancel()
        await asyncio.gather(starting, return_exceptions=self.worker_is_gone)
        await self.settle()

    async def stop_worker(self) -> None:
        """Lets the worker leave in good order."""
        if self._engine is not None and self._steps is not None:
            engine, self._engine = self._engine, None
            await engine.stop()
            await self._steps.close(0)

    async def crash_worker(self) -> None:
        """The worker is gone from one moment to the next; nothing of it is told to the log."""
        self.crash_now()
        await self.settle()

    def crash_now(self) -> None:
        """The same, from wherever it is called."""
        if self._engine is not None and self._steps is not None:
            engine, self._engine = self._engine, None
            log = engine.services.log
            assert isinstance(log, MemoryLog)
            log.kill()
            engine.abandon()
            self._leaving.append(self._steps)

    @property
    def worker_is_gone(self) -> bool:
        """Whether no worker runs, since it crashed or was stopped."""
        return self._engine is None

    async def settle(self) -> None:
        """Returns when nothing can go on without time passing or something being sent."""
        leaving, self._leaving = self._leaving, []
        for steps in leaving:
            await steps.close(0)
        deadline = asyncio.get_running_loop().time() + SETTLE_TIMEOUT_S
        calm = 0
        while calm < 3:
            engine = self._engine
            quiet = engine is None or (len(engine.partitions) == self.log.partitions and engine.quiet())
            calm = calm + 1 if quiet and not self.log.busy else 0
            await asyncio.sleep(0 if calm or not self._threads_at_work() else 0.0005)
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(
                    f"the environment does not settle within {SETTLE_TIMEOUT_S:.0f} s: {self._why()}"
                )
        await self.reader.read()
        if self.on_settled is not None:
            await self.on_settled()

    def _threads_at_work(self) -> bool:
        return self._engine is not None and self._engine.services.running > 0

    def _why(self) -> str:
        if self._engine is None:
            return "no worker"
        services = self._engine.services
        busy = [number for number, partition in self._engine.partitions.items() if not partition.quiet()]
        return f"{services.running} attempts run, partitions {busy} are busy"

    # ------------------------------------------------------------------ time

    def now(self) -> datetime:
        """The virtual time, in UTC."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.clock.now())

    async def advance(self, duration: Duration) -> None:
        """Lets time pass: fires what is due, in order, and settles after each."""
        until = self.clock.now() + to_us(duration)
        await self.settle()
        while self.clock.step(until):
            await self.settle()
        self.clock.move(until)
        await self.settle()

    # ------------------------------------------------------------------ doing

    async def send(
        self,
        event: Events,
        data: object = None,
        *,
        id: str | None = None,  # noqa: A002
        key: str | None = None,
        ts: datetime | float | None = None,
        v: str | None = None,
    ) -> list[TestRun[Any]]:
        """Sends events, settles, and returns every run that they started."""
        sent = set(await self.app.send(event, data, id=id, key=key, ts=ts, v=v))
        await self.settle()
        return [
            self._seen(run)
            for run in reversed(self.reader.runs())
            if not run.parent
            and (run.event["id"] in sent or (run.restarts and not sent.isdisjoint(run.seen)))
        ]

    async def start(
        self,
        function: Function[E, R],
        event: E | Mapping[str, Any] | None = None,
        *,
        id: str | None = None,  # noqa: A002
        tags: Mapping[str, str] | None = None,
    ) -> TestRun[R]:
        """Starts a run, settles, and returns it."""
        function = self.app.functions.resolve(function)
        handle = await self.app.start(function, event, id=id, tags=tags)
        await self.settle()
        return TestRun(self, handle.run_id, function.codec)

    def mock_step(
        self,
        step_id: str,
        *,
        returns: Any = None,
        raises: BaseException | None = None,
        call: Callable[..., Any] | None = None,
        function: Function[Any, Any] | str | None = None,
        required: bool = True,
    ) -> Mock:
        """Replaces what a step calls: by a value, an error, or a callable; in one function, or in all.

        When the environment is left without an error and no such step ran, it raises UsageError: the id may be
        misspelt. `required=False` allows that.
        """
        function_id = function.id if isinstance(function, Function) else function
        return self.mocks.add(
            step_id, function_id, returns=returns, raises=raises, call=call, required=required
        )

    async def command(self, run_id: str, name: str, body: dict[str, Any]) -> None:
        """Sends a command to a run and settles."""
        await (await self._connections.client()).command(run_id, name, body)
        await self.settle()

    # ------------------------------------------------------------------ looking

    def runs(self, function: Function[Any, Any] | str | None = None) -> list[TestRun[Any]]:
        """All runs, or those of a function, the oldest first; failure handlers and children among them."""
        wanted = function.id if isinstance(function, Function) else function
        return [self._seen(run) for run in reversed(self.reader.runs()) if wanted in (None, run.function)]

    def run(self, run_id: str) -> TestRun[Any]:
        """The run of this id."""
        run = self.reader.run(run_id)
        if run is None:
            raise RunNotFound(f"no run {run_id!r}; there are {[run.id for run in self.reader.runs()]}")
        return self._seen(run)

    def _seen(self, run: Run) -> TestRun[Any]:
        function = self.app.functions.get(run.function)
        return TestRun(self, run.id, function.codec if function is not None else codec_of(Any, "the result"))


class TestRun(Generic[R]):
    """A run in an environment: what it looks like now, after the environment last settled, and its handle.

    `status` is "running", "scheduled", "completed", "failed" (`error`), "cancelled", "paused" or "parked"; `steps` have
    `id`, `kind`, `status`, `attempts`, `output` and `error`.
    """

    __test__ = False

    def __init__(self, env: Environment, run_id: str, codec: Codec[R]) -> None:
        self._env = env
        self._codec = codec
        self.id = run_id

    def __repr__(self) -> str:
        return f"<run {self.id} of {self.view.function}: {self.view.status}>"

    @property
    def view(self) -> RunView:
        """Everything that the log says of it."""
        found = self._env.reader.view(self.id)
        if found is None:
            raise RunNotFound(f"run {self.id} is not in the log")
        return found

    @property
    def status(self) -> str:
        return self.view.status

    @property
    def result(self) -> R:
        """What the function returned, as its annotated type. Raises UsageError for a run that has not completed."""
        run = self._env.reader.run(self.id)
        if run is None or run.result is None:
            raise UsageError(
                f"run {self.id} has no result: it is {self.view.status} {self.view.error or ''}".rstrip()
            )
        return self._codec.decode(run.result)

    @property
    def error(self) -> Failure | None:
        return self.view.error

    @property
    def steps(self) -> list[StepView]:
        return self.view.steps

    @property
    def event(self) -> EventData:
        return self.view.event

    @property
    def function(self) -> str:
        return self.view.function

    @property
    def values(self) -> dict[str, Any]:
        """What the body published with `ctx.set_value`."""
        return self.view.values

    def step(self, step_id: str) -> StepView:
        """The step of this id. Raises KeyError, with the ids that there are."""
        for step in self.view.steps:
            if step.id == step_id:
                return step
        raise KeyError(f"{step_id!r}; there are {[step.id for step in self.view.steps]}")

    async def cancel(self, *, reason: str = "", force: bool = False) -> None:
        """Cancels the run and settles."""
        await self._env.command(self.id, "CancelAsk", {"reason": reason, "force": force})

    async def signal(self, name: str, data: object = None) -> None:
        """Sends the run a signal and settles."""
        await self._env.command(self.id, "SignalSend", {"name": name, "data": payload.dumps(data)})

    async def pause(self, *, reason: str = "") -> None:
        await self._env.command(self.id, "PauseAsk", {"reason": reason})

    async def resume(self) -> None:
        await self._env.command(self.id, "ResumeAsk", {"reason": ""})


@asynccontextmanager
async def environment(
    app: App, *, partitions: int = PARTITIONS, start: bool = True
) -> AsyncGenerator[Environment]:
    """Runs the app on a log in memory with a virtual clock; `app.send` and `app.start` reach it too.

    Entered, a worker leads all partitions (`start=False`: none runs until `start_worker`). Everything is gone when it
    is left. Left without an error, it raises UsageError for a mock whose step never ran.
    """
    clock = VirtualClock()
    log = MemoryLog(partitions, now=clock.now)
    vault = payload_vault(replace(app.payloads or Payloads(), store=MemoryStore()), app.name, log, app.limits)
    connections = Connections(app.name, log, Entropy("client"), vault=vault)
    env = Environment(app, log, clock, connections)
    await log.open()
    with app.borrowed(connections, clock):
        try:
            if start:
                await env.start_worker()
            yield env
        finally:
            await env.stop_worker()
            await app.close()
    env.mocks.check()
