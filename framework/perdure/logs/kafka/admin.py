"""Making topics, looking at their settings, and dropping what is not needed any more. Blocks: not on the loop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclOperation,  # pyright: ignore[reportPrivateImportUsage]
    AdminClient,
    ClusterMetadata,  # pyright: ignore[reportPrivateImportUsage]
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]
    TopicMetadata,  # pyright: ignore[reportPrivateImportUsage]
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from perdure.errors import LogError
from perdure.logs.kafka.handover import log
from perdure.logs.kafka.preflight import Found
from perdure.logs.kafka.topics import TopicSpec

__all__ = ["ANSWER_S", "LOOK_S", "Admin"]

ANSWER_S: Final = 15.0
_NOTICE_S: Final = 3.0
"""After so long, whoever waits is told for what."""
_REACH_S: Final = 6.0
"""Within this time a connection stands, or nobody is there."""
_SEEN_S: Final = 60.0
"""Within this time each broker knows what was made. A busy disk has been seen to take more than ten seconds."""
_SEEN_EVERY_S: Final = 0.5
"""Each look asks for all topics of the cluster: a busy one is not asked more often."""
LOOK_S: Final = 2.0
"""For what is looked at again and again: others wait meanwhile, also the end of the process."""
NOT_TRIMMED: Final = (
    "this user may not delete its records, so it is not trimmed behind snapshots, and its retention alone decides "
    "what is kept. Allow DELETE on the topic; or set retention.ms to 7 days or more, and have a worker run at least "
    "once within that time"
)


class Admin:
    """Asks the cluster's brokers. Raises LogError, with what to do."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self._heard: KafkaError | None = None
        options: dict[str, Any] = {**config, "error_cb": self._hear}
        if "debug" not in options:
            options["log_level"] = 0  # what it would say is heard, and part of what is raised
        self._client = AdminClient(options)
        self._where = where
        self._kept: set[str] = set()
        """Topics whose records may not be deleted, as was told."""

    def partitions(self, names: Sequence[str]) -> dict[str, int]:
        """How many partitions those of the topics have that are there."""
        there = self._metadata()
        return {
            name: len(there[name].partitions) for name in names if name in there and there[name].error is None
        }

    def topics(self) -> list[str]:
        """The names of all topics that this user may see."""
        return sorted(self._metadata())

    def _metadata(self) -> dict[str, TopicMetadata]:
        return self._cluster().topics

    def _cluster(self) -> ClusterMetadata:
        deadline = time.monotonic() + ANSWER_S
        noticed = False
        while True:
            try:
                return self._client.list_topics(timeout=_REACH_S if noticed else _NOTICE_S)
            except KafkaException as error:
                self._tell(error, noticed=noticed, late=time.monotonic() >= deadline)
                noticed = True

    def _tell(self, error: KafkaException, *, noticed: bool, late: bool) -> None:
        """Says for what we wait. Raises LogError when there is nothing to wait for."""
        why = self._why(error)
        if self._refused():
            raise LogError(
                f"Kafka at {self._where} does not let this user in ({why}): look at PERDURE_KAFKA_SASL_MECHANISM, "
                "…_SASL_USERNAME and …_SASL_PASSWORD"
            ) from error
        busy = error.args[0].code() == KafkaError._TIMED_OUT
        if late or (noticed and not busy):
            raise LogError(
                f"no broker answers at {self._where} ({why}): is Kafka running there, and do the settings in "
                "PERDURE_KAFKA_… fit it?"
            ) from error
        if not noticed:
            log.warning(
                "no broker answers at %s yet (%s); it may be starting, so it is asked again", self._where, why
            )

    def _hear(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # says less than what came before it
            self._heard = error

    def _refused(self) -> bool:
        """Whether a broker is there, and does not let us in."""
        return self._heard is not None and self._heard.code() == KafkaError._AUTHENTICATION

    def _why(self, error: KafkaException) -> str:
        """What the client has met, where it says more than what it raised."""
        self._client.poll(0)  # calls `_hear`
        told = self._heard.str() if self._heard is not None else _reason(error)
        return told.partition(" (after ")[0]

    def describe(self, names: Sequence[str]) -> dict[str, Found]:
        """Those of the topics that are there, with their settings where this user may see them."""
        there = self._metadata()
        names = [name for name in names if name in there and there[name].error is None]
        config = self._configs(names)
        return {
            name: Found(
                len(there[name].partitions),
                min((len(each.replicas) for each in there[name].partitions.values()), default=0),
                config.get(name),
            )
            for name in names
        }

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        asked = _futures(
            self._client.describe_configs(  # pyright: ignore[reportUnknownMemberType]
                [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names], request_timeout=ANSWER_S
            )
        )
        found: dict[str, dict[str, str]] = {}
        for resource, future in asked.items():
            try:
                found[resource.name] = {entry.name: entry.value for entry in future.result().values()}
            except KafkaException as error:
                log.warning("the settings of %s cannot be checked: %s", resource.name, _reason(error))
        return found

    def ids(self, names: Sequence[str], *, within_s: float) -> dict[str, str | None]:
        """What tells a topic from one of the same name before or after it. None for one that is not there; those of
        which this cannot be said, or not in time, are left out."""
        topics = TopicCollection(list(names))
        asked = _futures(self._client.describe_topics(topics, request_timeout=within_s))  # pyright: ignore[reportUnknownMemberType]
        found: dict[str, str | None] = {}
        for name, future in asked.items():
            try:
                found[name] = str(future.result().topic_id)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    found[name] = None
        return found

    def ends(self, where: Sequence[tuple[str, int]], *, committed: bool) -> dict[tuple[str, int], int]:
        """Where partitions end; those of which this cannot be said now are left out."""
        isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        latest: dict[TopicPartition, Any] = {TopicPartition(*each): OffsetSpec.latest() for each in where}
        asked = _futures(
            self._client.list_offsets(latest, isolation_level=isolation, request_timeout=LOOK_S)  # pyright: ignore[reportUnknownMemberType]
        )
        found: dict[tuple[str, int], int] = {}
        for here, future in asked.items():
            with suppress(KafkaException):
                found[here.topic, here.partition] = future.result().offset
        return found

    def create(self, specs: Sequence[TopicSpec], replication: int) -> None:
        """Makes topics; those that are there already stay as they are. Returns when all can be used."""
        topics = [NewTopic(spec.name, spec.partitions, replication, config=spec.config) for spec in specs]
        made = _futures(self._client.create_topics(topics, operation_timeout=ANSWER_S))  # pyright: ignore[reportUnknownMemberType]
        for name, future in made.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise LogError(
                        f"the topic {name} cannot be made at {self._where}: {_reason(error)}"
                    ) from error
        self._wait_for([spec.name for spec in specs])

    def add_partitions(self, names: Sequence[str], partitions: int) -> None:
        """Gives topics so many partitions; those that have them stay as they are. Returns when all can be used."""
        fewer = [name for name, there in self.partitions(names).items() if there < partitions]
        if not fewer:
            return
        wanted = [NewPartitions(name, partitions) for name in fewer]
        made = _futures(self._client.create_partitions(wanted, operation_timeout=ANSWER_S))  # pyright: ignore[reportUnknownMemberType]
        for name, future in made.items():
            try:
                future.result()
            except KafkaException as error:
                raise LogError(
                    f"the topic {name} cannot get {partitions} partitions at {self._where}: {_reason(error)}"
                ) from error
        self._wait_for(fewer, partitions)

    def brokers(self) -> int:
        """How many brokers the cluster has. A young one may not know itself yet: it is asked again for a while.

        Raises LogError.
        """
        deadline = time.monotonic() + ANSWER_S
        while not (found := len(self._cluster().brokers)):
            if time.monotonic() > deadline:
                raise LogError(f"the brokers at {self._where} answer, and name no broker: look at their logs")
            time.sleep(0.1)
        return found

    def may_delete_records(self, topic: str) -> bool:
        """Whether this user may do that. Raises LogError."""
        asked = _futures(
            self._client.describe_topics(  # pyright: ignore[reportUnknownMemberType]
                TopicCollection([topic]), include_authorized_operations=True, request_timeout=ANSWER_S
            )
        )
        try:
            allowed = asked[topic].result().authorized_operations
        except KafkaException as error:
            raise LogError(f"{topic} cannot be looked at: {_reason(error)}") from error
        return allowed is None or AclOperation.DELETE in allowed

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Drops the entries below an offset. Where this user may not do that it is told, once, and nothing is done."""
        below = [TopicPartition(topic, partition, before)]
        asked = _futures(self._client.delete_records(below, operation_timeout=ANSWER_S))  # pyright: ignore[reportUnknownMemberType]
        for future in asked.values():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    raise LogError(f"{topic} {partition} cannot be trimmed: {_reason(error)}") from error
                if topic not in self._kept:
                    self._kept.add(topic)
                    log.warning("%s: %s", topic, NOT_TRIMMED)

    def _wait_for(self, names: Sequence[str], partitions: int = 1) -> None:
        """What was made is known to each broker only a little later."""
        began = time.monotonic()
        pause_s, noticed = 0.02, False
        while missing := set(names) - {
            name for name, there in self.partitions(names).items() if there >= partitions
        }:
            waited_s = time.monotonic() - began
            what = ", ".join(sorted(missing))
            if waited_s > _SEEN_S:
                raise LogError(
                    f"made at {self._where}, but not to be seen there within {_SEEN_S:g} s: {what}. Look at the "
                    "brokers' logs, and at their disks"
                )
            if waited_s > _NOTICE_S and not noticed:
                log.warning(
                    "made at %s, but not yet to be seen there, so it is asked again: %s", self._where, what
                )
                noticed = True
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _SEEN_EVERY_S)


def _reason(error: KafkaException) -> str:
    told = error.args[0]
    return told.str() if isinstance(told, KafkaError) else str(told)


def _futures(asked: Any) -> dict[Any, Future[Any]]:
    """What the admin client has asked for, by its name; its own types do not say what comes."""
    return asked
