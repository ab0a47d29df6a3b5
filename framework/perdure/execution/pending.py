"""What a body waits for: one class per kind, each knows its consequence, its releases, and how it is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from perdure.core import ops
from perdure.core.ops import EventData, Op
from perdure.execution.handles import PlainTimer
from perdure.execution.model import StepAsk

__all__ = [
    "Pending",
    "PendingChild",
    "PendingFilteredWait",
    "PendingPlainTimer",
    "PendingStep",
    "PendingTimer",
    "PendingWait",
]


class Pending:
    """Something outstanding under a key."""

    __slots__ = ("future", "key")

    WORD: ClassVar[str]
    """What messages call it."""
    RELEASES: ClassVar[frozenset[str]]
    """The recorded inputs that resolve it."""
    DROPPED: ClassVar[str]
    """The op that says that the body no longer waits for it."""

    def __init__(self, key: str, future: asyncio.Future[Op]) -> None:
        self.key = key
        self.future = future

    def settle(self, op: Op) -> None:
        """Gives the recorded input to whoever awaits it; inside the run's turn.

        Nobody else completes the future, and once it is cancelled this is no longer outstanding.
        """
        self.future.set_result(op)

    def opened(self) -> Op:
        """The op that records it."""
        raise NotImplementedError

    def rename(self, recorded: Op) -> None:
        """The record knows it by another path: from now on, so do we."""
        self.key = recorded[1]["key"]


class PendingStep(Pending):
    """A step whose outcome is not yet recorded. All steps of a turn share one op."""

    __slots__ = ("ask",)
    WORD = "step"
    RELEASES = frozenset({ops.STEP_DONE, ops.STEP_FAILED})
    DROPPED = ops.STEP_ABANDONED

    def __init__(self, key: str, future: asyncio.Future[Op], ask: StepAsk) -> None:
        self.key = key
        self.future = future
        self.ask = ask

    def rename(self, recorded: Op) -> None:
        super().rename(recorded)
        self.ask.key = self.key


class PendingTimer(Pending):
    """A sleep."""

    __slots__ = ("due",)
    WORD = "timer"
    RELEASES = frozenset({ops.TIMER_FIRED})
    DROPPED = ops.TIMER_DROPPED

    def __init__(self, key: str, future: asyncio.Future[Op], due: int) -> None:
        super().__init__(key, future)
        self.due = due

    def opened(self) -> Op:
        return ops.TIMER_SET, {"key": self.key, "due": self.due}


class PendingPlainTimer(Pending):
    """A timer that asyncio set."""

    __slots__ = ("timer",)
    WORD = "timer"
    RELEASES = PendingTimer.RELEASES
    DROPPED = ops.TIMER_DROPPED

    def __init__(self, timer: PlainTimer) -> None:
        self.key = timer.key
        self.timer = timer

    def settle(self, op: Op) -> None:
        self.timer.loop.wake(self.timer)

    def opened(self) -> Op:
        return ops.TIMER_SET, {"key": self.key, "due": self.timer.due}

    def rename(self, recorded: Op) -> None:
        super().rename(recorded)
        self.timer.key = self.key


class PendingWait(Pending):
    """A wait for an event or a signal."""

    __slots__ = ("fields",)
    WORD = "wait"
    RELEASES = frozenset({ops.EVENT_GIVEN, ops.SIGNAL_GIVEN, ops.TIMER_FIRED})
    DROPPED = ops.WAIT_CLOSED

    def __init__(self, key: str, future: asyncio.Future[Op], fields: dict[str, Any]) -> None:
        super().__init__(key, future)
        self.fields = fields

    def opened(self) -> Op:
        return ops.WAIT_OPENED, {"key": self.key, **self.fields}


class PendingFilteredWait(PendingWait):
    """A wait that asks something of each event: by CEL, or by a predicate in the body's code."""

    __slots__ = ("condition", "predicate")

    def __init__(
        self,
        key: str,
        future: asyncio.Future[Op],
        fields: dict[str, Any],
        condition: str,
        predicate: Callable[[EventData], bool] | None,
    ) -> None:
        super().__init__(key, future, fields)
        self.condition = condition
        self.predicate = predicate

    def filtered(self) -> Op:
        """The op that records the condition, before the one that opens the wait."""
        return ops.WAIT_FILTERED, {"key": self.key, "condition": self.condition}


class PendingChild(Pending):
    """Another run whose end is awaited."""

    __slots__ = ("fields",)
    WORD = "child"
    RELEASES = frozenset({ops.CHILD_ENDED, ops.TIMER_FIRED})
    DROPPED = ops.CHILD_DROPPED

    def __init__(self, key: str, future: asyncio.Future[Op], fields: dict[str, Any]) -> None:
        super().__init__(key, future)
        self.fields = fields

    def opened(self) -> Op:
        return ops.CHILD_ISSUED, {"key": self.key, **self.fields}

    def rename(self, recorded: Op) -> None:
        super().rename(recorded)
        self.fields["run"] = recorded[1]["run"]
