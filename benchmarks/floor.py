"""The floor: the same records through the same log, with no engine.

One run of a workload is looked at in the journal. Then its records are appended again and again, each once the one
before it was read back: encoded with Avro, durable, handed back by a follower. What the engine costs is the rest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workloads import Sample, timed

from perdure.core import codec
from perdure.logs.contract import Entry, Log, Topic

Bounds = list[tuple[int, int]]


@dataclass
class Record:
    """One record of a run."""

    name: str
    body: dict[str, Any]
    key: bytes
    headers: Mapping[str, bytes]
    size: int
    """Bytes of key, headers and value in the log."""


async def journal_bounds(log: Log) -> Bounds:
    """First and next offset of each partition of the journal."""
    return [await log.bounds(Topic.JOURNAL, number) for number in range(log.partitions)]


async def journal_since(log: Log, bounds: Bounds) -> list[Entry]:
    """What was appended to the journal after its bounds were these; each partition in order."""
    found: list[Entry] = []
    for number, (_, position) in enumerate(bounds):
        while batch := await log.read(Topic.JOURNAL, number, position, 1_000):
            found += batch
            position = batch[-1].offset + 1
    return found


def entry_bytes(entry: Entry) -> int:
    """Bytes of key, headers and value."""
    headers = sum(len(name) + len(value) for name, value in entry.headers.items())
    return len(entry.key) + headers + len(entry.value)


def records_of(entries: Sequence[Entry]) -> list[Record]:
    """The entries, decoded."""
    return [Record(*codec.decode(e.value), e.key, e.headers, entry_bytes(e)) for e in entries]


class Floor:
    """Plays records through a log of its own."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._producer = log.producer()
        self._waiting = [deque[asyncio.Future[None]]() for _ in range(log.partitions)]
        self._next = 0
        for number in range(log.partitions):
            log.follow(Topic.JOURNAL, number, 0, self._sink(number))

    def _sink(self, number: int):
        waiting = self._waiting[number]

        def read_back(batch: Sequence[Entry]) -> None:
            for _ in batch:  # one producer, so they come back in the order in which they went
                waiting.popleft().set_result(None)

        return read_back

    async def play(self, records: Sequence[Record], runs: int, in_flight: int, seconds: float) -> Sample:
        """Plays the records of one run so often, so many at once."""

        async def once() -> None:
            self._next = number = (self._next + 1) % self._log.partitions
            for record in records:
                await self._append(number, record)

        return await timed(once, runs, in_flight, seconds)

    async def _append(self, number: int, record: Record) -> None:
        read_back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        value = codec.encode(record.name, record.body)
        self._producer.append(
            Topic.JOURNAL, number, value, key=record.key, headers=record.headers, done=_acked
        )
        self._waiting[number].append(read_back)
        await read_back


def _acked(result: object) -> None:
    if isinstance(result, Exception):
        raise result
