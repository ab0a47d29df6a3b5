"""Async generators of a run: closed by its own loop, at places that are the same on replay."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["Generators"]

Generator = Any  # AsyncGenerator[Any, Any], whatever it yields

_collecting: int | None = None
"""The thread in which the cyclic garbage collector is at work."""
_watched = False


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
        """The `firstiter` hook."""
        global _watched
        if not _watched:
            _watched = True
            gc.callbacks.append(_on_gc)
        self._count += 1
        self._begun[id(generator)] = (self._count, weakref.ref(generator))
        if len(self._begun) >= self._prune_at:
            self._begun = {key: entry for key, entry in self._begun.items() if entry[1]() is not None}
            self._prune_at = 64 + 2 * len(self._begun)

    def abandoned(self, generator: Generator) -> None:
        """The `finalizer` hook: nobody refers to this generator any more."""
        if _collecting == threading.get_ident() or not self._close(generator):
            # Its weak reference is dead by now, but what was noted by its address still is its own.
            number, _ = self._begun.pop(id(generator), (0, None))
            self._adopted.append((number, generator))

    def take_open(self) -> list[Generator]:
        """Those not finished, in the order in which they were begun. They are forgotten here."""
        found = [(number, ref()) for number, ref in self._begun.values()] + self._adopted
        self.clear()
        found.sort(key=lambda entry: entry[0])
        return [one for _, one in found if one is not None and one.ag_frame is not None]

    def clear(self) -> None:
        """Forgets all."""
        self._begun.clear()
        self._adopted.clear()
