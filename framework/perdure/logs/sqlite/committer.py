"""The thread that owns the file: it commits what is appended, in groups, and feeds the followers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from perdure.errors import AppendFailed, LogError
from perdure.logs.contract import Done, Entry
from perdure.logs.sqlite import file as files
from perdure.logs.sqlite import rows
from perdure.logs.sqlite.bridge import Bridge
from perdure.logs.sqlite.doorbell import Doorbell
from perdure.logs.sqlite.membership import Membership
from perdure.logs.sqlite.neighbours import SharedClock, SharedDirectory, WriterQueue
from perdure.logs.sqlite.tails import Tails
from perdure.logs.sqlite.trials import Trials
from perdure.logs.sqlite.wal import WalKeeper
from perdure.logs.sqlite.watermark import Watermark

GROUP_ENTRIES_MAX: Final = 1_024
GROUP_BYTES_MAX: Final = 8 * 1024 * 1024
LOOK_US: Final = 100_000
LOOK_DEAF_US: Final = 10_000
PING_US: Final = 1_000_000
BUSY_RETRIES_MAX: Final = 15


class Origin:
    """The thread's side of one producer."""

    __slots__ = ("poisoned",)

    def __init__(self) -> None:
        self.poisoned: LogError | None = None


class Append(NamedTuple):
    """One append on its way to the file."""

    origin: Origin
    slot: int
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]
    encoded: bytes | None
    """The headers as they are in the file."""
    done: Done | None
    size: int


@dataclass(frozen=True, slots=True)
class Settings:
    """How one log is kept. Durations in µs."""

    path: Path
    partitions: int
    full: bool
    lease_us: int
    stall_us: int


class Committer:
    """One per open log. `submit` and `call` are for the loop's thread, all else runs on the committer's
    own.
    """

    def __init__(
        self,
        settings: Settings,
        shared: SharedDirectory,
        clock: SharedClock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.tails = Tails()
        self._clock = clock
        self.bridge = Bridge(loop)
        with contextlib.ExitStack() as undo:  # what is open already, when the next cannot be
            self.bell = Doorbell(shared.bells)
            undo.callback(self.bell.close)
            self.membership = Membership(
                shared,
                settings.partitions,
                settings.lease_us,
                self._membership_changed,
                lambda: not self.bridge.stalled(settings.stall_us),
            )
            undo.callback(self.membership.close)
            self._queue = WriterQueue(shared)
            undo.callback(self._queue.close)
            self._watermark = Watermark(shared, settings.full)
            undo.callback(self._watermark.close)
            self._connection = files.connect(settings.path, settings.full)
            undo.pop_all()
        self.failure: LogError | None = None
        """The thread has ended: why."""
        self.taken_bytes = 0
        self._settings = settings
        self._inbox: deque[Append | Callable[[], object]] = deque()
        self._heads: dict[int, int] = {}
        self._heads_version = -1
        self._tails_version = -1
        self._look_at_ns = 0
        self._ping_at_ns = 0
        self._asleep = False
        self._waking = False
        self._stopping = False
        self._draining = False
        self._some_poisoned = False
        self._wal = WalKeeper(self._connection, settings.path)
        self._reading = Trials(f"the log {settings.path} cannot be read", settings.path)
        self._meeting = Trials(f"the workers on {settings.path} cannot meet in {shared.root}", settings.path)
        self._calling = Trials(f"the log {settings.path} cannot do what it was asked for", settings.path)
        self._ended = asyncio.Event()
        self._loop = loop
        self._wake_fd, self._waker_fd = os.pipe()
        os.set_blocking(self._wake_fd, False)
        os.set_blocking(self._waker_fd, False)
        self._poll = select.poll()
        self._poll.register(self._wake_fd, select.POLLIN)
        self._poll.register(self.bell.socket, select.POLLIN)
        self._thread = threading.Thread(target=self._run, name="perdure-log", daemon=True)
        self._thread.start()

    # On the loop's thread

    def submit(self, append: Append) -> None:
        self._inbox.append(append)
        if self._asleep and not self._waking:
            # Not at once: what else this go of the loop appends shares the transaction, and its price.
            self._waking = True
            self._loop.call_soon(self._wake_soon)

    def _wake_soon(self) -> None:
        self._waking = False
        self.wake()

    def call(self, function: Callable[[], object]) -> None:
        """Run it on the thread, after what was submitted before."""
        self._inbox.append(function)
        self.wake()

    def wake(self) -> None:
        if self._asleep:
            self._asleep = False
            with contextlib.suppress(BlockingIOError, OSError):
                os.write(self._waker_fd, b"w")

    @property
    def waiting(self) -> int:
        """How many appends wait to be taken."""
        return len(self._inbox)

    async def stop(self) -> None:
        """Commit what was submitted, deliver every `done`, end the thread."""

        def last() -> None:
            self._stopping = True

        self._draining = True
        self.call(last)
        if not self._loop.is_closed():  # else the thread has noticed, and nobody is there to be told
            await self._ended.wait()
        self._thread.join()
        os.close(self._waker_fd)

    # On the thread

    def _run(self) -> None:
        failure = LogError("the log is closed")
        try:
            while not (self._stopping and not self._inbox) and not self.bridge.broken:
                self._turn()
        except sqlite3.Error as error:
            failure = files.translated(error, self._settings.path)
        except Exception as error:  # noqa: BLE001 - told to every producer, and to the loop
            failure = LogError(f"the log's thread has failed: {error!r}")
            failure.__cause__ = error
        finally:
            self._end(failure)

    def _turn(self) -> None:
        if not self._wal.over or self._draining:
            group = self._take()
            if group:
                self._commit(group)
        more = self._read()
        if time.monotonic_ns() >= self._look_at_ns:
            self._look()
        self.bridge.hand_over()
        if not more and not self._stopping:
            self._sleep()

    def _read(self) -> bool:
        if not self._reading.due:
            return False
        with self._reading.tried():
            return self.tails.read(self._connection, self.bridge.batches)
        return False

    def _take(self) -> list[Append]:
        """The appends that go into one transaction; what is to be called is called on the way."""
        inbox = self._inbox
        group: list[Append] = []
        size = 0
        while inbox and len(group) < GROUP_ENTRIES_MAX and size < GROUP_BYTES_MAX:
            item = inbox.popleft()
            if isinstance(item, Append):
                group.append(item)
                size += item.size
            else:
                with self._calling.tried():
                    item()
        return group

    def _commit(self, group: list[Append]) -> None:
        size = sum([append.size for append in group])
        self.taken_bytes += size
        if self._some_poisoned:
            group = self._without_poisoned(group)
        for attempt in range(BUSY_RETRIES_MAX):
            try:
                fresh = self._write(group)
            except sqlite3.IntegrityError:
                self._heads.clear()  # somebody else took these offsets: look anew
            except sqlite3.Error as error:
                self._heads.clear()
                if not files.is_busy(error) or attempt == BUSY_RETRIES_MAX - 1:
                    return self._fail(group, files.translated(error, self._settings.path))
            else:
                if fresh:
                    self.bell.ring(fresh)
                    self.tails.committed(fresh, size, self.bridge.batches)
                return None
        return self._fail(
            group, LogError(f"{self._settings.path}: offsets are taken by somebody else, again and again")
        )

    def _write(self, group: list[Append]) -> dict[int, list[Entry]]:
        """One transaction; the entries by slot."""
        if not group:
            return {}
        fresh: dict[int, list[Entry]] = {}
        acks: list[tuple[Done, int | LogError]] = []
        params: list[Any] = []
        heads = self._heads
        with self._queue:
            version = rows.data_version(self._connection)
            if version != self._heads_version:
                self._heads_version = version
                heads.clear()
            ts = self._clock.stamp()
            number = self._watermark.count
            for _, slot, key, value, headers, encoded, done, _ in group:
                entries = fresh.get(slot)
                if entries is None:
                    entries = fresh[slot] = []
                    if slot not in heads:
                        heads[slot] = rows.next_offset(self._connection, slot)
                offset = heads[slot] + len(entries)
                row = (slot << rows.OFFSET_BITS) | offset
                crc = rows.checksum(row, ts, number, key, encoded, value)
                # bytearray: for bytes `sqlite3` looks for an adapter, which costs more than the copy.
                blobs = bytearray(key), encoded and bytearray(encoded), bytearray(value)
                params += (row, ts, *blobs, crc, number)
                number += 1
                entries.append(Entry(offset, ts, key, value, headers))
                if done is not None:
                    acks.append((done, offset))
            rows.insert(self._connection, params, len(group))
            self._watermark.add(len(group))
        for slot, entries in fresh.items():
            heads[slot] += len(entries)
        self.bridge.acks += acks
        return fresh

    def _without_poisoned(self, group: list[Append]) -> list[Append]:
        sound: list[Append] = []
        for append in group:
            error = append.origin.poisoned
            if error is None:
                sound.append(append)
            elif append.done is not None:
                self.bridge.acks.append((append.done, error))
        return sound

    def _fail(self, group: list[Append], why: LogError) -> None:
        """The transaction did not take place, as far as SQLite knows."""
        first = AppendFailed(str(why))
        first.__cause__ = why
        later = AppendFailed(f"an earlier append of this producer failed; make a new producer ({why})")
        later.__cause__ = why
        self._some_poisoned = True
        for append in group:
            append.origin.poisoned = later
            if append.done is not None:
                self.bridge.acks.append((append.done, first))

    def _look(self) -> None:
        """What has to be looked at now and then: other processes' commits and members, and how the loop
        is.
        """
        if self.tails.slots and self._reading.due:
            with self._reading.tried():
                version = rows.data_version(self._connection)
                if version != self._tails_version:
                    self._tails_version = version
                    self.tails.may_have_grown()
        self._wal.look()
        settled = True
        if self.membership.seats and self._meeting.due:
            with self._meeting.tried():
                settled = self.membership.tick()
        if self.bridge.idle and time.monotonic_ns() >= self._ping_at_ns:
            self._ping_at_ns = time.monotonic_ns() + PING_US * 1_000
            self.bridge.hand_over(ping=True)
        pause_us = (LOOK_US if self.bell.heard else LOOK_DEAF_US) if settled else 2_000
        self._look_at_ns = time.monotonic_ns() + pause_us * 1_000

    def look_now(self) -> None:
        """Something about the membership is to be done at once."""
        self._look_at_ns = 0

    def _membership_changed(self) -> None:
        self.bell.ring()
        self._look_at_ns = 0

    def _sleep(self) -> None:
        self._asleep = True
        if self._inbox and not self._wal.over:
            self._asleep = False
            return
        wait_ms = max(0, (self._look_at_ns - time.monotonic_ns()) // 1_000_000 + 1)
        ready = [fd for fd, _ in self._poll.poll(wait_ms)]
        self._asleep = False
        if self._wake_fd in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_fd, 4_096)
        if self.bell.socket.fileno() in ready:
            grown, changed = self.bell.hear()
            self.tails.may_have_grown(grown)
            if changed:
                self._look_at_ns = 0

    def _end(self, failure: LogError) -> None:
        self.failure = failure
        if not self._stopping:
            context = {"message": f"the log {self._settings.path} has failed for good", "exception": failure}
            self.bridge.notices.append(lambda: self._loop.call_exception_handler(context))
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, Append) and item.done is not None:
                self.bridge.acks.append((item.done, AppendFailed(str(failure))))
        for seat in self.membership.seats:
            for partition in seat.held:
                seat.events.lost(partition)
            if not self._stopping:
                seat.events.ended(failure)
            seat.events.left()
        self.membership.close()
        self.bell.ring()
        self.bridge.hand_over()
        self.bell.close()
        self._connection.close()
        self._queue.close()
        self._watermark.close()
        os.close(self._wake_fd)
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended.set)
