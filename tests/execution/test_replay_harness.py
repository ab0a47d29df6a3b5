"""Replay equals live, whatever the order of inputs, the size of commits and the layout of the heap (A4, A5)."""

from __future__ import annotations

import pytest

from tests.execution.harness import check_replay, run_live
from tests.execution.programs import PROGRAMS

SEEDS = 150


@pytest.mark.parametrize("name", PROGRAMS)
def test_replay_is_live(name: str) -> None:
    body = PROGRAMS[name]
    ended = 0
    for seed in range(SEEDS):
        ran = run_live(body, seed)
        ended += ran.how == "ended"
        difference = check_replay(body, ran, seed + 1000, f"run-{seed}")
        assert difference is None, f"seed {seed}: {difference}"
    assert ended > SEEDS // 3, "most random runs should come to their end"
