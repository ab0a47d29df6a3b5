"""What compose.yaml and compose.three.yaml give their brokers and their worker, on brokers and workers of this machine.

No image can be pulled where these tests run; everything that is ours in the files is run all the same.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import ConfigResource  # pyright: ignore[reportPrivateImportUsage]

from tests.brokers import answers, broker, cluster
from tests.brokers.container import PREPARED_VARIABLE
from tests.brokers.netns import engine_network
from tests.cli.terminal import screen
from tests.house.sources import ROOT
from tests.infra.talking import admin, eventually, new_topic, read, write

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ONE = ROOT / "infra" / "compose.yaml"
THREE = ROOT / "infra" / "compose.three.yaml"
PLACES = re.compile(r"(advertised\.)?listener|controller\.|inter\.broker|log\.dirs|node\.id|process\.roles")
"""Settings that say where a node is: kafka.sh has its own for them."""


def variables(file: Path, service: str = "") -> dict[str, str]:
    """The broker's variables in a file; with a service, those of its own block alone."""
    text = file.read_text()
    if service:
        (text,) = re.findall(rf"^  {service}:\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    return dict(re.findall(r'^ +((?:KAFKA|CLUSTER)_[A-Z_]+): "?([^"\n]+)"?$', text, re.MULTILINE))


def settings(file: Path) -> dict[str, str]:
    found = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in variables(file).items()
        if name.startswith("KAFKA_")
    }
    return {name: value for name, value in found.items() if not PLACES.match(name)}


def in_force(servers: str) -> dict[str, str]:
    """The settings of the first node, as it says itself."""
    asked = admin(servers)
    (future,) = asked.describe_configs([ConfigResource(ConfigResource.Type.BROKER, "1")]).values()
    return {name: entry.value for name, entry in future.result(20).items()}


@pytest.mark.parametrize(("file", "nodes"), [(ONE, 1), (THREE, 3)], ids=["one", "three"])
def test_the_settings_of_brokers_are_settings_of_kafka(file: Path, nodes: int) -> None:
    wanted = settings(file)
    assert len(wanted) > 6
    with cluster(nodes, wanted) as made:
        found = in_force(made.servers)
        assert {name: found.get(name) for name in wanted} == wanted
        if nodes == 3:
            topic = new_topic(made.servers, 3)
            write(made.servers, topic, "before")
            made.kill(3)
            write(made.servers, topic, "after")
            assert read(made.servers, topic, 2) == ["before", "after"]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    image = os.environ.get(PREPARED_VARIABLE)
    if not image:
        pytest.skip('no image of Kafka: eval "$(infra/docker.sh up)" brings it, and an engine')
    with engine_network():
        yield image


@pytest.mark.docker
def test_the_broker_listens_where_the_file_says(engine: str) -> None:
    name = f"perdure-compose-{uuid.uuid4().hex[:8]}"
    words = ["docker", "run", "--detach", "--name", name, "--hostname", "kafka"]
    words += ["--publish", "127.0.0.1:9092:9092"]
    for variable, value in variables(ONE, "kafka").items():
        words += ["--env", f"{variable}={value}"]
    subprocess.run([*words, engine], check=True, capture_output=True)
    try:
        eventually(lambda: answers("127.0.0.1:9092", 1.0), 60, "the broker of compose.yaml answers")
        topic = new_topic("127.0.0.1:9092")
        write("127.0.0.1:9092", topic, "a")
        assert read("127.0.0.1:9092", topic, 1) == ["a"]
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, capture_output=True)


def test_the_worker_of_the_file_makes_its_topics_and_works() -> None:
    text = ONE.read_text()
    (url,) = re.findall(r"PERDURE_LOG: (\S+)", text)
    (command,) = re.findall(r"command: \[(.*)\]", text)
    words = re.findall(r'"(.*?)"', command)
    (folder,) = re.findall(r"- \.\./(\w+):/app:ro", text)
    there = url.replace("kafka:19092/onboarding", f"{broker().servers}/compose-{uuid.uuid4().hex[:8]}")
    assert there != url
    with screen(ROOT / folder, *words, env={"PERDURE_LOG": there}) as worker:
        worker.until(r"on +onboard +← ")
        worker.until(r"ready: leads all 8 partitions")
        worker.send(signal.SIGTERM)
        assert worker.exit_code() == 0, worker.text
