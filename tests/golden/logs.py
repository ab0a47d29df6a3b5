"""Whole logs as a release wrote them: a SQLite file, and the entries of the topics of one on Kafka.

They are never edited and never removed. Each later release opens them, folds them and carries their runs on to their
ends: `test_logs.py`, and `tests/kafka/test_golden_log.py` on a broker.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,  # pyright: ignore[reportPrivateImportUsage]
    ConfigEntry,  # pyright: ignore[reportPrivateImportUsage]
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]
)

from perdure.logs.kafka.admin import Admin
from perdure.logs.kafka.settings import KafkaSettings
from perdure.logs.kafka.topics import TopicSpec, specs
from tests.golden.logs_program import NAME

FOLDER = Path(__file__).parent / "logs"
SQLITE = FOLDER / "level-1.db.gz"
KAFKA = FOLDER / "level-1.kafka.gz"
PARTITIONS = 2


def settings_on(url: str) -> KafkaSettings:
    """This app's log at the URL of a broker."""
    parts = urlsplit(url)
    return KafkaSettings(parts.netloc, parts.path.strip("/"), NAME)


# --- a file -----------------------------------------------------------------------------------------------------------


def save_file(file: Path, to: Path) -> None:
    """Packs a SQLite log that nobody has open; FileExistsError when there is one."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with to.open("xb") as packed:
        packed.write(gzip.compress(file.read_bytes(), 9, mtime=0))


def load_file(packed: Path, to: Path) -> None:
    to.write_bytes(gzip.decompress(packed.read_bytes()))


# --- topics -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Copied:
    """One entry of a topic, which is named without its namespace."""

    topic: str
    partition: int
    ts_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


def save_topics(settings: KafkaSettings, to: Path) -> None:
    """Packs all entries of all topics, one a line, each partition in its order; FileExistsError when there is one."""
    lines = [
        json.dumps(
            [e.topic, e.partition, e.ts_ms, _hex(e.key), _hex(e.value), [(n, _hex(v)) for n, v in e.headers]]
        )
        for spec in specs(settings, (PARTITIONS,), replication=1)
        for partition in range(spec.partitions)
        for e in _entries(settings, spec.name, partition)
    ]
    with to.open("xb") as packed:
        packed.write(gzip.compress("\n".join(lines).encode(), 9, mtime=0))


def load_topics(packed: Path) -> list[Copied]:
    lines = gzip.decompress(packed.read_bytes()).decode().splitlines()
    return [
        Copied(
            topic,
            partition,
            ts,
            _bytes(key),
            _bytes(value),
            [(name, _bytes(v) or b"") for name, v in headers],
        )
        for topic, partition, ts, key, value, headers in map(json.loads, lines)
    ]


def restore_topics(entries: list[Copied], settings: KafkaSettings) -> None:
    """Makes the topics of another namespace, with these entries at the offsets and times that they had.

    What says which ids the topics had is left out: topics that are made of a backup have others.
    """
    admin = Admin(settings.client("tests"), str(settings))
    wanted = specs(settings, (PARTITIONS,), replication=1)
    times = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    admin.create([replace(spec, config=spec.config | times) for spec in wanted], 1)
    producer = Producer({"bootstrap.servers": settings.servers, "message.max.bytes": 5_000_000})
    failed: list[Any] = []
    for entry in entries:
        producer.produce(
            f"{settings.namespace}.{entry.topic}",
            _without_ids(entry),
            entry.key,
            entry.partition,
            headers=list(entry.headers),
            timestamp=entry.ts_ms,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    assert producer.flush(30) == 0
    assert not failed, failed
    _configure(settings, wanted)


def _configure(settings: KafkaSettings, wanted: Sequence[TopicSpec]) -> None:
    """From now on the broker stamps entries, as workers demand it. What is old stays: it is years, one day."""
    changes = [
        ConfigResource(
            ResourceType.TOPIC,
            spec.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in spec.config.items()
                if name == "message.timestamp.type"
            ],
        )
        for spec in wanted
    ]
    client = AdminClient({"bootstrap.servers": settings.servers, "log_level": 0})
    for done in client.incremental_alter_configs(changes).values():
        done.result(20)


def _without_ids(entry: Copied) -> bytes | None:
    if not entry.topic.endswith(".snapshots") or ("kind", b"chunk") in entry.headers or not entry.value:
        return entry.value
    return json.dumps(json.loads(entry.value) | {"topics": {}}).encode()


def _entries(settings: KafkaSettings, topic: str, partition: int) -> Iterator[Copied]:
    consumer = Consumer(
        {"bootstrap.servers": settings.servers, "group.id": "golden", "enable.auto.commit": False}
    )
    try:
        name = topic.removeprefix(f"{settings.namespace}.")
        position, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        for _ in range(position):  # snapshots that were dropped: something has to keep their places
            yield Copied(name, partition, 0, b"dropped", b"", [])
        consumer.assign([TopicPartition(topic, partition, position)])
        while position < end:
            message = consumer.poll(10)
            assert message is not None, f"{topic} {partition} cannot be read from {position} on"
            assert message.error() is None, message.error()
            offset = message.offset()
            assert offset == position, f"{topic} {partition} has a gap at {position}"
            position += 1
            headers: Any = message.headers() or []
            yield Copied(name, partition, message.timestamp()[1], message.key(), message.value(), headers)
    finally:
        consumer.close()


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
