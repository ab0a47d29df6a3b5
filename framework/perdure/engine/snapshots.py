"""Snapshots of a partition: taken when the tail is long, counted when accepted, then the journal is trimmed (A10)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

from perdure.core.facts import Fact
from perdure.core.fold import aging
from perdure.core.limits import KB, MINUTE_US
from perdure.core.snapshot import SnapshotCut
from perdure.engine.clock import Alarm
from perdure.engine.life import Life
from perdure.engine.restoring import Unkept, restored
from perdure.errors import LogError
from perdure.logs.contract import Topic

AGAIN_US = MINUTE_US
SOON_US = 100_000
ENTITIES_PER_TICK = 100
RUNS_PER_TICK = 20
"""Runs that are packed in one go: about half a ms."""
PAUSE_US = 2_500
"""For others, after each of these: a snapshot of a busy partition takes seconds, and holds up no step for long."""
TAIL_PART = 4
"""A tail of this part of the state is as long as it may be."""
RESTING_PART = 16
"""The same of a partition where nothing happens, and where a snapshot is in nobody's way: as part of what it may be."""
RESTING_BYTES_MIN = 64 * KB
RESTING_US = 10_000_000
"""Where nothing has happened for so long."""


class Snapshots:
    """The snapshotting side of one claim's life."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._cut: SnapshotCut | None = None
        self._ended: list[str] | None = None
        """Runs that are to be packed before the cut."""
        self._busy = False
        self.tail_bytes = 0
        """Bytes of the journal since the last cut; the reader counts them up."""
        self.position = 0
        """Offset of the next entry that the reader will fold."""
        self.state_bytes = 0
        """Bytes of the last snapshot."""
        self._alarm: Alarm | None = None
        self._resting: Alarm | None = None
        """When to look whether anything has happened."""

    def begin(self) -> None:
        """Has the next snapshot taken in time: a log that drops what is old must not drop what only the journal has,
        and few records are as much at risk as many."""
        if self._life.services.log.expires:
            self._life.services.spawn(
                self._plan(), f"a look at the age of partition {self._life.state.number}"
            )

    async def _plan(self) -> None:
        """Finds the time at which the next snapshot is due, whoever took the last one."""
        life = self._life
        log, number = life.services.log, life.state.number
        first, _ = await log.bounds(Topic.JOURNAL, number)
        covered = life.state.sets[-1]["covers"] if life.state.sets else first
        for entry in await log.read(Topic.JOURNAL, number, max(first, covered), 1):
            self._take_at(entry.ts + life.services.limits.snapshot_time_max)

    def _take_at(self, due: int) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._life.acting:
            self._alarm = self._life.services.clock.call_at(due, self.take)

    @property
    def under_way(self) -> bool:
        """Whether one is taken, or is about to be once nothing happens for a while."""
        return self._busy or self._resting is not None

    def close(self) -> None:
        for alarm in (self._alarm, self._resting):
            if alarm is not None:
                alarm.cancel()
        self._alarm = self._resting = None
        if self._cut is not None:
            self._cut.close()
        if self._cut is not None or self._ended is not None:
            self._cut = self._ended = None
            self._life.services.snapshotting -= 1

    def consider(self) -> None:
        """Takes a snapshot when the tail has outgrown what a successor may have to read."""
        services = self._life.services
        limit = max(services.limits.snapshot_tail_bytes_min, self.state_bytes // TAIL_PART)
        if not self._busy and self.tail_bytes > limit and not services.snapshotting:
            self.take()
        elif self._resting is None and self.tail_bytes > max(limit // RESTING_PART, RESTING_BYTES_MIN):
            self._look_later()

    def _look_later(self, pause_us: int = RESTING_US) -> None:
        clock, tail = self._life.services.clock, self.tail_bytes

        def look() -> None:
            self._resting = None
            if self.tail_bytes != tail:
                self.consider()
            elif self._life.services.snapshotting:
                self._look_later(SOON_US)
            else:
                self.take()

        self._resting = clock.call_at(clock.now() + pause_us, look)

    def take(self) -> None:
        """Begins a snapshot."""
        if self._busy or not self._life.acting or self._put_off():
            return
        self._busy = True
        self._life.services.snapshotting += 1
        self._ended = [run.id for run in self._life.state.runs.plain.values() if not run.live]
        self._pack()

    def _put_off(self) -> bool:
        """Whether it has to wait for a burst of timers: their runs are soon made into objects."""
        if not self._life.state.runs.fired:
            return False
        self._take_at(self._life.services.clock.now() + SOON_US)
        return True

    def _pack(self) -> None:
        """Packs runs that have ended: nothing of them changes, so no snapshot, and nobody who restores one, has to look
        at them again. Then comes the cut."""
        life, ended = self._life, self._ended
        if ended is None or not life.acting:
            return
        plain, bytes_max = life.state.runs.plain, life.services.limits.packed_run_bytes_max
        found = [plain[run_id] for run_id in ended[-RUNS_PER_TICK:] if run_id in plain]
        del ended[-RUNS_PER_TICK:]
        try:
            life.state.runs.pack(run for run in found if not run.live and aging.run_bytes(run) <= bytes_max)
        except OSError as error:
            ended.clear()  # they are in the cut as they are
            life.services.trouble(
                f"runs of partition {life.state.number} that have ended do not fit the disk, and stay in memory",
                error,
            )
        self._later(self._pack if ended else self._begin_cut)

    def _begin_cut(self) -> None:
        life = self._life
        if self._ended is None or not life.acting:
            return
        self._ended = None
        if self._put_off():
            self._busy = False
            life.services.snapshotting -= 1
            return
        self._cut = SnapshotCut(life.state, self.position)
        self.tail_bytes = 0
        self._advance()

    def _advance(self) -> None:
        cut, services = self._cut, self._life.services
        if cut is None or not self._life.acting:
            return
        try:
            complete = cut.advance(ENTITIES_PER_TICK)
        except Exception as error:  # noqa: BLE001 - the partition goes on without it, and the next one may come through
            self.close()
            self._failed()
            services.trouble(f"a snapshot of partition {self._life.state.number} was given up", error)
            return
        if complete:
            self._cut = None
            services.spawn(self._store(cut), f"snapshot of partition {self._life.state.number}")
        else:
            self._later(self._advance)

    def _later(self, call: Callable[[], None]) -> None:
        clock = self._life.services.clock
        clock.call_at(clock.now() + PAUSE_US, call)

    async def _store(self, cut: SnapshotCut) -> None:
        try:
            await self._store_verified(cut)
        except BaseException:
            self._failed()
            raise
        finally:
            self._life.services.snapshotting -= 1

    def _failed(self) -> None:
        """The next one may come through."""
        self._busy = False
        if self._life.services.log.expires:
            self._take_at(self._life.services.clock.now() + AGAIN_US)

    async def _store_verified(self, cut: SnapshotCut) -> None:
        life = self._life
        log, number = life.services.log, life.state.number
        name = f"{cut.covers:020d}"
        crc = checksum(cut.chunks)
        self.state_bytes = sum(map(len, cut.chunks))
        await log.put_snapshot(number, name, cut.chunks)
        cut.chunks = []  # there may be a hundred MB of them
        stored = await log.get_snapshot(number, name)
        await restored(stored, shelf=Unkept())  # verified before anything is trimmed behind it
        if checksum(stored) != crc:
            raise LogError(
                f"snapshot {name} of partition {number} is not what was written; the journal is kept"
            )
        if not life.acting:
            self._busy = False
            return
        body = {"set": name, "covers": cut.covers, "crc": crc}
        life.append("Snapshotted", body, self._accepted)

    def _accepted(self, _fact: Fact, void: str | None) -> None:
        if void is None:
            self.begin()
            self._life.services.spawn(self._trim(), f"trim of partition {self._life.state.number}")
        self._busy = False

    async def _trim(self) -> None:
        """Drops what the last but one accepted set covers and history retention does not keep, and the sets before."""
        life = self._life
        log, state = life.services.log, life.state
        sets = state.sets
        if len(sets) < life.services.limits.snapshot_sets_max:
            return
        oldest = sets[0]
        for name in await log.snapshots(state.number):
            if name < oldest["set"]:
                await log.drop_snapshot(state.number, name)
        kept_from = await log.offset_at(
            Topic.JOURNAL, state.number, state.time - life.services.limits.history_time_max
        )
        await log.trim(Topic.JOURNAL, state.number, min(oldest["covers"], kept_from))


def checksum(chunks: Iterable[bytes]) -> int:
    """CRC-32 over all chunks."""
    crc = 0
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
    return crc
