"""Each tick of a cron starts one run, on Kafka as well: its schedule lives in one partition of the journal."""

from __future__ import annotations

import pytest

from tests.crash.ticks import ticks_under_kills
from tests.kafka.conftest import MakePlace

pytestmark = pytest.mark.kafka


def test_promise_5_each_tick_has_one_run_whoever_is_killed(place: MakePlace) -> None:
    ticks_under_kills(place(partitions=2, limits={"takeovers_alone_max": 1_000}), kills=4)
