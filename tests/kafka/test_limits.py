"""Limits hold and no place is lost on Kafka as well: one partition of the journal owns each key."""

from __future__ import annotations

import pytest

from tests.crash.crowding import limits_under_kills
from tests.kafka.conftest import MakePlace

pytestmark = pytest.mark.kafka


def test_limits_hold_and_lose_no_place_whoever_is_killed(place: MakePlace) -> None:
    limits_under_kills(place(partitions=2, limits={"takeovers_alone_max": 1_000}), kills=3)
