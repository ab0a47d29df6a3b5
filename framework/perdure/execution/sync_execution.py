"""Drives the code of one run whose body is a `def`.

A `def` body cannot be suspended without holding a thread. So it is unwound wherever it has to wait, and run again from
the top once there is something new; what is recorded answers its asks at once. Code between its steps runs again at
every wait. All methods block for as long as that code computes: call them in a worker thread.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from perdure.authoring.functions import Function
from perdure.core import ops
from perdure.core.limits import Limits
from perdure.core.ops import Op
from perdure.errors import NonDeterminismError
from perdure.execution.conditions import BodyExited, Evicted
from perdure.execution.desk import Functions, placed_child
from perdure.execution.ends import cancelled_end, failed_end, result_end
from perdure.execution.execution import PYTHON
from perdure.execution.model import RunStart, StepAsk, Turn
from perdure.execution.pending import PendingStep
from perdure.execution.replay import Late, Replay, unexpected
from perdure.execution.sync_context import SyncContext, SyncFailureContext
from perdure.execution.sync_desk import SyncDesk

__all__ = ["SyncExecution"]


class SyncExecution:
    """One run of a `def` body; used like `Execution`.

    A turn whose last op is RunFailed has the exception in `Turn.error`. Whoever decides to retry the body instead does
    not record that op, and calls `rerun` when the time has come.
    """

    def __init__(
        self,
        function: Function[Any, Any],
        start: RunStart,
        *,
        code: str,
        limits: Limits,
        functions: Functions | None = None,
        child_run_id: Callable[[str], str] | None = None,
        strict: bool = False,
    ) -> None:
        self.code = code
        self.python = PYTHON
        self.ended = False
        self._function = function
        self._desk = SyncDesk(
            function,
            start,
            limits,
            functions={} if functions is None else functions,
            child_run_id=child_run_id or placed_child(start.run_id),
            strict=strict,
        )
        self._begun = False
        self._cancels = 0
        self._cancel_reason = ""
        self._late = Late()

    def begin(self) -> Turn:
        """The first turn; its ops begin with Started."""
        desk = self._desk
        self._begun = True
        turn = self._pass(None)
        turn.ops.insert(0, (ops.STARTED, {"time": desk.start.created, "code": self.code, "python": PYTHON}))
        return turn

    def release(self, op: Op) -> Turn:
        """Records one input, and runs the body from the top."""
        turn = self.release_recorded(op)
        if self._late:
            self._late.take_into(turn, self._desk.pending)
        return turn

    def rerun(self) -> Turn:
        """Runs the body from the top again, after an exception had left it (the function's retry policy)."""
        self.ended = False
        return self._pass(None)

    def release_recorded(self, op: Op) -> Turn:
        """Like `release`, but leaves what is late for the turn after the last recorded one."""
        key = self._take(op)
        if self.ended:
            return self._last()
        return self._pass(key)

    def replay(self, history: Iterable[Sequence[Op]]) -> None:
        """Brings the run to where the ops of its accepted commits end.

        One pass over the body does for all of them, so its code between steps runs once; what it waits for in the end
        is compared with the record.
        """

    def outstanding(self) -> Mapping[str, StepAsk]:
        """The steps asked for and not resolved, by key; without those that the record does not know yet."""
        late = {unit.key for unit in self._late.units if unit.kind == ops.ASKED}
        return {
            key: pending.ask
            for key, pending in self._desk.pending.items()
            if isinstance(pending, PendingStep) and key not in late
        }

    @property
    def late(self) -> bool:
        """See `Execution.late`."""
        return bool(self._late)

    def teardown(self) -> None:
        """From now on nothing that the body does counts; a pass that is under way ends at its next use of ctx."""
        self._desk.dead = True
