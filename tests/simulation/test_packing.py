"""The simulated service with every run and cell packed as soon as it only waits: all promises hold as before."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from perdure.core.roster import Roster
from tests.simulation.kafka_world import KafkaWorld
from tests.simulation.test_simulation import chosen_chunks
from tests.simulation.world import LIMITS, World, simulate

PACKED = replace(LIMITS, dormant_runs_max=0, spilled_history_bytes_min=0, resident_idle_us_max=1_000_000)
SEEDS = 60


class PackedWorld(World):
    """Nothing that waits stays an object."""

    limits = PACKED


class PackedKafkaWorld(KafkaWorld):
    """The same on a log that behaves as Kafka does."""

    limits = PACKED


@pytest.mark.parametrize("seeds", chosen_chunks(SEEDS, 2), ids=str)
@pytest.mark.parametrize("kind", [PackedWorld, PackedKafkaWorld])
def test_promises_hold_when_all_that_waits_is_packed(
    kind: type[World], seeds: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = 0
    pack = Roster.pack

    def counted(self: Roster, values):
        nonlocal packed
        done = pack(self, values)
        packed += len(done)
        return done

    monkeypatch.setattr(Roster, "pack", counted)
    for seed in seeds:
        asyncio.run(simulate(seed, kind=kind))
    assert packed > 2 * len(seeds), "too little was packed to mean anything"
