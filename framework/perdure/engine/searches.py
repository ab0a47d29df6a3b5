"""Searches of earlier events: for a path that was just armed, for a wait that looks back (A2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.core.decide import ingest as decide
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import Fact
from perdure.core.state import Scan
from perdure.engine.arriving import incoming
from perdure.engine.life import Life
from perdure.engine.pauses import jittered
from perdure.errors import LogError
from perdure.logs.contract import Entry, Topic


class Searches:
    """The searching side of one claim's life: one step of one search at a time."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._queue: dict[int, None] = {}
        self._busy = False
        self._failures: dict[int, int] = {}

    def begin(self) -> None:
        for scan_id in self._life.state.scans:
            self.mark(scan_id)

    def mark(self, scan_id: int) -> None:
        self._queue[scan_id] = None
        self._next()

    def _next(self) -> None:
        if self._busy or not self._queue or not self._life.acting:
            return
        self._busy = True
        scan_id = next(iter(self._queue))
        del self._queue[scan_id]
        self._life.services.spawn(self._step(scan_id), f"search {scan_id}")

    async def _step(self, scan_id: int) -> None:
        try:
            body = await self._look(scan_id)
        except Exception as error:  # noqa: BLE001 - of this search alone; it comes again, the others go on
            services = self._life.services
            failures = self._failures.get(scan_id, 0)
            self._failures[scan_id] = failures + 1
            pause = jittered(failures, services.entropy)
            services.clock.call_at(services.clock.now() + pause, lambda: self.mark(scan_id))
            self._done()
            services.trouble(f"search {scan_id} could not be made and is tried again", error)
            return
        self._failures.pop(scan_id, None)
        if body is None or not self._life.append("Scanned", body, self._read):
            self._done()

    async def _look(self, scan_id: int) -> dict[str, Any] | None:
        """The record of the next step; None when the search is over or not ours any more."""
        life = self._life
        scan = life.state.scans.get(scan_id)
        if scan is None:
            return None
        log, number = life.services.log, life.state.number
        start = scan.cursor
        if start < 0:
            start = await log.offset_at(Topic.EVENTS, number, scan.since)
        entries: Sequence[Entry] = ()
        if start < scan.to:
            entries = await log.read(Topic.EVENTS, number, start, life.services.limits.scan_entries_max)
            if not entries:
                await self._check_end(scan)
            await self._learn(entries)
        if not life.acting or life.state.scans.get(scan_id) is not scan:
            return None
        services, limits = life.services, life.services.limits
        batch = within(
            [
                incoming(entry, number, limits, services.app, services.schemas, services.vault)
                for entry in entries
            ],
            limits.ingest_bytes_max,
        )
        cursor = batch[-1].offset + 1 if batch else scan.to
        return decide.scanned(life.state, scan_id, scan, batch, cursor)

    async def _check_end(self, scan: Scan) -> None:
        """Where nothing is, offsets may be left out; but a broker that hung while others came to lead does not know
        what these have. Raises LogError then."""
        number = self._life.state.number
        _, end = await self._life.services.log.bounds(Topic.EVENTS, number)
        if end < scan.to:
            raise LogError(
                f"events of partition {number} were read up to {scan.to}, and end at {end} for a broker that led before"
            )

    async def _learn(self, entries: Sequence[Entry]) -> None:
        """What these were written by is known afterwards. Raises LogError when the registry does not say."""
        schemas = self._life.services.schemas
        for entry in entries if schemas.asks else ():
            schema_id = schemas.unknown(entry.value)
            if schema_id is not None and not await schemas.learn(schema_id):
                raise LogError(f"the Schema Registry does not say what the schema {schema_id} is")

    def _read(self, _fact: Fact, _void: str | None) -> None:
        self._done()

    def _done(self) -> None:
        self._busy = False
        self._next()


def within(batch: list[Incoming], bytes_max: int) -> list[Incoming]:
    """As many of them, from the first on, as a record may hold (A7): one at least."""
    size = 0
    for count, entry in enumerate(batch):
        size += entry.size
        if count and size > bytes_max:
            return batch[:count]
    return batch
