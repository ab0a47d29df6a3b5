"""Sends a partition's messages, in the order of each channel, and learns how far they are appended.

A life of a claim begins by sending everything above the acked floor again (go-back-N); receivers void
what they had (A1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from perdure.core import codec
from perdure.core.facts import CHANNEL, KIND, MESSAGES, pack_channel
from perdure.core.state import PartitionState
from perdure.engine.services import Services
from perdure.errors import EntryTooLarge, LogError
from perdure.logs.contract import LogFull, Producer, Topic

LEARN_AGAIN_US = 50_000
ACK_EVERY = 32
"""Appended messages after which the next commit carries an `Ack`."""
TOGETHER_MAX = 500
"""Messages in one entry. Those of a batch of events share some: to append and read an entry costs as much as a message.
"""
MESSAGE_BYTES = 8
"""What a message takes in such an entry, beside itself."""

Queued = tuple[int, bytes]
"""A message in the outbox: its number, and its record."""


class Outbox:
    """The sending side of one claim's life."""

    def __init__(
        self, services: Services, state: PartitionState, producer: Producer, fail: Callable[[LogError], None]
    ) -> None:
        self._services = services
        self._state = state
        self._producer = producer
        self._fail = fail
        self._sent: dict[str, int] = {}
        self._acked: dict[str, int] = {}
        self._dirty: dict[str, None] = {}
        self._learning = False
        self.closed = False

    def resend(self) -> None:
        """Everything that is not known to be appended."""
        for target in self._state.outbox:
            self._dirty[target] = None
        self.flush()

    def mark(self, target: str) -> None:
        self._dirty[target] = None

    def flush(self) -> None:
        """Hands what is new to the producer."""
        dirty, self._dirty = self._dirty, {}
        for target in dirty:
            queue = self._state.outbox.get(target)
            if not queue:
                continue
            start = max(self._sent.get(target, 0) - queue[0][0] + 1, 0)
            topic = Topic.JOURNAL if target[0] == "j" else Topic.EVENTS
            if topic is Topic.JOURNAL and int(target[1:]) >= self._services.log.partitions:
                self._dirty[target] = None
                self._learn()
                continue
            unsent = list(islice(queue, start, None))
            try:
                if topic is Topic.JOURNAL:
                    for some in self._together(unsent):
                        self._send_to_journal(target, some)
                else:
                    for seq, value in unsent:
                        self._send_alone(topic, target, seq, value)
            except LogFull:
                self._dirty[target] = None  # the next turn tries again

    def _together(self, messages: Sequence[Queued]) -> Iterator[list[Queued]]:
        """Messages that share an entry: as many as fit one."""
        bytes_max = self._services.limits.commit_bytes_max
        some: list[Queued] = []
        size = 0
        for queued in messages:
            size += len(queued[1]) + MESSAGE_BYTES
            if some and (size > bytes_max or len(some) >= TOGETHER_MAX):
                yield some
                some, size = [], len(queued[1]) + MESSAGE_BYTES
            some.append(queued)
        if some:
            yield some

    def _learn(self) -> None:
        """The log has grown, others have used that already, and here it is not known yet."""
        if self._learning:
            return
        self._learning = True

        async def learn() -> None:
            try:
                await self._services.log.refresh()
            finally:
                clock = self._services.clock
                clock.call_at(clock.now() + LEARN_AGAIN_US, again)

        def again() -> None:
            self._learning = False
            if not self.closed:
                self.flush()

        self._services.spawn(learn(), f"a look at how partition {self._state.number}'s log has grown")

    def _send_to_journal(self, target: str, messages: list[Queued]) -> None:
        if len(messages) == 1:
            self._send_alone(Topic.JOURNAL, target, *messages[0])
            return
        channel = pack_channel(self._state.origin, messages[0][0])
        headers = {CHANNEL: channel, KIND: b"Messages", MESSAGES: str(len(messages)).encode()}
        value = codec.encode("Messages", {"messages": [message for _, message in messages]})
        try:
            self._send(Topic.JOURNAL, target, messages[-1][0], value, headers)
        except EntryTooLarge:
            for queued in messages:  # each by itself, as it was made to fit
                self._send_alone(Topic.JOURNAL, target, *queued)

    def _send_alone(self, topic: Topic, target: str, seq: int, value: bytes) -> None:
        origin = self._state.origin
        if topic is Topic.EVENTS:
            # Apps share events, and the partitions of each are numbered from 0 (A12).
            headers = {CHANNEL: pack_channel(f"{self._services.app}/{origin}", seq)}
        else:
            headers = {CHANNEL: pack_channel(origin, seq), KIND: b"Message"}
        try:
            self._send(topic, target, seq, value, headers)
        except EntryTooLarge as error:
            # It may not hold up those behind it: what takes its place is unreadable, is buried, and counts as this one.
            self._services.trouble(f"a message of {len(value)} bytes to {target} cannot be sent", error)
            self._send(topic, target, seq, b"", headers)

    def _send(self, topic: Topic, target: str, seq: int, value: bytes, headers: Mapping[str, bytes]) -> None:
        """`seq` is that of the last message in it."""

        def done(result: int | LogError) -> None:
            if isinstance(result, LogError):
                self._fail(result)
            else:
                self._acked[target] = seq

        self._producer.append(topic, int(target[1:]), value, headers=headers, done=done)
        self._sent[target] = seq

    def unsent(self) -> bool:
        """Whether a message is not known to be appended."""
        return any(
            queue and queue[-1][0] > self._acked.get(target, 0)
            for target, queue in self._state.outbox.items()
        )

    def depth(self) -> int:
        """Messages to the target that waits longest for its acks."""
        return max((len(queue) for queue in self._state.outbox.values()), default=0)

    def acks(self, *, at_least: int = ACK_EVERY) -> list[dict[str, Any]]:
        """`Ack`s worth a place in the next commit."""
        found: list[dict[str, Any]] = []
        for target, seq in self._acked.items():
            queue = self._state.outbox.get(target)
            if queue and seq - queue[0][0] + 1 >= at_least:
                found.append({"target": target, "seq": seq})
        return found
