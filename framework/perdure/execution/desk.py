"""Where the asks of one body are taken down: what is outstanding, and what this turn did.

Contexts and steps are thin fronts of it; `Execution` closes its turns. Everything here is synchronous, and works only
inside the run's own turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import copy_context
from types import FunctionType
from typing import Any, Protocol

from pydantic_core import to_json

from perdure.authoring.functions import Function
from perdure.authoring.payloads import Codec, codec_for
from perdure.authoring.steps import DEFAULT_OPTIONS, StepOptions, options_of
from perdure.core import ops
from perdure.core.ids import check_step_id, digest
from perdure.core.limits import Limits
from perdure.core.ops import EventData, Op
from perdure.errors import UsageError
from perdure.execution.current import in_step
from perdure.execution.failures import failure_of
from perdure.execution.handles import PlainTimer
from perdure.execution.loop import RunLoop
from perdure.execution.model import LogLine, RunStart, StepAsk, Turn
from perdure.execution.pending import Pending, PendingFilteredWait, PendingPlainTimer, PendingStep
from perdure.execution.tasks import RunTask, Scope, current_task

__all__ = ["Desk", "Functions", "LoopDesk", "nested_step", "placed_child", "snapshot_of"]

_running_loop = asyncio._get_running_loop

_DECLARED_MAX = 1024
_declared: dict[Callable[..., Any], tuple[StepOptions, Codec[Any]]] = {}
"""Options and codec of the step functions seen last."""

_CHECKED_MAX = 4096
_checked: set[str] = set()
"""Step ids known to be good; the same few are used by all runs of a function."""


class Functions(Protocol):
    """Where functions are found by id: a registry, or a plain dict."""

    def get(self, function_id: str, /) -> Function[Any, Any] | None: ...


class Desk:
    """What one body asked for. `LoopDesk` serves `async def` bodies, `SyncDesk` those of `def`."""

    def __init__(
        self,
        function: Function[Any, Any],
        start: RunStart,
        limits: Limits,
        *,
        functions: Functions,
        child_run_id: Callable[[str], str],
        strict: bool,
    ) -> None:
        self.function = function
        self.start = start
        self.limits = limits
        self.functions = functions
        self.child_run_id = child_run_id
        self.strict = strict
        self.now_us = start.created
        self.dead = False
        self.replaying = False
        self.restart: EventData | None = None
        """The event with which the run is to begin anew when its body has ended."""
        self.pending: dict[str, Pending] = {}
        self.drawn: set[str] = set()
        """The paths of the tasks that have drawn random numbers."""
        self.answered: set[str] = set()
        """The ids of the requests that were answered."""
        self._asks_max = limits.turn_asks_max
        self._asks = 0
        self._fresh: dict[str, Pending] = {}
        self._sent: list[Op] = []
        self._gone: list[Op] = []
        self._lines: list[LogLine] = []
        self._values: dict[str, bytes] = {}

    @property
    def evicting(self) -> bool:
        """Whether the code only runs because it is being unwound."""
        return self.dead

    # --- where the two kinds differ --------------------------------------------------------------------------

    def here(self) -> RunTask | Scope:
        """Who calls, as the one that numbers ids. Raises UsageError from anywhere but the run's own turn."""
        raise NotImplementedError

    def future(self) -> Any:
        """What an outcome is given to."""
        raise NotImplementedError

    # --- asking ----------------------------------------------------------------------------------------------

    def next_key(self, scope: RunTask | Scope, step_id: str) -> str:
        """The key of the next thing of this id that the task asks for."""
        counts = scope.counts
        try:
            repeat = counts.get(step_id, 0)
        except TypeError:  # not hashable, so no string either
            repeat = 0
            check_step_id(step_id)
        if repeat:
            counts[step_id] = repeat + 1
            return f"{scope.path}/{step_id}:{repeat}"
        if step_id not in _checked:
            _check(step_id)
        counts[step_id] = 1
        return f"{scope.path}/{step_id}"

    def ask(
        self,
        key: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: StepOptions,
    ) -> PendingStep:
        """Takes down a step. Raises UsageError for what cannot be one."""
        try:
            declared, codec = _declared[fn]
        except (KeyError, TypeError):
            declared, codec = _look_up(fn)
        if options is DEFAULT_OPTIONS:
            options = declared
        elif declared is not DEFAULT_OPTIONS:
            options = options.over(declared)
        shown = key[key.index("/") + 1 :]
        snapshot = snapshot_of(args, kwargs) if self.strict else None
        ask = StepAsk(key, shown, fn, args, kwargs, options, codec, copy_context(), self.now_us, snapshot)
        pending = PendingStep(key, self.future(), ask)
        self.open(pending)
        return pending

    def open(self, pending: Pending) -> None:
        """Takes down something that the body waits for from now on."""
        if self.dead:
            return
        self._asks += 1
        if self._asks > self._asks_max:
            raise self._too_many()
        self.pending[pending.key] = self._fresh[pending.key] = pending

    def asked_too_much(self) -> UsageError | None:
        """The error of this turn when all that it may ask for is outstanding, whatever became of it then."""
        return self._too_many() if len(self._fresh) >= self._asks_max else None

    def _too_many(self) -> UsageError:
        """The error of a turn that asks for one thing too many (A7)."""
        return UsageError(
            f"a turn may ask for {self._asks_max:,} steps, timers and waits; use ctx.step.map(..., limit=...) "
            "or a semaphore to bound what runs at once"
        )

    def send(self, op: Op) -> None:
        """Takes down something that happens without an answer: events, a run that is started and not awaited."""
        if not self.dead:
            self._asks += 1
            if self._asks > self._asks_max:
                raise self._too_many()
            self._sent.append(op)

    def drop(self, pending: Pending) -> None:
        """The body no longer waits for this."""
        key = pending.key
        if self.pending.get(key) is not pending or self.dead:
            return
        del self.pending[key]
        # Asked and dropped in one turn: it never was.
        if self._fresh.pop(key, None) is None:
            self._gone.append((pending.DROPPED, {"key": key}))

    def drop_all(self) -> None:
        """The run ends by force: nothing is waited for any more."""
        for pending in list(self.pending.values()):
            self.drop(pending)

    # --- publishing ------------------------------------------------------------------------------------------

    def say(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """A line for the run's log; nothing in a replayed turn or a torn-down run."""
        if not self.replaying and not self.dead:
            self._lines.append(LogLine(level, message, fields))

    def publish(self, name: str, value: bytes) -> None:
        """A value for people to see."""
        if not self.replaying and not self.dead:
            self._values[name] = value

    def begin_anew(self, event: EventData) -> None:
        """The body is to end, and its run to begin anew with this event."""
        self.restart = event

    # --- turns -----------------------------------------------------------------------------------------------

    def close_turn(self) -> Turn:
        """What was taken down since the last turn; the next one begins empty."""
        fresh = self._fresh
        changes: list[Op] = []
        steps: list[StepAsk] = []
        if fresh:
            for pending in fresh.values():
                if type(pending) is PendingStep:
                    steps.append(pending.ask)
                else:
                    if type(pending) is PendingFilteredWait:
                        changes.append(pending.filtered())
                    changes.append(pending.opened())
            if steps:
                changes.insert(0, (ops.ASKED, {"keys": [ask.key for ask in steps]}))
            fresh.clear()
        if self._sent:
            changes += self._sent
            self._sent = []
        if self._gone:
            changes += self._gone
            self._gone = []
        lines, values = self._lines, self._values
        if lines:
            self._lines = []
        if values:
            self._values = {}
        self._asks = 0
        # What is empty is not given away: it is still the desk's own.
        return Turn(changes, steps, lines or [], values or {})

    def rename(self, key: str, recorded: Op) -> None:
        """What is outstanding under this key is recorded under another path."""
        pending = self.pending.pop(key, None)
        if pending is not None:
            pending.rename(recorded)
            self.pending[pending.key] = pending

    def discard_turn(self) -> None:
        """Takes back what was asked in this turn, as if it never was."""
        for key in self._fresh:
            self.pending.pop(key, None)
        self._fresh = {}
        self._sent = []


class LoopDesk(Desk):
    """The desk of an `async def` body, which runs on the event loop of its run."""

    def __init__(self, function: Function[Any, Any], start: RunStart, limits: Limits, **more: Any) -> None:
        super().__init__(function, start, limits, **more)
        self.loop = RunLoop(start.run_id, start.function_id, self, callbacks_max=limits.turn_callbacks_max)
        self.main: RunTask | None = None
        """The task of the body itself."""

    def here(self) -> RunTask | Scope:
        loop = self.loop
        if _running_loop() is not loop or self.dead:
            if not self.dead and in_step():
                raise nested_step()
            loop.refuse()
            # It refused too often to be told: outside of a turn, too, its calls must suspend and not raise.
            return current_task(loop) or loop.callbacks
        return current_task(loop)

    def future(self) -> asyncio.Future[Op]:
        # A plain one: only the coroutine that asks ever sees it, so its hash does not matter.
        return asyncio.Future(loop=self.loop)

    def begin_anew(self, event: EventData) -> None:
        super().begin_anew(event)
        if self.main is not None:
            self.main.cancel()

    def kill(self) -> None:
        """The run is torn down: nothing that its code does counts from now on."""
        self.dead = True
        self.loop.kill()

    def forget(self) -> None:
        """Lets go of what was asked for; the code is gone."""
        self.pending = {}
        self._fresh = {}
        self.loop.forget()

    def timer_set(self, timer: PlainTimer) -> None:
        """asyncio set a timer."""
        task = current_task(self.loop)
        scope: Any = self.loop.callbacks if task is None else task
        repeat = scope.counts.get("~timer", 0)
        scope.counts["~timer"] = repeat + 1
        timer.key = f"{scope.path}/~timer:{repeat}" if repeat else f"{scope.path}/~timer"
        self.open(PendingPlainTimer(timer))

    def timer_dropped(self, timer: PlainTimer) -> None:
        """asyncio cancelled a timer."""
        pending = self.pending.get(timer.key)
        if isinstance(pending, PendingPlainTimer) and pending.timer is timer:
            self.drop(pending)

    def callback_failed(self, message: str, exception: BaseException | None) -> None:
        """A callback of the loop raised, or asyncio has something to report: the run goes on."""
        self.say("error", message, {} if exception is None else {"error": failure_of(exception)})


def nested_step() -> UsageError:
    """The error of a step that uses the context of its run."""
    return UsageError(
        "ctx was used inside a step: a step was called, or the run's time or random numbers were asked for. Steps "
        "cannot nest: call the function directly, or return from the step and make the next one in the body; give "
        "values to a step as arguments"
    )


def _look_up(fn: Any) -> tuple[StepOptions, Codec[Any]]:
    """What is declared with a step's function. Raises UsageError for what cannot be one."""
    if not callable(fn):
        raise _no_function(fn)
    found = options_of(fn), codec_for(fn)
    # A function made anew in each run would be kept with all that it encloses.
    if isinstance(fn, FunctionType) and fn.__closure__ is None:
        if len(_declared) >= _DECLARED_MAX:
            _declared.clear()
        _declared[fn] = found
    return found


def snapshot_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes | None:
    """The arguments of a step as bytes, to tell later whether they were changed; None when they cannot be encoded."""
    try:
        return to_json([args, kwargs], serialize_unknown=True, inf_nan_mode="constants")
    except Exception:  # noqa: BLE001 - an aid for development must not fail what works
        return None


def placed_child(run_id: str) -> Callable[[str], str]:
    """Run ids for the children of a run that are not placed by an engine: by run id and key alone."""
    return lambda key: f"{run_id}/{digest('child', run_id, key)}"


def _check(step_id: Any) -> None:
    check_step_id(step_id)
    if len(_checked) >= _CHECKED_MAX:
        _checked.clear()
    _checked.add(step_id)


def _no_function(fn: Any) -> UsageError:
    if asyncio.iscoroutine(fn):
        fn.close()
        return UsageError(
            "a step takes the function and its arguments apart, so that it can be called again: "
            "ctx.step.run(id, fn, arg), not ctx.step.run(id, fn(arg))"
        )
    return UsageError(f"a step takes a function as its second argument, not {fn!r:.80}")
