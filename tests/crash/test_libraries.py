"""Two versions of the library on one file (A12)."""

from __future__ import annotations

from pathlib import Path

from tests.crash.conftest import MakePlace
from tests.crash.libraries import PARTITIONS, two_libraries


def test_A12_an_old_worker_stops_where_it_would_have_to_guess(place: MakePlace, tmp_path: Path) -> None:
    two_libraries(place(partitions=PARTITIONS), tmp_path / "newer")
