"""Whether topics are safe to run on: what is, held against what must be. Pure.

A setting that would lose what was acknowledged, or take from the journal what runs still need, is refused at the start
of a worker; one that only differs from what `perdure topics create` makes is reported by `perdure topics check`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from perdure.logs.contract import Topic
from perdure.logs.kafka.settings import KafkaSettings
from perdure.logs.kafka.topics import TopicSpec, snapshots_name, topic_name

__all__ = ["JOURNAL_RETENTION_MS_MIN", "Fault", "Found", "faults_of"]

JOURNAL_RETENTION_MS_MIN: Final = 7 * 24 * 3_600_000
"""What the journal keeps at least: snapshots are taken far more often."""


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as it is. `config` is None where this user may not see it."""

    partitions: int
    replication: int
    config: Mapping[str, str] | None


class Fault(NamedTuple):
    """What is wrong with a topic, in a sentence that ends with what to do."""

    topic: str
    fatal: bool
    """Whether it could lose something that was accepted."""
    sentence: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.sentence}"


def faults_of(
    settings: KafkaSettings, specs: Sequence[TopicSpec], found: Mapping[str, Found], *, development: bool
) -> list[Fault]:
    """All faults, by topic. In development one copy of everything is enough."""
    kept = {
        snapshots_name(settings),
        *(topic_name(settings, topic) for topic in (Topic.EVENTS, Topic.JOURNAL, Topic.REGISTRY)),
    }
    faults: list[Fault] = []
    for spec in specs:
        there = found.get(spec.name)
        if there is None:
            faults.append(Fault(spec.name, True, "is missing; make it with `perdure topics create`"))
            continue
        grows = spec.name in (topic_name(settings, Topic.JOURNAL), snapshots_name(settings))
        faults += _of_partitions(spec, there, grows=grows)
        must_keep = spec.name in kept
        if not development and must_keep:
            faults += _of_copies(spec, there)
        if there.config is not None:
            faults += _of_config(settings, spec, there.config, must_keep=must_keep)
    return faults


def _of_partitions(spec: TopicSpec, there: Found, *, grows: bool) -> list[Fault]:
    if there.partitions == spec.partitions:
        return []
    if grows and there.partitions > spec.partitions:  # a growth is under way, or was cut off
        more = f"has {there.partitions} partitions, of which {spec.partitions} are used"
        return [
            Fault(
                spec.name,
                False,
                f"{more}: `perdure topics grow --partitions {there.partitions}` takes them into use",
            )
        ]
    return [
        Fault(
            spec.name,
            True,
            f"has {there.partitions} partitions, and needs {spec.partitions}: their number never changes by hand. "
            "Those of events stay as they were at first; the journal's grow with `perdure topics grow`",
        )
    ]


def _of_copies(spec: TopicSpec, there: Found) -> list[Fault]:
    if there.replication < 2:
        return [
            Fault(
                spec.name,
                True,
                "has one copy, so the loss of a broker's disk loses runs. Give it replication 3; on a machine for "
                "development, say so with ?create=8 in the log's URL",
            )
        ]
    in_sync = int((there.config or {}).get("min.insync.replicas", "2"))
    if in_sync < 2:
        return [
            Fault(
                spec.name,
                True,
                f"has min.insync.replicas={in_sync}, so an append counts when one broker has it, and is lost with that "
                "broker. Set it to 2",
            )
        ]
    return []


def _of_config(
    settings: KafkaSettings, spec: TopicSpec, config: Mapping[str, str], *, must_keep: bool
) -> list[Fault]:
    faults: list[Fault] = []

    def fault(fatal: bool, sentence: str) -> None:
        faults.append(Fault(spec.name, fatal, sentence))

    if must_keep and config.get("unclean.leader.election.enable", "false") == "true":
        fault(
            True,
            "allows an unclean leader election, which throws away what was acknowledged. Set "
            "unclean.leader.election.enable=false",
        )
    policy = config.get("cleanup.policy", "delete")
    if policy != spec.config["cleanup.policy"]:
        wanted = spec.config["cleanup.policy"]
        fault(must_keep, f"has cleanup.policy={policy}, and needs {wanted}. Set cleanup.policy={wanted}")
    if config.get("message.timestamp.type") != "LogAppendTime":
        fault(
            spec.name == topic_name(settings, Topic.JOURNAL),
            "is stamped by its producers' clocks, and time must not depend on who appends. Set "
            "message.timestamp.type=LogAppendTime",
        )
    largest, needed = int(config.get("max.message.bytes", "0")), int(spec.config["max.message.bytes"])
    if largest < needed:
        fault(False, f"refuses entries over {largest:,} bytes. Set max.message.bytes={needed}")
    if spec.name in (topic_name(settings, Topic.JOURNAL), snapshots_name(settings)):
        faults += _of_retention(spec, config)
    return faults


def _of_retention(spec: TopicSpec, config: Mapping[str, str]) -> list[Fault]:
    """What was recorded stays until a snapshot holds it, however long nothing happens."""
    faults: list[Fault] = []
    keeps_ms, keeps_bytes = int(config.get("retention.ms", "-1")), int(config.get("retention.bytes", "-1"))
    if 0 <= keeps_ms < JOURNAL_RETENTION_MS_MIN:
        faults.append(
            Fault(
                spec.name,
                True,
                f"is kept for {keeps_ms / 3_600_000:g} h only, and then loses runs that wait. Set retention.ms=-1: "
                "workers trim it behind snapshots",
            )
        )
    if keeps_bytes >= 0:
        faults.append(
            Fault(
                spec.name,
                True,
                f"is cut at {keeps_bytes:,} bytes, whatever runs still need of it. Set retention.bytes=-1",
            )
        )
    return faults
