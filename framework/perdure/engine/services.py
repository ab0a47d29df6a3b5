"""What every partition of a process shares: the log, the clock, the code, the worker, and who watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from perdure.authoring.functions import Function
from perdure.core.limits import Limits
from perdure.engine.clock import Clock
from perdure.engine.schemas import Schemas
from perdure.engine.suspects import Suspects
from perdure.engine.triggering import Triggering
from perdure.execution.ports import Steps
from perdure.logs.contract import Log, Member, Producer, Topic
from perdure.observability.observer import Observers
from perdure.payloads.vault import Vault


@dataclass(slots=True)
class Services:
    """The engine's surroundings in one process. Everything that is not a function of the log comes in through here."""

    log: Log
    clock: Clock
    steps: Steps
    functions: Mapping[str, Function[Any, Any]]
    limits: Limits
    observers: Observers
    entropy: Callable[[int], bytes]
    """Random bytes, for owner ids and pauses."""
    config: dict[str, Any] = field(default_factory=lambda: {"version": 0, "functions": [], "limits": {}})
    """The newest definitions in the registry, and the bounds that hold with them."""
    clients: dict[str, Callable[[dict[str, Any]], None]] = field(
        default_factory=dict[str, Callable[[dict[str, Any]], None]]
    )
    """Clients in this process, by id: they are answered without the log."""
    schemas: Schemas = field(default_factory=Schemas)
    sealing: Vault | None = None
    """Seals payloads on their way into a record, and opens them on their way out; by default, neither."""
    suspects: Suspects = field(default_factory=Suspects)
    triggering: Triggering = field(init=False)
    vault: Vault = field(init=False)
    member: Member | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    snapshotting: int = 0
    """Partitions of which a snapshot is being taken. They take turns: each is in memory as a whole meanwhile."""
    long_reads: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, 1))
    """Who reads a long journal holds it until it leads: read one after the other, the first one goes on far sooner than
    if all were read at once, and the last one no later."""
    running: int = 0
    """Attempts handed to the worker and not finished."""
    committing: int = 0
    """Runs that have a commit on its way."""
    routing: int = 0
    """Runs whose start is on its way."""
    swept: int = 0
    """When this process last trimmed the topics that are nobody's (µs)."""
    app: str = ""
    strict: bool = False
    """Whether arguments of steps are watched for changes: in tests and in development (A9)."""
    draining: bool = False
    """Nothing new is started any more; what runs may finish."""
    wrap_producer: Callable[[Producer], Producer] | None = None
    """Stands between the engine and its producers: tests count and fail appends there."""
    on_configured: Callable[[int, int], None] | None = None
    on_trouble: Callable[[str, BaseException], None] | None = None

    def __post_init__(self) -> None:
        self.triggering = Triggering(self.functions)
        self.vault = self.sealing or Vault(limits=self.limits)

    def producer(self) -> Producer:
        """A new producer instance."""
        made = self.log.producer()
        return made if self.wrap_producer is None else self.wrap_producer(made)

    def soon(self, call: Callable[[], None]) -> None:
        """Calls after everything that is ready now."""
        asyncio.get_running_loop().call_soon(call)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Runs something that waits for the log; its error is told, never swallowed."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.trouble(task.get_name(), error)

    def trouble(self, where: str, error: BaseException) -> None:
        """Something failed that nobody waits for."""
        if self.on_trouble is not None:
            self.on_trouble(where, error)
        else:
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": f"perdure: {where}", "exception": error})

    def follow(self, topic: Topic, partition: int, offset: int) -> None:
        if self.member is not None:
            self.member.follow(topic, partition, offset)

    def pause(self, topic: Topic, partition: int) -> None:
        if self.member is not None:
            self.member.pause(topic, partition)

    def resume(self, topic: Topic, partition: int) -> None:
        if self.member is not None:
            self.member.resume(topic, partition)

    def room(self) -> int:
        """How many new runs should be started now."""
        limits = self.limits
        if self.draining or self.running >= limits.attempts_running_max:
            return 0
        return max(limits.runs_under_way_max - self.steps.waiting - self.committing - self.routing, 0)

    def configured(self, partition: int, version: int) -> None:
        if self.on_configured is not None:
            self.on_configured(partition, version)
