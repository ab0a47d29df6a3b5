"""Snapshots of a partition: taken when the tail is long, counted when accepted, then the journal is trimmed (A10)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from perdure.core.facts import Fact
from perdure.core.snapshot import SnapshotCut
from perdure.engine.life import Life
from perdure.engine.restoring import restored
from perdure.logs.contract import Topic

ENTITIES_PER_TICK = 500


class Snapshots:
    """The snapshotting side of one claim's life."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._cut: SnapshotCut | None = None
        self._busy = False
        self.tail_bytes = 0
        """Bytes of the journal since the last cut; the reader counts them up."""
        self.position = 0
        """Offset of the next entry that the reader will fold."""
        self._state_bytes = 0

    def close(self) -> None:
        if self._cut is not None:
            self._cut.close()
            self._cut = None

    def consider(self) -> None:
        """Takes a snapshot when the tail has outgrown the larger of the state and its bound."""
        limit = max(self._life.services.limits.snapshot_tail_bytes_min, self._state_bytes)
        if not self._busy and self.tail_bytes > limit:
            self.take()

    def take(self) -> None:
        """Begins a snapshot of the state as it is now."""
        if self._busy:
            return
        self.tail_bytes = 0
        self._cut = SnapshotCut(self._life.state, self.position)
        self._busy = True
        self._life.services.soon(self._advance)

    def _advance(self) -> None:
        cut, services = self._cut, self._life.services
        if cut is None or not self._life.acting:
            return
        try:
            complete = cut.advance(ENTITIES_PER_TICK)
        except Exception as error:  # noqa: BLE001 - the partition goes on without it, and the next one may come through
            self.close()
            self._busy = False
            services.trouble(f"a snapshot of partition {self._life.state.number} was given up", error)
            return
        if complete:
            self._cut = None
            services.spawn(self._store(cut), f"snapshot of partition {self._life.state.number}")
        else:
            services.soon(self._advance)

    async def _store(self, cut: SnapshotCut) -> None:
        try:
            await self._store_verified(cut)
        except BaseException:
            self._busy = False  # the next one may come through
            raise

    async def _store_verified(self, cut: SnapshotCut) -> None:
        life = self._life
        log, number = life.services.log, life.state.number
        name = f"{cut.covers:020d}"
        crc = checksum(cut.chunks)
        self._state_bytes = sum(map(len, cut.chunks))
        await log.put_snapshot(number, name, cut.chunks)
        stored = await log.get_snapshot(number, name)
        await restored(stored)  # verified before anything is trimmed behind it
        if checksum(stored) != crc or not life.acting:
            self._busy = False
            return
        body = {"set": name, "covers": cut.covers, "crc": crc}
        life.append("Snapshotted", body, self._accepted)

    def _accepted(self, _fact: Fact, void: str | None) -> None:
        if void is None:
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
