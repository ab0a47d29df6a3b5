"""`environment(app)`: an app on a log in memory, with a virtual clock and steps that can be mocked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from perdure.app import App, Events
from perdure.authoring.functions import Function
from perdure.client.connections import Connections
from perdure.client.handle import Handle
from perdure.core.durations import Duration, to_us
from perdure.core.state import ENDED
from perdure.engine.engine import Engine
from perdure.engine.services import Services
from perdure.errors import UsageError
from perdure.index.reader import JournalReader
from perdure.index.views import RunView
from perdure.logs.memory import MemoryLog
from perdure.observability.observer import Observers
from perdure.observability.tracing import tracing
from perdure.testing.clock import VirtualClock
from perdure.testing.steps import Mock, MockedSteps
from perdure.worker.steps import LocalSteps

E = TypeVar("E")
R = TypeVar("R")
SETTLE_TIMEOUT_S = 30.0
PARTITIONS = 4


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

    def __init__(self, app: App, log: MemoryLog, clock: VirtualClock) -> None:
        self.app = app
        self.log = log
        self.clock = clock
        self._mocks: list[Mock] = []
        self._steps: LocalSteps | None = None
        self._engine: Engine | None = None
        self._workers = 0

    # ------------------------------------------------------------------ the worker

    async def start_worker(self) -> None:
        """Starts the worker, or starts it again after `crash_worker`."""
        log = self.log.connect(f"worker-{self._workers}")
        await log.open()
        self._workers += 1
        self._steps = LocalSteps(slots=1_000, limits=self.app.limits)
        mocked = MockedSteps(self._steps)
        mocked.mocks = self._mocks
        services = Services(
            log=log,
            clock=self.clock,
            steps=mocked,
            functions={function.id: function for function in self.app.functions},
            limits=self.app.limits,
            observers=Observers([*self.app.observers, *tracing()]),
            entropy=Entropy(f"worker-{self._workers}"),
            strict=True,
        )
        self._engine = Engine(services, self.app.functions.definitions())
        await self._engine.start()
        await self.settle()

    async def stop_worker(self) -> None:
        """Lets the worker leave in good order."""
        if self._engine is not None and self._steps is not None:
            engine, self._engine = self._engine, None
            await engine.stop()
            await self._steps.close(0)

    async def crash_worker(self) -> None:
        """The worker is gone from one moment to the next; nothing of it is told to the log."""
        if self._engine is not None and self._steps is not None:
            engine, self._engine = self._engine, None
            log = engine.services.log
            assert isinstance(log, MemoryLog)
            log.kill()
            engine.abandon()
            await self._steps.close(0)

    async def settle(self) -> None:
        """Returns when nothing can go on without time passing or something being sent."""
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

    async def send(self, event: Events, data: object = None, **envelope: Any) -> list[RunView]:
        """Sends events, settles, and returns every run that they started."""
        sent = await self.app.send(event, data, **envelope)
        await self.settle()
        wanted = set(sent)
        return [view for view in await self.runs() if view.event["id"] in wanted and not view.parent]

    async def start(
        self,
        function: Function[E, R],
        event: E | Mapping[str, Any] | None = None,
        *,
        id: str | None = None,  # noqa: A002
        tags: Mapping[str, str] | None = None,
    ) -> TestRun[R]:
        """Starts a run, settles, and returns it."""
        handle = await self.app.start(function, event, id=id, tags=tags)
        await self.settle()
        return await TestRun.of(self, handle)

    def mock_step(
        self,
        step_id: str,
        *,
        returns: Any = None,
        raises: BaseException | None = None,
        call: Callable[..., Any] | None = None,
        function: Function[Any, Any] | str | None = None,
    ) -> Mock:
        """Replaces what a step calls: by a value, an error, or a callable; in one function, or in all."""
        if sum(given is not None for given in (returns, raises, call)) > 1:
            raise UsageError(f"mock_step({step_id!r}) takes one of returns=, raises= and call=")
        function_id = function.id if isinstance(function, Function) else function

        async def stand_in(*_args: Any, **_kwargs: Any) -> Any:
            if raises is not None:
                raise raises
            return returns

        mock = Mock(step_id, function_id, call or stand_in)
        self._mocks.append(mock)
        return mock

    # ------------------------------------------------------------------ looking

    async def runs(self) -> list[RunView]:
        """All runs, the oldest first, failure handlers and children among them."""
        reader = await self.reader()
        return [view for run in reversed(reader.runs()) if (view := reader.view(run.id)) is not None]

    async def run(self, run_id: str) -> RunView | None:
        """One run, as its log says it is now."""
        return (await self.reader()).view(run_id)

    async def reader(self) -> JournalReader:
        """The log, folded from its first entry by a reader of its own."""
        reader = JournalReader(self.log, self.app.limits)
        await reader.read()
        return reader


class TestRun(RunView):
    """A run in an environment: its view, brought up to date by `refresh`, and its handle."""

    __test__ = False


@asynccontextmanager
async def environment(app: App, *, partitions: int = PARTITIONS) -> AsyncIterator[Environment]:
    """Runs the app on a log in memory with a virtual clock; `app.send` and `app.start` reach it too.

    Entered, a worker leads all partitions. Everything is gone when it is left.
    """
    clock = VirtualClock()
    log = MemoryLog(partitions, now=clock.now)
    env = Environment(app, log, clock)
    await log.open()
    with app.borrowed(Connections(log, Entropy("client")), clock):
        try:
            await env.start_worker()
            yield env
        finally:
            await env.stop_worker()
            await app.close()


__all__ = ["ENDED", "Environment", "TestRun", "environment"]
