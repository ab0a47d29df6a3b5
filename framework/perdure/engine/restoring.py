"""A snapshot's state, made in slices that let the event loop go on in between: it may have a hundred thousand runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.core.roster import Shelf
from perdure.core.snapshot import Restoring
from perdure.core.state import PartitionState
from perdure.engine import apart
from perdure.engine.services import Services
from perdure.engine.shelf import FileShelf
from perdure.errors import EncodingError, LogError


class Unkept:
    """A shelf that keeps nothing: for a state that is made only to see whether it can be."""

    def put(self, items: Sequence[bytes], /) -> list[int]:
        return list(range(len(items)))

    def get(self, place: int, /) -> bytes:
        raise KeyError(place)

    def drop(self, place: int, /) -> None:
        """There is nothing."""


async def restored(
    chunks: Iterable[bytes], limits: Limits = DEFAULT_LIMITS, shelf: Shelf | None = None
) -> tuple[PartitionState, int]:
    """What `perdure.core.snapshot.restore` returns and raises."""
    restoring = Restoring(limits, shelf)
    for chunk in chunks:
        restoring.take(chunk)
        await asyncio.sleep(0)
    return restoring.done()


@dataclass(slots=True)
class Restored:
    """A snapshot that was taken up."""

    state: PartitionState
    covers: int
    """The offset of the first entry that it does not cover."""
    bytes: int
    shelf: FileShelf
    """Where what is packed lies; to be closed."""


async def newest(
    services: Services, number: int, limits: Limits, bounds: tuple[int, int], turn: apart.Turn
) -> Restored | None:
    """The newest snapshot of a partition that can be verified; None when none does, or it ends before the journal
    begins. `bounds` are those of the journal.

    Raises LogError when the journal does not reach as far as the snapshot.
    """
    first, end = bounds
    for name in reversed(await services.log.snapshots(number)):
        with ExitStack() as unused:
            shelf = FileShelf()
            unused.callback(shelf.close)
            try:
                await turn.wait()  # of large ones, one is in memory
                chunks = await services.log.get_snapshot(number, name)
                size = sum(map(len, chunks))
                if size < apart.LONG_SNAPSHOT_BYTES:
                    turn.over()
                state, covers = await _restored_somewhere(services, number, chunks, limits, shelf)
            except (EncodingError, LogError) as error:
                services.trouble(
                    f"snapshot {name} of partition {number} is damaged; an older one is tried", error
                )
                continue
            if covers > end:
                raise LogError(
                    f"partition {number}: the journal ends at {end}, and a snapshot covers it up to {covers}: it was"
                    " truncated, or deleted and made anew. Restore the log from a backup, or begin with another"
                    " namespace. The partition is left alone until then."
                )
            if covers >= first:
                unused.pop_all()
                return Restored(state, covers, size, shelf)
    return None


async def _restored_somewhere(
    services: Services, number: int, chunks: Sequence[bytes], limits: Limits, shelf: Shelf
) -> tuple[PartitionState, int]:
    """With what is packed on the shelf; in memory where that has no room."""
    try:
        return await restored(chunks, limits, shelf)
    except OSError as error:
        services.trouble(
            f"packed runs of partition {number} do not fit the disk for temporary files, and stay in memory",
            error,
        )
        return await restored(chunks, limits)
