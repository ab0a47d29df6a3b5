"""Reruns, pauses of functions, and schedules made at run time, on Kafka as well, wherever the worker is killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.processes import Zygote
from tests.crash.steered import N
from tests.crash.test_kill_points import judged
from tests.crash.test_steered import SteeredDeath
from tests.kafka.conftest import MakePlace

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

POINTS = range(2, 12, 2)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote(modules=["tests.crash.steered"])
    yield made
    made.close()


@pytest.mark.parametrize("what", ["rerun", "pause", "schedule", "by-hand"])
def test_promise_2_steering_is_the_same_killed_after_an_append(place: MakePlace, what: str) -> None:
    deaths = [SteeredDeath(place, [(what, N)], number, heard=number % 4 == 0) for number in POINTS]
    assert sum(judged(deaths)) >= len(deaths) // 2
