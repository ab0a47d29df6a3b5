"""Where the snapshots of a log on Kafka are put: their topic, written and read. On the loop's thread."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from perdure.errors import LogError
from perdure.logs.contract import LogFull, Topic
from perdure.logs.kafka import producing, snapshots
from perdure.logs.kafka.lookup import Lookup
from perdure.logs.kafka.producing import KafkaProducer
from perdure.logs.kafka.settings import KafkaSettings
from perdure.logs.kafka.topics import RESTORE, snapshots_name

__all__ = ["Shelf"]

T = TypeVar("T")

_FULL_PAUSE_S: Final = 0.05
_READ_MAX: Final = 500


class Home(producing.Home, Protocol):
    """The log, as its shelf needs it."""

    settings: KafkaSettings

    @property
    def ids(self) -> Mapping[str, str]: ...

    def ask(self, topic: Topic, work: Callable[[Lookup], T]) -> Awaitable[T]: ...
    def delete_records(self, topic: str, partition: int, before: int) -> Awaitable[None]: ...


class Shelf:
    """Puts, lists, gets and drops snapshots, as the contract of logs has it."""

    def __init__(self, log: Home) -> None:
        self._log = log
        self._sets: dict[int, snapshots.Sets] = {}

    @property
    def _topic(self) -> str:
        return snapshots_name(self._log.settings)

    async def put(self, partition: int, name: str, chunks: Sequence[bytes]) -> None:
        producer, key, mark = KafkaProducer(self._log), name.encode(), os.urandom(8)
        headers = snapshots.chunk_headers(mark)
        landing = [await self._append(producer, partition, chunk, key, headers) for chunk in chunks]
        offsets = [await _landed(each) for each in landing]
        end = snapshots.end_value(offsets[0] if offsets else -1, chunks, self._log.ids)
        await _landed(await self._append(producer, partition, end, key, snapshots.end_headers(mark)))

    async def names(self, partition: int) -> list[str]:
        names, _ = await self._read(partition)
        return names

    async def get(self, partition: int, name: str) -> list[bytes]:
        names, sets = await self._read(partition)
        if name not in names:
            raise LogError(f"there is no snapshot {name!r} of partition {partition}")
        topic, put = self._topic, sets.found[name]

        def work(lookup: Lookup) -> list[bytes]:
            return snapshots.chunks_of(put, lambda offset: lookup.read(topic, partition, offset, _READ_MAX))

        return await self._log.ask(Topic.JOURNAL, work)

    async def drop(self, partition: int, name: str) -> None:
        names, _ = await self._read(partition)
        if name not in names:
            return
        producer = KafkaProducer(self._log)
        await _landed(await self._append(producer, partition, b"", name.encode(), snapshots.drop_headers()))
        _, sets = await self._read(partition)
        kept = min((put.first for put in sets.found.values()), default=0)
        topic = self._topic
        first, _ = await self._log.ask(Topic.JOURNAL, lambda lookup: lookup.bounds(topic, partition))
        if kept > first:
            await self._log.delete_records(topic, partition, kept)

    async def check_ids(self) -> None:
        """Notes the ids of topics that were not known. Raises LogError for a topic that had another one."""
        _, sets = await self._read(0)
        for name, found in self._log.ids.items():
            if (before := sets.ids.get(name, found)) != found:
                raise LogError(
                    f"{name} is not the topic that this app's workers knew: it was deleted and made anew (its id is "
                    f"{found}, and was {before}). No run is begun anew on it. {RESTORE}"
                )
        if unknown := {name: found for name, found in self._log.ids.items() if name not in sets.ids}:
            value, headers = snapshots.ids_value(unknown), snapshots.ids_headers()
            await _landed(await self._append(KafkaProducer(self._log), 0, value, b"", headers))

    async def _read(self, partition: int) -> tuple[list[str], snapshots.Sets]:
        """The names of the sets that are there, and where they lie; reads what is new of the topic."""
        sets, topic = self._sets.setdefault(partition, snapshots.Sets()), self._topic

        def work(lookup: Lookup) -> int:
            first, _ = lookup.bounds(topic, partition)
            while entries := lookup.read(topic, partition, sets.next, _READ_MAX):
                sets.take(entries)
            return first

        first = await self._log.ask(Topic.JOURNAL, work)
        return sets.names(first), sets

    async def _append(
        self, producer: KafkaProducer, partition: int, value: bytes, key: bytes, headers: Mapping[str, bytes]
    ) -> asyncio.Future[int | LogError]:
        done: asyncio.Future[int | LogError] = asyncio.get_running_loop().create_future()
        while True:
            try:
                producer.append_to(self._topic, partition, value, key, headers, done.set_result)
            except LogFull:
                await asyncio.sleep(_FULL_PAUSE_S)
            else:
                return done


async def _landed(append: asyncio.Future[int | LogError]) -> int:
    outcome = await append
    if isinstance(outcome, LogError):
        raise outcome
    return outcome
