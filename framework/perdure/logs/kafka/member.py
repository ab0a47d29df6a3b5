"""What a worker holds: its membership, and what it follows of the partitions that it has. All on the loop's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from perdure.errors import LogError, UsageError
from perdure.logs.callbacks import report
from perdure.logs.contract import Entry, Listener, Topic
from perdure.logs.kafka.group import Membership, Told
from perdure.logs.kafka.tails import Tail

__all__ = ["KafkaMember"]


class Home(Protocol):
    """The log, as its members need it."""

    def membership(self, told: Told) -> Membership: ...
    def follow_with(self, topic: Topic, partition: int, tail: Tail) -> None: ...
    def unfollow_with(self, topic: Topic, partition: int, tail: Tail) -> None: ...
    def forget(self, member: KafkaMember) -> None: ...
    async def check_safe(self) -> None: ...

    @property
    def partitions(self) -> int: ...


class KafkaMember:
    """See `perdure.logs.contract.Member`."""

    def __init__(self, log: Home, listener: Listener, revoke_s: float) -> None:
        self._log = log
        self._listener = listener
        self._revoke_s = revoke_s
        self._tails: dict[tuple[Topic, int], Tail] = {}
        self._held: set[int] = set()
        self._early: set[int] = set()
        """Assigned, and not in use yet: the journal is growing."""
        self._revokes: dict[int, asyncio.Task[None]] = {}
        self._joined: asyncio.Future[None] | None = None
        self.membership: Membership | None = None

    async def join(self) -> None:
        if self._joined is None:
            await self._log.check_safe()
            self._joined = asyncio.get_running_loop().create_future()
            self.membership = self._log.membership(self)
        await asyncio.shield(self._joined)

    async def leave(self) -> None:
        membership, self.membership = self.membership, None
        if membership is None:
            return
        await asyncio.get_running_loop().run_in_executor(None, membership.leave)
        self._early.clear()
        self.lost(sorted(self._held))  # by now only what the broker had taken away meanwhile
        for topic, partition in tuple(self._tails):
            self.unfollow(topic, partition)
        self._joined = None
        self._log.forget(self)

    def follow(self, topic: Topic, partition: int, offset: int) -> None:
        if topic in (Topic.JOURNAL, Topic.EVENTS):
            if partition not in self._held:
                raise UsageError(f"{topic} {partition} is not assigned to this member")
        elif self._joined is None:
            raise UsageError("join the group before following a partition")
        self.unfollow(topic, partition)
        listener = self._listener

        def sink(batch: Sequence[Entry]) -> None:
            listener.entries(topic, partition, batch)

        # Where a worker follows a journal or events, the log itself has told it to.
        known = topic in (Topic.JOURNAL, Topic.EVENTS)
        tail = self._tails[topic, partition] = Tail(offset, sink, known=known)
        self._log.follow_with(topic, partition, tail)

    def unfollow(self, topic: Topic, partition: int) -> None:
        tail = self._tails.pop((topic, partition), None)
        if tail is not None:
            self._log.unfollow_with(topic, partition, tail)

    def pause(self, topic: Topic, partition: int) -> None:
        tail = self._tails.get((topic, partition))
        if tail is not None:
            tail.paused = True

    def resume(self, topic: Topic, partition: int) -> None:
        tail = self._tails.get((topic, partition))
        if tail is not None and tail.paused:
            tail.resume()

    # Told

    def joined(self) -> None:
        if self._joined is not None and not self._joined.done():
            self._joined.set_result(None)

    def assigned(self, partitions: Sequence[int]) -> None:
        self.joined()
        for partition in partitions:
            if partition >= self._log.partitions:
                self._early.add(partition)
                continue
            self._held.add(partition)
            self._listener.assigned(partition)

    def grown(self) -> None:
        """The journal has more partitions than before."""
        if self.membership is not None:
            self.membership.grown()
        known = sorted(partition for partition in self._early if partition < self._log.partitions)
        self._early.difference_update(known)
        if known:
            self.assigned(known)

    async def revoke(self, partitions: Sequence[int]) -> None:
        loop = asyncio.get_running_loop()
        self._early.difference_update(partitions)
        tasks = [
            loop.create_task(self._revoke(partition)) for partition in partitions if partition in self._held
        ]
        if tasks:
            await asyncio.wait(tasks)

    async def _revoke(self, partition: int) -> None:
        loop = asyncio.get_running_loop()
        asked = self._revokes[partition] = loop.create_task(self._listener.revoked(partition))
        try:
            async with asyncio.timeout(self._revoke_s):
                await asked
        except TimeoutError:
            self.lost([partition])
        except asyncio.CancelledError:
            if not asked.cancelled():
                raise
        except Exception as error:  # noqa: BLE001 - whatever user code raises is the loop's
            report(loop, f"revoked({partition})", error)
        self._revokes.pop(partition, None)
        self._give_up(partition)

    def lost(self, partitions: Sequence[int]) -> None:
        self._early.difference_update(partitions)
        for partition in partitions:
            if partition not in self._held:
                continue
            revoke = self._revokes.pop(partition, None)
            if revoke is not None:
                revoke.cancel()  # what it would give back is not ours any more
            self._give_up(partition)
            self._listener.lost(partition)

    def end(self, error: LogError) -> None:
        """The log has failed for good."""
        self.lost(sorted(self._held))
        self._listener.ended(error)

    def _give_up(self, partition: int) -> None:
        """Neither its journal nor its events are delivered any more."""
        self._held.discard(partition)
        self.unfollow(Topic.JOURNAL, partition)
        self.unfollow(Topic.EVENTS, partition)
