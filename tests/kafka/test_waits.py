"""Waits with conditions, loops and invoked functions on Kafka, whose workers are killed at each append."""

from __future__ import annotations

import pytest

from tests.crash.test_kill_points import Death, judged
from tests.kafka.conftest import MakePlace

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

N = 5
POINTS = 10


@pytest.mark.parametrize("scenario", ["choose", "loop", "invoke", "request"])
def test_promise_2_6_kill_after_every_append(place: MakePlace, scenario: str) -> None:
    deaths = [
        Death(place, [(scenario, N)], number, heard=number % 2 == 0, partitions=3) for number in range(POINTS)
    ]
    assert sum(judged(deaths)) >= POINTS // 2
