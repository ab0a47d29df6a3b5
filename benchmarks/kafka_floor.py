"""The floor of the log on Kafka: the same records produced and read back with the client library alone.

One thread: it produces a record, and the next one of that run when the consumer has handed back the one before. So
it acts on what was read back, as the engine does, with nothing between the two but Avro.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter, perf_counter_ns, process_time
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from floor import Record
from workloads import Sample

from perdure.core import codec

PARTITIONS = 8
ANSWER_S = 30.0
BATCH_MAX = 1_000


@dataclass(slots=True)
class Lane:
    """One run in flight."""

    partition: int
    left: Iterator[Record]
    began: int


@asynccontextmanager
async def kafka_floor(servers: str, topic: str) -> AsyncGenerator[KafkaFloor]:
    """A floor on a topic of its own, which is made for it."""
    floor = await asyncio.to_thread(KafkaFloor, servers, topic)
    try:
        yield floor
    finally:
        await asyncio.to_thread(floor.close)


class KafkaFloor:
    """Plays records through a topic of its own."""

    def __init__(self, servers: str, topic: str) -> None:
        client: dict[str, Any] = {"bootstrap.servers": servers}
        self._topic = topic
        admin = AdminClient(client)
        config = {"message.timestamp.type": "LogAppendTime"}  # as the journal's
        admin.create_topics([NewTopic(topic, PARTITIONS, 1, config=config)])[topic].result(ANSWER_S)
        self._producer = Producer(client | {"enable.idempotence": True, "acks": "all", "linger.ms": 0})
        self._consumer = Consumer(
            client | {"group.id": f"{topic}.floor", "enable.auto.commit": False, "auto.offset.reset": "error"}
        )
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        self._waiting = [deque[Lane]() for _ in range(PARTITIONS)]
        self._next = 0

    def close(self) -> None:
        self._producer.flush(ANSWER_S)
        self._consumer.close()

    async def play(self, records: Sequence[Record], runs: int, in_flight: int, seconds: float) -> Sample:
        """Plays the records of one run so often, so many at once; the event loop stays free meanwhile."""
        return await asyncio.to_thread(self._play, records, runs, in_flight, seconds)

    def _play(self, records: Sequence[Record], runs: int, in_flight: int, seconds: float) -> Sample:
        sample = Sample()
        gc.collect()
        began, cpu = perf_counter(), process_time()
        left, lanes = runs, 0

        def begin() -> bool:
            nonlocal left
            if not left or perf_counter() - began > seconds:
                return False
            left -= 1
            self._next = (self._next + 1) % PARTITIONS
            self._produce(Lane(self._next, iter(records), perf_counter_ns()))
            return True

        while lanes < in_flight and begin():
            lanes += 1
        while lanes:
            for message in self._read_back():
                lane = self._waiting[message.partition() or 0].popleft()  # in the order in which they went
                if not self._produce(lane):
                    sample.latencies.append(perf_counter_ns() - lane.began)
                    lanes -= not begin()
        sample.wall, sample.cpu = perf_counter() - began, process_time() - cpu
        sample.latencies.sort()
        return sample

    def _produce(self, lane: Lane) -> bool:
        """The lane's next record; False when there is none."""
        record = next(lane.left, None)
        if record is None:
            return False
        value = codec.encode(record.name, record.body)
        headers: list[tuple[str, str | bytes | None]] = list(record.headers.items())
        self._producer.produce(
            self._topic, value, record.key, lane.partition, on_delivery=_acked, headers=headers
        )
        self._waiting[lane.partition].append(lane)
        return True

    def _read_back(self) -> list[Message]:
        self._producer.poll(0)
        first = self._consumer.poll(ANSWER_S)
        if first is None:
            raise RuntimeError(f"nothing came back from {self._topic} within {ANSWER_S:g} s")
        messages = [first, *self._consumer.consume(BATCH_MAX - 1, 0)]
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
        return messages


def _acked(error: KafkaError | None, _message: Message) -> None:
    if error is not None:
        raise KafkaException(error)
