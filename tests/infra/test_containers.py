"""The same broker in Docker: what users' tests get, and what the project's own share where Docker is there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.testing.kafka import IMAGE_VARIABLE, SERVERS_VARIABLE, kafka_broker
from tests.brokers import answers
from tests.brokers.container import PREPARED_VARIABLE, local_image, shared_container
from tests.brokers.netns import engine_network
from tests.infra.talking import eventually, new_topic, read, write
from tests.testing.test_pages import PAGE, files, run

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.docker, pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv(SERVERS_VARIABLE, raising=False)
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image may not be here
    if prepared := os.environ.get(PREPARED_VARIABLE):
        monkeypatch.setenv(IMAGE_VARIABLE, prepared)
    found = local_image()
    if found is None:
        assert not prepared, f"{prepared} is not there, or its engine does not answer any more"
        pytest.skip('no Docker that answers, or no image of Kafka: eval "$(infra/docker.sh up)" brings both')
    with engine_network():
        yield found


def test_a_container_for_users(image: str) -> None:
    with kafka_broker(image) as broker:
        assert broker.url() != broker.url()
        topic = new_topic(broker.servers)
        write(broker.servers, topic, "a", "b")
        assert read(broker.servers, topic, 2) == ["a", "b"]
    assert not answers(broker.servers, 0.5)


def test_a_shared_container_ends_with_its_last_user(image: str, tmp_path: Path) -> None:
    folder = tmp_path / f"perdure-{tmp_path.parent.name}-{tmp_path.name}"
    broker, lease = shared_container(folder, image)
    again, other = shared_container(folder, image)
    assert again == broker
    lease.release()
    assert answers(broker.servers)
    other.release()

    def is_gone() -> bool:
        asked = ["docker", "container", "inspect", folder.name]
        return subprocess.run(asked, capture_output=True, check=False).returncode != 0

    eventually(is_gone, 30, "the keeper has removed the container")


def test_the_page_on_testing_runs_on_a_container(image: str, pytester: pytest.Pytester) -> None:
    written = files(PAGE)
    run(pytester, {name: written[name] for name in ("pyproject.toml", "test_kafka.py")})
