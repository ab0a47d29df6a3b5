"""Single questions to Kafka: read from here, where does it begin and end, what was at that time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from perdure.errors import LogError
from perdure.logs.contract import Entry
from perdure.logs.kafka.entries import entry_of
from perdure.logs.kafka.known import KnownPartitions

__all__ = ["Lookup"]

T = TypeVar("T")

_ANSWER_S: Final = 15.0
_AGAIN_S: Final = 0.1
_WAIT_S: Final = 0.05
_PASSING: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._UNKNOWN_PARTITION,  # a broker that comes up
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._DESTROY_BROKER,
    KafkaError.OFFSET_NOT_AVAILABLE,  # of a leader that is new
)
READ_BYTES_MAX: Final = 8 * 1024 * 1024
"""What one read gives at most, but for a first entry that is larger."""


class Lookup:
    """A consumer that is asked from one thread, and blocks it. Raises KafkaException and LogError."""

    def __init__(self, config: Mapping[str, Any], *, committed: bool) -> None:
        self._partitions = KnownPartitions()
        self._consumer = Consumer(
            {
                **config,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed" if committed else "read_uncommitted",
                "enable.partition.eof": True,  # behind the last entry may be a transaction's mark, so the end is asked
                "fetch.wait.max.ms": 10,
                "queued.max.messages.kbytes": 16_384,
            }
        )

    def close(self) -> None:
        self._consumer.close()

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        self._partitions.know(self._consumer, topic, partition)
        here = TopicPartition(topic, partition)
        return _patiently(lambda: self._consumer.get_watermark_offsets(here, timeout=_ANSWER_S))

    def offset_at(self, topic: str, partition: int, ts_ms: int) -> int:
        self._partitions.know(self._consumer, topic, partition)
        first, end = self.bounds(topic, partition)
        asked = TopicPartition(topic, partition, ts_ms)
        found = _patiently(lambda: self._at(asked))
        if found >= 0:
            return max(found, first)
        # A leader that hung says so of what others have taken since: no more is passed over than what it knows.
        return min(end, self.bounds(topic, partition)[1])

    def _at(self, asked: TopicPartition) -> int:
        """Negative when there is none so late."""
        (found,) = self._consumer.offsets_for_times([asked], timeout=_ANSWER_S)
        if found.error is not None:  # then its offset is the time that was asked for
            raise KafkaException(found.error)
        return found.offset

    def read(self, topic: str, partition: int, offset: int, entries_max: int) -> list[Entry]:
        first, end = self.bounds(topic, partition)
        offset = max(offset, first)
        if offset >= end or entries_max < 1:
            return []
        found: list[Entry] = []
        size = 0
        self._consumer.assign([TopicPartition(topic, partition, offset)])
        try:
            deadline = time.monotonic() + _ANSWER_S
            while len(found) < entries_max and size < READ_BYTES_MAX:
                messages = self._consumer.consume(min(entries_max - len(found), 500), _WAIT_S)
                for message in messages:
                    error = message.error()
                    if error is None:
                        found.append(entry_of(message))
                        size += len(found[-1].value)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        if (message.offset() or 0) >= end:
                            return found
                        # Of a leader that hung, and has not what others have taken since: theirs comes.
                    elif not error.retriable():
                        raise LogError(f"cannot read {topic} {partition} at {offset}: {error.str()}")
                if found and found[-1].offset + 1 >= end:
                    break
                if time.monotonic() > deadline:
                    raise LogError(
                        f"Kafka has not answered within {_ANSWER_S:g} s for {topic} {partition} at {offset}"
                    )
            return found
        finally:
            self._consumer.unassign()


def _patiently(ask: Callable[[], T]) -> T:
    """Asks again while a broker only says that it is not ready: a young topic, a leader that moves."""
    deadline = time.monotonic() + _ANSWER_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if not _passing(error) or time.monotonic() > deadline:
                raise
        time.sleep(_AGAIN_S)


def _passing(error: KafkaException) -> bool:
    told = error.args[0]
    return isinstance(told, KafkaError) and (told.retriable() or told.code() in _PASSING)
