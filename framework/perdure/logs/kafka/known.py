"""Which partitions a client of Kafka knows of: it learns that a topic has grown within minutes, unless it is told."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import Consumer, KafkaException, Producer

__all__ = ["KnownPartitions"]

_ANSWER_S: Final = 5.0
_WITHIN_S: Final = 10.0
_AGAIN_S: Final = 0.05


class KnownPartitions:
    """Of one client. Blocks: for the thread that owns it."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def know(self, client: Consumer | Producer, topic: str, partition: int) -> None:
        """Has the client ask for the topic's partitions, until this one is among them or it was tried for long enough:
        what is done with the partition then says what is wrong."""
        if partition < self._counts.get(topic, 0):
            return
        deadline = time.monotonic() + _WITHIN_S
        while True:
            try:
                found = client.list_topics(topic, timeout=_ANSWER_S).topics[topic]
            except KafkaException:
                return
            if partition < len(found.partitions):
                self._counts[topic] = len(found.partitions)
                return
            if time.monotonic() > deadline:
                return
            time.sleep(_AGAIN_S)
