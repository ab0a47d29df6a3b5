"""`ctx.step` of a `def` body: the same operations, which return their outcome instead of a coroutine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, overload

from perdure.authoring.events import Event, Received
from perdure.authoring.functions import Function
from perdure.authoring.retry import Retry
from perdure.authoring.sending import EventInput
from perdure.authoring.steps import DEFAULT_OPTIONS, Executor, StepOptions, make_options
from perdure.core.durations import Duration
from perdure.execution import asks, waits
from perdure.execution.asks import ParentClose
from perdure.execution.sync_desk import SyncDesk, sync_map
from perdure.execution.waits import If, Signal

__all__ = ["SyncStep", "SyncStepRunner"]

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
V = TypeVar("V", bound=Event)


class SyncStepRunner:
    """Runs steps under certain options; `ctx.step` runs them under those declared with the function."""

    __slots__ = ("_desk", "_options")

    def __init__(self, desk: SyncDesk, options: StepOptions = DEFAULT_OPTIONS) -> None:
        self._desk = desk
        self._options = options

    @overload
    def run(
        self, id: str, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    def run(self, id: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def run(self, id: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    def run(self, id: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
        """Calls `fn` as a step: its outcome is recorded once, and a completed step never runs again in this run.

        `fn` may be `def` or `async def`. Its result comes back as the type annotated on it, decoded from what was
        recorded. Raises StepError when the step is out of attempts.
        """
        desk = self._desk
        pending = desk.ask(desk.next_key(desk.here(), id), fn, args, kwargs, self._options)
        return asks.read_step(pending, desk.answer(pending))

    @overload
    def map(
        self,
        id: str,
        fn: Callable[[I], Coroutine[Any, Any, T]],
        items: Iterable[I],
        *,
        limit: int | None = None,
    ) -> list[T]: ...
    @overload
    def map(
        self, id: str, fn: Callable[[I], T], items: Iterable[I], *, limit: int | None = None
    ) -> list[T]: ...

    def map(
        self,
        id: str,  # noqa: A002
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        limit: int | None = None,
    ) -> list[Any]:
        """Calls `fn` with each item as a step of this id, at most `limit` at once; the results in order.

        When a step fails for good, its StepError is raised at once; no further ones are asked for, and those in flight
        are abandoned.
        """
        return sync_map(self._desk, id, fn, items, limit, self._options)


class SyncStep(SyncStepRunner):
    """The durable operations of a `def` body. Every one takes an id, by which its outcome is found again."""

    __slots__ = ()

    def options(
        self,
        *,
        retries: int | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        executor: Executor | None = None,
    ) -> SyncStepRunner:
        """How the next step runs: `ctx.step.options(retries=2, timeout="30s").run(id, fn, ...)`."""
        made = make_options(
            retries=retries, retry=retry, timeout=timeout, heartbeat=heartbeat, executor=executor
        )
        return SyncStepRunner(self._desk, made)

    def sleep(self, id: str, duration: Duration) -> None:  # noqa: A002
        """Sleeps for "7d", "1h30m", a number of seconds or a timedelta; no thread is held meanwhile."""
        self._desk.answer(asks.ask_sleep(self._desk, id, duration))

    def sleep_until(self, id: str, when: datetime) -> None:  # noqa: A002
        """Sleeps until an aware datetime; not at all if that is past."""
        self._desk.answer(asks.ask_sleep_until(self._desk, id, when))

    @overload
    def wait_for_event(
        self,
        id: str,
        event: type[V],
        *,
        match: str | None = None,
        if_: If | None = None,
        timeout: Duration | None = None,
        lookback: Duration | None = None,
    ) -> Received[V] | None: ...
    @overload
    def wait_for_event(
        self,
        id: str,
        event: str,
        *,
        match: str | None = None,
        if_: If | None = None,
        timeout: Duration | None = None,
        lookback: Duration | None = None,
    ) -> Received[dict[str, Any]] | None: ...

    def wait_for_event(
        self,
        id: str,  # noqa: A002
        event: str | type[Event],
        *,
        match: str | None = None,
        if_: If | None = None,
        timeout: Duration | None = None,
        lookback: Duration | None = None,
    ) -> Received[Any] | None:
        """Waits for an event, by name or class; None at the timeout.

        `match` is a path, such as "data.payment_id", at which the event and this run's own must be equal. `if_` asks
        anything: CEL over `async`, the event that comes, and `event`, this run's own, as in
        `async.data.order == event.data.id && async.data.cents > 100`; or a predicate in Python, which is given the
        event that comes, must be quick and say the same whenever it is asked. An equality of `async` finds its waits
        by a table; what has none is asked of each event of that name. An event of which it cannot be told is passed
        over, and recorded with the reason. An event appended after the wait was recorded is never missed; `lookback`
        matches earlier ones, too. Raises UsageError for a condition that cannot be, and for an event of the engine's.
        """
        pending = waits.ask_event(self._desk, id, event, match, if_, timeout, lookback)
        return waits.read_event(self._desk.answer(pending), event)

    def wait_for_signal(self, id: str, name: str, *, timeout: Duration | None = None) -> Signal | None:  # noqa: A002
        """Waits for a signal sent to this run, also before the wait; None at the timeout."""
        return waits.read_signal(
            self._desk, self._desk.answer(waits.ask_signal(self._desk, id, name, timeout))
        )

    @overload
    def invoke(
        self,
        id: str,
        function: Function[Any, T],
        data: object = None,
        *,
        timeout: Duration | None = None,
        parent_close: ParentClose = "cancel",
    ) -> T: ...
    @overload
    def invoke(
        self,
        id: str,
        function: str,
        data: object = None,
        *,
        timeout: Duration | None = None,
        parent_close: ParentClose = "cancel",
    ) -> Any: ...

    def invoke(
        self,
        id: str,  # noqa: A002
        function: Function[Any, Any] | str,
        data: object = None,
        *,
        timeout: Duration | None = None,
        parent_close: ParentClose = "cancel",
    ) -> Any:
        """Runs another function and gives its result.

        `data` is an Event, a dict or a model. Raises StepError when that run fails, is cancelled, is refused or does
        not end in time; `.cause` tells which. An unknown function raises UsageError at once. When this run no longer
        waits, `parent_close` says whether the other one is cancelled.
        """
        pending = asks.ask_child(self._desk, id, function, data, timeout, parent_close)
        return asks.read_child(self._desk, pending, self._desk.answer(pending))

    def start(self, id: str, function: Function[Any, Any] | str, data: object = None) -> str:  # noqa: A002
        """Starts another function and does not wait for it: the id of its run."""
        return asks.start_child(self._desk, id, function, data)

    def signal(self, id: str, run_id: str, name: str, data: object = None) -> str:  # noqa: A002
        """Sends a signal to another run, once, however often this code is run again: its id.

        It does not wait until that run takes it; one that has ended takes none.
        """
        return waits.send_signal(self._desk, id, run_id, name, data)

    def send_event(self, id: str, events: EventInput | Sequence[EventInput]) -> list[str]:  # noqa: A002
        """Sends events, once, however often this code is run again: their ids, in order."""
        return asks.send_events(self._desk, id, events)
