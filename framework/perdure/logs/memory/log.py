"""The log in memory, seen from one process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence

from perdure.errors import EntryTooLarge, LogError, UsageError
from perdure.logs.contract import (
    NO_HEADERS,
    Done,
    Entry,
    Follower,
    Listener,
    LogFull,
    Member,
    Producer,
    Sink,
    Topic,
)
from perdure.logs.memory.faults import Delivery, Fault
from perdure.logs.memory.group import Seat
from perdure.logs.memory.net import BATCH_ENTRIES_MAX, Net
from perdure.logs.memory.store import Flight, Origin, Slot, Tail
from perdure.logs.steady import SteadyClock


class MemoryLog:
    """A log that lives as long as this object. Several "processes" share one: see `connect`.

    `manual`: nothing is delivered on its own; `pending` lists what may happen next, and `perform` makes one
    of it happen. In automatic mode deliveries go by `call_soon`, and faults are armed beforehand with `arm`.
    `now` is the clock in µs, the wall clock
    when None. All calls must come from one event loop thread.
    """

    def __init__(
        self,
        partitions: int = 8,
        *,
        manual: bool = False,
        now: Callable[[], int] | None = None,
        entry_bytes_max: int = 4 * 1024 * 1024,
        waiting_entries_max: int = 100_000,
        revoke_us: int = 10_000_000,
    ) -> None:
        if partitions < 1:
            raise UsageError(f"a log has at least 1 partition, not {partitions}")
        self._net = Net(partitions, manual, SteadyClock() if now is None else now, revoke_us)
        self._names = itertools.count()
        self._process = f"p{next(self._names)}"
        self._entry_bytes_max = entry_bytes_max
        self._waiting_entries_max = waiting_entries_max
        self._opened = False
        self._killed = False
        self._origins: list[Origin] = []
        self._tails: list[Tail] = []
        self._members: list[MemoryMember] = []

    def connect(self, process: str | None = None) -> MemoryLog:
        """Another process's connection to the same log, named in deliveries; the connection itself may be
        killed.
        """
        other = MemoryLog.__new__(MemoryLog)
        other.__dict__.update(self.__dict__)
        other._process = process or f"p{next(self._names)}"
        other._opened = other._killed = False
        other._origins, other._tails, other._members = [], [], []
        return other

    def kill(self) -> None:
        """`kill -9` of this process: it is told nothing any more, its partitions come free, its appends may
        land late.
        """
        self._killed = True
        self._opened = False
        self._net.forget(self._process, self._origins, self._tails)

    # Faults and manual delivery

    def arm(self, fault: Fault, topic: Topic, partition: int) -> None:
        """The next append to land there meets this fault (armed twice: the next two)."""
        self._net.arm(fault, topic, partition)

    def force_revoke(self, partition: int) -> None:
        """Take the partition from its owner in good order, and give it to another member if there is one."""
        self._net.group.force_revoke(partition)

    def force_lost(self, partition: int) -> None:
        """Give the partition to another member without asking; its owner learns of it at some time."""
        self._net.group.force_lost(partition)

    def pending(self) -> list[Delivery]:
        """What may happen next, in an order that depends on the history alone.

        In automatic mode: only the appends that were delayed or are late.
        """
        return self._net.pending()

    def perform(
        self, index: int | Delivery, *, fault: Fault | None = None, entries_max: int = BATCH_ENTRIES_MAX
    ) -> Delivery:
        """Make one of `pending()` happen, by its index there; `fault` is for an `append`, `entries_max` for
        `entries`.
        """
        delivery = self._net.pending()[index] if isinstance(index, int) else index
        self._net.perform(delivery, fault, entries_max)
        return delivery

    def drop(self, index: int | Delivery) -> None:
        """A `late` append of `pending()` never lands."""
        self._net.drop(self._net.pending()[index] if isinstance(index, int) else index)

    # What is Kafka's alone

    def skip(self, topic: Topic, partition: int, offsets: int = 1) -> None:
        """So many offsets hold nothing that is ever read, as the markers of transactions do."""
        self.slot(topic, partition).next += offsets

    def abort(self, topic: Topic, partition: int, value: bytes) -> None:
        """An entry of a transaction that was aborted: it takes its place, and who reads what is committed has none."""
        slot = self.slot(topic, partition)
        slot.aborted.add(slot.append(self.now(), b"", value, NO_HEADERS))

    def hold(self, topic: Topic, partition: int) -> None:
        """A transaction is open: what lands from here on is not read until `let_through`."""
        slot = self.slot(topic, partition)
        slot.held = slot.end

    def let_through(self, topic: Topic, partition: int) -> None:
        """The transaction has ended."""
        slot = self.slot(topic, partition)
        slot.held = None
        self._net.wake(slot)

    def ask_former(self, topic: Topic, partition: int) -> None:
        """A leader that hung answers questions as if it still led: it knows nothing of what lands from here on."""
        slot = self.slot(topic, partition)
        slot.former = slot.end

    def ask_leader(self, topic: Topic, partition: int) -> None:
        """Who leads is known again."""
        self.slot(topic, partition).former = None

    def break_producers(self) -> None:
        """The client of this process has a fatal error: every producer of this connection fails at once."""
        self._net.break_producers(self._origins)

    @property
    def busy(self) -> bool:
        """Automatic mode: whether deliveries are under way; they need no more than the event loop."""
        return self._net.busy

    # The contract

    @property
    def expires(self) -> bool:
        return False

    @property
    def partitions(self) -> int:
        return self._net.generations[-1]

    @property
    def generations(self) -> Sequence[int]:
        return self._net.generations

    async def refresh(self) -> None:
        """Every connection knows of a growth at once."""

    def grow(self, partitions: int) -> None:
        """Adds a generation: the journal has so many partitions from now on. Raises UsageError unless it has fewer."""
        if partitions <= self.partitions:
            raise UsageError(
                f"the journal has {self.partitions} partitions already, and cannot grow to {partitions}"
            )
        self._net.grow(partitions)

    async def open(self) -> None:
        if self._killed:
            raise UsageError("this connection was killed; connect() anew")
        self._net.loop = asyncio.get_running_loop()
        self._opened = True
        self._net.wake()

    async def close(self) -> None:
        if not self._opened:
            return
        for member in tuple(self._members):
            await member.leave()
        self._opened = False
        for tail in self._tails:
            self._net.close_tail(tail)
        self._tails.clear()
        await self._net.drain(self._origins)
        self._origins.clear()

    def producer(self) -> Producer:
        self._check_open()
        origin = Origin(self._process)
        self._origins = [known for known in self._origins if known.poisoned is None]
        self._origins.append(origin)
        return MemoryProducer(self, origin)

    def member(self, listener: Listener) -> Member:
        self._check_open()
        member = MemoryMember(self, listener, f"{next(self._names):06d}")
        self._members.append(member)
        return member

    def follow(self, topic: Topic, partition: int, offset: int, sink: Sink) -> Follower:
        return MemoryFollower(self, self.tail(topic, partition, offset, sink))

    async def read(self, topic: Topic, partition: int, offset: int, entries_max: int) -> Sequence[Entry]:
        slot = self.slot(topic, partition)
        entries = slot.read(offset, entries_max)
        if slot.former is not None:
            entries = [entry for entry in entries if entry.offset < slot.end_told]
        return tuple(entries)

    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        slot = self.slot(topic, partition)
        return slot.first, slot.end_told

    async def offset_at(self, topic: Topic, partition: int, ts: int) -> int:
        slot = self.slot(topic, partition)
        return slot.offset_at(ts) if slot.former is None else min(slot.offset_at(ts), slot.end_told)

    async def trim(self, topic: Topic, partition: int, before: int) -> None:
        self.slot(topic, partition).trim(before)

    async def put_snapshot(self, partition: int, name: str, chunks: Sequence[bytes]) -> None:
        stored = self._net.snapshots.setdefault(partition, {})
        stored.pop(name, None)
        stored[name] = tuple(chunks)

    async def snapshots(self, partition: int) -> Sequence[str]:
        return tuple(self._net.snapshots.get(partition, {}))

    async def get_snapshot(self, partition: int, name: str) -> Sequence[bytes]:
        try:
            return self._net.snapshots[partition][name]
        except KeyError:
            raise LogError(f"partition {partition} has no snapshot {name!r}") from None

    async def drop_snapshot(self, partition: int, name: str) -> None:
        self._net.snapshots.get(partition, {}).pop(name, None)

    def now(self) -> int:
        return self._net.now()

    # For the pieces below

    def slot(self, topic: Topic, partition: int) -> Slot:
        self._check_open()
        try:
            return self._net.slots[topic, partition]
        except KeyError:
            raise UsageError(f"{topic} has no partition {partition}; the log has {self.partitions}") from None

    def tail(self, topic: Topic, partition: int, offset: int, sink: Sink) -> Tail:
        slot = self.slot(topic, partition)
        tail = Tail(self._process, slot, offset, sink)
        slot.tails.append(tail)
        self._tails.append(tail)
        self._net.wake(slot)
        return tail

    def untail(self, tail: Tail) -> None:
        self._net.close_tail(tail)
        if tail in self._tails:
            self._tails.remove(tail)

    def resume(self, tail: Tail) -> None:
        tail.paused = False
        self._net.wake(tail.slot)

    def submit(self, flight: Flight) -> None:
        size = len(flight.value) + len(flight.key)
        if flight.headers:
            size += sum(len(name) + len(value) for name, value in flight.headers.items())
        if size > self._entry_bytes_max:
            raise EntryTooLarge(f"an entry of {size} bytes is over entry_bytes_max ({self._entry_bytes_max})")
        if len(self._net.outbox) >= self._waiting_entries_max:
            raise LogFull(f"{len(self._net.outbox)} appends wait already (waiting_entries_max)")
        self._net.submit(flight)

    def seat(self, member: MemoryMember, name: str, listener: Listener) -> Seat:
        seat = Seat(self._process, name, listener, member.forget_partition)
        self._net.group.join(seat)
        return seat

    async def unseat(self, member: MemoryMember, seat: Seat) -> None:
        self._net.group.leave(seat)
        await seat.left.wait()
        if member in self._members:
            self._members.remove(member)

    def _check_open(self) -> None:
        if not self._opened:
            raise UsageError("the log is not open: await log.open() first")


class MemoryProducer:
    """See `perdure.logs.contract.Producer`."""

    def __init__(self, log: MemoryLog, origin: Origin) -> None:
        self._log = log
        self._origin = origin
        self._closed = False

    def append(
        self,
        topic: Topic,
        partition: int,
        value: bytes,
        *,
        key: bytes = b"",
        headers: Mapping[str, bytes] = NO_HEADERS,
        done: Done | None = None,
    ) -> None:
        slot = self._log.slot(topic, partition)
        if self._closed:
            raise UsageError("the producer is closed: make a new one")
        self._log.submit(Flight(self._origin, slot, key, value, headers, done))

    def close(self) -> None:
        self._closed = True


class MemoryFollower:
    """See `perdure.logs.contract.Follower`."""

    def __init__(self, log: MemoryLog, tail: Tail) -> None:
        self._log = log
        self._tail = tail

    def close(self) -> None:
        self._log.untail(self._tail)


class MemoryMember:
    """See `perdure.logs.contract.Member`."""

    def __init__(self, log: MemoryLog, listener: Listener, name: str) -> None:
        self._log = log
        self._listener = listener
        self._name = name
        self._seat: Seat | None = None
        self._tails: dict[tuple[Topic, int], Tail] = {}

    async def join(self) -> None:
        if self._seat is None:
            self._seat = self._log.seat(self, self._name, self._listener)

    async def leave(self) -> None:
        if self._seat is not None:
            await self._log.unseat(self, self._seat)
            self._seat = None
            for topic, partition in tuple(self._tails):
                self.unfollow(topic, partition)

    def follow(self, topic: Topic, partition: int, offset: int) -> None:
        if self._seat is None:
            raise UsageError("join the group before following a partition")
        if topic in (Topic.JOURNAL, Topic.EVENTS) and partition not in self._seat.held:
            raise UsageError(f"{topic} {partition} is not assigned to this member")
        self.unfollow(topic, partition)
        listener = self._listener

        def sink(batch: Sequence[Entry]) -> None:
            listener.entries(topic, partition, batch)

        self._tails[topic, partition] = self._log.tail(topic, partition, offset, sink)

    def unfollow(self, topic: Topic, partition: int) -> None:
        tail = self._tails.pop((topic, partition), None)
        if tail is not None:
            self._log.untail(tail)

    def pause(self, topic: Topic, partition: int) -> None:
        tail = self._tails.get((topic, partition))
        if tail is not None:
            tail.paused = True

    def resume(self, topic: Topic, partition: int) -> None:
        tail = self._tails.get((topic, partition))
        if tail is not None:
            self._log.resume(tail)

    def forget_partition(self, partition: int) -> None:
        """The partition is gone: neither its journal nor its events are delivered any more."""
        self.unfollow(Topic.JOURNAL, partition)
        self.unfollow(Topic.EVENTS, partition)
