"""The app: what a user declares functions on, sends events with, and runs."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast, overload

from typing_extensions import Unpack

from perdure.authoring.events import Event
from perdure.authoring.functions import Function, make_function
from perdure.authoring.names import INVOKED
from perdure.authoring.registry import Registry
from perdure.authoring.sending import EventInput, checked_tags, to_event
from perdure.authoring.steps import step
from perdure.authoring.subjects import event_models
from perdure.client.client import Client
from perdure.client.connections import Connections
from perdure.client.deployed import deployed, may_send
from perdure.client.handle import Handle, checked_reason
from perdure.client.subjects import check_at_start
from perdure.config import log_url, payload_vault, schema_registry
from perdure.core import ids
from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.core.ops import EventData
from perdure.declaring import FunctionDecorator, FunctionOptions
from perdure.engine.clock import Clock, SystemClock, clock_for
from perdure.engine.engine import Engine
from perdure.engine.schemas import Schemas
from perdure.engine.services import Services
from perdure.errors import UsageError
from perdure.execution.asks import check_given
from perdure.execution.context import Context
from perdure.execution.sync_context import SyncContext
from perdure.logs import events_topic
from perdure.logs.contract import Log
from perdure.observability.logging import RunLogging
from perdure.observability.observer import Observer, Observers
from perdure.observability.tracing import tracing
from perdure.payloads.settings import Payloads, check_functions
from perdure.steering.flow import Flow
from perdure.steering.pausing import set_paused
from perdure.steering.runs import Runs
from perdure.steering.schedules import Schedules
from perdure.worker.held import HeldLoop
from perdure.worker.process import calm_collector, run_until_signalled
from perdure.worker.steps import LocalSteps

E = TypeVar("E")
R = TypeVar("R")
Events = EventInput | Sequence[EventInput]


@dataclass(frozen=True, slots=True)
class _Terms:
    """On which a worker works; `App.worker` says what each is."""

    slots: int = 100
    drain_timeout: float = 10.0
    blocked_after: float = 5.0
    strict: bool = False
    exits: bool = False


_USUAL = _Terms()


class App:
    """An app: its functions, and the way to its log.

    `name` names the journal. On Kafka the apps of a namespace share events and nothing else; a file or `memory:` is one
    app's. `log` is a URL (`sqlite:///path`, `memory:`), else `PERDURE_LOG`, else `.perdure/log.db` at the project's
    root. Nothing is opened before it is needed. `payloads` says how values are compressed, encrypted and stored.
    """

    def __init__(
        self,
        name: str,
        *,
        log: str | Log | None = None,
        limits: Limits = DEFAULT_LIMITS,
        payloads: Payloads | None = None,
    ) -> None:
        if not name or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            raise UsageError(
                f"an app's name is of letters, digits, - and _, such as App('shop'), not {name!r}"
            )
        self.name = name
        self.limits = limits
        self.payloads = payloads
        self.clock: Clock = SystemClock()
        self.functions = Registry()
        self.observers: list[Observer] = []
        self._log = log
        self._connections: Connections | None = None
        self.schedules = Schedules(self._connect, lambda given: self.functions.resolve(given).id, self._now)
        self.runs = Runs(self._connect, self.functions, self._now, self.limits)
        self.flow = Flow(self.name, self._connect, self.functions)

    def __repr__(self) -> str:
        return f"App({self.name!r})"

    def _now(self) -> int:
        return self.clock.now()

    # ------------------------------------------------------------------ declaring

    @property
    def step(self):
        """`@app.step(retry=…, timeout=…)`: see `perdure.step`."""
        return step

    @overload
    def function(self, body: Callable[[Context[E]], Awaitable[R]], /) -> Function[E, R]: ...

    @overload
    def function(self, body: Callable[[SyncContext[E]], R], /) -> Function[E, R]: ...

    @overload
    def function(self, /, **options: Unpack[FunctionOptions]) -> FunctionDecorator: ...

    def function(
        self, body: Callable[..., Any] | None = None, /, **options: Unpack[FunctionOptions]
    ) -> Function[Any, Any] | FunctionDecorator:
        """Declares a durable function; `FunctionOptions` says what each keyword is.

        Raises UsageError for what cannot work, and for an id that is taken.
        """

        def declare(body: Callable[..., Any]) -> Function[Any, Any]:
            made = make_function(body, **options)
            self.functions.add(made)
            return made

        return cast(FunctionDecorator, declare) if body is None else declare(body)

    # ------------------------------------------------------------------ sending

    async def send(
        self,
        event: Events,
        data: object = None,
        *,
        id: str | None = None,  # noqa: A002
        key: str | None = None,
        ts: datetime | float | None = None,
        v: str | None = None,
    ) -> list[str]:
        """Sends an event, or a list of them, and returns their ids, in order, once all are durable.

        An event is an `Event`, a name with `data`, or `{"name", "data", "id", "key", "ts", "v"}`. `id` deduplicates for
        24 h among events of one key, or until a million other ids came to its partition; `key` (default: the class's
        key path, else the id) orders; `ts` in the future delivers then. Raises InvalidEvent, before anything is sent,
        for an event that cannot be; UsageError where the workers encrypt and this process cannot; LogError when the
        log did not take it.
        """
        client = await may_send(await self._connect().client())
        # Type checkers know better; callers without one do not.
        many = isinstance(event, Iterable) and not isinstance(event, str | Event | Mapping)  # pyright: ignore[reportUnnecessaryIsInstance]
        if many and any(given is not None for given in (data, id, key, ts, v)):
            raise UsageError("a list of events takes no data=, id=, key=, ts= or v=; give each event its own")
        inputs = cast(Iterable[EventInput], event if many else (event,))
        events = [self._event(client, e, data, id=id, key=key, ts=ts, v=v) for e in inputs]
        await client.send(events)
        return [e["id"] for e in events]

    def send_sync(
        self,
        event: Events,
        data: object = None,
        *,
        id: str | None = None,  # noqa: A002
        key: str | None = None,
        ts: datetime | float | None = None,
        v: str | None = None,
    ) -> list[str]:
        """`send` for code without an event loop; blocks until the events are durable."""
        return self._connect().run(lambda: self.send(event, data, id=id, key=key, ts=ts, v=v))

    def _event(self, client: Client, event: EventInput, data: object, **envelope: Any) -> EventData:
        return to_event(
            event,
            data,
            **envelope,
            now_us=self.clock.now(),
            make_id=client.make_id,
            data_bytes_max=self.limits.event_bytes_max,
        )

    async def start(
        self,
        function: Function[E, R],
        event: E | Mapping[str, Any] | None = None,
        *,
        id: str | None = None,  # noqa: A002
        tags: Mapping[str, str] | None = None,
    ) -> Handle[R]:
        """Starts a run of a function and returns a handle on it, once the start is durable.

        With an `id` the run is started once: later calls get the existing run. After its end its result is kept for
        24 h, or until 10,000 other runs (or 64 MB of results and events) of its partition have ended; the id is kept
        for 30 days, or until about a million other runs with an `id` have. Until then a start of that `id` starts
        nothing, and `result()` raises RunNotFound once the result is gone; later it starts a run again.
        """
        function = self.functions.resolve(function)
        tags = checked_tags(tags or {})
        client = await may_send(await self._connect().client())
        run_id = client.new_run_id() if id is None else ids.named_run(function.id, id)
        started = self._start_event(client, function, event)
        if event is not None:
            check_given(f"start of {function.id}", function, started, event)
        end = await client.start_run(run_id, function.id, started, tags)
        return Handle(run_id, self._connect().client, function.codec, self.limits, end)

    def _start_event(self, client: Client, function: Function[Any, Any], event: object) -> EventData:
        if isinstance(event, Event):
            return self._event(client, event, None)
        return to_event(
            INVOKED,
            cast(object, {} if event is None else event),
            now_us=self.clock.now(),
            make_id=client.make_id,
            data_bytes_max=self.limits.event_bytes_max,
            internal=True,
        )

    def handle(self, function: Function[Any, R], run_id: str) -> Handle[R]:
        """A handle on a run whose id is known."""
        return Handle(run_id, self._connect().client, function.codec, self.limits)

    async def pause(self, function: Function[Any, Any] | str, *, reason: str = "") -> None:
        """Starts nothing more of a function until `resume`, whatever is deployed meanwhile; durable when this returns.

        Events and ticks that should start it are skipped, and `app.runs.skipped` lists them with the reason; a start by
        name ends at once as cancelled, and an invoke is refused. Runs that are there go on: these are for
        `app.runs.pause(function=…)`.
        """
        function_id = self.functions.resolve(function).id
        client = await self._connect().client()
        await set_paused(client, self.name, function_id, checked_reason(reason))

    async def resume(self, function: Function[Any, Any] | str) -> None:
        """Lets a function that was paused start again. What was skipped meanwhile is not made up for."""
        function_id = self.functions.resolve(function).id
        await set_paused(await self._connect().client(), self.name, function_id, None)

    async def paused(self) -> dict[str, str]:
        """The ids of the functions that are paused, and why."""
        return dict((await deployed((await self._connect().get()).log)).paused)

    # ------------------------------------------------------------------ running

    @asynccontextmanager
    async def worker(
        self,
        *,
        slots: int = 100,
        drain_timeout: float = 10.0,
        blocked_after: float = 5.0,
        strict: bool = False,
        exit_when_held: bool = False,
    ) -> AsyncGenerator[Engine]:
        """A worker inside this process and event loop; ready when entered, drained when left.

        `slots` bounds the attempts of steps that run at once. `drain_timeout` (seconds) is how long running
        attempts may take to finish at the end. A step that blocks the event loop for `blocked_after` (seconds) is
        named in the log of `perdure.worker`. `strict` watches the arguments of steps, as the testing kit does: a step
        or a branch that changes one fails. `exit_when_held` is for a process that is a worker and nothing else: it ends
        with code 70 when one step or body holds the event loop for longer than the limit `held_time_max`.
        """
        async with self._serving(
            _Terms(slots, drain_timeout, blocked_after, strict, exit_when_held)
        ) as engine:
            await engine.ready()
            yield engine

    @asynccontextmanager
    async def _serving(self, terms: _Terms = _USUAL) -> AsyncGenerator[Engine]:
        self.functions.check()
        check_functions(self.functions, self._connect().vault)
        async with self._schemas() as schemas, self._engine(schemas, terms) as engine:
            yield engine

    @asynccontextmanager
    async def _engine(self, schemas: Schemas, terms: _Terms) -> AsyncGenerator[Engine]:
        connection = await self._connect().get()
        observers = Observers([*self.observers, RunLogging(), *tracing(self.name)])
        steps = LocalSteps(
            slots=terms.slots,
            limits=connection.client.vault.limits,
            around=observers.around,
            blocked_s=terms.blocked_after,
        )
        services = Services(
            log=connection.log,
            clock=clock_for(connection.log, self.clock),
            steps=steps,
            functions={function.id: function for function in self.functions},
            limits=self.limits,
            observers=observers,
            entropy=os.urandom,
            sealing=connection.client.vault,
            schemas=schemas,
            strict=terms.strict,
        )
        services.clients[connection.client.id] = connection.client.take
        engine = Engine(self.name, services, self.functions.definitions())
        held = HeldLoop(self.limits.held_time_max / 1e6 if terms.exits else 0, steps.on_loop)
        try:
            await engine.start()
            yield engine
        finally:
            try:
                engine.drain()
                await steps.drain(terms.drain_timeout)
            finally:
                try:
                    await engine.stop()
                finally:
                    await steps.close(0)
                    held.stop()

    @asynccontextmanager
    async def _schemas(self) -> AsyncGenerator[Schemas]:
        """The schemas of the configured Schema Registry, once the event classes were held against it."""
        registry = schema_registry()
        if registry is None:
            yield Schemas()
            return
        try:
            if (topic := events_topic(self.log)) is not None:
                await check_at_start(registry, topic, event_models(self.functions))
            yield Schemas(registry)
        finally:
            registry.close()

    def run_worker(self, *, slots: int = 100, drain_timeout: float = 30.0, blocked_after: float = 5.0) -> int:
        """Runs a worker until SIGTERM or SIGINT, then drains; the process's exit code. What `perdure worker` does.

        Raises LogError when the log has failed for good: the process should end then, and be started anew.
        """

        @asynccontextmanager
        async def serve() -> AsyncGenerator[Engine]:
            try:
                async with self._serving(_Terms(slots, drain_timeout, blocked_after, exits=True)) as engine:
                    yield engine
            finally:
                await self.close()

        calm_collector()
        return run_until_signalled(serve, drain_timeout_s=drain_timeout, until=Engine.failed)

    async def close(self) -> None:
        """Closes the connection of the running event loop."""
        if self._connections is not None:
            await self._connections.close()

    @contextmanager
    def borrowed(self, connections: Connections, clock: Clock) -> Generator[None]:
        """Uses another log and clock for a while: what a test environment does."""
        before = self._connections, self.clock
        self._connections, self.clock = connections, clock
        try:
            yield
        finally:
            self._connections, self.clock = before

    @property
    def log(self) -> str:
        """Where the log is, for people: its URL, or the kind of one that was given as an object."""
        return self._connect().url()

    def _connect(self) -> Connections:
        if self._connections is None:
            log = (
                self._log if self._log is not None and not isinstance(self._log, str) else log_url(self._log)
            )
            self._connections = self.connections(log)
        return self._connections

    def connections(self, log: str | Log) -> Connections:
        """What leads to a log, for this app; nothing is opened yet. For `borrowed`."""
        return Connections(self.name, log, vault=payload_vault(self.payloads, self.name, log, self.limits))
