"""A snapshot's state, made in slices that let the event loop go on in between: it may have a hundred thousand runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.core.roster import Shelf
from perdure.core.snapshot import Restoring
from perdure.core.state import PartitionState


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
