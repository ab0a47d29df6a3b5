"""The simulated service on a log that behaves as Kafka does.

Offsets have gaps; events are read committed, with aborted ones between them and open transactions that hold them back;
a fatal error of a client fails all producers of its process at once; a rebalance takes several partitions, a session
that ends takes all of a member; what is read lags behind, each partition by itself; a leader that hung answers
questions as if it still led. That lost acks, duplicates and partitions that overtake each other are survived is what
every simulated life is about.
"""

from __future__ import annotations

from perdure.core import codec
from perdure.core.ops import EventData
from perdure.logs.contract import Topic
from perdure.logs.memory.faults import Delivery
from tests.simulation import programs
from tests.simulation.audit import ABORTED
from tests.simulation.world import PARTITIONS, World

KINDS = (
    *("fatal", "rebalance", "session", "hold", "hold", "let through", "lag", "lag", "catch up"),
    *("former leader", "former leader", "leader"),
)


class KafkaWorld(World):
    """The same seeds, and what only Kafka does beside."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.lagging: set[tuple[str, Topic, int]] = set()
        self.gaps = self.aborted = 0

    def deliverable(self) -> list[Delivery]:
        return [
            d
            for d in super().deliverable()
            if d.kind != "entries" or (d.process, d.topic, d.partition) not in self.lagging
        ]

    def deliver(self, delivery: Delivery) -> None:
        if delivery.kind in ("append", "late") and delivery.topic is not Topic.DEAD_LETTERS:
            self._leave_gap(delivery.topic, delivery.partition)
        super().deliver(delivery)

    def _leave_gap(self, topic: Topic, partition: int) -> None:
        roll = self.rnd.random()
        if roll < 0.15:
            self.gaps += 1
            self.log.skip(topic, partition, self.rnd.choice((1, 1, 2, 7)))
        elif roll < 0.3 and topic is Topic.EVENTS:
            self.aborted += 1
            event = EventData(
                name=self.rnd.choice(programs.TRIGGERS),
                id=f"{ABORTED}-{self.aborted}",
                ts=self.clock.now(),
                key="k1",
                v=None,
                trace=None,
                data=b'{"n":1}',
            )
            self.log.abort(topic, partition, codec.encode("Event", event))
            self.log.skip(topic, partition)  # the marker, which may well be the last of all

    async def _disturb(self) -> None:
        if self.rnd.random() < 0.5:
            await super()._disturb()
            return
        kind = self.rnd.choice(KINDS)
        worker = self.rnd.choice(self.workers)
        partition = self.rnd.randrange(PARTITIONS)
        if kind == "fatal":
            worker.log.break_producers()
        elif kind == "rebalance":
            for number in self.rnd.sample(range(PARTITIONS), self.rnd.randint(2, PARTITIONS)):
                self.log.force_revoke(number)
        elif kind == "session":
            for number in list(worker.engine.partitions):
                self.log.force_lost(number)
        elif kind == "hold":
            self.log.hold(Topic.EVENTS, partition)
        elif kind == "let through":
            self.log.let_through(Topic.EVENTS, partition)
        elif kind == "former leader":
            self.log.ask_former(Topic.EVENTS, partition)
        elif kind == "leader":
            self.log.ask_leader(Topic.EVENTS, partition)
        elif kind == "lag":
            topic = self.rnd.choice((Topic.JOURNAL, Topic.EVENTS))
            self.lagging.add((worker.name, topic, partition))
        else:
            self.lagging.clear()

    async def heal(self, actions_max: int = 60_000) -> None:
        self.lagging.clear()
        for partition in range(PARTITIONS):
            self.log.let_through(Topic.EVENTS, partition)
            self.log.ask_leader(Topic.EVENTS, partition)
        await super().heal(actions_max)
