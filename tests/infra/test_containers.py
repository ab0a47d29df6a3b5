"""The same broker in Docker: what users' tests get, and what the project's own share where Docker is there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from perdure.testing.kafka import SERVERS_VARIABLE, kafka_broker
from tests.brokers import answers
from tests.brokers.container import local_image, shared_container
from tests.infra.talking import eventually, new_topic, read, write

pytestmark = [pytest.mark.docker, pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv(SERVERS_VARIABLE, raising=False)
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image may not be here
    found = local_image()
    if found is None:
        pytest.skip("no Docker that answers, or not the image that PERDURE_TEST_KAFKA_IMAGE names")
    return found


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
