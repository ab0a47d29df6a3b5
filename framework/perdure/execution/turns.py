"""Which body computes on which thread, so that a guard in another thread can stop one that never comes back (B1).

A body that computes without end holds the thread of its worker, so nothing on that thread can end it. What can is
CPython's `PyThreadState_SetAsyncExc`: it raises an exception in another thread, between two of its bytecodes. The lock
here makes sure that it is raised within the turn that was meant, or not at all.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Protocol

__all__ = ["Overdue", "Turning", "enter", "interrupt", "leave", "turning_on"]

_lock = threading.Lock()
_turning: dict[int, Turning] = {}
_raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in_thread.argtypes = (ctypes.c_ulong, ctypes.py_object)


class Overdue(BaseException):
    """Stops a turn that computes for too long, wherever its code is. It is no Exception, so that few will catch it."""


class Turning(Protocol):
    """A run's loop, as the guard sees it."""

    turn: int
    """Counts its turns, so that two short ones are not taken for one long one."""
    stopped_at: str | None
    """Where its code was when it was stopped; None if it was not."""

    def __str__(self) -> str: ...


def enter(loop: Turning) -> None:
    """A turn begins on this thread."""
    loop.turn += 1
    loop.stopped_at = None
    _turning[threading.get_ident()] = loop


def leave(loop: Turning) -> None:
    """The turn is over; from here on nothing is raised in this thread. Idempotent."""
    thread = threading.get_ident()
    with _lock:
        _turning.pop(thread, None)
        if loop.stopped_at is not None:
            _raise_in_thread(thread, ctypes.py_object())  # NULL takes back what is not yet raised


def turning_on(thread: int) -> Turning | None:
    """Whose turn it is on a thread. From any thread."""
    return _turning.get(thread)


def interrupt(thread: int, loop: Turning, turn: int, where: str) -> bool:
    """Raises Overdue in this turn, at the next bytecode of its thread; False if the turn is over. From any thread."""
    with _lock:
        if _turning.get(thread) is not loop or loop.turn != turn:
            return False
        loop.stopped_at = where
        return _raise_in_thread(thread, Overdue) == 1
