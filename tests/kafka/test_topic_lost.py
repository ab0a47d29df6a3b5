"""A topic that is deleted, made anew or cut under a worker: it stops with a clear error, and no run begins anew."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from perdure.core import codec
from perdure.core.facts import KIND
from perdure.logs.contract import Log, Topic
from perdure.logs.kafka import KafkaLog
from tests.brokers import broker
from tests.crash import ledger
from tests.crash.processes import Child, Place, until
from tests.crash.sending import send_event
from tests.crash.service import log_of
from tests.kafka.conftest import MakePlace

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

KEEPS_FEW = {"snapshot_tail_bytes_min": 1, "history_time_max": 0}
"""A snapshot after each batch, and nothing is kept behind two of them."""


# --- what is done to the topics ---------------------------------------------------------------------------------------


def admin() -> AdminClient:
    return AdminClient({"bootstrap.servers": broker().servers, "log_level": 0})


def topic_of(place: Place, name: str) -> str:
    namespace = (place.folder / "kafka").read_text().split("/")[1]
    return f"{namespace}.events" if name == "events" else f"{namespace}.crash.{name}"


def delete(*topics: str) -> None:
    asking = admin()
    for gone in asking.delete_topics(list(topics), operation_timeout=10).values():
        gone.result(20)
    until(lambda: not set(topics) & set(asking.list_topics(timeout=10).topics), "the topics are gone", 20)


def cut(topic: str, partition: int, before: int) -> None:
    """Drops the entries below an offset; -1: all."""
    asking = admin()
    for done in asking.delete_records([TopicPartition(topic, partition, before)]).values():
        done.result(20)


def with_log(place: Place, work: Callable[[KafkaLog], Any]) -> Any:
    async def doing() -> Any:
        log: Log = log_of(place.folder)
        assert isinstance(log, KafkaLog)
        await log.open()
        try:
            return await work(log)
        finally:
            await log.close()

    return asyncio.run(doing())


def make_again(place: Place) -> None:
    """Makes what is missing, as `perdure topics create` does: nobody does that unasked."""

    async def making(log: KafkaLog) -> None:
        await log.make_topics(2, replication=1)

    with_log(place, making)


def journal_end(place: Place) -> int:
    async def asking(log: KafkaLog) -> int:
        return sum([(await log.bounds(Topic.JOURNAL, number))[1] for number in range(log.partitions)])

    return int(with_log(place, asking))


# --- what is looked at ------------------------------------------------------------------------------------------------


def at_work(place: Place, **options: Any) -> Child:
    """A worker with some runs behind it and one that waits at a gate."""
    worker = place.start("work", drain_s=1.0, **options)
    for number in range(6):
        send_event(place, "crash/sequence", {"n": number}, id=f"event {number}")
    send_event(place, "crash/door", {"gate": "open"}, id="waits")
    until(
        lambda: steps(place.folder, "end", "/four") == 6,
        f"six runs come to their last step\n{worker.errors()}",
    )
    until(lambda: steps(place.folder, "begin", "/gate") == 1, "the last one waits at its gate")
    return worker


def steps(folder: Path, what: str, key: str) -> int:
    return sum(line.what == what and line.key.endswith(key) for line in ledger.read(folder))


def refuses(place: Place, worker: Child, *words: str, within_s: float = 30.0) -> None:
    """It ends by itself, with a code that is not 0 and with these words."""
    assert worker.wait(within_s) == 1, worker.errors()
    for word in words:
        assert word in worker.errors(), worker.errors()


def starts_nothing(place: Place, *words: str) -> None:
    """A worker that is started now refuses at once, and no step has run that had run before."""
    before = ledger.read(place.folder)
    (place.folder / "errors").unlink(missing_ok=True)
    again = place.start("work")
    refuses(place, again, *words, within_s=30)
    assert [line for line in ledger.read(place.folder) if line.key] == [line for line in before if line.key]


# --- under a running worker -------------------------------------------------------------------------------------------


def test_the_journal_is_deleted_under_a_worker(place: MakePlace) -> None:
    here = place()
    worker = at_work(here)
    delete(topic_of(here, "journal"))
    refuses(here, worker, "LogError", topic_of(here, "journal"), "is gone: it was deleted")
    make_again(here)
    starts_nothing(here, "is not the topic that this app's workers knew", "No run is begun anew")
    assert journal_end(here) == 0, "not even a claim"


def test_the_journal_is_made_anew_under_a_worker(place: MakePlace) -> None:
    """So quickly that nobody sees it missing."""
    here = place()
    worker = at_work(here)
    delete(topic_of(here, "journal"))
    make_again(here)
    refuses(here, worker, "LogError", topic_of(here, "journal"), "deleted and made anew")
    starts_nothing(here, "was deleted and made anew")


def test_events_are_made_anew_under_a_worker(place: MakePlace) -> None:
    here = place()
    worker = at_work(here)
    delete(topic_of(here, "events"))
    make_again(here)
    refuses(here, worker, "LogError", topic_of(here, "events"), "deleted and made anew")
    starts_nothing(here, topic_of(here, "events"), "was deleted and made anew")


def test_the_journal_is_cut_before_it_was_read(place: MakePlace) -> None:
    """The worker is stopped meanwhile; what it has not read is gone when it goes on."""
    here = place(lease_s=20.0)
    worker = at_work(here)
    worker.signal(signal.SIGSTOP)

    async def commands(log: KafkaLog) -> None:
        for partition in (0, 1):
            done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            body = ("perdure.Query", {"wait": False, "value": None})
            command = codec.encode("Command", {"id": "c", "run": "x", "client": None, "body": body})
            log.producer().append(
                Topic.JOURNAL, partition, command, headers={KIND: b"Command"}, done=done.set_result
            )
            assert isinstance(await done, int)

    with_log(here, commands)
    for partition in (0, 1):
        cut(topic_of(here, "journal"), partition, -1)
    worker.signal(signal.SIGCONT)
    refuses(here, worker, "LogError", "were gone before they were read", "No run is begun anew")


# --- at the start -----------------------------------------------------------------------------------------------------


def test_the_journal_is_made_anew_while_nobody_runs(place: MakePlace) -> None:
    here = place(limits=KEEPS_FEW)
    worker = at_work(here)
    worker.kill()
    delete(topic_of(here, "journal"))
    make_again(here)
    starts_nothing(here, "was deleted and made anew", "Restore", "from a backup")


def test_the_journal_is_missing(place: MakePlace) -> None:
    here = place()
    at_work(here).kill()
    delete(topic_of(here, "journal"))
    starts_nothing(here, "was deleted and made anew")


def test_the_journal_is_cut_behind_all_snapshots_while_nobody_runs(place: MakePlace) -> None:
    """The runs of that partition cannot be known. It is left alone, with the reason, and nothing is begun on it."""
    here = place()
    at_work(here).kill()
    lines = len([line for line in ledger.read(here.folder) if line.key])
    for partition in (0, 1):
        cut(topic_of(here, "journal"), partition, -1)
    before = journal_end(here)
    worker = here.start("work")
    until(lambda: "no snapshot reaches that far" in worker.errors(), "it says why")
    assert journal_end(here) == before, "not even a claim"
    assert worker.stop() == 0, worker.errors()
    assert len([line for line in ledger.read(here.folder) if line.key]) == lines


def test_events_are_cut_before_they_were_routed_while_nobody_runs(place: MakePlace) -> None:
    """They are lost, and told of: in what the worker says, and as a dead letter. What is there goes on."""
    here = place(partitions=1)
    worker = at_work(here)
    worker.kill()
    for number in range(6, 9):
        send_event(here, "crash/sequence", {"n": number}, id=f"event {number}")
    cut(topic_of(here, "events"), 0, -1)
    again = here.start("work")
    until(lambda: "were gone before they were routed" in again.errors(), f"it says so\n{again.errors()}")
    send_event(here, "crash/sequence", {"n": 9}, id="event 9")
    until(lambda: steps(here.folder, "end", "/four") == 7, f"later events are routed\n{again.errors()}")
    assert again.stop() == 0, again.errors()

    async def letters(log: KafkaLog) -> list[str]:
        first, end = await log.bounds(Topic.DEAD_LETTERS, 0)
        entries = await log.read(Topic.DEAD_LETTERS, 0, first, end - first)
        return [codec.decode(entry.value)[1]["reason"] for entry in entries]

    (reason,) = with_log(here, letters)
    assert "of partition 0 were gone before they were routed" in reason
    assert "retention.ms" in reason
