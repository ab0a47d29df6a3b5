"""The log on Kafka keeps the contract, against a real broker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from perdure.errors import AppendFailed, LogError
from perdure.logs import Topic
from perdure.logs.kafka import KafkaLog, KafkaSettings, Timing
from perdure.testing.log_contract import LogContract
from tests.brokers import broker

pytestmark = pytest.mark.kafka

TIMING = Timing(session_s=2.5, stall_s=2.0, revoke_s=1.0)


class TestKafkaLog(LogContract):
    @pytest.fixture
    def connect(self) -> Callable[[], KafkaLog]:
        url = urlsplit(broker().url())
        settings = KafkaSettings(url.netloc, url.path.strip("/"), "app")
        return lambda: KafkaLog(settings, create=4, timing=TIMING)

    @pytest.fixture
    def fail_next_append(self) -> Callable[[KafkaLog, Topic, int], None]:
        def arm(log: KafkaLog, topic: Topic, partition: int) -> None:
            """The next append is given up right behind its call, as when a broker stays away for too long."""
            appender = log.appender()
            append: Any = appender.append

            def append_and_give_up(*args: Any) -> None:
                *what, report = args

                def give_up(outcome: int | LogError) -> None:
                    # The broker may have been faster than the purge; then it is the answer that did not come.
                    report(outcome if isinstance(outcome, LogError) else AppendFailed("no answer came"))

                setattr(appender, "append", append)  # noqa: B010
                append(*what, give_up)
                appender.purge()

            setattr(appender, "append", append_and_give_up)  # noqa: B010 - its type is narrower

        return arm

    @pytest.fixture
    def take_away(self) -> Callable[[KafkaLog, int], None]:
        def take(log: KafkaLog, partition: int) -> None:
            """Its thread is stuck for longer than the group waits."""
            (member,) = log._members
            assert member.membership is not None
            hold = member.membership.hold
            hold.set()
            threading.Timer(5.0, hold.clear).start()

        return take
