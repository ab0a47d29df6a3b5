"""Two versions of the library on a real broker (A12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.libraries import PARTITIONS, two_libraries
from tests.kafka.conftest import MakePlace

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def test_A12_an_old_worker_stops_where_it_would_have_to_guess(place: MakePlace, tmp_path: Path) -> None:
    two_libraries(place(partitions=PARTITIONS), tmp_path / "newer")
