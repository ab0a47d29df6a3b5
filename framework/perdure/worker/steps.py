"""Runs attempts of steps: on the event loop, in threads, in processes."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from functools import partial
from threading import get_ident
from time import monotonic, perf_counter_ns
from types import CoroutineType
from typing import Any, Final, TypeVar

from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.errors import StepStopped, StepTimeout, UsageError
from perdure.execution.current import begin_step
from perdure.execution.ports import Attempt, Outcome
from perdure.worker.calls import call_of, outcome_of
from perdure.worker.children import Children, Ticket
from perdure.worker.details import Details
from perdure.worker.guard import TurnGuard
from perdure.worker.job import Job, lane_of
from perdure.worker.landing import Landing
from perdure.worker.slots import Slots
from perdure.worker.threads import Threads
from perdure.worker.watchdog import Watchdog

__all__ = ["Around", "LocalSteps"]

T = TypeVar("T")
Around = Callable[[Attempt], AbstractContextManager[Any]]

_log = logging.getLogger("perdure.worker")
_CUT_S: Final = 2.0
"""What attempts get to clean up, once the worker has stopped waiting for them."""


class LocalSteps:
    """The steps of one worker, in this process. Make it on the event loop that it is to serve.

    At most `slots` attempts run at once, of these `threads_max` in threads (default: all) and `processes_max` in
    processes (default: one per core); more wait in order. Turns of `def` bodies have `turn_threads_max` threads of
    their own, so that steps cannot keep them waiting. `around` gives a context in which each attempt runs: a span.
    A step or body that holds the loop for longer than `blocked_s` is named in the log of `perdure.worker`, and a body
    that computes for longer than the limit `turn_time_max` is stopped. An `async def`
    that ignores its cancellation is given up `stop_grace_s` after its timeout; it goes on, and keeps its slot.
    """

    def __init__(
        self,
        *,
        slots: int = 100,
        threads_max: int | None = None,
        processes_max: int | None = None,
        turn_threads_max: int = 16,
        around: Around | None = None,
        blocked_s: float = 5.0,
        stop_grace_s: float = 10.0,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        threads_max = _bound("threads_max", threads_max, _bound("slots", slots, slots))
        processes_max = _bound("processes_max", processes_max, os.cpu_count() or 1)
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._around = around
        self._stop_grace_s = stop_grace_s
        self._limits = limits
        self._landing = Landing(self._loop, self._context)
        self._slots = Slots[Job](slots, {"loop": slots, "thread": threads_max, "process": processes_max})
        self._jobs: dict[tuple[str, str], list[Job]] = {}
        self._tasks: dict[asyncio.Task[None], Job] = {}
        self._details = Details()
        self._threads = Threads(threads_max, "perdure-step")
        self._callers = Threads(processes_max, "perdure-process")
        self._turners = Threads(_bound("turn_threads_max", turn_threads_max, 1), "perdure-turn")
        self._turns = 0
        self._children = Children()
        self._watchdog = Watchdog(blocked_s, self.on_loop, lambda: len(self._tasks))
        self._guard = TurnGuard(limits.turn_time_max / 1e6, blocked_s)
        self._draining = False
        self._quiet: asyncio.Future[None] | None = None

    @property
    def running(self) -> int:
        """Attempts that run, in whatever lane."""
        return self._slots.running

    @property
    def waiting(self) -> int:
        """Attempts that wait for a slot."""
        return self._slots.waiting

    # ------------------------------------------------------------------ the port

    def start(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        """Runs the attempt when a slot is free, then calls `done` once, from the event loop, never from here.

        Once the worker drains nothing is started any more, and of what was not started `done` is never called:
        it has not failed, and the next owner of the run starts it.
        """
        if self._draining:
            return
        lane = lane_of(attempt)
        step = (attempt.run_id, attempt.key)
        job = Job(attempt, step, done, lane)
        if attempt.number > 1:
            job.details = self._details.take(step)
        self._jobs.setdefault(step, []).append(job)
        if self._slots.take(job, lane):
            self._begin(job)

    def cancel(self, run_id: str, key: str) -> None:
        """Stops the attempts of a step that nobody waits for any more; `done` is called when each has ended.

        What runs in a thread cannot be stopped; `done` is called at its end, or at its timeout if it has one.
        """
        for job in self._jobs.get((run_id, key), ()):
            if job.stop is None:
                job.stop = StepStopped(f"{job} was cancelled")
                if self._slots.leave(job, job.lane):
                    self._loop.call_soon(self._tell, job, job.stopped(self._limits), context=self._context)
                else:
                    self._interrupt(job)

    def compute(self, fn: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Calls `fn`, a turn of a `def` body, in a thread of its own kind; `done` gets what it returned or raised."""

        def work() -> None:
            result: T | BaseException
            try:
                result = fn()
            except BaseException as error:  # noqa: BLE001 - SystemExit too: it is the body's, not the thread's
                result = error
            self._landing.post(partial(self._turned, done, result))

        self._turners.submit(work)
        self._turns += 1

    def _turned(self, done: Callable[[T | BaseException], None], result: T | BaseException) -> None:
        self._turns -= 1
        try:
            done(result)
        finally:
            self._look_quiet()

    # ------------------------------------------------------------------ beginning

    def _begin(self, job: Job) -> None:
        try:
            if job.lane == "loop":
                self._watch(job)
                self._begin_task(job, None)
            elif job.lane == "thread":
                self._watch(job)
                self._threads.submit(partial(self._in_thread, job))
            else:
                job.ticket = Ticket()
                self._callers.submit(partial(self._in_process, job))
        except Exception as error:  # noqa: BLE001 - no thread to be had: a failure of this attempt, not of the engine
            self._loop.call_soon(self._ended, job, job.raised(error, self._limits), context=self._context)

    def _watch(self, job: Job) -> None:
        """From now on its time runs."""
        if job.told:
            return
        job.began = perf_counter_ns()
        options = job.attempt.options
        if options.timeout_us is not None:
            fault = StepTimeout(f"{job} took longer than its timeout of {_seconds(options.timeout_us)}")
            job.deadline = self._loop.call_later(options.timeout_us / 1e6, self._late, job, fault)
        if options.heartbeat_us is not None:
            job.beaten = monotonic()
            job.pulse = self._loop.call_later(options.heartbeat_us / 1e6, self._listen, job)

    def _begin_task(self, job: Job, begun: Coroutine[Any, Any, Any] | None) -> None:
        # A plain task, also where an eager one could be had: what runs here is the engine's turn, and the step's
        # code must neither run inside of it nor see its task as its own. It costs 2 µs.
        attempt = job.attempt
        task = asyncio.Task(
            self._on_loop(job, begun),
            loop=self._loop,
            name=f"step {attempt.step_id} of {attempt.run_id}",
            context=attempt.context.copy(),
        )
        job.task = task
        self._tasks[task] = job
        task.add_done_callback(self._task_over, context=self._context)
        if not self._watchdog.armed:
            self._watchdog.arm()

    # ------------------------------------------------------------------ running

    async def _on_loop(self, job: Job, begun: Coroutine[Any, Any, Any] | None) -> None:
        attempt = job.attempt
        try:
            begin_step(job.info)
            with _nothing if self._around is None else self._around(attempt):
                value = await (attempt.fn(*attempt.args, **attempt.kwargs) if begun is None else begun)
            job.outcome = job.returned(value, self._limits)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a step is a failure of the step
            job.outcome = job.raised(error, self._limits)

    def _task_over(self, task: asyncio.Task[None]) -> None:
        job = self._tasks.pop(task)
        job.task = None
        outcome, job.outcome = job.outcome, None
        if outcome is None:  # cancelled before its first line
            outcome = job.raised(asyncio.CancelledError(), self._limits)
        self._ended(job, outcome)

    def _in_thread(self, job: Job) -> None:
        # No name for the result: an exception's traceback leads back to this frame, and that would be a cycle.
        self._landing.post(partial(self._thread_over, job, job.attempt.context.copy().run(self._call, job)))

    def _call(self, job: Job) -> Outcome | CoroutineType[Any, Any, Any]:
        attempt = job.attempt
        job.thread = get_ident()
        try:
            begin_step(job.info)
            with _nothing if self._around is None else self._around(attempt):
                value: Any = attempt.fn(*attempt.args, **attempt.kwargs)
            return value if inspect.iscoroutine(value) else job.returned(value, self._limits)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a step is a failure of the step
            return job.raised(error, self._limits)
        finally:
            job.thread = None

    def _thread_over(self, job: Job, result: Outcome | CoroutineType[Any, Any, Any]) -> None:
        if isinstance(result, Outcome):
            self._ended(job, result)
        elif job.stop is not None:
            result.close()
            self._ended(job, job.stopped(self._limits))
        else:  # lambda: charge(order), where charge is an `async def`
            self._slots.move("thread", "loop")
            job.lane = "loop"
            self._begin_task(job, result)
            self._fill()

    def _in_process(self, job: Job) -> None:
        self._landing.post(partial(self._ended, job, job.attempt.context.copy().run(self._call_child, job)))

    def _call_child(self, job: Job) -> Outcome:
        ticket = job.ticket
        assert ticket is not None

        def began() -> None:
            self._landing.post(partial(self._watch, job))

        try:
            with _nothing if self._around is None else self._around(job.attempt):
                reply = self._children.run(call_of(job, self._limits), ticket, began, job.heard)
            return outcome_of(reply)
        except BaseException as error:  # noqa: BLE001 - also what unpickling an exception may raise
            return job.raised(error, self._limits)

    # ------------------------------------------------------------------ stopping

    def _late(self, job: Job, fault: StepTimeout) -> None:
        """Its time is over. Whoever waits hears of it, even if it cannot be stopped."""
        if job.told:
            return
        job.silence()
        job.stop = job.stop or fault
        if job.lane == "thread":
            job.say_where()
            self._tell(job, job.stopped(self._limits))
            return
        job.deadline = self._loop.call_later(self._stop_grace_s, self._give_up, job)
        self._interrupt(job)

    def _listen(self, job: Job) -> None:
        limit_us = job.attempt.options.heartbeat_us
        assert limit_us is not None
        left = job.beaten + limit_us / 1e6 - monotonic()
        if left > 0:
            job.pulse = self._loop.call_later(left, self._listen, job)
        else:
            self._late(job, StepTimeout(f"{job} sent no heartbeat for {_seconds(limit_us)}"))

    def _interrupt(self, job: Job) -> None:
        if job.task is not None:
            job.task.cancel()
        elif job.ticket is not None:
            job.ticket.stop()

    def _give_up(self, job: Job) -> None:
        _log.warning("%s was told to stop %.0f s ago and goes on; it keeps its slot", job, self._stop_grace_s)
        self._tell(job, job.stopped(self._limits))

    # ------------------------------------------------------------------ ending

    def _ended(self, job: Job, outcome: Outcome) -> None:
        """Nothing of it runs any more."""
        job.silence()
        self._slots.free(job.lane)
        self._fill()
        try:
            self._tell(job, outcome)
        finally:
            job.stop = None  # its cause leads back to the job, which would be a cycle
            if self._quiet is not None:
                self._look_quiet()

    def _fill(self) -> None:
        while (job := self._slots.next()) is not None:
            self._begin(job)

    def _tell(self, job: Job, outcome: Outcome) -> None:
        if job.told:
            return
        self._forget(job)
        attempt = job.attempt
        again = outcome.failure is not None and not outcome.final and attempt.number < attempt.attempts_max
        if again and job.details is not None and not isinstance(job.stop, StepStopped):
            self._details.keep(job.step, job.details)
        job.done(outcome)

    def _forget(self, job: Job) -> None:
        job.told = True
        jobs = self._jobs[job.step]
        if len(jobs) == 1:
            del self._jobs[job.step]
        else:
            jobs.remove(job)

    # ------------------------------------------------------------------ leaving

    async def drain(self, timeout_s: float) -> int:
        """Starts nothing any more, and waits for what runs, up to `timeout_s`. Returns how many still run."""
        self._draining = True
        for job in self._slots.leave_all():
            self._forget(job)
        await self._wait_quiet(timeout_s)
        return self._slots.running

    async def close(self, grace_s: float = 0.0) -> None:
        """Drains, then stops what still runs and lets its threads and processes go. Bounded, whatever a step does.

        Of an attempt that is stopped by this, `done` is never called: it has not failed, and runs again elsewhere.
        """
        try:
            left = await self.drain(grace_s)
            if left:
                steps = "1 step is" if left == 1 else f"{left} steps are"
                _log.warning("%s given up; a new owner of the runs runs them again", steps)
            self._cut()
            await self._wait_quiet(_CUT_S)
        finally:
            self._cut()
            self._children.close()
            for threads in (self._threads, self._callers, self._turners):
                threads.stop()
            self._watchdog.stop()
            self._guard.stop()

    def _cut(self) -> None:
        for job in [job for jobs in self._jobs.values() for job in jobs]:
            job.silence()
            self._forget(job)
            job.stop = job.stop or StepStopped("the worker is leaving")
            self._interrupt(job)

    async def _wait_quiet(self, timeout_s: float) -> None:
        if self._slots.running or self._turns:
            if self._quiet is None or self._quiet.done():
                self._quiet = self._loop.create_future()
            await asyncio.wait([self._quiet], timeout=timeout_s)

    def _look_quiet(self) -> None:
        if self._quiet is not None and not self._slots.running and not self._turns and not self._quiet.done():
            self._quiet.set_result(None)

    def on_loop(self) -> Job | None:
        """The attempt whose code is on the loop now. From any thread."""
        task = asyncio.current_task(self._loop)
        return self._tasks.get(task) if task is not None else None


_nothing: Final = nullcontext()


def _bound(name: str, value: int | None, default: int) -> int:
    if value is None:
        return default
    if value < 1:
        raise UsageError(f"{name}={value}: at least 1 is needed")
    return value


def _seconds(us: int) -> str:
    return f"{us / 1e6:g} s"
