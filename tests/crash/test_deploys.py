"""A rolling deploy with kill -9 in the middle, on one file (decision 9)."""

from __future__ import annotations

from tests.crash.conftest import MakePlace
from tests.crash.rolling import deploy_and_roll_back


def test_old_code_that_starts_again_drops_nothing_and_a_rollback_counts(place: MakePlace) -> None:
    deploy_and_roll_back(place(partitions=4))
