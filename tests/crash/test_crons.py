"""Each tick of a cron starts one run, although the workers that lead its schedule are killed (promise 5)."""

from __future__ import annotations

from collections.abc import Callable

from tests.crash.processes import Place
from tests.crash.ticks import ticks_under_kills


def test_promise_5_each_tick_has_one_run_whoever_is_killed(place: Callable[..., Place]) -> None:
    ticks_under_kills(place(partitions=2, limits={"takeovers_alone_max": 1_000}), kills=8)
