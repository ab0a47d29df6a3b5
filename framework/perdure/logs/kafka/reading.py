"""Following partitions: a consumer of its own in a thread of its own, which hands batches to the loop.

It is no member of a group. Each partition is assigned by hand, at an offset of our choice, so that what is read never
depends on committed offsets or on a rebalance.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from perdure.logs.contract import Entry
from perdure.logs.kafka.entries import entry_of
from perdure.logs.kafka.handover import Handover, log
from perdure.logs.kafka.known import KnownPartitions
from perdure.logs.kafka.tails import Slot, Tail
from perdure.logs.kafka.topics import RESTORE

__all__ = ["Reader"]

_POLL_S: Final = 0.02
"""How long the thread waits for messages before it looks at what it was asked."""
_BATCH_MAX: Final = 1_000
_HANDED_MAX: Final = 8
"""Batches that the loop has not taken; then reading waits."""
_ASK_S: Final = 10.0
_AGAIN_S: Final = 1.0
_OUT_OF_RANGE: Final = (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET)


class Reader:
    """Follows partitions for any number of tails. All public methods are for the loop."""

    def __init__(
        self,
        config: Mapping[str, Any],
        handover: Handover,
        *,
        committed: bool,
        whole: Callable[[str], bool],
        broken: Callable[[str, int, str], None],
    ) -> None:
        """`whole` says of which topics nothing may be missing; `broken` is told when something is."""
        self.committed = committed
        self._config = {
            **config,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            # A partition that is added while a fetch waits at the broker is asked for with the next one only.
            "fetch.wait.max.ms": 50,
            "fetch.error.backoff.ms": 100,
            "queued.max.messages.kbytes": 16_384,
        }
        self._handover = handover
        self._whole = whole
        self._broken = broken
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._slots: dict[tuple[str, int], Slot] = {}
        self._held_back: set[tuple[str, int]] = set()
        self._again: list[tuple[float, Slot]] = []
        self._partitions = KnownPartitions()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="perdure-kafka-reads", daemon=True)
        self._thread.start()

    def add(self, topic: str, partition: int, tail: Tail) -> None:
        """Gives the tail all entries from its offset on."""
        self._orders.put(lambda: self._add(topic, partition, tail))

    def remove(self, topic: str, partition: int, tail: Tail) -> None:
        """Gives the tail nothing any more: from this call on, since the tail is closed on the loop."""
        tail.closed = True
        self._orders.put(lambda: self._remove(topic, partition, tail))

    def positions(self) -> dict[tuple[str, int], int]:
        """How far each partition is read that should be read on. Empty while the loop takes nothing."""
        if self._handover.waiting > _HANDED_MAX:
            return {}
        slots = list(self._slots.items())
        return {key: slot.position for key, slot in slots if key not in self._held_back}

    def begin_anew(self) -> None:
        """Goes on with another connection."""
        self._orders.put(self._begin_anew)

    def close(self) -> None:
        """Ends the thread and its connections. Blocks: not on the loop."""
        self._closing = True
        self._thread.join()

    # ------------------------------------------------------------------ on the thread

    def _run(self) -> None:
        self._consumer = Consumer(self._config)
        try:
            while not self._closing:
                self._obey()
                if self._handover.waiting > _HANDED_MAX:
                    time.sleep(_POLL_S / 10)
                    continue
                first = self._consumer.poll(_POLL_S)
                if first is not None:
                    self._hand_over([first, *self._consumer.consume(_BATCH_MAX - 1, 0)])
        finally:
            self._consumer.close()

    def _begin_anew(self) -> None:
        """With another consumer, from where each partition was read up to."""
        self._consumer.close()
        self._consumer = Consumer(self._config)
        self._held_back.clear()
        self._consumer.incremental_assign(
            [TopicPartition(slot.topic, slot.partition, slot.position) for slot in self._slots.values()]
        )

    def _obey(self) -> None:
        while not self._orders.empty():
            self._orders.get()()
        for key, slot in self._slots.items():
            quiet = all(tail.paused for tail in slot.tails)
            if quiet != (key in self._held_back):
                self._hold_back(slot, quiet)
        due = [slot for at, slot in self._again if at <= time.monotonic()]
        if due:
            self._again = [(at, slot) for at, slot in self._again if slot not in due]
            for slot in due:
                self._seek(slot)

    def _hold_back(self, slot: Slot, quiet: bool) -> None:
        here = [TopicPartition(slot.topic, slot.partition)]
        if quiet:
            self._consumer.pause(here)
            self._held_back.add((slot.topic, slot.partition))
        else:
            self._consumer.resume(here)
            self._held_back.discard((slot.topic, slot.partition))

    def _add(self, topic: str, partition: int, tail: Tail) -> None:
        slot = self._slots.get((topic, partition))
        if slot is None:
            self._partitions.know(self._consumer, topic, partition)
            slot = self._slots[topic, partition] = Slot(topic, partition, tail.next)
            slot.tails.append(tail)
            self._consumer.incremental_assign([TopicPartition(topic, partition, slot.position)])
            return
        slot.tails.append(tail)
        if tail.next < slot.position:
            self._move(slot, tail.next)

    def _remove(self, topic: str, partition: int, tail: Tail) -> None:
        slot = self._slots.get((topic, partition))
        if slot is None or tail not in slot.tails:
            return
        slot.tails.remove(tail)
        if not slot.tails:
            del self._slots[topic, partition]
            self._held_back.discard((topic, partition))
            self._again = [(at, other) for at, other in self._again if other is not slot]
            self._consumer.incremental_unassign([TopicPartition(topic, partition)])

    def _move(self, slot: Slot, position: int) -> None:
        """Reads on from elsewhere; nothing that was fetched before is given out after this."""
        slot.position, slot.read_any = position, False
        self._held_back.discard((slot.topic, slot.partition))
        self._consumer.incremental_unassign([TopicPartition(slot.topic, slot.partition)])
        self._consumer.incremental_assign([TopicPartition(slot.topic, slot.partition, position)])

    def _hand_over(self, messages: Sequence[Message]) -> None:
        read: dict[tuple[str, int], list[Entry]] = {}
        for message in messages:
            error = message.error()
            if error is None:
                read.setdefault((message.topic() or "", message.partition() or 0), []).append(
                    entry_of(message)
                )
            else:
                self._failed(error, message)
        shares: list[tuple[Tail, Sequence[Entry]]] = []
        for key, entries in read.items():
            slot = self._slots.get(key)
            if slot is not None:
                shares += slot.share(entries)
        if shares and not self._handover.call(_deliver, self._handover, shares):
            self._closing = True

    def _failed(self, error: KafkaError, message: Message) -> None:
        topic, partition = message.topic(), message.partition()
        slot = self._slots.get((topic, partition)) if topic is not None and partition is not None else None
        if slot is not None and error.code() in _OUT_OF_RANGE:
            self._seek(slot)
        elif slot is not None and not error.retriable():
            self._tell_broken(slot, error.str())
        else:
            log.warning("reading from Kafka: %s", error.str())

    def _seek(self, slot: Slot) -> None:
        """The position is none that the partition has: below what is retained, or beyond the end."""
        here = TopicPartition(slot.topic, slot.partition)
        try:
            first, end = self._consumer.get_watermark_offsets(here, timeout=_ASK_S)
        except KafkaException as error:
            log.warning("the bounds of %s %d are not known: %s", slot.topic, slot.partition, error)
            self._again.append((time.monotonic() + _AGAIN_S, slot))
            return
        if slot.position > end and slot.known:
            self._tell_broken(
                slot,
                f"it ends at {end}, but was read up to {slot.position} before: it was truncated, or deleted and made "
                f"anew. No run is begun anew on it. {RESTORE}",
            )
            return
        if slot.position < first and slot.read_any:
            gone = f"entries {slot.position} to {first - 1} were gone before they were read"
            if self._whole(slot.topic):
                self._tell_broken(slot, f"{gone}. No run is begun anew on it. {RESTORE}")
                return
            log.error("%s %d: %s, its retention is too short", slot.topic, slot.partition, gone)
        read_any = slot.read_any
        self._move(slot, min(max(slot.position, first), end))
        slot.read_any = read_any

    def _tell_broken(self, slot: Slot, why: str) -> None:
        self._consumer.incremental_unassign([TopicPartition(slot.topic, slot.partition)])
        self._slots.pop((slot.topic, slot.partition), None)
        self._handover.call(self._broken, slot.topic, slot.partition, why)


def _deliver(handover: Handover, shares: Sequence[tuple[Tail, Sequence[Entry]]]) -> None:
    for tail, entries in shares:
        handover.guarded(tail.take, entries)
