"""Keeps a partition's memory small: runs and cells that only wait are packed, in slices and behind the turns."""

from __future__ import annotations

from collections.abc import Callable, Container

from perdure.core.dormant import Dormant
from perdure.core.limits import MINUTE_US
from perdure.core.state import PartitionState, Run
from perdure.engine.services import Services

SLICE = 200
"""Runs packed in one go of the event loop, a few ms."""
BACKLOG = 500
"""More than so many are packed at once: a long journal is folded faster than slices would follow."""
AGAIN_US = MINUTE_US


class Packing:
    """The packing side of one reader's state, whether it leads or not."""

    def __init__(self, services: Services, state: PartitionState) -> None:
        self._services = services
        self._state = state
        self._dormant = Dormant(state)
        self._dormant.noted = self._look
        state.runs.unpacked = self._unpacked
        self.returned: Callable[[Run], None] | None = None
        """Told of runs that are no longer packed, and whose timers are their leader's again."""
        self._spare: Container[str] = ()
        self._soon = False
        self._not_before = 0
        self.closed = False

    def consider(self, residents: Container[str]) -> None:
        """After a batch. Runs whose coroutine is in memory stay as they are."""
        self._spare = residents
        excess = self._dormant.excess(self._services.limits.dormant_runs_max)
        if excess > BACKLOG and not self._paused():
            self._pack(excess - BACKLOG)
        self._look()

    def _look(self) -> None:
        excess = self._dormant.excess(self._services.limits.dormant_runs_max)
        if excess > 0 and not (self._soon or self._paused()):
            self._soon = True
            self._services.soon(self._slice)

    def _slice(self) -> None:
        self._soon = False
        if not self.closed:
            self._pack(SLICE)
            self._look()

    def _unpacked(self, run: Run) -> None:
        self._dormant.run(run)
        if self.returned is not None:
            self.returned(run)

    def _paused(self) -> bool:
        return bool(self._not_before) and self._services.clock.now() < self._not_before

    def _pack(self, count: int) -> None:
        services, limits = self._services, self._services.limits
        try:
            self._dormant.pack(limits.dormant_runs_max, count, limits.packed_run_bytes_max, self._spare)
            self._not_before = 0
        except OSError as error:
            self._not_before = services.clock.now() + AGAIN_US
            where = (
                f"runs of partition {self._state.number} that wait do not fit the disk, and stay in memory"
            )
            services.trouble(where, error)
