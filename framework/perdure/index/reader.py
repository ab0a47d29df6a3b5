"""Folds a log from outside: every partition's journal from its first entry, with the accepted ops of each run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from perdure.core.codec import ops_of
from perdure.core.facts import read_fact
from perdure.core.fold import fold
from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.core.ops import RUN_RESTARTED, Op
from perdure.core.routing import generation_of
from perdure.core.snapshot import restore
from perdure.core.state import PartitionState, Run
from perdure.errors import EncodingError, LogError
from perdure.index.opening import Reading
from perdure.index.views import RunView, run_view
from perdure.logs.contract import Entry, Log, Topic

READ_ENTRIES = 1_000
SKIPS_MAX = 10_000
"""Starts that did not happen, of one partition: the last ones."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A start that did not happen."""

    event: str
    """The id of the event; of a tick, its schedule and time."""
    function: str
    """Empty for an event that starts none, and is told of since its id was that of another one."""
    reason: str
    time: int
    """When that was decided (µs since the epoch)."""


class PartitionReader:
    """One partition's journal as an outsider folds it: by the limits in the log, or by its own to keep more."""

    def __init__(self, number: int, generations: Sequence[int], limits: Limits | None = None) -> None:
        generation = generation_of(number, generations)
        self.state = PartitionState(number, generations[0], generation, limits or DEFAULT_LIMITS)
        self.state.own_limits = limits is not None
        self.ops: dict[str, list[Op]] = {}
        self.position = 0
        self.skips: deque[Skip] = deque(maxlen=SKIPS_MAX)
        """The last starts that did not happen, the oldest first."""
        self.on_void: Callable[[Entry, str], None] | None = None

    def adopt(self, state: PartitionState, position: int) -> None:
        """Goes on from a snapshot: what lies before it is known only as state."""
        if self.state.own_limits:
            state.limits, state.own_limits = self.state.limits, True
        state.runs.make(lambda run: not run.live)  # they are looked at with each listing
        self.state, self.position = state, position
        self.ops = {run.id: [op for part in run.history for op in ops_of(part)] for run in state.live_runs()}

    def take(self, batch: Sequence[Entry]) -> None:
        for entry in batch:
            fact = read_fact(entry.offset, entry.ts, entry.value, entry.headers)
            void = fold(self.state, fact)
            self.state.effects.clear()
            self.position = entry.offset + 1
            if void is None and fact.kind == "Commit":
                for change in fact.body["changes"]:
                    self._note(change["entity"], change["ops"])
            elif void is None and fact.body.get("skipped"):
                skipped = fact.body["skipped"]
                self.skips += [Skip(s["event"], s["function"], s["reason"], fact.ts) for s in skipped]
            elif void is not None and self.on_void is not None:
                self.on_void(entry, void)

    def _note(self, run_id: str, changes: Sequence[Op]) -> None:
        if changes and changes[-1][0] == RUN_RESTARTED:
            self.ops[run_id] = []  # of a loop without end only the present life is kept, as in its state
        else:
            self.ops.setdefault(run_id, []).extend(changes)

    def forget(self) -> None:
        """Drops what is known of runs that the state has forgotten, once that is as much as the rest."""
        if len(self.ops) > 2 * len(self.state.runs) + READ_ENTRIES:
            self.ops = {run_id: known for run_id, known in self.ops.items() if run_id in self.state.runs}

    def runs(self) -> Iterator[Run]:
        yield from self.state.runs.values()

    def view(self, run_id: str, reading: Reading) -> RunView | None:
        run = self.state.runs.get(run_id)
        return (
            None
            if run is None
            else run_view(reading.run(run), list(map(reading.op, self.ops.get(run_id, []))))
        )


class JournalReader:
    """All partitions of a log, read up to where they end now."""

    def __init__(self, log: Log, limits: Limits | None = None, reading: Reading | None = None) -> None:
        self._log = log
        self._limits = limits
        self._reading = reading or Reading()
        self.partitions: list[PartitionReader] = []
        self._extend()

    def _extend(self) -> None:
        """Has a reader for each partition that there is by now."""
        for number in range(len(self.partitions), self._log.partitions):
            self.partitions.append(PartitionReader(number, self._log.generations, self._limits))

    async def read(self) -> None:
        """Reads what is new."""
        await self._log.refresh()
        self._extend()
        for reader in self.partitions:
            await self._read(reader)

    async def _read(self, reader: PartitionReader) -> None:
        number = reader.state.number
        first, end = await self._log.bounds(Topic.JOURNAL, number)
        if reader.position < first:
            await self._adopt(reader, first)
        while reader.position < end:
            batch = await self._log.read(Topic.JOURNAL, number, reader.position, READ_ENTRIES)
            if not batch:
                break
            reader.take(batch)

    async def _adopt(self, reader: PartitionReader, first: int) -> None:
        """The journal's beginning is trimmed: starts from the oldest snapshot that the rest continues."""
        number = reader.state.number
        for name in await self._log.snapshots(number):
            try:
                state, covers = restore(await self._log.get_snapshot(number, name), reader.state.limits)
            except (EncodingError, LogError):
                continue
            if covers >= first:
                reader.adopt(state, covers)
                return
        raise LogError(f"partition {number} begins at {first} and no snapshot reaches that far")

    def forget(self) -> None:
        """Drops what is known of runs that are forgotten."""
        for reader in self.partitions:
            reader.forget()

    def skips(self) -> list[Skip]:
        """Starts that did not happen, the newest first."""
        found = [skip for reader in self.partitions for skip in reader.skips]
        dropped = (run for reader in self.partitions for run in reader.runs() if run.status == "skipped")
        found += [Skip(run.event["id"], run.function, run.reason, run.ended) for run in dropped]
        return sorted(found, key=lambda skip: skip.time)[::-1]

    def runs(self) -> list[Run]:
        """All runs that are known, the newest first."""
        found = [self._reading.run(run) for reader in self.partitions for run in reader.runs()]
        return sorted(found, key=lambda run: run.created)[::-1]

    def ops(self, run_id: str) -> Sequence[Op]:
        """The ops of a run's accepted commits, in order."""
        for reader in self.partitions:
            if (found := reader.ops.get(run_id)) is not None:
                return [self._reading.op(op) for op in found]
        return ()

    def recorded(self, run_id: str) -> tuple[Run, Sequence[Op]] | None:
        """A run and its ops with their payloads as they stand in the log."""
        for reader in self.partitions:
            if (found := reader.state.runs.get(run_id)) is not None:
                return found, reader.ops.get(run_id, ())
        return None

    def run(self, run_id: str) -> Run | None:
        """The folded state of a run."""
        for reader in self.partitions:
            if (found := reader.state.runs.get(run_id)) is not None:
                return self._reading.run(found)
        return None

    def view(self, run_id: str) -> RunView | None:
        """A run as people see it."""
        for reader in self.partitions:
            if (found := reader.view(run_id, self._reading)) is not None:
                return found
        return None
