"""What `@app.function` takes, and what it is: one keyword, one line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar, overload

from typing_extensions import TypedDict

from perdure.authoring.ending import CancelOns, Timeouts
from perdure.authoring.functions import Function, OnError
from perdure.authoring.limits import (
    Batch,
    Concurrency,
    Debounce,
    Idempotency,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
)
from perdure.authoring.retry import Retry
from perdure.authoring.triggers import If, On
from perdure.execution.context import Context, FailureContext
from perdure.execution.sync_context import SyncContext, SyncFailureContext

E = TypeVar("E")
R = TypeVar("R")
OnFailure = Callable[[FailureContext[Any]], Any] | Callable[[SyncFailureContext[Any]], Any]


class FunctionDecorator(Protocol):
    """What `@app.function(...)` is: it makes a `Function` of an `async def` or a `def` body."""

    @overload
    def __call__(self, body: Callable[[Context[E]], Awaitable[R]], /) -> Function[E, R]: ...

    @overload
    def __call__(self, body: Callable[[SyncContext[E]], R], /) -> Function[E, R]: ...


class FunctionOptions(TypedDict, total=False):
    """The keywords of `@app.function`. All may be left out."""

    on: On
    """An event name, an `Event` class, a `Trigger`, a `Cron`, or a list of these."""
    if_: If | None
    """Asked of each event that starts it: CEL over `event`, or a predicate in Python (see `Trigger`)."""
    id: str | None
    """Its name in the log; the body's name with dashes."""
    name: str | None
    """Its name for people; the id."""
    version: str | None
    """Of its code, stamped on runs; a hash of the body's source."""
    retries: int | None
    """How often each step is tried again; 4."""
    retry: Retry | None
    """The same with all that belongs to it."""
    on_failure: OnFailure | None
    """Handles a failed run, durably."""
    on_error: OnError
    """`"pause"` parks a run that an error left, until it is resumed."""
    cancel_on: CancelOns
    """The events that cancel a run: a `CancelOn`, or a list of them."""
    timeouts: Timeouts | None
    """Within which times a run has to begin and to end; else it is cancelled."""
    concurrency: Concurrency | Sequence[Concurrency] | None
    """How many of its steps or runs go on at once."""
    throttle: Throttle | None
    """At which pace runs start; others wait."""
    rate_limit: RateLimit | None
    """How many runs start in a period; others are dropped."""
    debounce: Debounce | None
    """Starts one run for a burst of events."""
    batch: Batch | None
    """Starts one run for many events."""
    priority: Priority | None
    """Which of the runs that wait start first."""
    singleton: Singleton | None
    """Has one live run at a time."""
    idempotency: Idempotency | None
    """Starts one run for each value of a key."""
