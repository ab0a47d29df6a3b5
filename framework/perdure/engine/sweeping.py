"""Removes from the store of payloads what the log does not refer to any more.

An object goes with the last record that names it: none of the entries that the log still has, and none of its
snapshots. They are searched as bytes, so that whatever refers to an object keeps it, in whatever kind of record. What
was put lately stays in any case: a record may be on its way.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from perdure.core.routing import generation_of
from perdure.errors import LogError
from perdure.logs.contract import Log, Topic
from perdure.payloads.store import PayloadStore, Stored

__all__ = ["Swept", "sweep"]

READ_ENTRIES: Final = 500
_NAME: Final = re.compile(rb"sha256-[0-9a-f]{64}")
_ENCODED: Final = re.compile(rb"AHBlcmR1cmUv[A-Za-z0-9+/=]{40,2048}")
"""A sealed payload as a value of JSON, in what the engine tells of runs: it begins so in base64."""


class Swept(NamedTuple):
    """What a sweep has done."""

    removed: int
    bytes: int


async def sweep(
    log: Log, store: PayloadStore, before: float, goes_on: Callable[[], bool] = lambda: True
) -> Swept:
    """Removes objects that were last put before a time (seconds since the epoch) and that nothing refers to.

    Raises PayloadStoreError when the store, and LogError when all of the log cannot be read; nothing is removed then.
    """
    old: dict[str, Stored] = await asyncio.to_thread(
        lambda: {found.name: found for found in store.names() if found.written < before}
    )
    if old:
        await _spare(log, old)
    removed = size = 0
    for name, found in old.items():
        if not goes_on():
            break
        if await asyncio.to_thread(store.remove, name, before):
            removed, size = removed + 1, size + found.size
    return Swept(removed, size)


async def _spare(log: Log, old: dict[str, Stored]) -> None:
    """Takes away from `old` what something refers to."""
    await log.refresh()
    generations = log.generations
    for number in range(log.partitions):
        for name in await log.snapshots(number):
            try:
                _seen(await log.get_snapshot(number, name), old)
            except LogError:
                if name in await log.snapshots(number):  # else it was dropped meanwhile, for a newer one
                    raise
        await _read(log, Topic.JOURNAL, number, old)
        if generation_of(number, generations) == 1:
            await _read(log, Topic.EVENTS, number, old)
    await _read(log, Topic.DEAD_LETTERS, 0, old)


async def _read(log: Log, topic: Topic, number: int, old: dict[str, Stored]) -> None:
    at, end = await log.bounds(topic, number)
    while old and at < end:
        batch = await log.read(topic, number, at, READ_ENTRIES)
        if not batch:
            return
        _seen((entry.value for entry in batch), old)
        at = batch[-1].offset + 1


def _seen(values: Iterable[bytes], old: dict[str, Stored]) -> None:
    for value in values:
        for name in _NAME.findall(value):
            old.pop(name.decode(), None)
        for text in _ENCODED.findall(value):
            for name in _NAME.findall(b64decode(text[: len(text) // 4 * 4])):
                old.pop(name.decode(), None)
