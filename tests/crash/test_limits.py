"""Limits hold and no place is lost, although the workers that count and hold them are killed (B7)."""

from __future__ import annotations

from collections.abc import Callable

from tests.crash.crowding import limits_under_kills
from tests.crash.processes import Place

KILLS = 100


def test_limits_hold_and_lose_no_place_through_a_hundred_kills(place: Callable[..., Place]) -> None:
    limits_under_kills(place(partitions=4, limits={"takeovers_alone_max": 1_000}), KILLS)
