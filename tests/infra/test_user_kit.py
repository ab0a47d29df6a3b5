"""What `perdure.testing.kafka` says to users, as far as no broker is needed."""

from __future__ import annotations

import pytest

from perdure.errors import UsageError
from perdure.testing.kafka import IMAGE, KafkaBroker, image_name, kafka_broker


def test_each_url_has_a_namespace_of_its_own() -> None:
    broker = KafkaBroker("127.0.0.1:9092")
    urls = {broker.url() for _ in range(100)}
    assert len(urls) == 100
    assert all(url.startswith("kafka://127.0.0.1:9092/test-") for url in urls)
    assert broker.url("shop") == "kafka://127.0.0.1:9092/shop?create=8"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 81])
def test_a_namespace_must_fit_into_names_of_topics(name: str) -> None:
    with pytest.raises(UsageError, match="a namespace is up to 80 letters"):
        KafkaBroker("127.0.0.1:9092").url(name)


def test_a_broker_that_is_named_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_TEST_KAFKA", "one:9092,two:9092")
    with kafka_broker() as broker:
        assert broker == KafkaBroker("one:9092,two:9092")


@pytest.mark.parametrize("servers", ["localhost", "kafka://localhost:9092/x", "a:1,", ":9092"])
def test_a_broker_must_be_named_as_host_and_port(monkeypatch: pytest.MonkeyPatch, servers: str) -> None:
    monkeypatch.setenv("PERDURE_TEST_KAFKA", servers)
    with pytest.raises(UsageError, match="write it as host:port"), kafka_broker():
        pass


def test_without_docker_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERDURE_TEST_KAFKA", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(UsageError, match=r"needs Docker, .*PERDURE_TEST_KAFKA=host:port"), kafka_broker():
        pass


def test_the_image_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERDURE_TEST_KAFKA_IMAGE", raising=False)
    assert image_name() == IMAGE
    monkeypatch.setenv("PERDURE_TEST_KAFKA_IMAGE", "mirror/kafka:1")
    assert image_name() == "mirror/kafka:1"
