"""The broker's disk is full: it takes nothing or ends; once there is room again, nothing that it took is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import PrivateBroker, answers, private_broker
from tests.crash.processes import pause, until
from tests.kafka.conftest import MakePlace
from tests.kafka.load import Load

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

DISK_MB = 160


@pytest.fixture(scope="module")
def small() -> Iterator[PrivateBroker]:
    with private_broker(disk_mb=DISK_MB) as broker:
        yield broker


def fill(disk: Path) -> Path:
    """Takes all room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return ballast


def test_promise_1_2_the_disk_of_the_broker_is_full(place: MakePlace, small: PrivateBroker) -> None:
    assert small.disk is not None
    load = Load(place(servers=small.servers, partitions=4))
    ballast = fill(small.disk)
    until(load.stands, "the broker takes nothing any more", 30)
    refused = not answers(small.servers, 2.0)
    print(f"the broker {'has ended or is deaf' if refused else 'serves, and takes nothing'}")
    pause(1.0)
    ballast.unlink()

    def serves() -> bool:
        small.start()  # nothing happens while it runs: it may be about to end
        return answers(small.servers, 2.0)

    until(serves, "the broker is back", 60)
    load.goes_on()
    load.settle()
