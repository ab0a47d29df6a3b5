"""One heap of due times per partition, with one entry for each that is armed. Packed runs have their own list of these.

What is no longer due stays in the heap and finds nothing to do when it fires; when too much of that has come together,
the heap is made anew from what the state says.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

from perdure.core.bodies import RUNS
from perdure.core.ids import UNTIL
from perdure.core.pairs import NUMBER_MAX
from perdure.core.roster import Roster
from perdure.core.state import PartitionState, Run
from perdure.engine.clock import Alarm, Clock
from perdure.engine.pauses import LONGEST_US, growing
from perdure.errors import EncodingError

STALE_SPARE = 1_000
"""Stale entries that are always allowed beside as many as there are live ones."""

FEW = 16
"""So many packed runs are woken at once by their timers: each has one record of all that follows then."""
UNDER_WAY_MAX = 10_000
"""Timers that are recorded as fired, and whose runs are not woken yet."""

Due = tuple[int, str, str]
"""When, the run and the key; neither of the two for delayed events."""
Together = tuple[int, str, str, int]
"""A timer of a packed run that fires together with others: the same, and the digest of the run."""


def dues_of(state: PartitionState) -> Iterator[Due]:
    """Everything that a partition waits for until some time, but for the runs that are packed."""
    for run in state.runs.plain.values():
        if run.live:
            yield from _dues_of_run(run)
    for entry in state.delayed.values():
        yield entry["event"]["ts"], "", ""


def _dues_of_run(run: Run) -> Iterator[Due]:
    if run.status == "scheduled":
        yield run.not_before, run.id, ""
    if run.until:
        yield run.until, run.id, UNTIL
    for key, pending in run.pending.items():
        if pending.due is not None:
            yield pending.due, run.id, key


class Timers:
    """Calls `fire(run, key, due)` for what is due, at most `tick_max` in a row, then lets other work pass.

    One whose `fire` raises is told to `trouble` and comes again after a pause; the others do not notice.
    """

    def __init__(
        self,
        clock: Clock,
        fire: Callable[[str, str, int], None],
        tick_max: int,
        dues: Callable[[], Iterable[Due]],
        trouble: Callable[[str, BaseException], None],
        packed: Roster[str, Run] | None = None,
    ) -> None:
        self._clock = clock
        self._fire = fire
        self._tick_max = tick_max
        self._dues = dues
        self._trouble = trouble
        self._packed = Roster(RUNS) if packed is None else packed
        self.together: Callable[[list[Together]], None] | None = None
        """Records that many timers have fired."""
        self._under_way: set[int] = set()
        """The digests of their runs, until that is read back."""
        self.backlog: Callable[[], int] = lambda: 0
        """How many have fired whose runs are still to be woken."""
        self._full = False
        """So many that the next ones have to wait: what has fired is kept in memory."""
        self._beyond: int | None = None
        """When the first of the others is due."""
        self._alone: set[int] = set()
        """Those that do not fit a record."""
        self._heap: list[tuple[int, Due]] = []
        self._armed: dict[Due, int] = {}
        """What is in the heap, and how often it has failed."""
        self._live = 0
        """How many were live when the heap was made."""
        self._alarm: Alarm | None = None
        self._armed_for = 0
        self._closed = False

    def begin(self) -> None:
        """Arms all that the state waits for."""
        failing = [(at, entry) for at, entry in self._heap if self._armed[entry]]
        live = dict.fromkeys(self._dues(), 0)
        kept = [(at, entry) for at, entry in failing if entry in live]
        for _, entry in kept:
            live[entry] = self._armed[entry]
        self._heap = kept + [(entry[0], entry) for entry, failures in live.items() if not failures]
        self._armed = live
        heapq.heapify(self._heap)
        self._live = len(live)
        self._set_alarm()

    def arm(self, run: str, key: str, due: int) -> None:
        entry = (due, run, key)
        if entry in self._armed:
            return
        if len(self._heap) >= 2 * self._live + STALE_SPARE:
            self.begin()
        if entry not in self._armed:
            self._armed[entry] = 0
            heapq.heappush(self._heap, (due, entry))
            self._set_alarm()

    def arm_all(self, run: Run) -> None:
        """A run is no longer packed."""
        for due, run_id, key in _dues_of_run(run):
            self.arm(run_id, key, due)

    def next_due(self) -> int | None:
        """When the next one is due (µs), stale ones included."""
        if self._full:
            return self._heap[0][0] if self._heap else None
        packed = self._beyond if self._under_way else self._packed.next_due()
        if not self._heap:
            return packed
        return self._heap[0][0] if packed is None else min(packed, self._heap[0][0])

    def __len__(self) -> int:
        return len(self._heap)  # not those of packed runs

    def close(self) -> None:
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()

    def _set_alarm(self) -> None:
        due = self.next_due()
        if self._closed or due is None:
            return
        if self._alarm is not None:
            if self._armed_for <= due:
                return
            self._alarm.cancel()
        self._armed_for = due
        self._alarm = self._clock.call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now = self._clock.now()
        try:
            self._unpack(now)
            for _ in range(self._tick_max):
                if self._closed or not self._heap or self._heap[0][0] > now:
                    break
                _, entry = heapq.heappop(self._heap)
                self._attempt(entry, self._armed.pop(entry), now)
        finally:
            self._set_alarm()

    def _unpack(self, now: int) -> None:
        """Has the timers of packed runs that are due recorded, when there are many, or armed like others."""
        first = self._packed.due(NUMBER_MAX, self._tick_max + len(self._under_way) + 1)
        first = [entry for entry in first if entry[1] not in self._under_way]
        found = [entry for entry in first[: self._tick_max] if entry[0] <= now]
        self._beyond = first[len(found)][0] if len(first) > len(found) else None
        if self.together is not None and len(found) > FEW:
            if len(self._under_way) + self.backlog() >= UNDER_WAY_MAX:
                self._full = True
                return
            found = self._fire_together(found, self.together)
        for due, digest in found:
            try:
                self._packed.unpack_due(due, digest)
            except (OSError, EncodingError) as error:
                self._packed.postpone(due, digest, now + LONGEST_US)
                self._trouble("a run that has waited cannot be read, and is tried again", error)

    def _fire_together(
        self, found: list[tuple[int, int]], record: Callable[[list[Together]], None]
    ) -> list[tuple[int, int]]:
        """Returns those that have to be unpacked."""
        timers: list[Together] = []
        others: list[tuple[int, int]] = []
        for due, digest in found:
            try:
                run, key = self._packed.timer(digest)
            except OSError:
                key = run = ""
            if key and digest not in self._alone:
                timers.append((due, run, key, digest))
            else:
                others.append((due, digest))
        self._under_way.update(digest for *_, digest in timers)
        record(timers)
        return others

    def fired(self, digests: Iterable[int]) -> None:
        """The log has these."""
        self._under_way.difference_update(digests)
        self._beyond = self._packed.next_due()
        self.go_on()

    def go_on(self) -> None:
        """Some have fired, and their runs are woken: there may be room for more."""
        if len(self._under_way) + self.backlog() < UNDER_WAY_MAX // 2:
            self._full = False
        self._set_alarm()

    def alone(self, digests: Iterable[int]) -> None:
        """These cannot be recorded together."""
        self._alone.update(digests)
        self._under_way.difference_update(digests)

    def _attempt(self, entry: Due, failures: int, now: int) -> None:
        due, run, key = entry
        try:
            self._fire(run, key, due)
        except Exception as error:  # noqa: BLE001 - of one run, or of its history's file: the others are due as well
            if entry not in self._armed:
                self._armed[entry] = failures + 1
                heapq.heappush(self._heap, (now + growing(failures), entry))
            self._trouble(f"a timer of run {run or '(delayed events)'} failed and is tried again", error)
