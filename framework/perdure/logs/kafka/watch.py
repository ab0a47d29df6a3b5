"""Whether the topics are still those that a worker began with. On the loop's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from perdure.logs.kafka.topics import RESTORE

__all__ = ["watch"]

EVERY_S: Final = 5.0
AGAIN_S: Final = 1.0
MISSING_MAX: Final = 3
"""How often a topic is looked for in vain until it is taken for gone: a broker that comes up may not know all yet."""


async def watch(
    known: Mapping[str, str],
    look: Callable[[], Awaitable[Mapping[str, str | None]]],
    lost: Callable[[str], None],
) -> None:
    """Looks from time to time, and says once which topic is gone or another one.

    Who reads or appends is not told by itself: to a client, a topic that is not there may be one that is not there yet.
    """
    missing = 0
    while True:
        await asyncio.sleep(AGAIN_S if missing else EVERY_S)
        found = await look()
        gone = [name for name in known if found.get(name, "") is None]
        missing = missing + 1 if gone else 0
        for name, before in known.items():
            now = found.get(name)
            if now not in (None, before):
                lost(f"{name} was deleted and made anew: its id is {now}, and was {before}. {RESTORE}")
                return
        if missing == MISSING_MAX:
            lost(f"{', '.join(gone)} is gone: it was deleted. {RESTORE}")
            return
