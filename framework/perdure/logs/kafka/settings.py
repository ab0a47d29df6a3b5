"""Where a Kafka log is and how its clients connect: from a URL and from `PERDURE_KAFKA_…` variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from perdure.errors import UsageError
from perdure.logs.kafka.chatter import client_log

__all__ = ["PREFIX", "KafkaSettings", "from_environment"]

PREFIX: Final = "PERDURE_KAFKA_"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_OURS = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "delivery.timeout.ms",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "isolation.level",
        "max.in.flight",
        "max.poll.interval.ms",
        "message.timeout.ms",
        "partition.assignment.strategy",
        "partitioner",
        "transactional.id",
    }
)
"""What the log's promises rest on."""
_GROUP = frozenset({"session.timeout.ms"})
_SECRET = re.compile(r"password|secret|token|\.pem$|jaas|oauthbearer\.config")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """What names one log on a cluster, and what its clients are configured with."""

    servers: str
    namespace: str
    app: str
    """Empty until it is known: the only one of the namespace is meant."""
    options: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """librdkafka's own options, for security above all."""

    def __post_init__(self) -> None:
        for what, name in (("namespace", self.namespace), ("app", self.app)):
            if name and not _NAME.fullmatch(name):
                raise UsageError(
                    f"{name!r} cannot be the {what} of a log on Kafka, where it is part of the topics' names: use up "
                    "to 80 letters, digits, '-' and '_'"
                )

    def group(self) -> dict[str, str]:
        """The options that only the consumer of the group takes."""
        return {name: value for name, value in self.options.items() if name in _GROUP}

    def client(self, use: str) -> dict[str, Any]:
        """What each client starts from; `use` tells them apart in the broker's log."""
        options = {name: value for name, value in self.options.items() if name not in _GROUP}
        return {
            "bootstrap.servers": self.servers,
            "client.id": f"perdure-{self.app}-{use}",
            # A broker that hangs keeps its connections: only these tell that others lead now.
            "topic.metadata.refresh.interval.ms": 10_000,
            "socket.timeout.ms": 10_000,
            "reconnect.backoff.max.ms": 1_000,
            "log.connection.close": False,
            **options,
            "logger": client_log(),
        }

    def reading(self, use: str) -> dict[str, Any]:
        """What each client starts from that reads without a membership: it must name a group all the same."""
        return {**self.client(use), "group.id": f"{self.namespace}.{self.app}.readers"}

    def __str__(self) -> str:
        return f"kafka://{self.servers}/{self.namespace}"

    def shown(self) -> dict[str, str]:
        """The options as they may be printed."""
        return {name: "…" if _SECRET.search(name) else value for name, value in self.options.items()}


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`PERDURE_KAFKA_SASL_USERNAME=bob` is librdkafka's option `sasl.username`, and so on.

    Raises UsageError for options on which the log's promises rest. Values are never shown.
    """
    found: dict[str, str] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX):
            continue
        option = variable.removeprefix(PREFIX).lower().replace("_", ".")
        if option in _OURS:
            raise UsageError(
                f"{variable}: {option} is not yours to set, the log's promises rest on it. The servers and the "
                "namespace are in the log's URL: kafka://host:9092,host:9092/namespace"
            )
        found[option] = value
    return found
