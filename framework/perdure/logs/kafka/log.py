"""The log on Kafka, seen from one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaException

from perdure.errors import LogError, UsageError
from perdure.logs.contract import (
    Entry,
    Follower,
    Listener,
    Member,
    Producer,
    Sink,
    Topic,
    partition_count,
)
from perdure.logs.kafka import preflight, topics
from perdure.logs.kafka.admin import NOT_TRIMMED
from perdure.logs.kafka.cluster import Cluster, read_layout
from perdure.logs.kafka.follower import KafkaFollower
from perdure.logs.kafka.group import Membership, Timing, Told
from perdure.logs.kafka.handover import Handover, log
from perdure.logs.kafka.layout import LAYOUT_PARTITION, Layout
from perdure.logs.kafka.lookup import Lookup
from perdure.logs.kafka.member import KafkaMember
from perdure.logs.kafka.producing import Appender, KafkaProducer
from perdure.logs.kafka.reading import Reader
from perdure.logs.kafka.settings import KafkaSettings
from perdure.logs.kafka.shelf import Shelf
from perdure.logs.kafka.stalls import keep_reading
from perdure.logs.kafka.tails import Tail
from perdure.logs.kafka.watch import watch
from perdure.logs.steady import SteadyClock

__all__ = ["KafkaLog"]

T = TypeVar("T")

_LOST_CLOSE_S: Final = 1.0


class KafkaLog:
    """A log in the topics of one app on a Kafka cluster.

    `create`: how many partitions the journal gets if its topics are missing; None refuses to open then. `close_s`
    bounds how long `close` waits for appends that are not acknowledged.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        create: int | None = None,
        timing: Timing | None = None,
        close_s: float = 3.0,
    ) -> None:
        self.settings = settings
        self._create = create
        self._timing = timing or Timing.of(settings.group())
        self._close_s = close_s
        self._open = False
        self._generations: tuple[int, ...] = ()
        self._layout = Layout()
        self._appender: Appender | None = None
        self._readers: dict[bool, Reader] = {}
        self._lookups: dict[bool, Lookup] = {}
        self._members: list[KafkaMember] = []
        self._followers: list[KafkaFollower] = []
        self.ids: dict[str, str] = {}
        """The ids of topics, by name, as far as they may be seen; from a member's join on."""
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._learning: set[asyncio.Task[None]] = set()
        self._shelf = Shelf(self)
        self._clock = SteadyClock()

    @property
    def expires(self) -> bool:
        return True  # by each topic's retention, which is its owner's to choose: events are other apps' too

    @property
    def partitions(self) -> int:
        return self._generations[-1] if self._generations else 0

    @property
    def generations(self) -> Sequence[int]:
        return self._generations

    async def open(self) -> None:
        if self._open:
            raise UsageError("the log is open already")
        self._loop = asyncio.get_running_loop()
        self._desk = ThreadPoolExecutor(1, "perdure-kafka-desk")
        try:
            self._layout = await self._loop.run_in_executor(self._desk, self._prepare)
            self._generations = self._layout.generations
        except BaseException:
            self._desk.shutdown(wait=False)
            raise
        self._open = True

    def _prepare(self) -> Layout:
        self._cluster = Cluster(self.settings, development=self._create is not None)
        self.settings = self._cluster.settings
        return self._cluster.ready(self._create)

    async def make_topics(self, partitions: int, *, replication: int) -> Sequence[topics.TopicSpec]:
        """Makes the topics that are missing, and says which. The log need not be open. Raises LogError."""

        def work() -> list[topics.TopicSpec]:
            return Cluster(self.settings).make_topics(partitions, replication)

        return await asyncio.to_thread(work)

    async def check_topics(self) -> Sequence[preflight.Fault]:
        """What is wrong with the topics. The log need not be open. Raises LogError when there is no app."""

        def work() -> list[preflight.Fault]:
            cluster = Cluster(self.settings, development=self._create is not None)
            return cluster.faults()

        return await asyncio.to_thread(work)

    async def cautions(self) -> Sequence[str]:
        """What this user should know of how the topics are kept, in sentences. Raises LogError."""
        names = [topics.topic_name(self.settings, Topic.JOURNAL), topics.snapshots_name(self.settings)]

        def work() -> list[str]:
            admin = self._cluster.admin
            return [f"{name}: {NOT_TRIMMED}" for name in names if not admin.may_delete_records(name)]

        self._check_open()
        return await self._loop.run_in_executor(self._desk, work)

    async def grow_topics(self, partitions: int) -> None:
        """Gives the journal so many partitions, as a generation of their own: named things stay where they are, and new
        runs are spread over all (A16). Workers and clients may be at work, and the log need not be open.

        Raises LogError, and UsageError unless it has fewer partitions now.
        """
        await asyncio.to_thread(lambda: Cluster(self.settings).grow(partitions))

    async def close(self) -> None:
        if not self._open:
            return
        for task in tuple(self._learning):
            task.cancel()
        for member in tuple(self._members):
            await member.leave()
        for follower in tuple(self._followers):
            follower.close()
        self._followers.clear()
        watches, self._watches = [*self._watches.values()], {}
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        appender, self._appender = self._appender, None
        if appender is not None:
            await self._loop.run_in_executor(None, appender.close, self._close_s)
            await asyncio.sleep(0)  # the last reports are on their way to the loop
        self._open = False
        readers, self._readers = [*self._readers.values()], {}
        for reader in readers:
            await self._loop.run_in_executor(None, reader.close)
        await self._loop.run_in_executor(self._desk, self._close_lookups)
        self._desk.shutdown()

    def _close_lookups(self) -> None:
        lookups, self._lookups = [*self._lookups.values()], {}
        for lookup in lookups:
            lookup.close()

    def producer(self) -> Producer:
        self._check_open()
        return KafkaProducer(self)

    def member(self, listener: Listener) -> Member:
        self._check_open()
        member = KafkaMember(self, listener, self._timing.revoke_s)
        self._members.append(member)
        return member

    def follow(self, topic: Topic, partition: int, offset: int, sink: Sink) -> Follower:
        follower = KafkaFollower(self, topic, partition, Tail(offset, sink))
        self.follow_with(topic, partition, follower.tail)
        self._followers = [known for known in self._followers if not known.tail.closed]
        self._followers.append(follower)
        return follower

    async def read(self, topic: Topic, partition: int, offset: int, entries_max: int) -> Sequence[Entry]:
        name = self.topic_of(topic, partition)
        return await self.ask(topic, lambda lookup: lookup.read(name, partition, offset, entries_max))

    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        name = self.topic_of(topic, partition)
        return await self.ask(topic, lambda lookup: lookup.bounds(name, partition))

    async def offset_at(self, topic: Topic, partition: int, ts: int) -> int:
        name = self.topic_of(topic, partition)
        ts_ms = max(-(-ts // 1_000), 0)
        return await self.ask(topic, lambda lookup: lookup.offset_at(name, partition, ts_ms))

    async def trim(self, topic: Topic, partition: int, before: int) -> None:
        name = self.topic_of(topic, partition)

        def work(lookup: Lookup) -> None:
            first, end = lookup.bounds(name, partition)
            if before > first and end > first:
                self._cluster.admin.delete_records(name, partition, min(before, end))

        await self.ask(topic, work)

    async def put_snapshot(self, partition: int, name: str, chunks: Sequence[bytes]) -> None:
        await self._shelf.put(partition, name, chunks)

    async def snapshots(self, partition: int) -> Sequence[str]:
        return await self._shelf.names(partition)

    async def get_snapshot(self, partition: int, name: str) -> Sequence[bytes]:
        return await self._shelf.get(partition, name)

    async def drop_snapshot(self, partition: int, name: str) -> None:
        await self._shelf.drop(partition, name)

    async def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Drops the entries of a topic, by its name, below an offset."""
        await self._loop.run_in_executor(
            self._desk, self._cluster.admin.delete_records, topic, partition, before
        )

    # ------------------------------------------------------------------ time

    def now(self) -> int:
        # Kafka's stamps have ms: what lands now is stamped with the ms that has begun.
        return self._clock() // 1_000 * 1_000

    # ------------------------------------------------------------------ growth

    async def refresh(self) -> None:
        settings = self.settings
        await self.ask(Topic.REGISTRY, lambda lookup: read_layout(lookup, settings, self._layout))
        await self._grow()

    def _heard(self, entries: Sequence[Entry]) -> None:
        """Somebody has written down a growth."""
        fresh = [entry for entry in entries if entry.offset >= self._layout.next]
        if fresh:
            task = self._loop.create_task(self._learn())
            self._learning.add(task)
            task.add_done_callback(self._learning.discard)

    async def _learn(self) -> None:
        try:
            await self.refresh()
        except (LogError, UsageError) as error:  # whoever needs the new partitions asks again
            log.warning("how %s has grown is not known yet: %s", self.settings, error)

    async def _grow(self) -> None:
        """Takes partitions into use: first its clients know of them, then everybody else here."""
        known = self._layout.generations
        if known[-1:] <= self._generations[-1:]:
            return
        appender, last = self._appender, known[-1] - 1
        if appender is not None:
            for name in (self.topic_of(Topic.JOURNAL, 0), topics.snapshots_name(self.settings)):
                await self._loop.run_in_executor(None, appender.know, name, last)
        if known[-1] > self._generations[-1]:  # else somebody was faster
            self._generations = known
            for member in tuple(self._members):
                member.grown()

    # ------------------------------------------------------------------ for the handles

    def appender(self) -> Appender:
        """The client that appends; a new one when the last has failed for good."""
        self._check_open()
        if self._appender is None or self._appender.failed is not None:
            if self._appender is not None:
                self._loop.run_in_executor(None, self._appender.close, 0.0)
            self._appender = Appender(self.settings.client("appends"), Handover(self._loop))
        return self._appender

    def membership(self, told: Told) -> Membership:
        return Membership(
            {
                **self.settings.client("group"),
                **self.settings.group(),
                "group.id": f"{self.settings.namespace}.{self.settings.app}",
            },
            topics.topic_name(self.settings, Topic.JOURNAL),
            self._timing,
            Handover(self._loop),
            told,
        )

    def follow_with(self, topic: Topic, partition: int, tail: Tail) -> None:
        name = self.topic_of(topic, partition)
        self._reader(topic).add(name, partition, tail)

    def unfollow_with(self, topic: Topic, partition: int, tail: Tail) -> None:
        if self._readers:
            self._reader(topic).remove(self.topic_of(topic, partition), partition, tail)

    async def check_safe(self) -> None:
        """What a worker asks before it joins. Raises LogError."""
        self.ids = await self._loop.run_in_executor(self._desk, self._cluster.check_safe)
        await self._shelf.check_ids()
        self._keep(
            "topics",
            lambda: watch(
                self.ids, lambda: self._loop.run_in_executor(self._desk, self._cluster.ids), self._lost
            ),
        )

    def _keep(self, name: str, watching: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Has something watched until the log is closed."""
        if name not in self._watches:
            self._watches[name] = self._loop.create_task(watching(), name=f"perdure-kafka-{name}")

    def forget(self, member: KafkaMember) -> None:
        if member in self._members:
            self._members.remove(member)

    def topic_of(self, topic: Topic, partition: int) -> str:
        """The topic's name on the cluster. Raises UsageError for a partition that it has not."""
        self._check_open()
        count = partition_count(topic, self._generations)
        if not 0 <= partition < count:
            raise UsageError(f"{topic} has no partition {partition}; it has {count}")
        return topics.topic_name(self.settings, topic)

    def _reader(self, topic: Topic) -> Reader:
        committed = topic is Topic.EVENTS
        reader = self._readers.get(committed)
        if reader is None:
            reader = self._readers[committed] = Reader(
                self.settings.reading("events" if committed else "reads"),
                Handover(self._loop),
                committed=committed,
                whole=lambda name: name == topics.topic_name(self.settings, Topic.JOURNAL),
                broken=self._broken,
            )
            if not committed:
                registry = topics.topic_name(self.settings, Topic.REGISTRY)
                reader.add(registry, LAYOUT_PARTITION, Tail(self._layout.next, self._heard))
            self._keep(
                "readers", lambda: keep_reading(lambda: list(self._readers.values()), self._ends, self._there)
            )
        return reader

    async def _ends(self, where: Sequence[tuple[str, int]], committed: bool) -> dict[tuple[str, int], int]:
        return await self._loop.run_in_executor(
            self._desk, lambda: self._cluster.admin.ends(where, committed=committed)
        )

    async def _there(self, where: tuple[str, int], offset: int, committed: bool) -> bool:
        topic = Topic.EVENTS if committed else Topic.JOURNAL  # it names the isolation
        return bool(await self.ask(topic, lambda lookup: lookup.read(*where, offset, 1)))

    def _broken(self, topic: str, partition: int, why: str) -> None:
        self._lost(f"{topic} {partition} at {self.settings} can be read no further: {why}")

    def _lost(self, why: str) -> None:
        """Nothing here can be trusted any more: better to stop than to begin runs anew (see `Listener.ended`)."""
        error = LogError(why)
        log.error("%s", error)
        self._close_s = min(self._close_s, _LOST_CLOSE_S)  # what is not acknowledged now may never be
        for member in tuple(self._members):
            member.end(error)

    async def ask(self, topic: Topic, work: Callable[[Lookup], T]) -> T:
        """Has something looked up, in the desk's thread. Raises LogError."""
        self._check_open()
        committed = topic is Topic.EVENTS

        def guarded() -> T:
            lookup = self._lookups.get(committed)
            if lookup is None:
                lookup = self._lookups[committed] = Lookup(
                    self.settings.reading("looks"), committed=committed
                )
            try:
                return work(lookup)
            except (KafkaException, LogError) as error:
                # Another consumer next time: this one may have lost a leader for good (see `chatter.Ear`).
                self._lookups.pop(committed).close()
                if isinstance(error, LogError):
                    raise
                raise LogError(f"{self.settings}: {error.args[0]}") from error

        return await self._loop.run_in_executor(self._desk, guarded)

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError("the log is not open: await log.open() first")
