"""Readers that read no further although there is more. On the loop's thread.

librdkafka can lose a partition for good when its leader goes and comes back: nothing is fetched any more, and no error
ever comes (its issue 5430 is one way to it). What it cannot hide is that the partition's end is beyond our position.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from perdure.errors import LogError
from perdure.logs.kafka.handover import log

__all__ = ["keep_reading"]

EVERY_S: Final = 2.0
Where = tuple[str, int]


class Reading(Protocol):
    """A reader, as this needs it."""

    committed: bool

    def positions(self) -> dict[Where, int]: ...
    def begin_anew(self) -> None: ...


async def keep_reading(
    readers: Callable[[], Iterable[Reading]],
    ends: Callable[[Sequence[Where], bool], Awaitable[Mapping[Where, int]]],
    there: Callable[[Where, int, bool], Awaitable[bool]],
) -> None:
    """Looks from time to time; a reader that stands still before something that another one can read begins anew.

    `ends` says where partitions end, as far as this is known, and `there` whether an entry lies at an offset or after
    it: a partition may end with marks of transactions, which nobody is given.
    """
    before: dict[tuple[bool, Where], int] = {}
    while True:
        await asyncio.sleep(EVERY_S)
        now: dict[tuple[bool, Where], int] = {}
        for reader in readers():
            at = reader.positions()
            found: Mapping[Where, int] = await ends(list(at), reader.committed) if at else {}
            behind = {where: at[where] for where, end in found.items() if at[where] < end}
            now |= {(reader.committed, where): position for where, position in behind.items()}
            for where, position in behind.items():
                if before.get((reader.committed, where)) != position:
                    continue
                try:
                    stuck = await there(where, position, reader.committed)
                except LogError:
                    continue
                if stuck and reader.positions().get(where) == position:
                    log.warning("%s %d is read no further than %d: it is read anew", *where, position)
                    reader.begin_anew()
                    break
        before = now
