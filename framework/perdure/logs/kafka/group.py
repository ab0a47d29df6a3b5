"""Membership in the consumer group that shares the journal's partitions.

The group's consumer only holds the membership: it pauses whatever it is assigned and reads nothing. So a rebalance
callback has no more to do than to ask the listener, within a bound, and what is read does not move with it.

Each consumer is a static member, under an id of its own making. A broker that was away for longer than a session knows
the member of before and would wait for it through another session; one that comes back under its id takes its place at
once. A static member does not leave by being closed, so it unsubscribes first.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from perdure.errors import UsageError
from perdure.logs.kafka.handover import Handover, log

__all__ = ["Membership", "Timing", "Told"]

_POLL_S: Final = 0.1
_LATE_S: Final = 1.0
_LOOK_S: Final = 1.0
_CLOSE_S: Final = 1.0
"""How long a client that holds nothing any more may take to end: one whose broker hangs takes six seconds."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The bounds of a membership, in seconds."""

    session_s: float = 10.0
    """A member of which the broker hears nothing for so long has lost its partitions."""
    stall_s: float = 5.0
    """A member whose event loop takes nothing for so long stops asking for its place, and loses it."""
    revoke_s: float = 10.0
    """What a listener may take to let go."""

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Timing:
        """With the session timeout that the user has set, if any."""
        given = options.get("session.timeout.ms")
        if given is None:
            return cls()
        if not given.isdecimal():
            raise UsageError(f"session.timeout.ms={given!r} is not a number of milliseconds")
        return cls(session_s=int(given) / 1_000)

    def options(self) -> dict[str, Any]:
        """What the consumer of the group is configured with."""
        poll_s = max(self.session_s, self.revoke_s + 2 * _LATE_S)
        return {
            "session.timeout.ms": int(self.session_s * 1_000),
            "heartbeat.interval.ms": max(int(self.session_s * 1_000 / 6), 100),
            "max.poll.interval.ms": int(poll_s * 1_000),
            "partition.assignment.strategy": "cooperative-sticky",
        }


class Told(Protocol):
    """Who is told of the membership, on the loop."""

    def joined(self) -> None: ...
    def assigned(self, partitions: Sequence[int]) -> None: ...
    async def revoke(self, partitions: Sequence[int]) -> None: ...
    def lost(self, partitions: Sequence[int]) -> None: ...


class Membership:
    """One member: a thread that keeps its place in the group."""

    def __init__(
        self, config: Mapping[str, Any], topic: str, timing: Timing, handover: Handover, told: Told
    ) -> None:
        self._config = {
            **config,
            **timing.options(),
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "fetch.wait.max.ms": 500,
        }
        self._topic = topic
        self._timing = timing
        self._handover = handover
        self._told = told
        self._joined = False
        self._gone = False
        """What is held is given up without asking: the loop takes nothing, or the membership is over already."""
        self._held: set[int] = set()
        self._leaving = threading.Event()
        self._let_go = threading.Event()
        """Set when it leaves and holds nothing any more."""
        self._grown = threading.Event()
        self.hold = threading.Event()
        """Set, the member takes no part in its group, as if its thread were stuck. For tests."""
        self._thread = threading.Thread(target=self._run, name="perdure-kafka-group", daemon=True)
        self._thread.start()

    def grown(self) -> None:
        """The journal has more partitions: the members share anew, now and not when a client next looks."""
        self._grown.set()

    def leave(self) -> None:
        """Gives everything back and leaves the group. Blocks: not on the loop."""
        self._leaving.set()
        self._let_go.wait()
        self._thread.join(_CLOSE_S)

    # ------------------------------------------------------------------ on the thread

    def _run(self) -> None:
        try:
            while not self._leaving.is_set():
                self._be_member()
        finally:
            self._let_go.set()

    def _be_member(self) -> None:
        consumer = Consumer({**self._config, "group.instance.id": os.urandom(12).hex()})
        try:
            self._keep_place(consumer)
            self._give_back(consumer)
        except KafkaException as error:
            # librdkafka has given this consumer up for good, and takes no call any more.
            log.warning("the group of %s is joined anew: %s", self._topic, error)
            self._leaving.wait(_LATE_S)
        self._drop_rest()
        if self._leaving.is_set():
            self._let_go.set()
        consumer.close()  # a consumer that did not leave is waited for during its session

    def _keep_place(self, consumer: Consumer) -> None:
        """Is a member until it leaves. Raises KafkaException."""
        self._subscribe(consumer)
        subscribed = True
        while not self._leaving.is_set():
            if self.hold.is_set() or self._handover.stalled_s() > self._timing.stall_s:
                # A worker that hangs has to lose its place, and nobody else could tell.
                if subscribed:
                    log.warning("the event loop takes nothing: its place in the group is given up")
                    self._gone, subscribed = True, False
                    self._give_back(consumer)
                self._leaving.wait(_POLL_S)
                continue
            if not subscribed:
                self._subscribe(consumer)
                subscribed = True
            if self._grown.is_set():
                self._look(consumer)
            message = consumer.poll(_POLL_S)
            if message is not None and (error := message.error()) is not None:
                log.warning("the group of %s: %s", self._topic, error.str())
                if error.code() == KafkaError._FATAL:  # `fatal()` is False for it
                    raise KafkaException(error)
            if not self._joined and consumer.memberid():
                self._joined = True
                self._handover.call(self._told.joined)
            elif not self._handover.waiting:
                # A sign of life is asked for, since nothing else may come for long.
                self._handover.call(_nothing)

    def _subscribe(self, consumer: Consumer) -> None:
        self._gone = False
        consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _give_back(self, consumer: Consumer) -> None:
        """Lets go of what is held, and leaves the group, where the broker can be told."""
        consumer.unsubscribe()
        deadline = time.monotonic() + self._timing.revoke_s + 2 * _LATE_S
        while self._held and consumer.assignment() and time.monotonic() < deadline:
            consumer.poll(_POLL_S)  # calls `_on_revoke`
        self._drop_rest()

    def _drop_rest(self) -> None:
        """What librdkafka has let go of without a word, or could not."""
        held, self._held = sorted(self._held), set()
        if held:
            self._handover.call(self._told.lost, held)

    def _look(self, consumer: Consumer) -> None:
        try:
            # Of all topics: only that has librdkafka look at its subscription.
            consumer.list_topics(timeout=_LOOK_S)
            self._grown.clear()
        except KafkaException as error:
            log.warning("the group of %s: its partitions are not known yet: %s", self._topic, error)

    def _on_assign(self, consumer: Consumer, given: Sequence[TopicPartition]) -> None:
        consumer.incremental_assign([TopicPartition(tp.topic, tp.partition, OFFSET_END) for tp in given])
        consumer.pause(list(given))
        self._held.update(_numbers(given))
        self._handover.call(self._told.assigned, _numbers(given))

    def _on_revoke(self, consumer: Consumer, taken: Sequence[TopicPartition]) -> None:
        numbers = _numbers(taken)
        self._held.difference_update(numbers)
        if self._gone:
            self._handover.call(self._told.lost, numbers)
        elif numbers:
            self._wait_for(lambda: self._told.revoke(numbers))
        consumer.incremental_unassign(list(taken))

    def _on_lost(self, consumer: Consumer, taken: Sequence[TopicPartition]) -> None:
        self._held.difference_update(_numbers(taken))
        self._handover.call(self._told.lost, _numbers(taken))
        consumer.incremental_unassign(list(taken))

    def _wait_for(self, revoke: Callable[[], Any]) -> None:
        """Asks on the loop, and goes on at the latest when the bound is over, whatever the loop does."""
        try:
            asked = asyncio.run_coroutine_threadsafe(revoke(), self._handover.loop)
        except RuntimeError:
            return  # the loop is closed
        try:
            asked.result(self._timing.revoke_s + _LATE_S)
        except concurrent.futures.TimeoutError:
            log.warning("partitions are given away though their worker has not let go within the bound")


def _numbers(partitions: Sequence[TopicPartition]) -> list[int]:
    return sorted(tp.partition for tp in partitions)


def _nothing() -> None:
    """Only to see that the loop takes calls."""
