"""The topics of each earlier record level, as a release wrote them, are restored on a broker, opened and carried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.logs.kafka import KafkaLog
from tests.brokers import broker
from tests.golden import logs
from tests.golden.carried_on import carried_on

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

FILES = sorted(logs.FOLDER.glob("*.kafka.gz"))


@pytest.mark.parametrize("packed", [pytest.param(file, id=file.name) for file in FILES])
def test_promise_4_topics_of_an_earlier_release_are_carried_on(packed: Path) -> None:
    settings = logs.settings_on(broker().url())
    logs.restore_topics(logs.load_topics(packed), settings)
    carried_on(lambda: KafkaLog(settings, create=logs.PARTITIONS))
