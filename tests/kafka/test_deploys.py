"""The same rolling deploy on a real broker (decision 9)."""

from __future__ import annotations

import pytest

from tests.crash.rolling import deploy_and_roll_back
from tests.kafka.conftest import MakePlace

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def test_old_code_that_starts_again_drops_nothing_and_a_rollback_counts(place: MakePlace) -> None:
    deploy_and_roll_back(place(partitions=4))
