"""The little that these tests say to a broker."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic


def client(servers: str) -> dict[str, str | int | float | bool]:
    """Settings of a client that says nothing when it cannot connect."""
    return {"bootstrap.servers": servers, "log_level": 0}


def admin(servers: str) -> AdminClient:
    return AdminClient(client(servers))


def eventually(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        pause.wait(0.05)


def new_topic(servers: str, copies: int = 1) -> str:
    """A topic with one partition."""
    asked = admin(servers)  # kept: with the client, the answer would be gone
    name = f"infra-{uuid.uuid4().hex[:8]}"
    asked.create_topics([NewTopic(name, 1, copies)])[name].result(30)
    return name


def write(servers: str, topic: str, *values: str, seconds: float = 30) -> None:
    """Appends values, each acknowledged by all copies that are in sync."""
    producer = Producer(client(servers) | {"message.timeout.ms": int(seconds * 1000)})
    errors: list[object] = []
    for value in values:
        producer.produce(topic, value.encode(), on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(seconds + 5) == 0
    assert errors == [None] * len(values)


def read(servers: str, topic: str, count: int, seconds: float = 30) -> list[str]:
    """The first values of a topic."""
    consumer = Consumer(client(servers) | {"group.id": "infra", "enable.auto.commit": False})
    deadline = time.monotonic() + seconds
    values: list[str] = []
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while len(values) < count:
            assert time.monotonic() < deadline, f"only {values} within {seconds} s"
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                values.append((message.value() or b"").decode())
    finally:
        consumer.close()
    return values
