"""What others may watch: accepted facts only, never speculation (B4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from perdure.core.ops import Op
from perdure.core.state import Run


class Observer(Protocol):
    """Called by the owner of a run. A call must be quick and must not raise."""

    def begun(self, run: Run) -> None:
        """The body of a run takes its first turn in this process; `run` has not changed yet."""
        ...

    def accepted(self, run: Run, ops: Sequence[Op], seen: int) -> None:
        """A commit of the run counts; `run` is the state after it, `seen` the time (µs) by the owner's clock."""
        ...

    def attempt(self, run: Run, key: str, number: int) -> None:
        """An attempt of a step starts."""
        ...

    def lines(self, run: Run, lines: Sequence[Any]) -> None:
        """What the body logged in turns that now count."""
        ...


class Observers:
    """Several observers as one. Without any, a call costs a loop over nothing."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)

    def remove(self, observer: Observer) -> None:
        self._observers.remove(observer)

    def begun(self, run: Run) -> None:
        for observer in self._observers:
            observer.begun(run)

    def accepted(self, run: Run, ops: Sequence[Op], seen: int) -> None:
        for observer in self._observers:
            observer.accepted(run, ops, seen)

    def attempt(self, run: Run, key: str, number: int) -> None:
        for observer in self._observers:
            observer.attempt(run, key, number)

    def lines(self, run: Run, lines: Sequence[Any]) -> None:
        for observer in self._observers:
            observer.lines(run, lines)
