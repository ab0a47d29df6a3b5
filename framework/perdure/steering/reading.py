"""The log as it was last read, one reading for each connection: what is read once need not be read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary

from perdure.client.connections import Connection, Connections
from perdure.index.opening import Reading
from perdure.index.reader import JournalReader

__all__ = ["Readings"]


class Readings:
    """Reads on from where it was. Whoever reads at the same time waits for the one before."""

    def __init__(self, connections: Callable[[], Connections]) -> None:
        self._connections = connections
        self._known: WeakKeyDictionary[Connection, tuple[JournalReader, asyncio.Lock]] = WeakKeyDictionary()

    async def read(self) -> JournalReader:
        """The log up to where it ends now. Raises LogError when it cannot be read."""
        connection = await self._connections().get()
        if connection not in self._known:
            made = JournalReader(connection.log, reading=Reading(connection.client.vault))
            self._known[connection] = made, asyncio.Lock()
        reader, lock = self._known[connection]
        async with lock:
            await reader.read()
            reader.forget()
        return reader
