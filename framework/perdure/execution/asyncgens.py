"""Async generators of a run: closed by its own loop, at places that are the same on replay.

Python's hooks for async generators are one pair per thread. They are set once, tell the generators of runs from those
of the host by the loop that is running, and pass the latter on to the hooks that were there before: setting them anew
in each turn would cost a third of a small one.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["Generators", "keep_hooks"]

Generator = Any  # AsyncGenerator[Any, Any], whatever it yields

_running_loop = asyncio._get_running_loop
_get_hooks = sys.get_asyncgen_hooks

_collecting: int | None = None
"""The thread in which the cyclic garbage collector is at work."""


def _on_gc(phase: str, _info: dict[str, int]) -> None:
    global _collecting
    _collecting = threading.get_ident() if phase == "start" else None


class Generators:
    """The async generators that were begun in one run and are not yet finished.

    One that is abandoned (a `break` out of `async for`) is closed at once when its last reference goes, which is
    as deterministic as the code. The cyclic garbage collector is not: what it finds is kept, and closed at the end of
    the body like all that are still open then.
    """

    __slots__ = ("_adopted", "_begun", "_close", "_count", "_prune_at")

    def __init__(self, close: Callable[[Generator], bool]) -> None:
        self._close = close  # whether it took the generator
        self._begun: dict[int, tuple[int, weakref.ref[Generator]]] = {}
        self._adopted: list[tuple[int, Generator]] = []
        self._count = 0
        self._prune_at = 64

    def begun(self, generator: Generator) -> None:
        """This run begins to iterate over it."""
        if _on_gc not in gc.callbacks:
            gc.callbacks.append(_on_gc)
        self._count += 1
        self._begun[id(generator)] = (self._count, weakref.ref(generator))
        _owners[id(generator)] = self
        if len(self._begun) >= self._prune_at:
            self._prune()

    def abandoned(self, generator: Generator) -> None:
        """Nobody refers to this generator any more."""
        # Its weak reference is dead by now, but what was noted by its address still is its own.
        number, _ = self._begun.pop(id(generator), (0, None))
        if _collecting == threading.get_ident() or not self._close(generator):
            self._adopted.append((number, generator))

    def take_open(self) -> list[Generator]:
        """Those not finished, in the order in which they were begun. They are forgotten here."""
        found = [(number, ref()) for number, ref in self._begun.values()] + self._adopted
        found.sort(key=lambda entry: entry[0])
        self._adopted = []
        return [one for _, one in found if one is not None and one.ag_frame is not None]

    def clear(self) -> None:
        """Forgets all."""
        for key in self._begun:
            _owners.pop(key, None)
        self._begun = {}
        self._adopted = []

    def forget(self) -> None:
        """Asks its loop no more. Whatever is abandoned from now on is of a run that is torn down."""
        self._close = _taken

    def _prune(self) -> None:
        gone = [key for key, (_, ref) in self._begun.items() if ref() is None]
        for key in gone:
            del self._begun[key]
            _owners.pop(key, None)
        self._prune_at = 64 + 2 * len(self._begun)


def _taken(_generator: Generator) -> bool:
    return True  # nothing that is torn down runs again


_owners: dict[int, Generators] = {}
"""Which run a generator belongs to, by its address."""


class _Outer(threading.local):
    """The hooks that were there before ours, by thread."""

    begun: Callable[[Generator], Any] | None = None
    abandoned: Callable[[Generator], Any] | None = None


_outer = _Outer()


def _on_begun(generator: Generator) -> None:
    """The `firstiter` hook."""
    generators = getattr(_running_loop(), "generators", None)
    if isinstance(generators, Generators):
        generators.begun(generator)
        return
    _owners.pop(id(generator), None)  # of a finished one that had this address before
    if _outer.begun is not None:
        _outer.begun(generator)


def _on_abandoned(generator: Generator) -> None:
    """The `finalizer` hook."""
    owner = _owners.pop(id(generator), None)
    if owner is not None:
        owner.abandoned(generator)
    elif _outer.abandoned is not None:
        _outer.abandoned(generator)


def keep_hooks() -> None:
    """Makes sure that our hooks are those of this thread; an event loop that starts in it sets its own."""
    begun, abandoned = _get_hooks()
    if begun is not _on_begun:
        _outer.begun, _outer.abandoned = begun, abandoned
        sys.set_asyncgen_hooks(_on_begun, _on_abandoned)
