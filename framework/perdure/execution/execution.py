"""Drives the code of one run: recorded inputs in, turns out. Synchronous, and without I/O.

Live and replay take the same path: a recorded input is given to the body, its loop runs until it is settled, and what
it did is the turn. On replay the turn is compared with what the record says.
"""

from __future__ import annotations

import asyncio
import contextvars
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from perdure.authoring.functions import Function
from perdure.core import ops
from perdure.core.limits import Limits
from perdure.core.ops import EventData, Op
from perdure.errors import NonDeterminismError, PerdureError
from perdure.execution import teardown
from perdure.execution.conditions import BodyExited
from perdure.execution.context import Context, FailureContext
from perdure.execution.desk import Functions, LoopDesk, placed_child
from perdure.execution.ends import cancelled_end, failed_end, restarted_end, result_end
from perdure.execution.loop import TurnTooLong
from perdure.execution.model import RunStart, StepAsk, Turn
from perdure.execution.pending import PendingFilteredWait, PendingStep
from perdure.execution.replay import Late, Replay, unexpected
from perdure.execution.stuck import stuck_at
from perdure.execution.tasks import RunTask

__all__ = ["PYTHON", "Execution"]

PYTHON = ".".join(platform.python_version_tuple()[:2])
"""The interpreter's minor version: replay equals live within one (A17)."""

_GENERATOR_ROUNDS_MAX = 100


class Execution:
    """One run of an `async def` body.

    `begin` or `replay` first, then `release` for each recorded input. All of them may raise Stuck (the body waits for
    nothing that can come), NonDeterminismError (the input or the record does not fit the code) and BodyExited (the
    body wants the process to exit); after any of these the only use of an execution is `teardown`.
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
        self._limits = limits
        self._desk = LoopDesk(
            function,
            start,
            limits,
            functions={} if functions is None else functions,
            child_run_id=child_run_id or placed_child(start.run_id),
            strict=strict,
        )
        self._loop = self._desk.loop
        self._main: RunTask | None = None
        self._cancels = 0
        self._cancel_reason = ""
        self._winding_down = False
        self._late = Late()
        teardown.register(self)

    # --- the life of a run -----------------------------------------------------------------------------------

    def begin(self) -> Turn:
        """The first turn; its ops begin with Started."""
        desk = self._desk
        self._loop.open_turn(desk.start.created)
        turn = self._drive(self._start_body)
        fields = {"time": desk.start.created, "code": self.code, "python": PYTHON}
        turn.ops.insert(0, (ops.STARTED, fields))
        return turn

    def release(self, op: Op) -> Turn:
        """Gives one recorded input to the body, and runs it until it is settled."""
        if not self._late.units:
            return self.release_recorded(op)
        turn = self.release_recorded(op)
        self._late.take_into(turn, self._desk.pending)
        return turn

    def release_recorded(self, op: Op) -> Turn:
        """Like `release`, but leaves what is late for the turn after the last recorded one."""
        name, fields = op
        desk = self._desk
        key = fields.get("key")
        if key is None:
            return self._release_other(op)
        pending = desk.pending.pop(key, None)
        if pending is None or name not in pending.RELEASES:
            raise unexpected(op, desk.pending.values(), ended=self.ended)
        self._loop.open_turn(fields["time"])
        return self._drive(pending.settle, op)

    def replay(self, history: Iterable[Sequence[Op]]) -> None:
        """Brings the body to where the ops of its accepted commits end, and checks that it does the same again."""
        desk = self._desk
        desk.replaying = True
        try:
            Replay(self, desk, self._late).run(op for commit in history for op in commit)
        finally:
            desk.replaying = False

    def outstanding(self) -> Mapping[str, StepAsk]:
        """The steps asked for and not resolved, by key; without those that the record does not know yet."""
        late = self._late.keys
        return {
            key: pending.ask
            for key, pending in self._desk.pending.items()
            if isinstance(pending, PendingStep) and key not in late
        }

    def waiting_for(self) -> Sequence[str]:
        """The keys of all that the body waits for, timers of asyncio included."""
        return list(self._desk.pending)

    @property
    def late(self) -> bool:
        """Whether the code of today asked, in a replayed turn, for something that the record does not have.

        The next release records it. When nothing else is outstanding, release ResumedByUser.
        """
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
        """Unwinds the body without recording anything; its coroutines are never just dropped (A3). Idempotent."""
        teardown.tear_down(self, self._desk, self._limits.graveyard_max)

    @property
    def main(self) -> RunTask | None:
        """The task of the body itself."""
        return self._main

    # --- releases --------------------------------------------------------------------------------------------

    def _start_body(self) -> None:
        desk = self._desk
        kind = FailureContext if self._function.kind == "failure" else Context
        context = contextvars.Context()
        ctx: Context[Any] = kind(desk)
        try:
            body = context.run(self._function.body, ctx)
        except Exception as error:  # noqa: BLE001 - a body that fails before it is a coroutine fails its run
            body = _raising(error)
        if not asyncio.iscoroutine(body):
            body = _awaiting(body)
        self._main = desk.main = self._loop.create_main(body, context)

    def _release_other(self, op: Op) -> Turn:
        name, fields = op
        if self.ended and self._late.ended and name == ops.RESUMED_BY_USER:
            # It had been parked instead of ended, and the code still ends it there.
            return Turn([], [], [], {}, ended=True, error=self._late.error)
        if self.ended or self._main is None:
            raise unexpected(op, self._desk.pending.values(), ended=self.ended)
        if name == ops.CANCEL_ASKED:
            return self._cancel(fields)
        if name not in (ops.RESUMED_BY_USER, ops.FORKED_FROM):
            raise NonDeterminismError(f"{name} is no input that a body takes here")
        self._loop.open_turn(fields["time"])
        return self._drive(_nothing)

    def _cancel(self, fields: Mapping[str, Any]) -> Turn:
        self._cancels += 1
        self._cancel_reason = fields["reason"]
        self._loop.open_turn(fields["time"])
        if fields["force"] or self._cancels > 1:
            self._desk.drop_all()
            return self._end(cancelled_end(self._desk, self._cancel_reason))
        return self._drive(self._cancel_tasks)

    def _cancel_tasks(self) -> None:
        main = self._main
        assert main is not None
        if not main.done():
            main.cancel()
            return
        for task in self._loop.live_tasks():
            task.cancel()

    # --- one turn --------------------------------------------------------------------------------------------

    def _drive(self, opening: Callable[..., object], *args: Any) -> Turn:
        try:
            self._loop.run(opening, *args)
            if self._main.done():  # pyright: ignore[reportOptionalMemberAccess]
                self._wind_down()
        except TurnTooLong as too_long:
            error = self._desk.asked_too_much() or too_long
            self._desk.discard_turn()
            self._desk.drop_all()
            return self._end(failed_end(self._desk, error), error)
        except (SystemExit, KeyboardInterrupt) as error:
            self.teardown()
            raise BodyExited(
                f"the body of run {self._desk.start.run_id} raised {type(error).__name__}; nothing of this turn is "
                "recorded. A body that wants to stop returns or raises an error"
            ) from error
        desk = self._desk
        if self._winding_down and not (desk.pending and self._loop.live_tasks()):
            return self._finish()
        if not desk.pending:
            raise stuck_at(self._main, self._loop.live_tasks())
        return desk.close_turn()

    def _wind_down(self) -> None:
        """The body has ended: what it left behind is cancelled, and may clean up with steps of its own (B2)."""
        loop = self._loop
        if not self._winding_down:
            self._winding_down = True
            if left := loop.live_tasks():
                loop.run(_cancel_all, left)
        for _ in range(_GENERATOR_ROUNDS_MAX):
            generators = [] if loop.live_tasks() else loop.generators.take_open()
            if not generators:
                return
            loop.run(_close_all, loop, generators)

    def _finish(self) -> Turn:
        main, desk = self._main, self._desk
        assert main is not None
        if left := self._loop.live_tasks():
            desk.say("warning", f"{len(left)} tasks refused to be cancelled at the end of the body", {})
        desk.drop_all()  # timers that nobody waits for
        if main.cancelled():
            error: BaseException | None = _exception_of(main)
        else:
            error = main.exception()
        if desk.restart is not None and not self._cancels and (error is None or main.cancelled()):
            return self._end(restarted_end(desk, desk.restart))
        if error is None:
            return self._end(*result_end(desk, main.result()))
        if main.cancelled() and self._cancels:
            return self._end(cancelled_end(desk, self._cancel_reason))
        return self._end(failed_end(desk, error), error)

    def _end(self, op: Op, error: BaseException | None = None) -> Turn:
        self.ended = True
        self._loop.report_unseen()
        turn = self._desk.close_turn()
        turn.ops.append(op)
        turn.ended = True
        turn.error = error
        self.teardown()
        return turn


async def _raising(error: Exception) -> Any:
    raise error


async def _awaiting(body: Any) -> Any:
    return await body


def _nothing() -> None:
    """A turn in which only time has passed."""


def _cancel_all(tasks: Iterable[RunTask]) -> None:
    for task in tasks:
        task.cancel()


def _close_all(loop: Any, generators: Iterable[Any]) -> None:
    for generator in generators:
        loop.create_task(generator.aclose())


def _exception_of(main: RunTask) -> BaseException:
    try:
        main.result()
    except BaseException as error:  # noqa: BLE001 - it is what is asked for
        return error
    raise PerdureError("a cancelled task has no exception")
