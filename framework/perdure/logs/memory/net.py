"""The net between processes and the log in memory: what is under way, what lands, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from perdure.errors import AppendFailed, LogError
from perdure.logs.callbacks import guarded
from perdure.logs.contract import Topic, partition_count
from perdure.logs.memory.faults import Delivery, Fault
from perdure.logs.memory.group import Group, Notice
from perdure.logs.memory.store import Flight, Origin, Slot, Tail

BATCH_ENTRIES_MAX = 1_000


class Net:
    """Shared by all connections of one memory log.

    Automatic: whatever is under way is performed by the next `call_soon`, in order. Manual: nothing moves
    unless `perform` is called with one of `pending()`.
    """

    def __init__(self, partitions: int, manual: bool, clock: Callable[[], int], revoke_us: int) -> None:
        self.generations = (partitions,)
        self.manual = manual
        self.loop: asyncio.AbstractEventLoop | None = None
        self.slots = {
            (topic, partition): Slot(topic, partition)
            for topic in Topic
            for partition in range(partition_count(topic, self.generations))
        }
        self.snapshots: dict[int, dict[str, tuple[bytes, ...]]] = {}
        self.group = Group(partitions, revoke_us, self.wake, self.guarded)
        self.outbox: list[Flight] = []
        self.acks: list[Flight] = []
        self.strays: list[Flight] = []
        self._delayed: list[Flight] = []
        self._armed: dict[tuple[Topic, int], list[Fault]] = {}
        self._dirty: dict[Slot, None] = {}
        self._clock = clock
        self._last_ts = 0
        self._scheduled = False
        self._drains: list[tuple[set[Origin], asyncio.Future[None]]] = []

    def grow(self, partitions: int) -> None:
        for partition in range(self.generations[-1], partitions):
            self.slots[Topic.JOURNAL, partition] = Slot(Topic.JOURNAL, partition)
        self.generations = (*self.generations, partitions)
        self.group.grow(partitions)

    def now(self) -> int:
        self._last_ts = max(self._last_ts, self._clock())
        return self._last_ts

    @property
    def busy(self) -> bool:
        """Automatic mode: whether something is under way that the next turns of the event loop deliver."""
        return self._scheduled

    def wake(self, slot: Slot | None = None) -> None:
        """Something is under way; `slot` has entries for its tails."""
        if slot is not None:
            self._dirty[slot] = None
        if not self.manual and not self._scheduled and self.loop is not None and not self.loop.is_closed():
            self._scheduled = True
            self.loop.call_soon(self._flush)

    def arm(self, fault: Fault, topic: Topic, partition: int) -> None:
        self._armed.setdefault((topic, partition), []).append(fault)

    def submit(self, flight: Flight) -> None:
        if flight.origin.poisoned is not None:
            flight.outcome = flight.origin.poisoned
            self.acks.append(flight)
        else:
            self.outbox.append(flight)
        self.wake()

    async def drain(self, origins: Iterable[Origin]) -> None:
        """Wait until every append of these producers was answered."""
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drains.append((set(origins), answered))
        self._check_drains()
        await answered

    def _check_drains(self) -> None:
        waiting = {flight.origin for flight in (*self.outbox, *self.acks)}
        for drain in tuple(self._drains):
            origins, answered = drain
            if not origins & waiting:
                self._drains.remove(drain)
                if not answered.done():
                    answered.set_result(None)

    # What may happen next

    def pending(self) -> list[Delivery]:
        flights = self.outbox if self.manual else self._delayed
        found = [
            Delivery("append", f.origin.process, f.slot.topic, f.slot.partition, f) for f in _heads(flights)
        ]
        found += [
            Delivery("late", f.origin.process, f.slot.topic, f.slot.partition, f) for f in _heads(self.strays)
        ]
        if self.manual:
            for f in _heads(self.acks):
                found.append(Delivery("ack", f.origin.process, f.slot.topic, f.slot.partition, f))
            for slot in self.slots.values():
                for tail in slot.tails:
                    if tail.next_batch(1):
                        found.append(Delivery("entries", tail.process, slot.topic, slot.partition, tail))
            for notice in self.group.heads():
                found.append(
                    Delivery(notice.kind, notice.member.process, Topic.JOURNAL, notice.partition, notice)
                )
        return found

    def perform(self, delivery: Delivery, fault: Fault | None, entries_max: int) -> None:
        subject = delivery.subject
        if isinstance(subject, Tail):
            self._deliver(subject, entries_max)
        elif isinstance(subject, Notice):
            self.group.perform(subject)
        elif isinstance(subject, Flight):
            if delivery.kind == "ack":
                self.acks.remove(subject)
                self._acknowledge(subject)
            elif delivery.kind == "late":
                self.strays.remove(subject)
                self._append(subject)
            else:
                self.outbox.remove(subject)
                if subject in self._delayed:
                    self._delayed.remove(subject)
                self._land(subject, fault or self._take_armed(subject.slot))
        self.wake()

    def drop(self, delivery: Delivery) -> None:
        """A late append never lands."""
        if delivery.kind == "late" and isinstance(delivery.subject, Flight):
            self.strays.remove(delivery.subject)

    # What happens

    def _flush(self) -> None:
        self._scheduled = False
        flights, self.outbox = self.outbox, []
        for flight in flights:
            if self._delayed and any(flight.lane == held.lane for held in self._delayed):
                self.outbox.append(flight)
            else:
                self._land(flight, self._take_armed(flight.slot) if self._armed else None)
        acks, self.acks = self.acks, []
        for index, flight in enumerate(acks):
            if isinstance(flight.outcome, LogError) and flight.origin.poisoned is None:
                self._poison(flight.origin, flight.outcome, acks[index + 1 :])
            self._tell(flight)
        dirty, self._dirty = self._dirty, {}
        for slot in dirty:
            for tail in tuple(slot.tails):
                self._deliver(tail, BATCH_ENTRIES_MAX)
        for notice in self.group.heads():
            self.group.perform(notice)
        if self.acks or self._dirty or self.group.notices:
            self.wake()

    def _land(self, flight: Flight, fault: Fault | None) -> None:
        if fault is Fault.DELAY and not self.manual:
            self._delayed.append(flight)
            self.outbox.append(flight)
            return
        if fault is Fault.DELAY:
            self.outbox.insert(0, flight)
            return
        if fault is Fault.FAIL or fault is Fault.LATE:
            flight.outcome = AppendFailed(
                f"an append to {flight.slot.topic} {flight.slot.partition} failed ({fault})"
            )
            if fault is Fault.LATE:
                self.strays.append(flight)
        else:
            flight.outcome = self._append(flight)
            if fault is Fault.DUPLICATE:
                self._append(flight)
            elif fault is Fault.LOST_ACK:
                flight.outcome = AppendFailed(
                    f"an append to {flight.slot.topic} {flight.slot.partition} got no answer"
                )
        if not flight.origin.gone:
            self.acks.append(flight)

    def _append(self, flight: Flight) -> int:
        slot = flight.slot
        offset = slot.append(self.now(), flight.key, flight.value, flight.headers)
        if slot.tails:
            self._dirty[slot] = None
        return offset

    def _take_armed(self, slot: Slot) -> Fault | None:
        armed = self._armed.get((slot.topic, slot.partition))
        return armed.pop(0) if armed else None

    def _acknowledge(self, flight: Flight) -> None:
        if isinstance(flight.outcome, LogError) and flight.origin.poisoned is None:
            self._poison(flight.origin, flight.outcome, self.acks)
        self._tell(flight)

    def _poison(self, origin: Origin, error: LogError, acks: Iterable[Flight]) -> None:
        """After one failure nothing that this producer still waits for is ever acknowledged."""
        origin.poisoned = AppendFailed("an earlier append of this producer failed; make a new producer")
        origin.poisoned.__cause__ = error
        for flight in acks:
            if flight.origin is origin:
                flight.outcome = origin.poisoned
        for flight in self._recall(origin):
            flight.outcome = origin.poisoned
            self.acks.append(flight)
            if self.manual:
                self.strays.append(flight)

    def break_producers(self, origins: Iterable[Origin]) -> None:
        """All producers of a process fail at once; of what they have under way, anything may land late, or nothing."""
        error = AppendFailed("a fatal error of this process's client; make a new producer")
        for origin in origins:
            if origin.poisoned is None and not origin.gone:
                self._poison(origin, error, self.acks)
        self.wake()

    def _recall(self, origin: Origin) -> list[Flight]:
        recalled = [flight for flight in self.outbox if flight.origin is origin]
        self.outbox = [flight for flight in self.outbox if flight.origin is not origin]
        self._delayed = [flight for flight in self._delayed if flight.origin is not origin]
        return recalled

    def _tell(self, flight: Flight) -> None:
        if flight.done is not None and not flight.origin.gone:
            self.guarded(flight.done, flight.outcome)
        if self._drains:
            self._check_drains()

    def _deliver(self, tail: Tail, entries_max: int) -> None:
        batch = tail.next_batch(entries_max)
        if batch:
            tail.position = batch[-1].offset + 1
            if tail.next_batch(1):
                self.wake(tail.slot)
            self.guarded(tail.sink, batch)

    def guarded(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call out; an error there is the loop's, the log goes on."""
        guarded(self.loop, callback, *args)

    def forget(self, process: str, origins: Iterable[Origin], tails: Iterable[Tail]) -> None:
        """The process was killed: nobody hears anything; what it had sent may still land late."""
        for origin in origins:
            origin.gone = True
            self.strays += self._recall(origin)
        self.acks = [flight for flight in self.acks if not flight.origin.gone]
        for tail in tails:
            self.close_tail(tail)
        self.group.kill(process)

    def close_tail(self, tail: Tail) -> None:
        tail.closed = True
        if tail in tail.slot.tails:
            tail.slot.tails.remove(tail)


def _heads(flights: list[Flight]) -> list[Flight]:
    """The oldest of each lane."""
    heads: dict[tuple[int, int], Flight] = {}
    for flight in flights:
        heads.setdefault(flight.lane, flight)
    return list(heads.values())
