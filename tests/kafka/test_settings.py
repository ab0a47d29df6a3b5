"""Where a log on Kafka is, from a URL and the environment."""

from __future__ import annotations

import pytest

from perdure.errors import UsageError
from perdure.logs import open_log
from perdure.logs.kafka import KafkaLog, KafkaSettings, from_environment
from perdure.logs.kafka.topics import apps_of


def test_a_variable_is_an_option_of_the_client() -> None:
    found = from_environment(
        {"PERDURE_KAFKA_SASL_USERNAME": "bob", "PERDURE_KAFKA_SSL_CA_LOCATION": "/ca.pem", "PATH": "/bin"}
    )
    assert found == {"sasl.username": "bob", "ssl.ca.location": "/ca.pem"}


def test_passwords_are_not_shown() -> None:
    settings = KafkaSettings("h:1", "ns", "app", {"sasl.password": "secret", "sasl.username": "bob"})
    assert settings.shown() == {"sasl.password": "…", "sasl.username": "bob"}
    assert "secret" not in str(settings)
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("variable", ["PERDURE_KAFKA_ACKS", "PERDURE_KAFKA_GROUP_ID"])
def test_what_the_promises_rest_on_cannot_be_set(variable: str) -> None:
    with pytest.raises(UsageError, match=f"{variable}: .* is not yours to set"):
        from_environment({variable: "1"})


def test_the_url_names_servers_and_a_namespace() -> None:
    log = open_log("kafka://a:9092,b:9092/shop", "orders")
    assert isinstance(log, KafkaLog)
    assert (log.settings.servers, log.settings.namespace, log.settings.app) == (
        "a:9092,b:9092",
        "shop",
        "orders",
    )


def test_a_tool_may_name_the_app_or_leave_it_to_the_topics() -> None:
    for url, app in (("kafka://a:9092/shop?app=orders", "orders"), ("kafka://a:9092/shop", "")):
        log = open_log(url)
        assert isinstance(log, KafkaLog)
        assert log.settings.app == app
    assert apps_of("shop", ["shop.events", "shop.a.journal", "shop.b.journal", "shop2.c.journal"]) == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("url", "app", "words"),
    [
        ("kafka://host:9092", "orders", "one namespace are needed"),
        ("kafka:///shop", "orders", "the servers and one namespace"),
        ("kafka://host:9092/shop/x", "orders", "one namespace are needed"),
        ("kafka://bob:secret@host:9092/shop", "orders", "PERDURE_KAFKA_SASL_PASSWORD"),
        ("kafka://host:9092/shop?app=bills", "orders", "is the log of the app 'bills', and this is 'orders'"),
        ("kafka://host:9092/shop?create=x", "orders", "create is a number"),
        ("kafka://host:9092/shop?acks=1", "orders", "unknown option 'acks'"),
        ("kafka://host:9092/my.shop", "orders", "'my.shop' cannot be the namespace"),
        ("kafka://host:9092/shop", "my app", "'my app' cannot be the app"),
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str, app: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        open_log(url, app)
