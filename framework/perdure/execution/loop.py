"""The event loop of one run: a ready queue and nothing else.

No sockets, no clock, no threads. It runs only inside a *turn*: from one recorded input until nothing is ready. Time is
that of the recorded input. Timers are handed to whoever keeps the run's record, and come back as recorded inputs.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import math
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from types import CodeType, FrameType
from typing import Any, Protocol

from perdure.errors import UsageError
from perdure.execution import audit, turns
from perdure.execution.asyncgens import Generators, keep_hooks
from perdure.execution.conditions import Evicted
from perdure.execution.handles import PlainTimer, ReadyHandle
from perdure.execution.refused import RefusingLoop
from perdure.execution.tasks import RunFuture, RunTask, Scope, child_path, current_task, hash_base

__all__ = ["Keeper", "RunLoop", "TurnTooLong"]

# The C versions behind asyncio's own API; they take no lock and raise no audit event.
_running_loop = asyncio._get_running_loop
_set_running_loop = asyncio._set_running_loop

_REFUSALS_MAX = 50
"""How often a loop that is torn down raises Evicted; after that its calls just never come back (A3)."""
_TASKS_PRUNE_MIN = 64
_UNSEEN_MAX = 10
"""Tasks whose failure is told one by one."""
_EARLY_US = 0.13
"""A float holds today's time in steps of 0.24 µs. What is less than this above a whole µs is rounding, not meant."""


class TurnTooLong(UsageError):
    """A turn ran more callbacks than a turn may have, or computed for longer: it does not settle."""


class Keeper(Protocol):
    """Who keeps the record of the run: has the time, gets the timers that asyncio sets, and what goes wrong."""

    now_us: int

    def timer_set(self, timer: PlainTimer) -> None: ...
    def timer_dropped(self, timer: PlainTimer) -> None: ...
    def callback_failed(self, message: str, exception: BaseException | None) -> None: ...


class _Nobody:
    """Keeps the record of a run that is torn down: time stands still, and nothing is written."""

    __slots__ = ("now_us",)

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us

    def timer_set(self, timer: PlainTimer) -> None: ...
    def timer_dropped(self, timer: PlainTimer) -> None: ...
    def callback_failed(self, message: str, exception: BaseException | None) -> None: ...


class RunLoop(RefusingLoop):
    """The event loop of one run; see the module."""

    def __init__(self, run_id: str, function: str, keeper: Keeper, *, callbacks_max: int) -> None:
        self.dead = False
        self.turn = 0
        self.stopped_at: str | None = None
        self.callbacks = Scope("c")
        self._run_id = run_id
        self._function = function
        self._keeper = keeper
        self._ready: deque[ReadyHandle | PlainTimer] = deque()
        self._number = hash_base(run_id)
        self._tasks: list[RunTask] = []
        self._prune_at = _TASKS_PRUNE_MIN
        self._callbacks_max = callbacks_max
        self._budget = callbacks_max
        self._refusals = 0
        self.generators = Generators(self._close_generator)

    # --- driven from outside ---------------------------------------------------------------------------------

    def open_turn(self, time_us: int) -> None:
        """A recorded input of this time is to be given to the body. Time never goes back, whoever says so."""
        if time_us > self._keeper.now_us:
            self._keeper.now_us = time_us
        self._budget = self._callbacks_max

    def run(self, opening: Callable[..., object], *args: Any) -> None:
        """Calls `opening` inside the turn, then runs whatever is ready until nothing is.

        Raises TurnTooLong when it does not settle or a guard has stopped it, and SystemExit or KeyboardInterrupt when
        a callback does.
        """
        outer = _running_loop()
        keep_hooks()
        _set_running_loop(self)
        try:
            try:
                turns.enter(self)
                opening(*args)
                self._run_ready()
            finally:
                turns.leave(self)
        except turns.Overdue:
            turns.leave(self)
        finally:
            _set_running_loop(outer)
        if self.stopped_at is not None:
            raise self._computes_on()

    def _run_ready(self) -> None:
        ready = self._ready
        while ready:
            self._budget -= 1
            handle = ready.popleft()
            if not handle._cancelled:
                if self._budget < 0:
                    raise self._too_long()
                try:
                    handle._context.run(handle._callback, *handle._args)  # pyright: ignore[reportPrivateUsage, reportArgumentType, reportCallIssue]
                except (SystemExit, KeyboardInterrupt, turns.Overdue):
                    raise
                except BaseException as error:  # noqa: BLE001 - as asyncio does: the loop outlives its callbacks
                    self._keeper.callback_failed("exception in a callback", error)
                if self.stopped_at is not None:
                    return  # the body's task has taken the exception

    def _too_long(self) -> TurnTooLong:
        self._ready.clear()
        return TurnTooLong(
            f"a turn ran more than {self._callbacks_max:,} callbacks and did not settle: look for a loop that awaits "
            "nothing but asyncio.sleep(0), or that swallows cancellation"
        )

    def _computes_on(self) -> TurnTooLong:
        self._ready.clear()
        return TurnTooLong(
            "the body computed for too long without awaiting a step, and held up all other runs of its worker. Look "
            f"for a loop that never ends, and put long computations in a step. It was stopped at:\n{self.stopped_at}"
        )

    def __str__(self) -> str:
        return f"the body of run {self._run_id} of {self._function}"

    def wake(self, handle: PlainTimer) -> None:
        """A timer was recorded as fired: its callback is ready."""
        if not handle._cancelled:
            self._ready.append(handle)

    def live_tasks(self) -> list[RunTask]:
        """The tasks that have not ended, in the order of their creation."""
        return [task for task in self._tasks if not task.done()]

    def kill(self) -> None:
        """From now on nothing works here: every call of the body raises Evicted."""
        self.dead = True
        self._ready.clear()
        self.generators.clear()

    def forget(self) -> None:
        """Lets go of everything that leads back here: what has ended is freed at once, not by the garbage collector."""
        self._keeper = _Nobody(self._keeper.now_us)
        self._tasks.clear()
        self.generators.forget()

    def report_unseen(self) -> None:
        """Says which tasks failed without anybody having looked at it, as asyncio does when it drops them."""
        unseen = [task for task in self._tasks if _unseen(task)]
        for task in unseen[:_UNSEEN_MAX]:
            self._keeper.callback_failed(
                f"{task.get_name()} failed, and nobody looked at it", task.exception()
            )
        if len(unseen) > _UNSEEN_MAX:
            self._keeper.callback_failed(f"{len(unseen) - _UNSEEN_MAX} more tasks failed like that", None)

    # --- what asyncio asks of a loop -------------------------------------------------------------------------

    def time(self) -> float:
        """The time of the recorded input that opened this turn, in seconds since the epoch."""
        return self._keeper.now_us / 1e6

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> ReadyHandle:
        """Runs the callback in this turn. Raises UsageError outside of the run's own turn."""
        if _running_loop() is not self or self.dead:
            self.refuse()
        handle = ReadyHandle(callback, args, copy_context() if context is None else context)
        if not self.dead:
            self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> PlainTimer:
        """Runs the callback when `delay` seconds have passed, durably."""
        return self.call_at(self._keeper.now_us / 1e6 + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> PlainTimer:
        """Runs the callback at `when` (as `time()` counts), durably: rounded up to whole microseconds."""
        if _running_loop() is not self or self.dead:
            self.refuse()
        timer = PlainTimer(when, callback, args, self, copy_context() if context is None else context)
        if not self.dead:
            timer.due = self.due_us(when)
            self._keeper.timer_set(timer)
        return timer

    def due_us(self, when: float) -> int:
        """`when` as microseconds since the epoch."""
        delay = (when - self._keeper.now_us / 1e6) * 1e6
        if not -math.inf < delay < 3.2e15:  # a hundred years, or not a number
            raise UsageError(f"a timer cannot be set to {when!r}: it must be within a hundred years")
        return self._keeper.now_us + max(0, math.ceil(delay - _EARLY_US))

    def drop_timer(self, timer: PlainTimer) -> None:
        """A timer was cancelled."""
        if not self.dead:
            self._keeper.timer_dropped(timer)

    def create_future(self) -> RunFuture:
        """A future of this run."""
        if self.dead:
            self.refuse()
        self._number += 1
        return RunFuture(self, self._number)

    def create_task(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> RunTask:
        """A task of this run. Its path is that of the current task and its number among the children of that."""
        if _running_loop() is not self or self.dead:
            coro.close()
            self.refuse()
        if options.get("eager_start"):
            coro.close()
            raise UsageError(
                "eager tasks would run before they have a name; create the task without eager_start"
            )
        caller = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        if caller.f_code is _ENSURE_FUTURE and _from_as_completed(caller):
            coro.close()
            raise UsageError(
                "as_completed starts bare coroutines in an order that differs on replay; create the tasks first: "
                "as_completed([asyncio.create_task(c) for c in ...])"
            )
        parent = current_task(self)
        path = child_path(self.callbacks if parent is None else parent)
        return self._start(coro, path, name, copy_context() if context is None else context)

    def create_main(self, coro: Coroutine[Any, Any, Any], context: Context) -> RunTask:
        """The task of the body itself; its path is empty."""
        return self._start(coro, "", "main", context)

    def _start(
        self, coro: Coroutine[Any, Any, Any], path: str, name: str | None, context: Context
    ) -> RunTask:
        tasks = self._tasks
        if len(tasks) >= self._prune_at:
            self._tasks = tasks = [task for task in tasks if not task.done() or _unseen(task)]
            self._prune_at = 2 * len(tasks) + _TASKS_PRUNE_MIN
        self._number += 1
        task = RunTask(coro, self, path, self._number, name, context)
        # asyncio keeps only weak references, and what the garbage collector does is not recorded.
        tasks.append(task)
        return task

    def get_task_factory(self) -> None:
        """None: tasks are the run's own."""

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return _running_loop() is self

    def is_closed(self) -> bool:
        return self.dead

    def get_exception_handler(self) -> None:
        """None: see `call_exception_handler`."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What asyncio reports goes to the run's log; the run goes on."""
        if not self.dead:
            self._keeper.callback_failed(str(context.get("message", "")), context.get("exception"))

    async def shutdown_asyncgens(self) -> None:
        """Closes the async generators that are still open, in the order in which they were begun."""
        for generator in self.generators.take_open():
            await generator.aclose()

    def _close_generator(self, generator: Any) -> bool:
        if self.dead:
            return True  # nothing that is torn down runs again
        if _running_loop() is not self:
            return False
        self.create_task(generator.aclose())
        return True

    # --- refusals --------------------------------------------------------------------------------------------

    def refuse(self) -> None:
        """Raises for a call from outside of the run's turn, or of a run that is torn down.

        A torn-down body that ignores this too often gets away with it: its calls then just never come back.
        """
        if not self.dead:
            raise UsageError(
                "a run can only be woken by its recorded inputs, and this call comes from outside of its turn: from "
                "a step, a thread, or another run that shares an asyncio object (an Event, a Queue, a Semaphore) "
                "with it. Make such objects inside the body, and use signals or events between runs"
            )
        self._refusals += 1
        if self._refusals <= _REFUSALS_MAX:
            raise Evicted


def _unseen(task: RunTask) -> bool:
    return task.done() and task._log_traceback


def _code(function: Any) -> CodeType:
    return function.__code__


# Where as_completed turns a set of bare coroutines into tasks; these places moved between 3.11 and 3.13.
_ENSURE_FUTURE = _code(getattr(asyncio.tasks, "_ensure_future", asyncio.ensure_future))
_ITERATOR = getattr(asyncio.tasks, "_AsCompletedIterator", None)
_AS_COMPLETED = _code(asyncio.as_completed if _ITERATOR is None else _ITERATOR.__init__)


def _from_as_completed(frame: FrameType | None) -> bool:
    """Whether ensure_future, whose frame this is, was called by as_completed (through a comprehension in 3.11)."""
    for _ in range(4):
        if frame is None:
            return False
        code = frame.f_code
        if code is _AS_COMPLETED:
            return True
        if code.co_filename != _ENSURE_FUTURE.co_filename:
            return False
        frame = frame.f_back
    return False


audit.watch(RunLoop)
