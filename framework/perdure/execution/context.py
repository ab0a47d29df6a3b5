"""The context that a body gets."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from random import Random
from typing import Any, ClassVar, Generic, Literal, NoReturn
from uuid import UUID

from typing_extensions import TypeVar

from perdure.authoring.events import Received
from perdure.authoring.names import text_fault
from perdure.core import payload
from perdure.core.durations import from_us
from perdure.errors import PayloadTooLarge, RunFailed, UsageError
from perdure.execution import asks, streams
from perdure.execution.desk import Desk, LoopDesk
from perdure.execution.failures import run_failed
from perdure.execution.runlog import RunLog
from perdure.execution.step import Step
from perdure.execution.tasks import RunTask, Scope

__all__ = ["BaseContext", "Context", "FailedRun", "FailureContext"]

E_co = TypeVar("E_co", covariant=True, default=dict[str, Any])


class BaseContext(Generic[E_co]):
    """What the contexts of `async def` and `def` bodies have in common."""

    __perdure_body__: ClassVar[Literal["", "async def", "def"]] = ""
    """Which kind of body takes it, for the check of its annotation."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @cached_property
    def event(self) -> Received[E_co]:
        """The event that started this run: `.data`, `.name`, `.id`, `.ts`, `.key`, `.v`."""
        return self.events[self._desk.start.at]

    @cached_property
    def events(self) -> list[Received[E_co]]:
        """All events of this run: one, a batch, or all of a burst (`Debounce(keep="all")`)."""
        function = self._desk.function
        return [function.receive(event) for event in self._desk.start.events]

    @property
    def run_id(self) -> str:
        """The id of this run."""
        return self._desk.start.run_id

    @property
    def function_id(self) -> str:
        """The id of the function."""
        return self._desk.start.function_id

    @property
    def started_at(self) -> datetime:
        """When the run was made, in UTC: the time of its first turn."""
        return from_us(self._desk.start.created)

    @property
    def evicting(self) -> bool:
        """True when this code runs only because its run is torn down here (moved to another worker, say).

        A `finally` that does something by itself, without a step, should ask: nothing that follows is recorded. In a
        `def` body this is so at every wait.
        """
        return self._desk.evicting

    def now(self) -> datetime:
        """The time in UTC of the recorded input that this code answers to; the same on replay."""
        self._desk.here()
        return from_us(self._desk.now_us)

    @property
    def random(self) -> Random:
        """Random numbers that are the same on replay; each task has a stream of its own."""
        return streams.stream_of(self._desk.start.seed, self._drawing())

    def uuid4(self) -> UUID:
        """A random UUID that is the same on replay."""
        return streams.next_uuid(self._desk.start.seed, self._drawing())

    def _drawing(self) -> RunTask | Scope:
        scope = self._desk.here()
        self._desk.drawn.add(scope.path)
        return scope

    @cached_property
    def log(self) -> RunLog:
        """Writes to the run's log once what the code did is recorded; silent on replay."""
        return RunLog(self._desk)

    def set_value(self, name: str, value: Any) -> None:
        """Publishes progress, as JSON, for `run.value(name)` and the UI.

        Raises UsageError for a name that cannot be, EncodingError for what is not JSON, PayloadTooLarge for too much.
        """
        self._desk.here()
        if fault := text_fault(name):
            raise UsageError(f"the name {name!r:.80} of a value {fault}")
        data = payload.dumps(value, what=f"the value {name!r}")
        if len(data) > self._desk.limits.payload_bytes_max:
            raise PayloadTooLarge(
                f"the value {name!r} has {len(data):,} bytes of JSON, more than Limits.payload_bytes_max = "
                f"{self._desk.limits.payload_bytes_max:,}; store it elsewhere, and publish where it is"
            )
        self._desk.publish(name, data)

    def _begin_anew(self, data: Any) -> None:
        self._desk.here()
        self._desk.begin_anew(asks.fresh_event(self._desk, data))


class Context(BaseContext[E_co]):
    """The context of an `async def` body. `E` is what `ctx.event.data` is: a model, or a dict."""

    __perdure_body__ = "async def"

    def __init__(self, desk: LoopDesk) -> None:
        super().__init__(desk)
        self.step = Step(desk)
        """The durable operations."""

    async def restart_with(self, data: Any) -> NoReturn:
        """Ends this run and begins it anew under the same id, with an empty history: for loops without end.

        `data` is an Event, or the data of one such as began it. This raises `asyncio.CancelledError` in the body, whose
        `finally` may run steps; then what it still waits for is given up, children by their `parent_close`. Handles,
        tags, published values, signals that nobody has taken, and the parent that waits stay with the run. An event
        that comes between two lives is found with `lookback=`, and none of the latest 256 is given twice. A run that is
        being cancelled is not begun anew. Raises UsageError for data that do not fit.
        """
        self._begin_anew(data)
        await self._desk.future()
        raise AssertionError("the body was not cancelled")


class FailedRun(BaseContext[E_co]):
    """What the contexts of failure handlers know about the run that failed."""

    @cached_property
    def _failed(self) -> dict[str, Any]:
        return payload.loads(self._desk.start.event["data"], what="the failure")

    @cached_property
    def error(self) -> RunFailed:
        """How the run failed: `.type_name`, `.message`, `.traceback`, `.fields`, `.causes`."""
        return run_failed(self._failed["run_id"], self._failed["error"])

    @cached_property
    def events(self) -> list[Received[E_co]]:
        """The event that had started the run which failed."""
        original = asks.original_event(self._failed)
        failed = self._desk.functions.get(self._failed["function_id"])
        return [Received(original) if failed is None else failed.receive(original)]

    @property
    def run_id(self) -> str:
        """The id of the run that failed; the handler's own is `handler_run_id`."""
        return self._failed["run_id"]

    @property
    def handler_run_id(self) -> str:
        """The id of the run of this handler."""
        return self._desk.start.run_id


class FailureContext(FailedRun[E_co], Context[E_co]):
    """The context of a failure handler, which runs once, after its run failed, with steps of its own."""
