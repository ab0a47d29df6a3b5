"""Brokers answer, survive what they should survive, and end with the tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import PrivateBroker, answers, broker, cluster, private_broker
from tests.brokers.asking import unavailable
from tests.brokers.script import environment, kafka_sh
from tests.house.sources import ROOT
from tests.infra.talking import admin, eventually, new_topic, read, write

pytestmark = pytest.mark.kafka


def test_the_shared_broker_answers() -> None:
    servers = broker().servers
    assert broker() is broker()
    assert len(admin(servers).list_topics(timeout=10).brokers) == 1
    topic = new_topic(servers)
    write(servers, topic, "a", "b")
    assert read(servers, topic, 2) == ["a", "b"]


@pytest.fixture(scope="module")
def alone() -> Iterator[PrivateBroker]:
    with private_broker({"message.max.bytes": "1234567"}) as made:
        yield made


def test_a_killed_broker_comes_back_with_its_data(alone: PrivateBroker) -> None:
    topic = new_topic(alone.servers)
    write(alone.servers, topic, "before")
    alone.kill()
    assert not answers(alone.servers, 0.5)
    alone.start()
    write(alone.servers, topic, "after")
    assert read(alone.servers, topic, 2) == ["before", "after"]


def test_a_paused_broker_is_silent_until_it_goes_on(alone: PrivateBroker) -> None:
    alone.pause()
    assert not answers(alone.servers, 0.5)
    alone.resume()
    assert answers(alone.servers)


def test_a_paused_broker_can_be_killed(alone: PrivateBroker) -> None:
    alone.pause()
    alone.kill()
    alone.start()
    assert answers(alone.servers)


def test_starting_what_runs_changes_nothing(alone: PrivateBroker) -> None:
    pid = Path(alone.env["KAFKA_DIR"], "1", "pid").read_text()
    alone.start()
    assert kafka_sh(alone.env, "start") == alone.servers
    assert Path(alone.env["KAFKA_DIR"], "1", "pid").read_text() == pid


def test_properties_reach_the_broker(alone: PrivateBroker) -> None:
    assert "message.max.bytes=1234567" in Path(alone.env["KAFKA_DIR"], "1", "server.properties").read_text()


def test_a_port_of_somebody_else_is_refused(alone: PrivateBroker, tmp_path: Path) -> None:
    port = alone.servers.rpartition(":")[2]
    with pytest.raises(AssertionError, match=f"ended with 4: kafka.sh: port {port} is taken"):
        kafka_sh(environment(tmp_path / "nodes"), "start", "1", port)
    assert not (tmp_path / "nodes").exists()


def test_the_number_of_nodes_stays(alone: PrivateBroker) -> None:
    with pytest.raises(AssertionError, match="has NODES 1, not 3"):
        kafka_sh(alone.env, "start", "3")


@pytest.mark.slow
def test_three_nodes_go_on_without_one() -> None:
    with cluster(3) as three:
        folder = Path(three.env["KAFKA_DIR"])
        assert len(admin(three.servers).list_topics(timeout=10).brokers) == 3
        topic = new_topic(three.servers, copies=3)
        write(three.servers, topic, "three")
        three.kill(2)
        write(three.servers, topic, "two")
        three.start(2)
        write(three.servers, topic, "three again")
        assert read(three.servers, topic, 3) == ["three", "two", "three again"]
    assert not folder.exists()


USER = """
import sys
from pathlib import Path
from tests.brokers.provider import shared_nodes
broker, lease = shared_nodes(Path(sys.argv[1]))
print(broker.servers, flush=True)
sys.stdin.read()
"""


def user(folder: Path) -> subprocess.Popen[str]:
    """A process that uses the shared broker of a folder until it is killed."""
    command = [sys.executable, "-c", USER, str(folder)]
    path = f"{ROOT / 'framework'}:{ROOT}"
    return subprocess.Popen(
        command,
        env=environment(folder) | {"PYTHONPATH": path},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.slow
def test_a_shared_broker_ends_with_the_last_user_even_if_all_are_killed(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    with user(folder) as one, user(folder) as other:
        try:
            servers = said(one)
            assert servers
            assert said(other) == servers
            one.kill()
            one.wait(10)
            assert answers(servers)
        finally:
            one.kill()
            other.kill()
    eventually(lambda: not (folder / "nodes").exists(), 20, "the keeper has wiped the broker")
    assert not answers(servers, 0.5)


def test_a_machine_without_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("PERDURE_REQUIRE_KAFKA", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Kafka broker: no java"):
        unavailable("no java")
    for name in ("CI", "PERDURE_REQUIRE_KAFKA"):
        with monkeypatch.context() as here:
            here.setenv(name, "1")
            with pytest.raises(pytest.fail.Exception, match="required: no java"):
                unavailable("no java")
