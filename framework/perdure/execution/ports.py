"""What runs attempts of steps: the engine calls it, a worker is it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Protocol

from perdure.authoring.payloads import Codec
from perdure.authoring.steps import StepOptions
from perdure.core.ops import Failure

__all__ = ["Attempt", "NoThread", "Outcome", "Steps"]


class NoThread(RuntimeError):
    """The system gives no thread now: there are too many, or no memory."""


@dataclass(slots=True)
class Attempt:
    """One attempt of a step: everything that is needed to run it."""

    run_id: str
    function_id: str
    key: str
    step_id: str
    idempotency_key: str
    """The same for all attempts of the step."""
    number: int
    """From 1."""
    attempts_max: int
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: StepOptions
    codec: Codec[Any]
    context: Context
    """The step runs in a copy of it: attempts must not see each other's variables."""
    details: Any = None
    """What the last heartbeat of the attempt before said."""
    traceparent: str | None = None
    snapshot: bytes | None = None
    """The arguments at the ask (`StepAsk.snapshot`), when arguments are watched for changes."""


@dataclass(slots=True)
class Outcome:
    """How an attempt ended: with a result, or with a failure."""

    result: bytes | None
    """The encoded result; None for a failure."""
    failure: Failure | None
    exception: BaseException | None
    """What was raised, for the retry policy; never recorded."""
    took: int
    """Duration in µs."""
    retry_after: int | None
    """What the step asked for by RetryAfterError, in µs."""
    final: bool
    """Whether another attempt would be pointless: NonRetriableError, a result that cannot be recorded."""


class Steps(Protocol):
    """Runs attempts. All methods are called on the engine's event loop and return at once."""

    @property
    def waiting(self) -> int:
        """Attempts that were handed over and wait for a slot."""
        ...

    def start(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        """Runs the attempt, then calls `done` once, on the event loop; also when it was cancelled."""
        ...

    def cancel(self, run_id: str, key: str) -> None:
        """Nobody waits for this step any more. One that cannot be stopped (a thread) goes on to its end."""
        ...

    def compute(self, fn: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Runs a turn of a `def` body in a thread, then calls `done` on the event loop with its result or exception.

        Raises NoThread; nothing is run then.
        """
        ...
