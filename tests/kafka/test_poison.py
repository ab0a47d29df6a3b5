"""Garbage in each topic, from a producer that knows nothing of perdure: workers go on, and start on it."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Producer

from perdure.core import codec
from perdure.core.facts import CHANNEL, KIND, STAMP, TRACE
from perdure.logs.contract import Entry, Topic
from tests.brokers import broker
from tests.crash import ledger, verdict
from tests.crash.lives import ends_of
from tests.crash.processes import Place, until
from tests.crash.sending import send_event
from tests.kafka.conftest import MakePlace
from tests.kafka.test_topic_lost import steps, topic_of, with_log

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

UNKNOWN = codec.MARKER + b"8 bytes." + b"of a newer version"
VALUES = (None, b"", b"by hand", b"\xff\xfe", UNKNOWN, b"null", b"[]", b'{"first": "x"}', b"\0" * 900_000)
KEYS = (None, b"", b"\xff\xfe", b"x" * 5_000)
HEADERS: tuple[list[tuple[str, Any]], ...] = (
    [],
    [("kind", None)],
    [(name, b"\xff" * 40) for name in (KIND, STAMP, CHANNEL, TRACE)],
    [(KIND, kind) for kind in ("Commit", "chunk")],
    [(KIND, b"end"), ("put", b"")],
    [(KIND, b"topics")],
    [(KIND, b"drop")],
)


def poison(topic: str, partitions: int) -> int:
    """Each kind of garbage into each partition; how many entries."""
    failed: list[Any] = []
    producer = Producer({"bootstrap.servers": broker().servers, "message.max.bytes": 2_000_000})
    count = 0
    for partition in range(partitions):
        for number, value in enumerate(VALUES):
            for headers in HEADERS:
                key = KEYS[(number + count) % len(KEYS)]
                producer.produce(
                    topic,
                    value,
                    key,
                    partition,
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                    headers=headers,
                )
                count += 1
    assert producer.flush(30) == 0
    assert not failed, failed
    return count


def sequence_ends(place: Place, number: int) -> None:
    """A run comes to its end."""
    send_event(place, "crash/sequence", {"n": number}, id=f"event {number}")
    until(lambda: steps(place.folder, "end", "/four") == number, f"run {number} ends\n{_errors(place)}", 40)


def _errors(place: Place) -> str:
    return place.children[-1].errors()[-4_000:]


def dead_letters(place: Place) -> list[dict[str, Any]]:
    async def reading(log: Any) -> list[Entry]:
        return await verdict.everything(log, Topic.DEAD_LETTERS, 0)

    return [codec.decode(entry.value)[1] for entry in with_log(place, reading)]


@pytest.mark.parametrize("name", ["journal", "events", "snapshots", "replies"])
def test_garbage_in_a_topic_stops_nobody(place: MakePlace, name: str) -> None:
    here = place()
    worker = here.start("work")
    sequence_ends(here, 1)
    count = poison(topic_of(here, name), 16 if name == "replies" else 2)
    sequence_ends(here, 2)  # the worker that was there goes on
    assert worker.stop() == 0, worker.errors()
    again = here.start("work")
    sequence_ends(here, 3)  # and one that starts on it
    if name in ("journal", "events"):
        until(lambda: len(dead_letters(here)) >= count, "each is buried", 40)
        letters = {(letter["topic"], letter["partition"], letter["offset"]) for letter in dead_letters(here)}
        assert len(letters) == count
        assert {topic for topic, _, _ in letters} == {name}
    assert again.stop() == 0, again.errors()
    story = verdict.read(here.folder)
    verdict.check(story, ledger.read(here.folder), ends_of([("sequence", n) for n in (1, 2, 3)]), kills=0)


def test_garbage_in_the_registry_stops_nobody(place: MakePlace) -> None:
    """The newest entry there says what functions there are: one that says nothing is passed over."""
    here = place()
    worker = here.start("work")
    sequence_ends(here, 1)
    topic = topic_of(here, "registry")
    producer = Producer({"bootstrap.servers": broker().servers})
    for value in (codec.encode("Claim", {"epoch": 1, "worker": ""}), b"by hand", UNKNOWN):
        producer.produce(topic, value, b"", 0)  # without a key the broker refuses it
    assert producer.flush(30) == 0
    sequence_ends(here, 2)
    assert worker.stop() == 0, worker.errors()
    again = here.start("work")
    sequence_ends(here, 3)
    assert again.stop() == 0, again.errors()


def test_a_snapshot_that_is_none_is_passed_over(place: MakePlace) -> None:
    """Whole, of a name that makes it the newest, and of nothing that can be read."""
    here = place(limits={"snapshot_tail_bytes_min": 1})
    worker = here.start("work")
    sequence_ends(here, 1)
    assert worker.stop() == 0, worker.errors()

    async def put(log: Any) -> None:
        for partition in (0, 1):
            await log.put_snapshot(partition, "9" * 20, [b"by hand", b"\xff" * 100])
            await log.put_snapshot(partition, "8" * 20, [])

    with_log(here, put)
    again = here.start("work")
    sequence_ends(here, 2)
    assert "is damaged; an older one is tried" in again.errors()
    assert again.stop() == 0, again.errors()
