"""Long journals at a takeover: read one after the other, and beside what is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from perdure.engine.services import Services
from perdure.logs.contract import Entry, Log, Topic

LONG_READ_ENTRIES = 5_000
"""With more to read than this, a partition waits for its turn."""
LONG_SNAPSHOT_BYTES = 1_000_000
"""The same for one whose snapshot is as large."""
LONG_READ_US = 10_000_000
"""How long others wait for one that reads; it may be one of which nothing comes."""
PART_ENTRIES, SLICE_ENTRIES = 2_000, 200
"""How many are read at once, and folded at once: others have their turn in between."""


class Turn:
    """Of one partition, among those of its process that have much to read."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._mine = False

    async def wait(self) -> None:
        """Until it is; nothing when it is already."""
        services = self._services
        if self._mine:
            return
        await services.long_reads.acquire()
        self._mine = True
        services.clock.call_at(services.clock.now() + LONG_READ_US, self.over)

    def over(self) -> None:
        """The next one may read. Nothing happens when it is not its turn."""
        if self._mine:
            self._mine = False
            self._services.long_reads.release()


async def read_apart(
    log: Log, partition: int, start: int, end: int, take: Callable[[Sequence[Entry]], bool]
) -> None:
    """Gives a journal to `take` in slices, up to where it ended; it says whether to go on. Raises LogError.

    What a process follows comes to it in the order in which it was fetched, of all partitions together: what lands in
    one that is led already would wait behind all of this.
    """
    reading = asyncio.ensure_future(log.read(Topic.JOURNAL, partition, start, PART_ENTRIES))
    try:
        while batch := await reading:
            following = batch[-1].offset + 1
            if following < end:  # is read while these are folded
                reading = asyncio.ensure_future(log.read(Topic.JOURNAL, partition, following, PART_ENTRIES))
            for at in range(0, len(batch), SLICE_ENTRIES):
                if not take(batch[at : at + SLICE_ENTRIES]):
                    return
                await asyncio.sleep(0)
            if following >= end:
                return
    finally:
        reading.cancel()
