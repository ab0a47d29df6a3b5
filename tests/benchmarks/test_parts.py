"""`make bench` runs, and its parts give the figures that the table names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_some_parts(tmp_path: Path) -> None:
    out = tmp_path / "latest.json"
    words = ["lengths", "waiters", "--quick", "--repetitions", "1"]
    words += ["--folder", str(tmp_path), "--out", str(out)]
    script = str(ROOT / "benchmarks" / "run.py")
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    rows = {(row["cell"], row["figure"]): row for row in result["summary"]}
    assert all(rows["W7", f"events that match {which}"]["engine"][0] > 0 for which in ("none", "one each"))
    assert rows["10,000 steps", "ratio of the two"]["budget"] == "<= 1.15"
    assert "waiters: events against" in done.stdout


def test_each_part_has_a_script() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from parts import DEFAULT, PARTS
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    assert set(DEFAULT) <= set(PARTS)
    assert [part.script for part in PARTS.values() if not (ROOT / "benchmarks" / part.script).exists()] == []
