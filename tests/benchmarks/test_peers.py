"""`make bench-peers` runs, with perdure alone: the peers are in a venv that only the benchmark makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_figures_and_plot(tmp_path: Path) -> None:
    out = tmp_path / "peers.json"
    words = ["--quick", "--only", "perdure on SQLite", "--folder", str(tmp_path), "--out", str(out)]
    script = str(ROOT / "benchmarks" / "peers" / "run.py")
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    rows = {(row["cell"], row["figure"]): row for row in result["summary"]}
    assert {row["system"] for row in result["summary"]} == {"perdure on SQLite"}
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in rows.values())
    assert rows["W2x200", "steps_per_s"]["unit"] == "steps/s"
    assert not result["missing"]
    svg = ElementTree.fromstring(out.with_suffix(".svg").read_text())
    texts = [element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("perdure on SQLite") == 4, "one panel for each figure that is compared"
    assert "perdure on SQLite" in done.stdout
