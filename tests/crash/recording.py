"""A reader that follows the journals while they are written, and keeps what a trim would take away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from perdure.core.limits import Limits
from perdure.core.state import PartitionState
from perdure.errors import LogError
from perdure.index.reader import JournalReader
from perdure.logs.contract import Entry, Topic
from perdure.logs.sqlite import SqliteLog
from tests.crash.verdict import Story

LOOK_S = 0.005


class Recorder:
    """Follows from a thread of its own, from the first entry on, and takes a copy of every snapshot that it sees."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self.entries: list[list[Entry]] = [[] for _ in range(partitions)]
        self.snapshots: dict[tuple[int, str], Sequence[bytes]] = {}
        self._folder = folder
        self._partitions = partitions
        self._ready = threading.Event()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._follow()))
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        self._enough.set()
        self._thread.join()

    async def _follow(self) -> None:
        log = SqliteLog(self._folder / "log.db", partitions=self._partitions)
        await log.open()
        for number in range(self._partitions):
            log.follow(Topic.JOURNAL, number, 0, self.entries[number].extend)
        self._ready.set()
        while not self._enough.is_set():
            await self._copy_snapshots(log)
            await asyncio.sleep(LOOK_S)
        await self._copy_snapshots(log)
        for number in range(self._partitions):
            _, end = await log.bounds(Topic.JOURNAL, number)
            while len(self.entries[number]) < end:
                await asyncio.sleep(LOOK_S)
        await log.close()

    async def _copy_snapshots(self, log: SqliteLog) -> None:
        for number in range(self._partitions):
            for name in await log.snapshots(number):
                if (number, name) in self.snapshots:
                    continue
                try:
                    self.snapshots[number, name] = await log.get_snapshot(number, name)
                except LogError:  # dropped meanwhile
                    continue

    def story(self, limits: Limits) -> Story:
        """Everything, folded from the first entry on."""
        story = Story()
        for number, entries in enumerate(self.entries):
            assert [entry.offset for entry in entries] == list(range(len(entries))), (
                "the recorder fell behind a trim"
            )
            story.states.append(PartitionState(number, self._partitions, limits=limits))
            for entry in entries:
                story.take(number, entry)
        return story


def outside(folder: Path, limits: Limits, look: Callable[[JournalReader, list[int]], Any]) -> Any:
    """What a new reader finds, who may have to begin at a snapshot; `look` also gets where each journal begins."""

    async def reading() -> Any:
        log = SqliteLog(folder / "log.db")
        await log.open()
        try:
            reader = JournalReader(log, limits)
            await reader.read()
            begins = [(await log.bounds(Topic.JOURNAL, n))[0] for n in range(log.partitions)]
            return look(reader, begins)
        finally:
            await log.close()

    return asyncio.run(reading())
