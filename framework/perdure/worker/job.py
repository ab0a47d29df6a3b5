"""An attempt in the hands of the worker."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from time import monotonic, perf_counter_ns
from types import FunctionType
from typing import Any

from perdure.core import payload
from perdure.core.limits import Limits
from perdure.errors import PerdureError, StepStopped, StepTimeout
from perdure.execution.current import StepInfo
from perdure.execution.outcome import raised, returned
from perdure.execution.ports import Attempt, Outcome
from perdure.worker.children import Ticket
from perdure.worker.details import encoded_details
from perdure.worker.slots import Lane
from perdure.worker.stacks import stack_of

__all__ = ["Job", "lane_of"]


class Job:
    """One attempt, from `start` until whatever runs it has ended."""

    # Most attempts never change most of these: as class attributes they cost nothing for each.
    began: int = 0
    """ns of the performance counter; 0: it has not begun."""
    stop: PerdureError | None = None
    """Why it was stopped, if it was: by its timeout, or because nobody waits for it any more."""
    told: bool = False
    """Whether nobody is to hear of it any more: `done` was called, or the worker is leaving."""
    outcome: Outcome | None = None
    details: bytes | None = None
    """What the newest heartbeat said, of this attempt or of those before it."""
    beaten: float = 0.0
    """When it last gave a sign of life, on the monotonic clock."""
    task: asyncio.Task[None] | None = None
    ticket: Ticket | None = None
    thread: int | None = None
    """The thread that runs it."""
    deadline: asyncio.TimerHandle | None = None
    pulse: asyncio.TimerHandle | None = None
    """Rings when no heartbeat came in time."""

    def __init__(
        self, attempt: Attempt, step: tuple[str, str], done: Callable[[Outcome], None], lane: Lane
    ) -> None:
        self.attempt = attempt
        self.step = step
        """Its run and key."""
        self.done = done
        self.lane: Lane = lane

    def __str__(self) -> str:
        return f"step {self.attempt.step_id!r} of run {self.attempt.run_id}"

    def info(self) -> StepInfo:
        """What `current_step()` is in this attempt."""
        attempt, details = self.attempt, self.details
        return StepInfo(
            attempt.idempotency_key,
            attempt.number,
            attempt.attempts_max,
            attempt.details if details is None else payload.loads(details),
            self.beat,
        )

    def beat(self, details: Any) -> None:
        """A heartbeat, from whatever thread. Raises in an attempt that was stopped: so a thread can end by it."""
        if self.stop is not None:
            raise type(self.stop)(str(self.stop))
        self.heard(None if details is None else encoded_details(details))

    def heard(self, details: bytes | None) -> None:
        if details is not None:
            self.details = details
        self.beaten = monotonic()

    def silence(self) -> None:
        """No alarm of it rings any more."""
        if self.deadline is not None:
            self.deadline.cancel()
        if self.pulse is not None:
            self.pulse.cancel()

    def took(self) -> int:
        """µs since it began."""
        return (perf_counter_ns() - self.began) // 1_000 if self.began else 0

    def returned(self, value: object, limits: Limits) -> Outcome:
        """The outcome, after its function returned `value`."""
        if isinstance(self.stop, StepTimeout):  # it took no notice, and was too late all the same
            return raised(self.attempt, self.stop, self.took(), limits)
        return returned(self.attempt, value, self.took(), limits)

    def raised(self, error: BaseException, limits: Limits) -> Outcome:
        """The outcome, after its function raised `error`, or was made to end by it."""
        stop = self.stop
        if stop is not None and error is not stop:
            stop.__cause__ = error  # its traceback says where the function was
            error = stop
        return raised(self.attempt, error, self.took(), limits)

    def stopped(self, limits: Limits) -> Outcome:
        """The outcome of an attempt that was stopped, whatever becomes of its function."""
        return raised(self.attempt, self.stop or StepStopped(f"{self} was stopped"), self.took(), limits)

    def say_where(self) -> None:
        """Adds to the reason of its stop where its thread is, which no traceback of ours can say."""
        stack = None if self.thread is None else stack_of(self.thread)
        if stack is not None and self.stop is not None:
            self.stop.add_note(f"Its thread goes on. It is at:\n{stack}")


_LANES_MAX = 1024
_lanes: dict[Callable[..., Any], Lane] = {}
"""Of the functions seen last: to look at a function's code is an audited event."""


def lane_of(attempt: Attempt) -> Lane:
    """Where an attempt runs."""
    if attempt.options.executor == "process":
        return "process"
    try:
        return _lanes[attempt.fn]
    except (KeyError, TypeError):  # TypeError: not hashable
        return _look_up(attempt.fn)


def _look_up(fn: Callable[..., Any]) -> Lane:
    lane: Lane = "loop" if inspect.iscoroutinefunction(fn) else "thread"
    # A function made anew in each run would be kept with all that it encloses.
    if isinstance(fn, FunctionType) and fn.__closure__ is None:
        if len(_lanes) >= _LANES_MAX:
            _lanes.clear()
        _lanes[fn] = lane
    return lane
