"""Three brokers, of which two must be in sync: one dies, two die, one hangs, and the one that coordinates the group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from perdure.logs.kafka.lookup import Lookup
from perdure.testing.kafka import KafkaBroker
from tests.brokers import PrivateBroker, cluster
from tests.crash.processes import Place, pause, until
from tests.kafka.conftest import MakePlace
from tests.kafka.load import Load

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

NODES = (1, 2, 3)


@pytest.fixture(scope="module")
def three() -> Iterator[PrivateBroker]:
    with cluster(3) as brokers:
        yield brokers


@pytest.fixture
def load(place: MakePlace, three: PrivateBroker) -> Load:
    return Load(place(servers=three.servers, partitions=4))


def ask(brokers: KafkaBroker) -> AdminClient:
    return AdminClient({"bootstrap.servers": brokers.servers, "log_level": 0})


def names_of(place: Place) -> tuple[str, str]:
    """The journal, and the group."""
    namespace = (place.folder / "kafka").read_text().split("/")[1]
    return f"{namespace}.crash.journal", f"{namespace}.crash"


def leaders(brokers: KafkaBroker, topic: str) -> list[int]:
    """Who leads the partitions now."""
    partitions = ask(brokers).list_topics(topic, timeout=10).topics[topic].partitions
    return [partitions[number].leader for number in sorted(partitions)]


def coordinator(brokers: KafkaBroker, group: str) -> int:
    admin = ask(brokers)  # a client without a name is collected before it answers
    return int(admin.describe_consumer_groups([group])[group].result(10).coordinator.id)


def in_sync(brokers: KafkaBroker) -> bool:
    """Whether each partition of each topic has all of its replicas in sync."""
    found = ask(brokers).list_topics(timeout=10).topics.values()
    return all(len(p.isrs) == len(p.replicas) for topic in found for p in topic.partitions.values())


def whole(brokers: PrivateBroker) -> None:
    until(lambda: in_sync(brokers), "all replicas are in sync again", 40)


def test_one_dies_while_it_leads_then_two_are_too_few(load: Load, three: PrivateBroker) -> None:
    journal, _ = names_of(load.place)
    first = leaders(three, journal)[0]
    three.kill(first)
    load.goes_on("the others lead")
    assert first not in leaders(three, journal)
    second = next(node for node in NODES if node != first)
    three.kill(second)
    pause(1.0)  # what was acknowledged before may still be read back
    assert load.stands(2.0), "one replica of three is not enough for any outcome"
    three.start(second)
    load.goes_on("two are enough")
    three.start(first)
    whole(three)
    load.settle()


def test_the_coordinator_of_the_group_dies(load: Load, three: PrivateBroker) -> None:
    _, group = names_of(load.place)
    before = coordinator(three, group)
    three.kill(before)
    load.goes_on("the group goes on without it")
    moved = load.place.start("work")  # who joins now needs one
    moved.started()
    load.workers.append(moved)
    assert coordinator(three, group) != before
    load.workers.pop(0).kill()
    load.goes_on("what a worker leaves is given to the others")
    three.start(before)
    whole(three)
    load.settle()


def test_one_hangs_while_it_leads_and_coordinates(load: Load, three: PrivateBroker) -> None:
    """Its connections stay open: nobody is told that it is not there."""
    journal, group = names_of(load.place)
    hung = coordinator(three, group)
    load.goes_on()
    three.pause(hung)
    at = time.monotonic()
    until(lambda: hung not in leaders(KafkaBroker(_without(three, hung)), journal), "others lead", 20)
    moved = time.monotonic() - at
    load.goes_on("clients notice", 45)
    print(f"others led after {moved:.1f} s, steps ran after {time.monotonic() - at:.1f} s")
    three.resume(hung)
    whole(three)
    load.settle()


def test_what_a_former_leader_does_not_have_is_told_by_where_it_ends(three: PrivateBroker) -> None:
    """Asked while it hangs, it answers when it is back, and does not know yet that others lead."""
    topic, count = "asked", 100
    options = {"message.timestamp.type": "LogAppendTime"}
    admin = ask(three)
    admin.create_topics([NewTopic(topic, 1, 3, config=options)])[topic].result(20)
    _produce(three, topic, count)
    lookup = Lookup({"bootstrap.servers": three.servers, "group.id": "asks"}, committed=True)
    until(lambda: lookup.bounds(topic, 0) == (0, count), "all have landed", 20)
    pause(0.01)
    since = int(time.time() * 1_000)
    hung = leaders(three, topic)[0]
    others = KafkaBroker(_without(three, hung))
    three.pause(hung)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(lambda: (lookup.offset_at(topic, 0, since), lookup.read(topic, 0, count, 9)))
        until(lambda: leaders(others, topic)[0] != hung, "others lead", 20)
        _produce(others, topic, 1)
        three.resume(hung)
        offset, entries = asked.result(60)
    assert offset == count, "nothing that it has not is passed over"
    found = [entry.offset for entry in entries]
    assert found == [count] or lookup.bounds(topic, 0)[1] <= count or lookup.read(topic, 0, count, 9), (
        "it is seen"
    )
    until(lambda: bool(lookup.read(topic, 0, count, 9)), "asked again, it is there", 30)
    lookup.close()
    whole(three)


def _produce(brokers: KafkaBroker, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": brokers.servers, "acks": "all", "log_level": 0})
    for _ in range(count):
        producer.produce(topic, b"x", partition=0)
    assert producer.flush(30) == 0


def _without(brokers: KafkaBroker, node: int) -> str:
    servers = brokers.servers.split(",")
    return ",".join(server for number, server in enumerate(servers, 1) if number != node)
