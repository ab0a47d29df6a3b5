"""The examples, and outside systems of each test's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# As `python examples/orders.py` has it, so that `from fakes import mail` is found.
sys.path.append(str(Path(__file__).parents[2] / "examples"))


@pytest.fixture(autouse=True)
def outside_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what another one did to the fakes."""
    monkeypatch.setenv("PERDURE_EXAMPLES", str(tmp_path))
