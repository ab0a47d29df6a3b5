"""Limits hold and no place is lost on Kafka as well: one partition of the journal owns each key."""

from __future__ import annotations

import pytest

from tests.crash.crowding import limits_under_kills
from tests.crash.test_kill_points import Death, judged
from tests.kafka.conftest import MakePlace

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

N = 5
POINTS = 10


def test_limits_hold_and_lose_no_place_whoever_is_killed(place: MakePlace) -> None:
    limits_under_kills(place(partitions=2, limits={"takeovers_alone_max": 1_000}), kills=3)


@pytest.mark.parametrize("scenario", ["admit", "settle"])
def test_promise_2_what_is_dropped_or_put_together_stays_so_killed_after_every_append(
    place: MakePlace, scenario: str
) -> None:
    deaths = [
        Death(place, [(scenario, N)], number, heard=number % 2 == 0, partitions=3) for number in range(POINTS)
    ]
    assert sum(judged(deaths)) >= POINTS // 2
