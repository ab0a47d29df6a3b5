"""A real Kafka for tests: a container that lives as long as the test session.

    async def test_orders(perdure_kafka):
        app = App("shop", log=perdure_kafka.url())

Starting a broker takes some seconds, so all tests share it, and each has a namespace of its own: topics and groups
of one test are out of the way of every other. `PERDURE_TEST_KAFKA=host:port` names a broker that runs already; then
nothing is started, which also suits CI, and pytest-xdist, where each worker would have a container of its own.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from perdure.errors import UsageError

SERVERS_VARIABLE = "PERDURE_TEST_KAFKA"
IMAGE_VARIABLE = "PERDURE_TEST_KAFKA_IMAGE"
IMAGE = "apache/kafka:4.4.0"

_SERVER = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True)
class KafkaBroker:
    """A broker, or a cluster, that tests may use."""

    servers: str
    """Its bootstrap servers: `host:port`, with commas between several."""

    def url(self, namespace: str | None = None, *, partitions: int = 8) -> str:
        """The URL of a log on it, whose topics are made when it is opened.

        Without a name, in a namespace that nobody has used before.
        """
        if namespace is None:
            namespace = f"test-{uuid.uuid4().hex[:12]}"
        if not _NAMESPACE.fullmatch(namespace):
            raise UsageError(f"{namespace!r}: a namespace is up to 80 letters, digits, '_' and '-'")
        return f"kafka://{self.servers}/{namespace}?create={partitions}"


def named_broker() -> KafkaBroker | None:
    """The broker that `PERDURE_TEST_KAFKA` names, if it is set."""
    servers = os.environ.get(SERVERS_VARIABLE, "").strip()
    if not servers:
        return None
    for server in servers.split(","):
        if not _SERVER.fullmatch(server):
            raise UsageError(f"{SERVERS_VARIABLE}={servers!r}: write it as host:port, or host:port,host:port")
    return KafkaBroker(servers)


@contextmanager
def kafka_broker(image: str | None = None) -> Generator[KafkaBroker]:
    """A broker while the context is open: the one that `PERDURE_TEST_KAFKA` names, else a container.

    `image`: `apache/kafka` or `confluentinc/cp-kafka` with a tag, or a copy of one of them; else what
    `PERDURE_TEST_KAFKA_IMAGE` says, else apache/kafka. Needs Docker and `pip install 'perdure[testing]'`.
    """
    if (named := named_broker()) is not None:
        yield named
        return
    try:
        from perdure.testing.kafka_container import running_container
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a Kafka container needs testcontainers ({error.name} is missing): pip install 'perdure[testing]', "
            f"or set {SERVERS_VARIABLE}=host:port"
        ) from error
    with running_container(image or image_name()) as servers:
        yield KafkaBroker(servers)


def image_name() -> str:
    """The image that a broker is made of when none is named."""
    return os.environ.get(IMAGE_VARIABLE) or IMAGE


@pytest.fixture(scope="session")
def perdure_kafka() -> Generator[KafkaBroker]:
    """A broker for the whole session; `perdure_kafka.url()` is a namespace of its own on it."""
    with kafka_broker() as broker:
        yield broker


@pytest.fixture
def perdure_kafka_url(perdure_kafka: KafkaBroker) -> str:
    """The URL of a log on a real Kafka that no other test has seen."""
    return perdure_kafka.url()
