"""Drives the code of one run whose body is a `def`.

A `def` body cannot be suspended without holding a thread. So it is unwound wherever it has to wait, and run again from
the top once there is something new; what is recorded answers its asks at once. Code between its steps runs again at
every wait. All methods block for as long as that code computes: call them in a worker thread.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from perdure.authoring.functions import Function
from perdure.core import ops
from perdure.core.limits import Limits
from perdure.core.ops import EventData, Op
from perdure.errors import NonDeterminismError
from perdure.execution.conditions import BodyExited, BodyRaised, Evicted
from perdure.execution.desk import Functions, placed_child
from perdure.execution.ends import cancelled_end, failed_end, restarted_end, result_end
from perdure.execution.execution import PYTHON
from perdure.execution.model import RunStart, StepAsk, Turn
from perdure.execution.pending import PendingFilteredWait, PendingStep
from perdure.execution.replay import Late, Unit, unexpected, units_of
from perdure.execution.sync_context import SyncContext, SyncFailureContext
from perdure.execution.sync_desk import SyncDesk
from perdure.execution.sync_record import SyncRecord

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
        self._released: str | None = None
        self._latest_us = start.created

    def begin(self) -> Turn:
        """The first turn; its ops begin with Started."""
        desk = self._desk
        self._begun = True
        turn = self._pass()
        turn.ops.insert(0, (ops.STARTED, {"time": desk.start.created, "code": self.code, "python": PYTHON}))
        return turn

    def release(self, op: Op) -> Turn:
        """Records one input, and runs the body from the top."""
        name, fields = op
        if name == ops.RESUMED_BY_USER:
            self.ended = False
        if self.ended or not self._begun:
            raise unexpected(op, self._desk.pending.values(), ended=self.ended)
        self._latest_us = max(self._latest_us, fields["time"])
        if name == ops.CANCEL_ASKED:
            self._cancels += 1
            self._cancel_reason = fields["reason"]
            if fields["force"] or self._cancels > 1:
                self._desk.drop_all()
                return self._end(self._desk.close_turn(), cancelled_end(self._desk, self._cancel_reason))
            self._desk.cancel = op
            return self._with_late(self._pass())
        if name in (ops.RESUMED_BY_USER, ops.FORKED_FROM):
            return self._with_late(self._pass())
        key = self._take(op)
        turn = self._pass()
        if not turn.ended and key not in self._desk.used:
            raise unexpected(op, self._desk.pending.values(), ended=False)
        return self._with_late(turn)

    def rerun(self) -> Turn:
        """Runs the body from the top again, after an exception had left it (the function's retry policy)."""
        self.ended = False
        return self._with_late(self._pass())

    def replay(self, history: Iterable[Sequence[Op]]) -> None:
        """Brings the run to where the ops of its accepted commits end.

        One pass over the body does for all of them, so its code between steps runs once; what it waits for in the end
        is compared with the record. Raises BodyRaised when the code between the steps fails on the way.
        """
        record = SyncRecord(self._desk)
        self._desk.replaying = True
        try:
            for commit in history:
                for op in commit:
                    self._begun = True
                    record.add(op)
                    if op[0] == ops.CANCEL_ASKED:
                        self._cancels += 1
                        self._cancel_reason = op[1]["reason"]
                        if (
                            op[1]["force"] or self._cancels > 1
                        ):  # the owner has ended it, whatever it waited for
                            self.ended = True
                            return
                        self._desk.cancel = op
                        self._desk.pending = {}
                        self._pass()
            self._released = record.last_key
            self._latest_us = max(self._latest_us, record.time)
            self._desk.pending = {}
            self._desk.discard_turn()
            turn = self._pass()
        finally:
            self._desk.replaying = False
        self._settle(turn, record)

    def outstanding(self) -> Mapping[str, StepAsk]:
        """The steps asked for and not resolved, by key; without those that the record does not know yet."""
        late = self._late.keys
        return {  # a copy: a pass may be under way in its thread
            key: pending.ask
            for key, pending in self._desk.pending.copy().items()
            if isinstance(pending, PendingStep) and key not in late
        }

    def waiting_for(self) -> Sequence[str]:
        """The keys of all that the body waits for, timers of asyncio included."""
        return list(self._desk.pending)

    @property
    def late(self) -> bool:
        """See `Execution.late`."""
        return bool(self._late)

    def awaits(self, key: str) -> bool:
        """Whether the body waits for this step, timer, wait or child."""
        return key in self._desk.pending

    def predicate(self, key: str) -> Callable[[EventData], bool] | None:
        """What the wait of this key asks of events, when that is in the body's code."""
        pending = self._desk.pending.get(key)
        return pending.predicate if isinstance(pending, PendingFilteredWait) else None

    def asked(self, key: str) -> StepAsk | None:
        """The step of this key, if it was asked for and is not resolved."""
        pending = self._desk.pending.get(key)
        return pending.ask if isinstance(pending, PendingStep) else None

    def teardown(self) -> None:
        """From now on nothing that the body does counts; a pass that is under way ends at its next use of ctx."""
        self._desk.dead = True

    # --- one pass --------------------------------------------------------------------------------------------

    def _take(self, op: Op) -> str:
        name, fields = op
        desk = self._desk
        key: str = fields.get("key", "")
        pending = desk.pending.get(key)
        if pending is None or name not in pending.RELEASES:
            raise unexpected(op, desk.pending.values(), ended=False)
        del desk.pending[key]
        desk.outcomes[key] = op
        self._released = key
        return key

    def _pass(self) -> Turn:
        desk = self._desk
        kind = SyncFailureContext if self._function.kind == "failure" else SyncContext
        ctx: SyncContext[Any] = kind(desk)
        value, error = None, None
        desk.begin_pass(self._released)
        try:
            value = contextvars.Context().run(self._function.body, ctx)
        except Evicted:
            pass
        except (SystemExit, KeyboardInterrupt) as exited:
            self.teardown()
            raise BodyExited(
                f"the body of run {desk.start.run_id} raised {type(exited).__name__}; nothing of this turn is "
                "recorded. A body that wants to stop returns or raises an error"
            ) from exited
        except BaseException as raised:  # noqa: BLE001 - it is what fails the run
            error = raised
        waits = desk.end_pass()
        desk.now_us = max(desk.now_us, self._latest_us)
        if waits or desk.dead:
            return desk.close_turn()
        if (
            desk.restart is not None
            and not self._cancels
            and isinstance(error, asyncio.CancelledError | None)
        ):
            desk.drop_all()
            return self._end(desk.close_turn(), restarted_end(desk, desk.restart))
        if isinstance(error, asyncio.CancelledError) and self._cancels:
            return self._end(desk.close_turn(), cancelled_end(desk, self._cancel_reason))
        if error is not None:
            return self._end(desk.close_turn(), failed_end(desk, error), error)
        desk.drop_all()
        return self._end(desk.close_turn(), *result_end(desk, value))

    def _end(self, turn: Turn, op: Op, error: BaseException | None = None) -> Turn:
        self.ended = True
        turn.ops.append(op)
        turn.ended = True
        turn.error = error
        return turn

    def _with_late(self, turn: Turn) -> Turn:
        if self._late:
            self._late.take_into(turn, self._desk.pending)
        return turn

    def _settle(self, turn: Turn, record: SyncRecord) -> None:
        done = units_of(turn.ops)
        missing = [unit for unit in record.waiting if unit not in done]
        if turn.ended and record.ended is None and turn.error is not None:
            # Its code between the steps may do I/O, so it may fail here where it had not failed before.
            self.ended = False
            if missing:
                raise BodyRaised(
                    f"the body of run {self._desk.start.run_id} raised {turn.error!r:.200} before it came to where "
                    "its record ends"
                ) from turn.error
            return
        if record.ended is not None:
            if turn.ended and turn.ops[-1][0] == record.ended:
                return
            missing.append(Unit(record.ended, ""))
        if missing:
            there = ", ".join(str(unit) for unit in missing)
            here = ", ".join(str(unit) for unit in done) or "nothing more"
            raise NonDeterminismError(
                f"at the end of its record the run waits for {there}, but the code now comes to {here}"
            )
        known = set(record.waiting)
        known |= {Unit(ops.WAIT_FILTERED, unit.key) for unit in known if unit.kind == ops.WAIT_OPENED}
        self._late.add({unit: fields for unit, fields in done.items() if unit not in known}, turn)
        self.ended = False
