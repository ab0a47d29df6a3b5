"""A reader that follows the journals beside everything else: how many runs there are, and which are not over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from perdure.core.state import Run
from perdure.errors import LogError
from perdure.index.reader import JournalReader
from perdure.logs.contract import Log
from tests.crash.service import log_of

LOOK_S = 0.25


class Follower:
    """Folds on a thread of its own. A log that is away is asked again."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self._folder, self._partitions = folder, partitions
        self._lock = threading.Lock()
        self._enough = threading.Event()
        self._runs: list[Run] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._follow()), daemon=True)
        self._thread.start()

    def count(self, holds: Callable[[Run], bool] = lambda _run: True) -> int:
        """How many runs of that kind it has seen by now."""
        with self._lock:
            return sum(map(holds, self._runs))

    def live(self) -> list[Run]:
        """Those that are not over, as far as it has read."""
        with self._lock:
            return [run for run in self._runs if run.live]

    def stop(self) -> None:
        self._enough.set()
        self._thread.join(60)

    async def _follow(self) -> None:
        while not self._enough.is_set():
            log = log_of(self._folder, partitions=self._partitions)
            try:
                await log.open()
                await self._read(log)
            except (LogError, TimeoutError):
                await asyncio.sleep(LOOK_S)
            finally:
                await log.close()

    async def _read(self, log: Log) -> None:
        reader = JournalReader(log)
        while not self._enough.is_set():
            async with asyncio.timeout(60):
                await reader.read()
            runs = reader.runs()
            with self._lock:
                self._runs = runs
            await asyncio.sleep(LOOK_S)
