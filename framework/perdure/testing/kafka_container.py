"""The broker of `kafka.py` as a container: testcontainers' own, taught to run the image of Apache as well."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from docker.errors import DockerException
from testcontainers.core.exceptions import ContainerStartException

from perdure.errors import UsageError

try:
    from testcontainers.community.kafka import KafkaContainer
except ModuleNotFoundError:  # testcontainers before 4.15
    from testcontainers.kafka import KafkaContainer

START_S = 90
SETTINGS = {
    # A single broker cannot keep three copies.
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",  # a misspelt topic must fail
    # Groups that tests can wait for: stock brokers refuse a session below 6 s (classic) and 45 s (KIP-848).
    "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    "KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS": "1000",
    "KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS": "6000",
    "KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS": "300",
    "KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS": "1000",
}

_START = """#!/bin/sh
export KAFKA_ADVERTISED_LISTENERS="{outside},BROKER://$(hostname -i | cut -d' ' -f1):9092"
if [ -x /etc/kafka/docker/run ]; then exec /etc/kafka/docker/run; fi  # the image of Apache
{boot}
. /etc/confluent/docker/bash-config
/etc/confluent/docker/configure
exec /etc/confluent/docker/launch
"""


class Container(KafkaContainer):
    """Which of the two public images it is shows only in the container, so that a copy may have any name and tag."""

    def __init__(self, image: str) -> None:
        super().__init__(image)  # pyright: ignore[reportUnknownMemberType]  # its **kwargs
        self.kraft_enabled = True  # as with_kraft() does, which only takes tags of Confluent's
        for name, value in SETTINGS.items():
            self.with_env(name, value)

    def tc_start(self) -> None:
        """Writes the script that the container waits for; not before now is it known which port it was given."""
        outside = f"{self.listener_name}://{self.get_bootstrap_server()}"
        script = _START.format(outside=outside, boot=self.boot_command)
        self.create_file(script.encode(), self.TC_START_SCRIPT)


@contextmanager
def running_container(image: str) -> Generator[str]:
    """A broker in Docker while the context is open: its bootstrap servers."""
    container = started_container(image)
    try:
        yield container.get_bootstrap_server()
    finally:
        container.stop()


def started_container(image: str, name: str | None = None) -> Container:
    """A broker in Docker that serves. The caller stops it; one that does not come up is gone already."""
    try:
        container = Container(image)
    except DockerException as error:
        raise UsageError(
            f"a Kafka container needs Docker, and none answers ({error}); start it, "
            "or set PERDURE_TEST_KAFKA=host:port"
        ) from error
    if name is not None:
        container.with_name(name)
    try:
        container.start(timeout=START_S)
    except DockerException as error:
        container.stop()
        raise UsageError(
            f"Docker cannot run {image} ({error}); name another image in PERDURE_TEST_KAFKA_IMAGE, "
            "or a broker that runs in PERDURE_TEST_KAFKA"
        ) from error
    except BaseException as error:
        error.add_note(f"the last lines of {image}:\n{_last_lines(container)}")
        container.stop()
        raise
    return container


def _last_lines(container: Container, count: int = 20) -> str:
    try:
        out, err = container.get_logs()
    except (ContainerStartException, DockerException) as error:
        return f"(none: {error})"
    return "\n".join((out + err).decode(errors="replace").splitlines()[-count:])
