"""Asking whether a broker is there, and what to do when none can be."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient


def answers(servers: str, seconds: float = 10.0) -> bool:
    """Does a broker say within that time which topics it has?"""
    # log_level: else librdkafka prints a line each time that it cannot connect.
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    try:
        admin.list_topics(timeout=seconds)
    except KafkaException:
        return False
    return True


def is_required() -> bool:
    """May no test do without a broker here?"""
    return any(
        os.environ.get(name, "").lower() not in {"", "0", "false"} for name in ("CI", "PERDURE_REQUIRE_KAFKA")
    )


def unavailable(reason: str, *, what: str = "Kafka broker") -> NoReturn:
    """Skips the test that wants a broker, or fails it where brokers are required."""
    if is_required():
        pytest.fail(f"no {what}, and here one is required: {reason}", pytrace=False)
    pytest.skip(f"no {what}: {reason}")
