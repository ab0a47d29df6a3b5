"""What others may watch: accepted facts only, never speculation (B4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from perdure.core.ops import EVENTS_SENT, EventData, Op
from perdure.core.state import Run


class Observer(Protocol):
    """Called by the owner of a run. A call must be quick and must not raise.

    Subclass it, and override what is of interest: by itself, each call does nothing.
    """

    def begun(self, run: Run) -> None:
        """The body of a run takes its first turn in this process; `run` has not changed yet."""

    def woken(self, run: Run) -> None:
        """This process works on a run that has a history from now on; `run.history` holds all that was accepted.

        May be called again before `left`.
        """

    def left(self, run_id: str) -> None:
        """The run has ended, or this process lets go of it: it may be woken again, here or elsewhere."""

    def accepted(self, run: Run, ops: Sequence[Op], seen: int) -> None:
        """A commit of the run counts; `run` is the state after it, `seen` the time (µs) by the owner's clock."""

    def never_began(self, run: Run) -> None:
        """Flow control has dropped the start of a run (`run.reason`), or could not tell (`run.error`)."""

    def passed_over(self, event: str, function: str, reason: str) -> None:
        """An event, or a tick, of this id starts no run of a function."""

    def attempt(self, run: Run, key: str, number: int) -> None:
        """An attempt of a step starts."""

    def unfit(self, run: Run, reason: str) -> None:
        """A resume asks a run that stands still to go on, and the code that is deployed now does not fit its record."""

    def lines(self, run: Run, lines: Sequence[Any]) -> None:
        """What the body logged in turns that now count."""


class Attempted(Protocol):
    """What `around` needs of an attempt."""

    @property
    def traceparent(self) -> str | None: ...


@runtime_checkable
class Propagator(Protocol):
    """An observer that also hands a trace on: to the code of steps, and to the events that runs send."""

    def traceparent(self, run: Run, key: str, number: int) -> str | None:
        """The W3C traceparent of an attempt of a step; of the step itself when `number` is 0."""
        ...

    def around(self, attempt: Attempted) -> AbstractContextManager[Any]:
        """What runs inside belongs to the attempt."""
        ...


class Observers:
    """Several observers as one. Without any, a call costs a loop over nothing."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers: list[Observer] = []
        self._propagator: Propagator | None = None
        for observer in observers:
            self.add(observer)

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)
        if self._propagator is None and isinstance(observer, Propagator):
            self._propagator = observer

    def remove(self, observer: Observer) -> None:
        self._observers.remove(observer)
        self._propagator = next((o for o in self._observers if isinstance(o, Propagator)), None)

    def begun(self, run: Run) -> None:
        for observer in self._observers:
            observer.begun(run)

    def woken(self, run: Run) -> None:
        for observer in self._observers:
            observer.woken(run)

    def left(self, run_id: str) -> None:
        for observer in self._observers:
            observer.left(run_id)

    def accepted(self, run: Run, ops: Sequence[Op], seen: int) -> None:
        for observer in self._observers:
            observer.accepted(run, ops, seen)

    def never_began(self, run: Run) -> None:
        for observer in self._observers:
            observer.never_began(run)

    def passed_over(self, skips: Sequence[Mapping[str, str]]) -> None:
        for skip in skips:
            for observer in self._observers:
                observer.passed_over(skip["event"], skip["function"], skip["reason"])

    def attempt(self, run: Run, key: str, number: int) -> None:
        for observer in self._observers:
            observer.attempt(run, key, number)

    def unfit(self, run: Run, reason: str) -> None:
        for observer in self._observers:
            observer.unfit(run, reason)

    def lines(self, run: Run, lines: Sequence[Any]) -> None:
        if lines:
            for observer in self._observers:
                observer.lines(run, lines)

    # ------------------------------------------------------------------ handing a trace on

    @property
    def around(self) -> Callable[[Attempted], AbstractContextManager[Any]] | None:
        """What a worker enters around each attempt, in the context or thread of the step; None when nobody traces."""
        return None if self._propagator is None else self._propagator.around

    def traceparent(self, run: Run, key: str, number: int = 0) -> str | None:
        """The traceparent of an attempt, or of a step. Who does not trace hands on what the run came with."""
        if self._propagator is None:
            return run.event["trace"]
        return self._propagator.traceparent(run, key, number)

    def stamp(self, run: Run, op: Op) -> None:
        """Gives the events of an op of `SENDS` the trace of the step that sends them or starts a child with them.

        It is not the body's doing: a replay neither makes it again nor compares it.
        """
        name, body = op
        events: Sequence[EventData] = body["events"] if name == EVENTS_SENT else [body["event"]]
        trace = self.traceparent(run, body["key"])
        for event in events:
            event["trace"] = trace
