"""Clients that librdkafka has left with a partition that goes nowhere: nobody is told, and they go on all the same."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Producer, TopicPartition

from perdure.errors import LogError
from perdure.logs.contract import Entry, Topic
from perdure.logs.kafka import KafkaLog, KafkaSettings
from perdure.logs.kafka.chatter import Ear
from tests.brokers import broker

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio]


@asynccontextmanager
async def opened() -> AsyncGenerator[KafkaLog]:
    parts = urlsplit(broker().url())
    log = KafkaLog(KafkaSettings(parts.netloc, parts.path.strip("/"), "app"), create=1)
    await log.open()
    try:
        yield log
    finally:
        await log.close()


async def until(holds: Callable[[], object], what: str, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def append(log: KafkaLog, topic: Topic, *values: bytes) -> list[int | LogError]:
    producer, outcomes = log.producer(), list[int | LogError]()
    for value in values:
        producer.append(topic, 0, value, done=outcomes.append)
    await until(lambda: len(outcomes) == len(values), "all are reported")
    return outcomes


@pytest.mark.parametrize("topic", [Topic.JOURNAL, Topic.EVENTS])
async def test_a_partition_that_is_read_no_further_is_read_anew(
    topic: Topic, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened() as log:
        got: list[Entry] = []
        log.follow(topic, 0, 0, got.extend)
        await append(log, topic, b"a", b"b")
        await until(lambda: len(got) == 2, "what is there is read")
        (reader,) = log._readers.values()
        here = [TopicPartition(log.topic_of(topic, 0), 0)]
        reader._orders.put(lambda: reader._consumer.pause(here))  # librdkafka fetches nothing of it any more
        await asyncio.sleep(0.2)
        with caplog.at_level(logging.WARNING, "perdure.kafka"):
            await append(log, topic, b"c")
            await until(lambda: len(got) == 3, "and what comes")
        assert "is read anew" in caplog.text
        await append(log, topic, b"d")
        await until(lambda: len(got) == 4, "and on")
        assert [entry.value for entry in got] == [b"a", b"b", b"c", b"d"]


async def test_the_mark_of_a_transaction_at_the_end_is_no_stall(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as log:
        got: list[Entry] = []
        log.follow(Topic.EVENTS, 0, 0, got.extend)
        producer = Producer(
            {"bootstrap.servers": broker().servers, "transactional.id": log.settings.namespace}
        )
        await asyncio.to_thread(producer.init_transactions, 20)
        producer.begin_transaction()
        producer.produce(log.topic_of(Topic.EVENTS, 0), b"in one", partition=0)
        await asyncio.to_thread(producer.commit_transaction, 20)
        await until(lambda: len(got) == 1, "it is read")
        with caplog.at_level(logging.WARNING, "perdure.kafka"):
            await asyncio.sleep(5)  # two looks
        assert "is read anew" not in caplog.text
        assert (await log.bounds(Topic.EVENTS, 0))[1] > got[0].offset + 1


async def test_an_appender_that_has_lost_a_leader_is_replaced() -> None:
    async with opened() as log:
        producer = log.producer()
        outcomes: list[int | LogError] = []
        producer.append(Topic.JOURNAL, 0, b"a", done=outcomes.append)
        await until(lambda: outcomes, "it is appended")
        before = log.appender()
        before._ear.log(30, "METADATAUPDATE [x]: Partition %s[%d]: new leader-1 not found in cache", "t", 1)
        await until(lambda: before.failed, "it takes nothing more")
        producer.append(Topic.JOURNAL, 0, b"b", done=outcomes.append)
        await until(lambda: len(outcomes) == 2, "what it had is reported")
        (offset,) = await append(log, Topic.JOURNAL, b"c")
        assert isinstance(offset, int)
        assert log.appender() is not before


async def test_only_a_lost_leader_is_heard() -> None:
    ear = Ear()
    ear.log(30, "FAIL [x]: 127.0.0.1:1: Connect failed: Connection refused")
    ear.log(30, "METADATAUPDATE [x]: Partition t[0]: leader epoch is not newer 0 >= 0")
    assert not ear.leaderless
    ear.log(30, "METADATAUPDATE [x]: Partition t(id)[0]: new leader-1 not found in cache")
    assert ear.leaderless
