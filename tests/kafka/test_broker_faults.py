"""The one broker is killed, hangs, and comes back, under load: nothing accepted is lost, and nothing has to be done."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import TypeVar

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from perdure import App
from perdure.client import client
from perdure.errors import AppendFailed, LogError
from perdure.logs.kafka.admin import Admin
from tests.brokers import PrivateBroker, private_broker
from tests.crash import verdict
from tests.crash.processes import Place, pause, until
from tests.crash.sending import as_client, send_event
from tests.kafka.conftest import MakePlace
from tests.kafka.load import Load
from tests.kafka.test_topic_lost import at_work, starts_nothing, steps, topic_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

T = TypeVar("T")
SESSION_S = 5.0
HANG_S = float(os.environ.get("PERDURE_HANG_S", "12"))
"""Longer than requests and connections are waited for (10 s). PERDURE_HANG_S=75: than all timeouts."""
RETAINING_OFTEN = {"log.retention.check.interval.ms": "300", "log.initial.task.delay.ms": "300"}
LONGER_S = SESSION_S + 2.5
"""Longer than the session, and than the interval within which a member must ask for its place."""


@pytest.fixture(scope="module")
def private() -> Iterator[PrivateBroker]:
    with private_broker(RETAINING_OFTEN) as broker:
        yield broker


def test_promise_1_2_kill_and_restart_under_load(place: MakePlace, private: PrivateBroker) -> None:
    load = Load(place(servers=private.servers, partitions=4, lease_s=SESSION_S))
    for away_s in (load.draw.uniform(0, 1), LONGER_S, load.draw.uniform(0, 1)):
        private.kill()
        pause(away_s)
        private.start()
        load.goes_on()
    load.settle()


def test_a_broker_that_hangs_for_longer_than_a_session(place: MakePlace, private: PrivateBroker) -> None:
    load = Load(place(servers=private.servers, partitions=4, lease_s=SESSION_S))
    private.pause()
    pause(HANG_S)
    assert load.stands(), "steps run, and no log holds their outcomes"
    private.resume()
    back = time.monotonic()
    load.goes_on()
    print(f"steps run {time.monotonic() - back:.2f} s after it was back")
    load.settle()


def test_a_worker_leaves_while_the_broker_is_away(place: MakePlace, private: PrivateBroker) -> None:
    here = place(servers=private.servers, partitions=2)
    worker = here.start("work", drain_s=1.0)
    worker.started()
    send_event(here, "crash/door", {"gate": "never"}, id="waits")
    private.pause()
    try:
        asked = time.monotonic()
        worker.signal(15)
        assert worker.wait(30) == 0, worker.errors()
        print(f"left within {time.monotonic() - asked:.1f} s")
    finally:
        private.resume()


async def accepted(send: Callable[[], Awaitable[T]]) -> T:
    """Does what the error says: sends again, until the log has it."""
    async with asyncio.timeout(60):
        while True:
            with suppress(AppendFailed):
                return await send()


def test_a_client_is_refused_with_what_to_do_and_what_it_sends_again_counts_once(
    place: MakePlace, private: PrivateBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = place(servers=private.servers, partitions=2)
    monkeypatch.setattr(client, "ACKNOWLEDGED_S", 1.5)

    async def sends(app: App) -> int:
        await app.send("crash/sequence", {"n": 1}, id="before")
        sequence = app.functions.get("sequence")
        assert sequence is not None
        run = await app.start(sequence, {"n": 2}, id="waited-for")
        result = asyncio.create_task(run.result(timeout=60))
        private.pause()
        try:
            with pytest.raises(AppendFailed, match=r"not acknowledged.*send again under the same id"):
                await app.send("crash/sequence", {"n": 3}, id="once")
            with pytest.raises(AppendFailed):
                await app.start(sequence, {"n": 4}, id="once")
            asked = time.monotonic()
            with pytest.raises(LogError, match="no broker answers"):
                await asyncio.to_thread(as_client, here, lambda other: other.send("crash/sequence", {"n": 5}))
            assert time.monotonic() - asked < 10
        finally:
            private.resume()
        await accepted(lambda: app.send("crash/sequence", {"n": 3}, id="once"))
        again = await accepted(lambda: app.start(sequence, {"n": 4}, id="once"))
        worker = here.start("work")
        total = await again.result(timeout=60) + await result
        await asyncio.to_thread(until, lambda: _ended(here) == 4, "all runs end")
        assert await asyncio.to_thread(worker.stop) == 0
        return total

    assert as_client(here, sends) == 9 + 5
    ends = [("sequence", "completed", 2 * n + 1) for n in (1, 2, 3, 4)]
    story = verdict.read(here.folder)
    assert story.ends() == dict.fromkeys(ends, 1)
    assert not story.faults


def test_a_retention_that_is_too_short_is_refused_and_what_it_took_is_not_begun_again(
    place: MakePlace, private: PrivateBroker
) -> None:
    """Somebody has set it on a journal under a worker, and no snapshot was taken yet."""
    here = place(servers=private.servers)
    worker = at_work(here)
    journal = topic_of(here, "journal")
    set_retention(private, journal, "1")
    until(lambda: begins_at(private, journal) > 0, "what is too old is gone", 30)
    worker.kill()

    starts_nothing(here, "LogError", journal, "and then loses runs that wait", "Set retention.ms=-1")
    set_retention(private, journal, "-1")
    before = steps(here.folder, "begin", "")
    late = here.start("work", drain_s=1.0)
    until(lambda: "no snapshot reaches that far" in late.errors(), f"it says why\n{late.errors()}")
    assert "restore the log from a backup" in late.errors()
    assert late.stop() == 0, late.errors()
    assert steps(here.folder, "begin", "") == before


def set_retention(private: PrivateBroker, topic: str, ms: str) -> None:
    entry = ConfigEntry("retention.ms", ms, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    asking = AdminClient({"bootstrap.servers": private.servers, "log_level": 0})
    asking.incremental_alter_configs([resource])[resource].result(20)


def begins_at(private: PrivateBroker, topic: str) -> int:
    """Where the partition of this topic begins that has lost the most."""
    reader = Consumer({"bootstrap.servers": private.servers, "group.id": "looks", "log_level": 0})
    try:
        found = reader.list_topics(topic, timeout=10).topics[topic].partitions
        return max(
            reader.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[0] for number in found
        )
    finally:
        reader.close()


def _ended(here: Place) -> int:
    return sum(not run.live for run in verdict.read(here.folder).runs())


def test_a_broker_that_goes_away_between_two_questions_is_said_in_our_own_words() -> None:
    """Whoever opens a log that makes its topics asks how many brokers there are, after another question."""
    admin = Admin({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, "kafka://127.0.0.1:1/shop")
    with pytest.raises(LogError, match=r"no broker answers at kafka://127\.0\.0\.1:1/shop"):
        admin.brokers()
