"""Waits with conditions, loops and invoked functions on Kafka, whose workers are killed at each append."""

from __future__ import annotations

import pytest

from tests.crash.test_kill_points import Death
from tests.kafka.conftest import MakePlace

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

N = 5
POINTS = 10


@pytest.mark.parametrize("scenario", ["choose", "loop", "invoke"])
def test_promise_2_6_kill_after_every_append(place: MakePlace, scenario: str) -> None:
    deaths = [
        Death(place, [(scenario, N)], number, heard=number % 2 == 0, partitions=3) for number in range(POINTS)
    ]
    for death in deaths:
        death.live_on()
        death.judge()
    assert sum(death.kills for death in deaths) >= POINTS // 2
