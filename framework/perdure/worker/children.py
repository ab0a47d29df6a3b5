"""Processes that run steps, seen from the worker: started when needed, used again, mended when one dies."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from perdure.errors import StepProcessDied
from perdure.worker.child import Call, Message, Reply, main

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

__all__ = ["Children", "Ticket"]

_CHECK_S = 0.5
"""How often a silent child is looked at. Its death mostly shows at once, as the end of its pipe; but a process that
it forked may hold that open."""
_START_S = 60.0
"""A child that has not come up by then, is given up: it imports the program's main module, which takes a while."""

# Never fork: the worker has threads, and a lock that one of them holds would be held in the child for ever.
_spawn = multiprocessing.get_context("spawn")


class Child:
    """One process and the pipe to it. It runs one call at a time."""

    def __init__(self) -> None:
        self.pipe: Connection[Call, Message]
        self.pipe, theirs = _spawn.Pipe()
        self.process: SpawnProcess = _spawn.Process(target=main, args=(theirs,), name="perdure-step")
        try:
            self.process.start()
        finally:
            theirs.close()
        self.ready = False

    def kill(self) -> None:
        """Ends it and what it has started, at once. From any thread, and more than once."""
        pid = self.process.pid
        if pid is None or self.process.exitcode is not None:
            return
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self.process.kill()  # it has not come so far as to have a group of its own

    def await_ready(self, name: str) -> None:
        """Raises StepProcessDied if it does not come up; `name` is the function that it is for."""
        deadline = time.monotonic() + _START_S
        while not self.ready:
            try:
                if self.pipe.poll(_CHECK_S):
                    self.pipe.recv()
                    self.ready = True
                elif self.process.exitcode is not None:
                    raise EOFError
            except (EOFError, OSError):
                self.process.join(5.0)
                raise StepProcessDied(_not_started(name, self.process.exitcode)) from None
            if not self.ready and time.monotonic() > deadline:
                raise StepProcessDied(f"the process for {name} did not come up within {_START_S:.0f} s")

    def receive(self) -> Message:
        """Its next message. Raises EOFError when it is dead and has said all."""
        while not self.pipe.poll(_CHECK_S):
            if self.process.exitcode is not None and not self.pipe.poll():
                raise EOFError
        return self.pipe.recv()

    def close(self) -> None:
        self.kill()
        self.process.join(5.0)
        self.pipe.close()


class Ticket:
    """The right to stop a call, before, while and after a child has it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: Child | None = None
        self.stopped = False

    def stop(self) -> None:
        """Kills the child that has the call; if none has it, none will."""
        with self._lock:
            self.stopped = True
            if self._child is not None:
                self._child.kill()

    def give(self, child: Child) -> None:
        """Raises StepProcessDied if the call was stopped."""
        with self._lock:
            if self.stopped:
                raise StepProcessDied("the call was stopped before it began")
            self._child = child

    def take_back(self) -> bool:
        """Whether the child is still good for other calls."""
        with self._lock:
            self._child = None
            return not self.stopped


class Children:
    """The processes of a worker. The caller sees to it that no more than its bound of calls run at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._closed = False
        # multiprocessing joins its children at exit, for as long as it takes. Registered later, this runs earlier.
        atexit.register(self.close)

    def run(
        self, call: Call, ticket: Ticket, on_began: Callable[[], None], on_beat: Callable[[Any], None]
    ) -> Reply:
        """Runs one call in a child; blocks until it is over. `on_beat` gets the details of heartbeats, encoded.

        Raises StepProcessDied if the child ends before it has answered, also when it was stopped by the ticket.
        """
        while True:
            child = self._idle_or_new()
            used, began, answered = child.ready, False, False
            try:
                ticket.give(child)
                child.await_ready(call.name)
                child.pipe.send(call)
                while True:
                    kind, value = child.receive()
                    if kind == "beat":
                        on_beat(value)
                    elif kind == "began":
                        began = True
                        on_began()
                    else:
                        answered = True
                        return value
            except (EOFError, OSError):
                if began or not used or ticket.stopped:
                    child.process.join(5.0)
                    raise StepProcessDied(_how_it_died(call.name, child.process.exitcode)) from None
                # It had died while it was idle. That is nothing to this step, which has not begun.
            finally:
                self._put_back(child, good=ticket.take_back() and answered)

    def close(self) -> None:
        """Ends all children, at once. Calls that they have raise StepProcessDied."""
        atexit.unregister(self.close)
        with self._lock:
            self._closed = True
            children, self._all = self._all, set[Child]()
            idle, self._idle = self._idle, list[Child]()
        for child in children:
            child.kill()
        for child in idle:  # the others are closed by those that wait for them
            child.close()

    def _idle_or_new(self) -> Child:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        with self._starting:  # multiprocessing keeps a list of children, without a lock
            if self._closed:
                raise StepProcessDied("the worker is closed")
            child = Child()
        with self._lock:
            self._all.add(child)
            closed = self._closed
        if closed:
            child.kill()
        return child

    def _put_back(self, child: Child, *, good: bool) -> None:
        with self._lock:
            if good and not self._closed:
                self._idle.append(child)
                return
            self._all.discard(child)
        child.close()


def _how_it_died(name: str, code: int | None) -> str:
    if code is None:
        how = "cannot be reached any more"
    elif code >= 0:
        how = f"ended with exit status {code}; return a value or raise instead of os._exit()"
    else:
        how = f"was killed by {_signal(-code)}"
        if -code == signal.SIGKILL:
            how += "; if nobody did that, it may have been out of memory"
    return f"the process that ran {name} {how}"


def _not_started(name: str, code: int | None) -> str:
    return (
        f"the process for {name} ended before it was ready (exit status {code}); its standard error says why. It "
        'imports the main module of the program: what starts a worker there belongs under if __name__ == "__main__"'
    )


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
