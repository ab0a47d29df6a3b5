"""One run whose coroutine is in memory: what it did that is not yet in the log, and what it waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.authoring.functions import Function
from perdure.core import failures, ops
from perdure.core.ops import ASKED, STARTED, STEP_DONE, EventData, Op
from perdure.core.state import Item
from perdure.engine.executions import AnyExecution
from perdure.execution.model import StepAsk, Turn

Body = dict[str, Any]
OP_BYTES = 64


@dataclass(slots=True)
class Opened:
    """A run's record as its body sees it: with its payloads opened."""

    event: EventData
    history: list[Sequence[Op]]
    events: list[EventData]
    """Of a run that was made of several: all of them."""


@dataclass(slots=True)
class Step:
    """A turn of the body: the op that opened it and everything that followed from it."""

    ops: list[Op]
    asks: list[StepAsk]
    lines: list[Any]
    size: int

    @property
    def opened_by(self) -> str:
        """The name of its first op."""
        return self.ops[0][0] if self.ops else ""


@dataclass(slots=True)
class Running:
    """An attempt handed to the worker."""

    number: int
    abandoned: bool = False


class Resident:
    """The volatile side of a run under one claim."""

    __slots__ = (
        "attempts", "busy", "careful", "dead", "delivered", "end", "ended", "execution", "function", "in_flight",
        "missed", "paused", "queue", "repeats", "run_id", "running", "time", "turns",
    )  # fmt: skip

    def __init__(self, run_id: str, function: Function[Any, Any], execution: AnyExecution, time: int) -> None:
        self.run_id = run_id
        self.function = function
        self.execution = execution
        self.time = time
        self.turns: deque[Step] = deque()
        """Turns that no record holds yet, oldest first."""
        self.in_flight: list[Step] = []
        """Turns in the commit that is appended and not read back."""
        self.running: dict[str, Running] = {}
        self.delivered: set[Item] = set()
        """Inbox items given to the body by turns that do not count yet."""
        self.end: Op | None = None
        """The run's end, held back while attempts are in flight (B2). The log knows it as `EndHeld`."""
        self.ended = False
        """Its body takes nothing more: it has ended, or is parked."""
        self.busy = False
        """A turn of a `def` body computes in a thread."""
        self.paused = False
        """It waits for a store of payloads that cannot be reached; only time can bring it on."""
        self.queue: deque[tuple[Op, Op]] = deque()
        """Releases that wait for it: as recorded, and as given to the body."""
        self.missed: list[tuple[str, int]] = []
        """What came due while a thread computed: key and time."""
        self.attempts: dict[str, int] = {}
        """Failed attempts by key, ahead of the fold."""
        self.dead = False
        self.repeats = False
        """Something of it is known from the run that it repeats."""
        self.careful = False
        """Its first steps start only when a record names them: they may be what killed the worker before (A8)."""

    def take(self, opening: Op | None, turn: Turn) -> Step:
        """Books a turn."""
        all_ops = turn.ops if opening is None else [opening, *turn.ops]
        step = Step(all_ops, turn.steps, turn.lines, ops_size(all_ops))
        self.turns.append(step)
        return step

    def must_commit(self) -> bool:
        """Whether anything waits that takes effect only when it counts. A body's first asks do not: they follow
        from the record that started the run."""
        if len(self.turns) > 1:
            return True
        for turn in self.turns:
            for name, _ in turn.ops:
                if name != STARTED and name != ASKED:
                    return True
        return False

    def due(self) -> bool:
        """Whether its turns should be committed now."""
        return bool(self.turns) and (self.careful or self.must_commit())

    def idle(self) -> bool:
        """Whether nothing of it is under way: it may be evicted and made again from the log."""
        return not (self.turns or self.in_flight or self.running or self.busy or self.queue or self.delivered)


def ops_size(changes: Sequence[Op]) -> int:
    """About how many bytes ops take in a record. What has no payload counts as `OP_BYTES`, its key included."""
    size = OP_BYTES * len(changes)
    for name, body in changes:
        if name == STEP_DONE:  # nearly every turn has one
            size += len(body["result"])
        elif name in _SIZERS:
            size += _SIZERS[name](body)
    return size


def _event(event: EventData) -> int:
    return OP_BYTES + len(event["name"]) + len(event["id"]) + len(event["key"]) + len(event["data"])


def _error(body: Body) -> int:
    error = body["error"]
    return failures.size_of(error)


def _outcome(body: Body) -> int:
    fields = body["outcome"][1]
    return len(fields.get("result", b"")) + (_error(fields) if "error" in fields else 0)


_SIZERS: dict[str, Callable[[Body], int]] = {
    ops.RUN_DONE: lambda body: len(body["result"]),
    ops.STEP_FAILED: _error,
    ops.RUN_FAILED: _error,
    ops.ATTEMPT_FAILED: _error,
    ops.ASKED: lambda body: sum(map(len, body["keys"])) + 2 * len(body["keys"]),
    ops.EVENTS_SENT: lambda body: sum(map(_event, body["events"])),
    ops.CHILD_ISSUED: lambda body: _event(body["event"]),
    ops.RUN_RESTARTED: lambda body: _event(body["event"]),
    ops.SIGNAL_SENT: lambda body: len(body["data"]) + len(body["run"]),
    ops.SIGNAL_ANSWERED: lambda body: len(body["answer"] or b"") + len(body["refused"] or ""),
    ops.EVENT_PASSED: lambda body: len(body["event"]) + len(body["reason"]),
    ops.WAIT_FILTERED: lambda body: len(body["condition"]),
    ops.EVENT_GIVEN: lambda body: _event(body["event"]),
    ops.SIGNAL_GIVEN: lambda body: len(body["data"]),
    ops.VALUE_SET: lambda body: len(body["value"]),
    ops.CHILD_ENDED: _outcome,
    ops.END_HELD: lambda body: ops_size([body["end"]]),
}
