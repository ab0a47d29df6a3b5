"""A process that runs steps, seen from inside: takes a call, runs it, answers, takes the next."""

from __future__ import annotations

import asyncio
import inspect
import os
import pickle
import signal
import threading
from collections.abc import Callable
from contextvars import copy_context
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from time import perf_counter_ns
from typing import Any, Literal, NamedTuple

from perdure.authoring.payloads import codec_for
from perdure.authoring.steps import DEFAULT_OPTIONS
from perdure.core import payload
from perdure.core.limits import Limits
from perdure.errors import UsageError
from perdure.execution.current import StepInfo, running_step
from perdure.execution.outcome import raised, returned
from perdure.execution.ports import Attempt, Outcome
from perdure.worker.details import encoded_details

__all__ = ["Call", "Message", "Reply", "main"]


class Call(NamedTuple):
    """What the child is told to run. `work` is pickled apart, so that a fault in it is the step's and not ours."""

    work: bytes
    """(fn, args, kwargs)"""
    name: str
    """What messages call the function."""
    run_id: str
    function_id: str
    key: str
    step_id: str
    idempotency_key: str
    number: int
    attempts_max: int
    details: bytes | None
    snapshot: bytes | None
    limits: Limits

    def attempt(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Attempt:
        """The attempt as it is in this process. The codec does not travel: it is that of the function, here too."""
        return Attempt(
            run_id=self.run_id,
            function_id=self.function_id,
            key=self.key,
            step_id=self.step_id,
            idempotency_key=self.idempotency_key,
            number=self.number,
            attempts_max=self.attempts_max,
            fn=fn,
            args=args,
            kwargs=kwargs,
            options=DEFAULT_OPTIONS,
            codec=codec_for(fn),
            context=copy_context(),
            snapshot=self.snapshot,
        )


class Reply(NamedTuple):
    """How it went. The exception travels apart, since it may be of a kind that does not survive pickling."""

    outcome: Outcome
    error: bytes | None


Message = tuple[Literal["ready", "began", "beat", "end"], Any]


class _Parent:
    """The way to the worker; heartbeats may come from any thread."""

    def __init__(self, pipe: Connection[Message, Call]) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def tell(self, kind: Literal["ready", "began", "beat", "end"], value: Any = None) -> None:
        with self._lock:
            self._pipe.send((kind, value))


class _Pulse:
    """The heartbeat of one attempt. Threads that it left behind must not be taken for the next one."""

    def __init__(self, parent: _Parent) -> None:
        self._parent = parent
        self.over = False

    def beat(self, details: Any) -> None:
        if not self.over:
            self._parent.tell("beat", None if details is None else encoded_details(details))


def main(pipe: Connection[Message, Call]) -> None:
    """Serves calls until the worker closes its end of the pipe."""
    # A group of its own: Ctrl-C in a terminal reaches the worker only, which decides what becomes of its steps,
    # and whatever a step has started can be stopped with it.
    os.setpgid(0, 0)
    threading.Thread(target=_leave_with_the_worker, name="perdure-parent", daemon=True).start()
    parent = _Parent(pipe)
    parent.tell("ready")
    while True:
        try:
            call = pipe.recv()
        except EOFError:
            return
        parent.tell("end", _reply(call, parent))


def _leave_with_the_worker() -> None:
    """A worker that was killed has a successor, which runs the step again: this one is not needed any more."""
    worker = parent_process()
    if worker is not None:
        wait([worker.sentinel])
        os.killpg(0, signal.SIGKILL)


def _reply(call: Call, parent: _Parent) -> Reply:
    try:
        fn, args, kwargs = pickle.loads(call.work)  # noqa: S301 - it comes from our own parent
        attempt = call.attempt(fn, args, kwargs)
    except BaseException as error:  # noqa: BLE001 - importing the function's module runs code of the user
        unread = call._replace(snapshot=None).attempt(_unread, (), {})
        return _packed(raised(unread, _not_read(call.name, error), 0, call.limits))
    pulse = _Pulse(parent)
    info = StepInfo(
        idempotency_key=call.idempotency_key,
        attempt=call.number,
        max_attempts=call.attempts_max,
        details=None if call.details is None else payload.loads(call.details),
        beat=pulse.beat,
    )
    parent.tell("began")
    try:
        return _packed(_run(attempt, info, call.limits))
    finally:
        pulse.over = True


def _run(attempt: Attempt, info: StepInfo, limits: Limits) -> Outcome:
    began = perf_counter_ns()
    try:
        with running_step(info):
            value = attempt.fn(*attempt.args, **attempt.kwargs)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
        return returned(attempt, value, (perf_counter_ns() - began) // 1_000, limits)
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a step is a failure of the step
        return raised(attempt, error, (perf_counter_ns() - began) // 1_000, limits)


def _unread() -> None:
    """Stands for a function that could not be read."""


def _packed(outcome: Outcome) -> Reply:
    error, outcome.exception = outcome.exception, None
    if error is None:
        return Reply(outcome, None)
    try:
        return Reply(outcome, pickle.dumps(error))
    except Exception:  # noqa: BLE001 - the outcome has its name, message and traceback
        return Reply(outcome, None)


def _not_read(name: str, error: BaseException) -> UsageError:
    fault = UsageError(
        f"{name} or its arguments could not be read in the step's process: {type(error).__name__}: {error}. "
        'Define the function at the top level of a module that can be imported, or run it with executor="thread"'
    )
    fault.__cause__ = error
    return fault
