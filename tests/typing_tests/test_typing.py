"""What a user writes passes pyright strict, and what cannot work is refused at its very line.

`accepted/` must be without a fault. In `rejected/` each line that ends in `# error: <rule>` must have that fault, and
no other line may have one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
EXPECTED = re.compile(r"# error: (\w+)$")

Faults = dict[tuple[str, int], set[str]]


@pytest.fixture(scope="module")
def faults() -> Faults:
    """What pyright says of both folders: file and line → the rules that are broken there."""
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(HERE)],
        capture_output=True,
        text=True,
        check=False,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] >= 4, done.stdout
    found: Faults = {}
    for fault in said["generalDiagnostics"]:
        place = (Path(fault["file"]).relative_to(HERE).as_posix(), fault["range"]["start"]["line"] + 1)
        found.setdefault(place, set()).add(fault.get("rule", fault["message"]))
    return found


def expected() -> dict[tuple[str, int], str]:
    return {
        (path.relative_to(HERE).as_posix(), number): match[1]
        for path in sorted((HERE / "rejected").glob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := EXPECTED.search(line))
    }


def test_what_a_user_writes_passes_strict(faults: Faults) -> None:
    assert {place: rules for place, rules in faults.items() if place[0].startswith("accepted/")} == {}


def test_what_cannot_work_is_refused_where_it_stands(faults: Faults) -> None:
    rejected = {place: rules for place, rules in faults.items() if place[0].startswith("rejected/")}
    assert {place: rules for place, rules in rejected.items() if place not in expected()} == {}
    missing = {place: rule for place, rule in expected().items() if rule not in rejected.get(place, ())}
    assert missing == {}
    assert len(expected()) > 40
