"""What a user of the log holds of something that is followed."""

from __future__ import annotations

from typing import Protocol

from perdure.logs.contract import Topic
from perdure.logs.kafka.tails import Tail

__all__ = ["KafkaFollower"]


class Home(Protocol):
    """The log, as a follower needs it."""

    def unfollow_with(self, topic: Topic, partition: int, tail: Tail) -> None: ...


class KafkaFollower:
    """See `perdure.logs.contract.Follower`."""

    def __init__(self, log: Home, topic: Topic, partition: int, tail: Tail) -> None:
        self._log = log
        self._topic = topic
        self._partition = partition
        self.tail = tail

    def close(self) -> None:
        if not self.tail.closed:
            self.tail.closed = True
            self._log.unfollow_with(self._topic, self._partition, self.tail)
