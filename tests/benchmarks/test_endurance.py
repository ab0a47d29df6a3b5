"""`make bench-endurance` runs, with minutes that are a second long, and loses nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_some_seconds(tmp_path: Path) -> None:
    words = ["--minutes-80", "2", "--minutes-200", "1", "--minute", "1", "--capacity", "2"]
    script = str(ROOT / "benchmarks" / "endurance.py")
    command = [
        sys.executable,
        script,
        *words,
        "--folder",
        str(tmp_path),
        "--out",
        str(tmp_path / "found.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert " 0 were lost, and 0 steps ran twice" in done.stdout
    assert done.stdout.count("\n80 %  ") == 2
