"""Which runs and cells are packed, and when: those that only wait, the longest first, when there are too many."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container

from perdure.core.bodies import waits
from perdure.core.entities import Cell, CellKey, Run
from perdure.core.state import PartitionState

__all__ = ["Dormant"]


class Dormant:
    """What may be packed of one partition's state.

    The fold only notes: packing costs more than a fold does, and most runs that wait are soon to go on.
    """

    def __init__(self, state: PartitionState) -> None:
        self._state = state
        self._runs: deque[tuple[str, int]] = deque()
        """With the commit since which they wait: who has had another is noted again if he still does."""
        self._cells: deque[CellKey] = deque()
        self.noted: Callable[[], None] | None = None
        """Told of each that is noted."""
        state.dormant = self
        state.runs.unpacked = self.run
        state.cells.unpacked = self._back
        for run in state.runs.plain.values():
            if waits(run):
                self.run(run)
        for where, cell in state.cells.plain.items():
            if not cell.kept:
                self.cell(where)

    def __len__(self) -> int:
        return len(self._runs) + len(self._cells)

    def run(self, run: Run, /) -> None:
        """A run may only wait from now on."""
        self._runs.append((run.id, run.prev))
        if self.noted is not None:
            self.noted()

    def cell(self, where: CellKey, /) -> None:
        """A cell has waits, and no event."""
        self._cells.append(where)
        if self.noted is not None:
            self.noted()

    def _back(self, cell: Cell) -> None:
        self.cell(cell.where)

    def excess(self, keep: int) -> int:
        """How many more there are than `keep`, of the more numerous kind."""
        return max(len(self._runs), len(self._cells)) - keep

    def pack(self, keep: int, count_max: int, bytes_max: int, spare: Container[str]) -> int:
        """Packs up to so many runs and cells, until `keep` of each are left; returns how many it has packed.

        Not runs of more than so many bytes, nor those whose coroutine is in memory: they are noted when that is let go.
        Raises OSError when the bytes find no place; all is as it was then.
        """
        runs, cells = self._state.runs, self._state.cells
        chosen: dict[str, Run] = {}
        noted: list[tuple[str, int]] = []
        while len(self._runs) > keep and len(chosen) < count_max:
            run_id, prev = entry = self._runs.popleft()
            run = runs.plain.get(run_id)
            if run is None or run.prev != prev or run_id in spare or run.size > bytes_max or not waits(run):
                continue
            chosen[run_id] = run
            noted.append(entry)
        quiet: dict[CellKey, Cell] = {}
        while len(self._cells) > keep and len(quiet) < count_max:
            where = self._cells.popleft()
            cell = cells.plain.get(where)
            if cell is not None and cell.subscriptions and not cell.kept:
                quiet[where] = cell
        try:
            return len(runs.pack(chosen.values())) + len(cells.pack(quiet.values()))
        except OSError:
            self._runs.extendleft(reversed(noted))
            self._cells.extendleft(reversed(quiet))
            raise
