"""Limits in simulated lives: programs under flow control come to the same ends, and no limit is ever passed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from perdure.authoring.flow import flow_of
from perdure.authoring.functions import Function
from perdure.authoring.limits import Concurrency, Singleton, Throttle
from perdure.core.facts import Fact
from perdure.core.fold import admission
from perdure.core.invariants import check, check_between
from perdure.core.state import PartitionState, Run
from tests.simulation import programs
from tests.simulation.audit import Audit, Broken
from tests.simulation.test_simulation import chosen_chunks
from tests.simulation.world import World, simulate

SEEDS = 300
PLANTED_SEEDS = 40
plain = programs.functions
RUNS = Concurrency(3, unit="run")
FLOW: dict[str, dict[str, Any]] = {
    "sequence": {"concurrency": [RUNS, Concurrency(2, scope="app")]},
    "audit": {"throttle": Throttle(1, "20s", burst=1)},
    "fan-out": {"concurrency": [Concurrency(2), Concurrency(2, scope="app")]},
    "retrying": {"concurrency": Concurrency(1)},
    "sleeping": {"concurrency": [Concurrency(1, key="event.data.n", unit="run"), RUNS]},
    "waiting": {"throttle": Throttle(2, "10s")},
    "parent": {"concurrency": RUNS},
    "child": {"concurrency": Concurrency(1, unit="run")},
    "failing": {"concurrency": Concurrency(1)},
    "racing": {"concurrency": Concurrency(1)},
    "holding": {"concurrency": [RUNS, Concurrency(2)]},
    "leaf": {"singleton": Singleton(key="event.id")},
}


@cache
def limited(version: int) -> dict[str, Function[Any, Any]]:
    """The code of a version, under flow control."""
    found = plain(version)
    return {
        name: replace(function, flow=flow_of(name, **FLOW[name])) if name in FLOW else function
        for name, function in found.items()
    }


class Counting(Audit):
    """Holds every record against the limits, too."""

    most = 0

    def _check(self, state: PartitionState, fact: Fact, before: set[str]) -> None:
        super()._check(state, fact, before)
        for (name, value), gate in state.gates.items():
            if gate.limit["kind"] in ("concurrency", "singleton"):
                Counting.most = max(Counting.most, len(gate.held))
                if len(gate.held) > gate.limit["limit"]:
                    raise Broken(f"{len(gate.held)} hold a place of {name} {value!r}")
        broken = check(state)
        if broken:
            raise Broken(str(broken[0]))


@pytest.fixture(autouse=True)
def under_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "functions", limited)
    monkeypatch.setattr("tests.simulation.world.Audit", Counting)


def lived(seed: int) -> World:
    world = asyncio.run(simulate(seed))
    states = world.audit.states
    wrong = check_between(states)
    if wrong:
        raise Broken(str(wrong[0]))
    left = [gate.name for state in states for gate in state.gates.values() if gate.held or gate.waiting]
    if left:
        raise Broken(f"places of {left} are lost")
    return world


@pytest.mark.parametrize("seeds", chosen_chunks(SEEDS, 6), ids=str)
def test_limits_hold_and_lose_no_place_whatever_happens(seeds: range) -> None:
    for seed in seeds:
        lived(seed)
    assert Counting.most > 1, "nothing was ever under way at the same time"


def broken() -> str:
    for seed in range(PLANTED_SEEDS):
        try:
            lived(seed)
        except Broken as error:
            return str(error)
    return ""


def test_a_place_that_is_not_given_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = admission.leave

    def forgetful(state: PartitionState, run: Run) -> None:
        if run.function != "sleeping":
            leave(state, run)

    monkeypatch.setattr("perdure.core.fold.runs.admission.leave", forgetful)
    assert broken()


def test_a_limit_that_counts_wrongly_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from perdure.core.fold import gates

    go_on = gates._go_on

    def generous(state: PartitionState, gate: Any, now: int) -> None:
        limit = gate.limit
        gate.limit = limit | {"limit": limit["limit"] + 1}
        go_on(state, gate, now)
        gate.limit = limit

    monkeypatch.setattr(gates, "_go_on", generous)
    assert "hold a place of" in broken()
