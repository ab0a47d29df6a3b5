"""A member's place in its group: kept, lost, and taken again, whatever librdkafka says of its consumer."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from perdure.logs.kafka import KafkaLog, KafkaSettings, Timing
from perdure.testing.log_contract import Recorder
from tests.brokers import broker

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio]

PARTITIONS = 2
LONG = Timing(session_s=18.0, stall_s=1.0, revoke_s=1.0)
"""Who waits for a session to end waits for longer than any of these tests."""


async def until(holds: Callable[[], object], what: str, within_s: float = 15.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


@asynccontextmanager
async def joined(url: str, recorder: Recorder) -> AsyncGenerator[KafkaLog]:
    parts = urlsplit(url)
    log = KafkaLog(KafkaSettings(parts.netloc, parts.path.strip("/"), "app"), create=PARTITIONS, timing=LONG)
    await log.open()
    recorder.member = log.member(recorder)
    await recorder.member.join()
    try:
        yield log
    finally:
        await log.close()


def instance_ids(group: str) -> list[str]:
    admin = AdminClient({"bootstrap.servers": broker().servers})
    found = admin.describe_consumer_groups([group])[group].result(10)
    return [member.group_instance_id for member in found.members]


async def test_a_consumer_that_is_fenced_is_made_anew() -> None:
    """librdkafka gives it up for good then, and would say so at each poll for ever."""
    url = broker().url()
    group = f"{urlsplit(url).path.strip('/')}.app"
    recorder = Recorder()
    async with joined(url, recorder):
        await until(lambda: len(recorder.held) == PARTITIONS, "it has all partitions")
        (fenced,) = await asyncio.to_thread(instance_ids, group)
        other = Consumer(
            {
                "bootstrap.servers": broker().servers,
                "group.id": group,
                "group.instance.id": fenced,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": 6_000,
                "log_level": 0,
            }
        )
        other.subscribe([f"{group}.journal"])
        deadline = time.monotonic() + 20
        while not recorder.told.count(("lost", 0)):
            assert time.monotonic() < deadline, "it is told that its place is lost"
            await asyncio.to_thread(other.poll, 0.1)
        await asyncio.to_thread(other.unsubscribe)
        await asyncio.to_thread(other.poll, 1.0)
        await asyncio.to_thread(other.close)
        await until(lambda: len(recorder.held) == PARTITIONS, "it has all partitions again")
        assert fenced not in await asyncio.to_thread(instance_ids, group)


async def test_a_member_that_left_is_not_waited_for() -> None:
    url = broker().url()
    first, second = Recorder(), Recorder()
    async with joined(url, first):
        await until(lambda: len(first.held) == PARTITIONS, "it has all partitions")
    async with joined(url, second):
        await until(lambda: len(second.held) == PARTITIONS, "the next one has them, before a session is over")


async def test_a_member_whose_loop_hangs_gives_its_place_to_others(caplog: pytest.LogCaptureFixture) -> None:
    """And takes it again when the loop goes on. Only its own thread can tell: its session is kept alive elsewhere."""
    url = broker().url()
    here, hanging = Recorder(), Recorder()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    go_on, leave = threading.Event(), asyncio.Event()

    async def life() -> None:
        async with joined(url, hanging):
            await until(lambda: len(hanging.held) == PARTITIONS, "it has all partitions")
            entered.set()
            go_on.wait(60)  # the whole loop stands
            await leave.wait()

    entered = threading.Event()
    ending = asyncio.run_coroutine_threadsafe(life(), loop)
    try:
        await asyncio.to_thread(entered.wait, 30)
        with caplog.at_level(logging.WARNING, "perdure.kafka"):
            async with joined(url, here):
                await until(lambda: len(here.held) == PARTITIONS, "the partitions come to one that works")
                assert "its place in the group is given up" in caplog.text
                go_on.set()
                await until(lambda: len(here.held) == len(hanging.held) == 1, "they share when it goes on")
    finally:
        go_on.set()
        loop.call_soon_threadsafe(leave.set)
        await asyncio.wrap_future(ending)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
