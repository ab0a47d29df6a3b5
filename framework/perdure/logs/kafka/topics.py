"""The topics of a log on Kafka: their names and how they must be configured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from perdure.logs.contract import Topic, partition_count
from perdure.logs.kafka.layout import REGISTRY_PARTITIONS
from perdure.logs.kafka.settings import KafkaSettings

__all__ = ["ENTRY_BYTES_MAX", "RESTORE", "TopicSpec", "apps_of", "snapshots_name", "specs", "topic_name"]

ENTRY_BYTES_MAX: Final = 4 * 1024 * 1024
"""One entry: key, value and headers."""
RESTORE: Final = (
    "Restore it from a backup, in full and with what else the app had; or give up all runs: delete all topics of the "
    "app and make them with `perdure topics create`"
)
"""What to do about a topic that has lost what runs rest on."""
_BATCH_BYTES_MAX: Final = ENTRY_BYTES_MAX + 64 * 1024
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it should be made. `config` is the broker's; a retention of -1 keeps for ever."""

    name: str
    partitions: int
    config: dict[str, str]


def topic_name(settings: KafkaSettings, topic: Topic) -> str:
    """Events are shared by the apps of a namespace; all else is one app's (A12)."""
    if topic is Topic.EVENTS:
        return f"{settings.namespace}.events"
    return f"{settings.namespace}.{settings.app}.{topic.value}"


def snapshots_name(settings: KafkaSettings) -> str:
    return f"{settings.namespace}.{settings.app}.snapshots"


def apps_of(namespace: str, names: Iterable[str]) -> list[str]:
    """The apps whose journals are among these topics."""
    before, after = f"{namespace}.", f".{Topic.JOURNAL.value}"
    return sorted(
        name.removeprefix(before).removesuffix(after)
        for name in names
        if name.startswith(before) and name.endswith(after) and len(name) > len(before + after)
    )


def specs(settings: KafkaSettings, generations: Sequence[int], *, replication: int) -> list[TopicSpec]:
    """All topics of an app. With three replicas an append is safe when two brokers have it.

    `generations`: how many partitions the journal had at first, and after each growth.
    """
    common = {
        # The broker's clock stamps entries, so times do not depend on who appends.
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(_BATCH_BYTES_MAX),
        "min.insync.replicas": str(2 if replication > 2 else 1),
        "unclean.leader.election.enable": "false",
    }
    kept: dict[Topic, dict[str, str]] = {
        Topic.EVENTS: {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS)},
        # Trimmed behind snapshots by the owners; time alone must never take what a run still needs.
        Topic.JOURNAL: {"cleanup.policy": "delete", "retention.ms": "-1"},
        Topic.REGISTRY: {"cleanup.policy": "compact"},
        Topic.REPLIES: {"cleanup.policy": "delete", "retention.ms": str(_HOUR_MS)},
        Topic.DEAD_LETTERS: {"cleanup.policy": "delete", "retention.ms": str(90 * _DAY_MS)},
    }
    made = [
        TopicSpec(
            topic_name(settings, topic),
            REGISTRY_PARTITIONS if topic is Topic.REGISTRY else partition_count(topic, generations),
            common | config,
        )
        for topic, config in kept.items()
    ]
    snapshots = {"cleanup.policy": "delete", "retention.ms": "-1"}
    return [*made, TopicSpec(snapshots_name(settings), generations[-1], common | snapshots)]
