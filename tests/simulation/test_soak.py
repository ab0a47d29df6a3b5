"""The soak itself: it lives all seeds in both worlds, and a broken one is told, kept, and stops nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.simulation import soak
from tests.simulation.audit import Broken


async def breaks_at_3(seed: int, kind: type) -> Any:
    if seed == 3:
        raise Broken(f"seed {seed}: a promise")
    return SimpleNamespace(audit=SimpleNamespace(records=7))


async def never_ends(seed: int, kind: type) -> Any:
    while seed == 3:
        await asyncio.sleep(0)
    return SimpleNamespace(audit=SimpleNamespace(records=7))


def test_a_broken_seed_stops_no_other() -> None:
    lived = soak.live("kafka", range(2, 6), life=breaks_at_3)
    assert (lived.lives, lived.records) == (4, 3 * 7)
    (failure,) = lived.failures
    assert (failure.world, failure.seed, failure.said) == ("kafka", 3, "Broken: seed 3: a promise")


def test_a_life_without_end_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "LIFE_S", 0.5)
    (failure,) = soak.live("memory", range(2, 6), life=never_ends).failures
    assert failure.seed == 3
    assert "does not come to its end within 0.5 s" in failure.said


def test_a_broken_seed_is_kept_with_the_command_that_lives_it_again(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "soak.jsonl"
    for world in soak.WORLDS:
        soak.keep(soak.Failure(world, 3, "a promise"), file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["world"], line["seed"]) for line in lines] == [("memory", 3), ("kafka", 3)]
    root = Path(__file__).resolve().parents[2]
    for line in lines:
        name, _, test = line["again"].partition("tests/")[2].partition(" -k ")
        assert f"{test}(" in (root / "tests" / name).read_text(), "there is such a test"


def test_all_seeds_are_lived_in_both_worlds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    covered = [(world, seed) for world, seeds in soak.chunks(["memory", "kafka"], 5, 45) for seed in seeds]
    assert sorted(covered) == sorted((w, n) for w in ("memory", "kafka") for n in range(5, 50))
    monkeypatch.setattr(soak, "CHUNK", 1)
    monkeypatch.setattr(soak, "CHUNKS_MAX", 2)  # so that processes are replaced
    assert soak.main(["--seeds", "3", "--jobs", "2", "--kept", str(tmp_path / "kept")]) == 0
    assert "seeds 0 to 2 in memory and kafka world: 6 lives" in capsys.readouterr().out
    assert not (tmp_path / "kept").exists()
