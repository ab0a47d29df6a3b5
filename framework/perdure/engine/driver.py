"""What the parts that work on runs ask of the one that drives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from perdure.core.ops import Op
from perdure.core.state import PartitionState, Run
from perdure.engine.admission import Admissions
from perdure.engine.life import Life
from perdure.engine.resident import Resident, Step
from perdure.engine.services import Services
from perdure.errors import PerdureError
from perdure.execution.model import Turn


class Driver(Protocol):
    """Gives ops to bodies and books what they do. Implemented by `Residents`."""

    @property
    def life(self) -> Life: ...

    @property
    def state(self) -> PartitionState: ...

    @property
    def services(self) -> Services: ...

    @property
    def admission(self) -> Admissions:
        """Brings runs under flow control to their limits."""
        ...

    @property
    def residents(self) -> dict[str, Resident]:
        """The runs with a coroutine in memory, by id."""
        ...

    def activate(self, run_id: str) -> None:
        """A run has something for its body: wake it, or hand its inbox over."""
        ...

    def fire(self, run_id: str, key: str, due: int) -> None:
        """Something of a run is due."""
        ...

    def hold(self, later: Callable[[], None], run_id: str = "") -> bool:
        """Whether a run may not be woken yet, or, without one, no step may start: then it is done after that."""
        ...

    def absent(self, run_id: str) -> None:
        """The code of a run is not here (A12)."""
        ...

    def tick(self, resident: Resident, *, at_least: int = 0) -> int:
        """The time of the next release (µs)."""
        ...

    def release(self, resident: Resident, op: Op, given: Op | None = None) -> None:
        """Gives one op to the body and books what it did. `given` is the op with its payloads opened."""
        ...

    def turned(self, resident: Resident, opening: Op | None, turn: Turn) -> None:
        """Books a turn of the body, in the form in which a record holds it."""
        ...

    def park(self, resident: Resident, error: PerdureError, opening: Op | None = None) -> None:
        """The body cannot go on here: the run is parked, visible, and waits for a person or other code."""
        ...

    def compute(self, resident: Resident, opening: Op | None, turn: Callable[[], Turn]) -> None:
        """Takes a turn of the body, here or in a thread, and books it."""
        ...

    def in_thread(self, resident: Resident, call: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """A `def` body computes in a thread; `done` gets the result or the exception."""
        ...

    def caught_up(self, resident: Resident) -> None:
        """A thread is through with a run: what came meanwhile is given to it now."""
        ...

    def note(self, resident: Resident, op: Op) -> None:
        """Books an op that the body has nothing to do with."""
        ...

    def mark(self, resident: Resident) -> None:
        """The run has turns to commit."""
        ...

    def accepted(self, run: Run, resident: Resident, steps: Sequence[Step]) -> None:
        """Turns of the run count now: what they asked for starts."""
        ...

    def end_if_quiet(self, resident: Resident) -> None:
        """Books a held-back end once the last attempt is over."""
        ...

    def let_go(self, resident: Resident) -> None:
        """Tears a coroutine down."""
        ...

    def parked(self, resident: Resident, reason: str, detail: str) -> Op:
        """The op that parks a run."""
        ...

    def body_raised(self, run: Run, resident: Resident, error: BaseException) -> None:
        """A `def` body raised on the way to where its record ends: it is tried again, or the run fails."""
        ...

    def plain_commit(self, run: Run, changes: list[Op]) -> None:
        """A commit of a run that has no coroutine in memory."""
        ...

    def resume_steps(self, run: Run, resident: Resident) -> None:
        """Starts the attempts of the steps that the body waits for."""
        ...
