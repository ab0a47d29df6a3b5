"""Large values beside a log on Kafka: workers share a store, and one that dies leaves the rest to another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers import broker
from tests.payloads.test_processes import run, seen

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def test_100_MB_pass_through_a_step_whose_worker_is_killed_before_the_append(tmp_path: Path) -> None:
    log = broker().url()
    assert run(tmp_path, log, 100, "written").returncode == -9
    assert seen(tmp_path) == (1, 1)
    done = run(tmp_path, log, 100, "nowhere")
    assert done.stdout.split()[:1] == [str(100 << 20)], done.stderr
    assert seen(tmp_path) == (2, 1)
