"""`make bench-kafka` still measures: one short repetition on the shared broker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brokers import broker
from tests.house.sources import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def test_each_workload_is_measured_beside_its_floor(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "benchmarks" / "repetition.py"), str(tmp_path)]
    done = subprocess.run(
        [*words, "--quick", "--kafka", broker().servers],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)["cells"]
    assert set(cells) == {"W1", "W2", "W3", "W2x200"}
    assert all(cell[who]["runs"] > 0 for cell in cells.values() for who in ("engine", "floor"))
    # What the floor plays is what a run has appended: a start, its outcomes, an end.
    assert cells["W2"]["records"] >= 2
