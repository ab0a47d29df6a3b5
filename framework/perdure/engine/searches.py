"""Searches of earlier events: for a path that was just armed, for a wait that looks back (A2)."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.core.decide import ingest as decide
from perdure.core.facts import Fact
from perdure.engine.life import Life
from perdure.engine.router import incoming
from perdure.logs.contract import Entry, Topic


class Searches:
    """The searching side of one claim's life: one step of one search at a time."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._queue: dict[int, None] = {}
        self._busy = False

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
        life = self._life
        scan = life.state.scans.get(scan_id)
        if scan is None:
            self._done()
            return
        log, number = life.services.log, life.state.number
        start = scan.cursor
        if start < 0:
            start = await log.offset_at(Topic.EVENTS, number, scan.since)
        entries: Sequence[Entry] = ()
        if start < scan.to:
            entries = await log.read(Topic.EVENTS, number, start, life.services.limits.scan_entries_max)
        if not life.acting or life.state.scans.get(scan_id) is not scan:
            self._done()
            return
        cursor = entries[-1].offset + 1 if entries else scan.to
        body = decide.scanned(life.state, scan_id, scan, [incoming(entry) for entry in entries], cursor)
        life.append("Scanned", body, self._read)

    def _read(self, _fact: Fact, _void: str | None) -> None:
        self._done()

    def _done(self) -> None:
        self._busy = False
        self._next()
