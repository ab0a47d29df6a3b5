"""The embedded log, seen from one process."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from perdure.errors import AppendFailed, EntryTooLarge, LogError, UsageError
from perdure.logs.contract import (
    Done,
    Entry,
    Follower,
    Listener,
    LogFull,
    Member,
    Producer,
    Sink,
    Topic,
    check_whole,
)
from perdure.logs.sqlite import file as files
from perdure.logs.sqlite import rows, snapshots
from perdure.logs.sqlite.committer import Append, Committer, Origin, Settings
from perdure.logs.sqlite.handles import SqliteFollower, SqliteMember, SqliteProducer
from perdure.logs.sqlite.neighbours import SharedClock, SharedDirectory, WriterQueue
from perdure.logs.sqlite.tails import READ_BYTES_MAX
from perdure.logs.sqlite.watermark import Watermark

T = TypeVar("T")

TRIM_ENTRIES_MAX = 2_000
SNAPSHOT_CHUNK_BYTES_MAX = 256 * 1024 * 1024


class SqliteLog:
    """A log in one SQLite file, shared by the processes of one machine.

    `path` is made when missing, with `partitions` partitions (8 when None); an existing file keeps the
    number that it has. `full`: each commit is on the disk before it is acknowledged; else
    (`synchronous=NORMAL`) a loss of power may take the last ones, a death of the process does not. Durations
    are µs: a member that has not been well for `lease_us` loses its partitions; it is unwell when its event
    loop has taken nothing for `stall_us`; a revoke may take `revoke_us`. More than `waiting_entries_max`
    appends or `waiting_bytes_max` bytes in the queue: `LogFull`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        partitions: int | None = None,
        full: bool = True,
        entry_bytes_max: int = 4 * 1024 * 1024,
        waiting_entries_max: int = 50_000,
        waiting_bytes_max: int = 64 * 1024 * 1024,
        lease_us: int = 10_000_000,
        stall_us: int = 5_000_000,
        revoke_us: int = 10_000_000,
    ) -> None:
        self._given = path
        self._given_partitions = partitions
        self._full = full
        self._entry_bytes_max = entry_bytes_max
        self._waiting_entries_max = waiting_entries_max
        self._waiting_bytes_max = waiting_bytes_max
        self._lease_us = lease_us
        self._stall_us = stall_us
        self._revoke_us = revoke_us
        self._slots: dict[tuple[Topic, int], int] = {}
        self._submitted_bytes = 0
        self._members: list[SqliteMember] = []
        self._followers: list[SqliteFollower] = []
        self._committer: Committer | None = None
        self._partitions = 0
        self.path: Path | None = None
        """Where the file is, once it was opened."""
        self.now: Callable[[], int] = self._not_open
        """The log's time; the clock's own method, since the engine asks for it many times in each run."""

    @property
    def expires(self) -> bool:
        return False

    @property
    def partitions(self) -> int:
        return self._partitions

    @property
    def generations(self) -> Sequence[int]:
        return (self._partitions,)

    async def refresh(self) -> None:
        """A file keeps the number that it was made with."""

    async def open(self) -> None:
        if self._committer is not None:
            raise UsageError("the log is open already")
        self._desk = ThreadPoolExecutor(1, "perdure-log-desk")
        loop = asyncio.get_running_loop()
        try:
            settings, shared = await loop.run_in_executor(self._desk, self._open_file)
            self._slots = rows.slot_numbers(settings.partitions)
            self._partitions = settings.partitions
            self._submitted_bytes = 0
            try:
                self._committer = Committer(settings, shared, self._clock, loop)
            except BaseException:
                self._close_file()
                raise
        except OSError as error:
            self._desk.shutdown(wait=False)
            raise files.unopened(error, self.path) from error
        except BaseException:
            self._desk.shutdown(wait=False)
            raise

    def _open_file(self) -> tuple[Settings, SharedDirectory]:
        self.path = path = files.resolve(self._given)
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            raise LogError(f"cannot write {path}: make it writable for this user")
        new = not path.exists()
        shared = SharedDirectory(path)
        self._clock = SharedClock(shared)
        self.now = self._clock.now
        self._connection = files.connect(path, self._full)
        try:
            self._queue = WriterQueue(shared)
        except BaseException:
            self._connection.close()
            raise
        try:
            with self._queue:
                partitions = files.prepare(self._connection, path, self._given_partitions)
                found = numbered = 0
                for slot in rows.slot_numbers(partitions).values():
                    ts, number = rows.last_of(self._connection, slot)
                    self._clock.at_least(ts)
                    found += rows.next_offset(self._connection, slot)
                    numbered = max(numbered, number)
                watermark = Watermark(shared, self._full)
                try:
                    watermark.begin(found, numbered, path, new)
                finally:
                    watermark.close()
        except BaseException as error:
            self._close_file()
            if isinstance(error, sqlite3.Error):
                raise files.translated(error, path) from error
            raise
        return Settings(path, partitions, self._full, self._lease_us, self._stall_us), shared

    def _close_file(self) -> None:
        self._connection.close()
        self._queue.close()

    async def close(self) -> None:
        committer = self._committer
        if committer is None:
            return
        for member in tuple(self._members):
            await member.leave()
        for follower in tuple(self._followers):
            follower.close()
        self._followers.clear()
        await committer.stop()
        self._committer = None
        await asyncio.get_running_loop().run_in_executor(self._desk, self._close_file)
        self._desk.shutdown()

    def producer(self) -> Producer:
        _ = self.committer
        return SqliteProducer(self)

    def member(self, listener: Listener) -> Member:
        _ = self.committer
        member = SqliteMember(self, listener, self._revoke_us)
        self._members.append(member)
        return member

    def follow(self, topic: Topic, partition: int, offset: int, sink: Sink) -> Follower:
        follower = SqliteFollower(self.committer, self.slot(topic, partition), offset, sink)
        self._followers = [known for known in self._followers if not known.tail.closed]
        self._followers.append(follower)
        return follower

    async def read(self, topic: Topic, partition: int, offset: int, entries_max: int) -> Sequence[Entry]:
        slot = self.slot(topic, partition)

        def work(connection: sqlite3.Connection) -> Sequence[Entry]:
            entries = rows.read(connection, slot, offset, entries_max, READ_BYTES_MAX)[0]
            for entry in entries if topic is not Topic.EVENTS else ():  # who reads events goes on without it
                check_whole(entry, f"{topic} {partition} in {self.path}")
            return entries

        return await self._at_desk(work)

    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        slot = self.slot(topic, partition)
        return await self._at_desk(
            lambda connection: (rows.first_offset(connection, slot), rows.next_offset(connection, slot))
        )

    async def offset_at(self, topic: Topic, partition: int, ts: int) -> int:
        slot = self.slot(topic, partition)
        return await self._at_desk(lambda connection: rows.offset_at(connection, slot, ts))

    async def trim(self, topic: Topic, partition: int, before: int) -> None:
        slot = self.slot(topic, partition)

        def work(connection: sqlite3.Connection) -> bool:
            with self._queue:
                return rows.trim(connection, slot, before, TRIM_ENTRIES_MAX)

        while await self._at_desk(work):
            pass

    async def put_snapshot(self, partition: int, name: str, chunks: Sequence[bytes]) -> None:
        if any(len(chunk) > SNAPSHOT_CHUNK_BYTES_MAX for chunk in chunks):
            raise EntryTooLarge(f"a chunk of snapshot {name!r} is over {SNAPSHOT_CHUNK_BYTES_MAX} bytes")
        await self._at_desk(
            lambda connection: snapshots.put(connection, self._queue, partition, name, chunks)
        )

    async def snapshots(self, partition: int) -> Sequence[str]:
        return await self._at_desk(lambda connection: snapshots.names(connection, partition))

    async def get_snapshot(self, partition: int, name: str) -> Sequence[bytes]:
        return await self._at_desk(lambda connection: snapshots.get(connection, partition, name))

    async def drop_snapshot(self, partition: int, name: str) -> None:
        await self._at_desk(lambda connection: snapshots.drop(connection, self._queue, partition, name))

    @staticmethod
    def _not_open() -> int:
        raise UsageError("the log is not open: await log.open() first")

    # For the handles

    @property
    def committer(self) -> Committer:
        if self._committer is None:
            raise UsageError("the log is not open: await log.open() first")
        return self._committer

    def slot(self, topic: Topic, partition: int) -> int:
        try:
            return self._slots[topic, partition]
        except KeyError:
            raise UsageError(
                f"{topic} has no partition {partition}; the log has {self._partitions}"
            ) from None

    def submit(
        self,
        origin: Origin,
        topic: Topic,
        partition: int,
        key: bytes,
        value: bytes,
        headers: Mapping[str, bytes],
        done: Done | None,
    ) -> None:
        committer = self.committer
        slot = self.slot(topic, partition)
        size = len(value) + len(key)
        encoded = None
        if headers:
            encoded = rows.encode_headers(headers)
            size += len(encoded)
        if size > self._entry_bytes_max:
            raise EntryTooLarge(f"an entry of {size} bytes is over entry_bytes_max ({self._entry_bytes_max})")
        if committer.failure is not None:
            if done is not None:
                failed = AppendFailed(str(committer.failure))
                asyncio.get_running_loop().call_soon(done, failed)
            return
        waiting = self._submitted_bytes - committer.taken_bytes
        full = waiting > 0 and waiting + size > self._waiting_bytes_max
        if full or committer.waiting >= self._waiting_entries_max:
            raise LogFull(f"{committer.waiting} appends of {waiting} bytes wait already for {self.path}")
        self._submitted_bytes += size
        committer.submit(Append(origin, slot, key, value, headers, encoded, done, size))

    def forget(self, member: SqliteMember) -> None:
        if member in self._members:
            self._members.remove(member)

    async def _at_desk(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read, or write a little, on a connection of its own and off the loop."""
        _ = self.committer

        def guarded() -> T:
            try:
                return work(self._connection)
            except sqlite3.Error as error:
                raise files.translated(error, files.resolve(self._given)) from error

        return await asyncio.get_running_loop().run_in_executor(self._desk, guarded)
