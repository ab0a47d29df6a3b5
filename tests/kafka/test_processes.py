"""`perdure worker --processes` on a real broker: members of one group, of which one is killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.brokers import broker
from tests.cli.terminal import perdure, screen
from tests.cli.test_processes import pids
from tests.cli.test_processes import shop as shop  # the fixture
from tests.crash.processes import until

pytestmark = pytest.mark.kafka

QUICK = "import os; os.environ['PERDURE_KAFKA_SESSION_TIMEOUT_MS'] = '2500'"


def completed(shop: Path, log: str) -> int:
    listed = perdure(shop, "runs", "list", "--json", "--limit", "100", "--log", log)
    assert listed.returncode == 0, listed.stderr
    return [run["status"] for run in json.loads(listed.stdout)].count("completed")


def test_a_process_that_is_killed_is_replaced_and_nothing_is_lost(shop: Path) -> None:
    url = urlsplit(broker().url())
    log = f"kafka://{url.netloc}{url.path}"
    command = ("worker", "shop.py:app", "--processes", "2", "--verbose", "--log", f"{log}?create=4")
    with screen(shop, *command, before=QUICK) as workers:
        workers.until(r"leads(: 2 of 4| 2 of 4)")
        victim, _ = pids(workers, 2)

        def order(number: int) -> None:
            sent = perdure(shop, "events", "send", "shop/ordered", f'{{"order": "{number}"}}', "--log", log)
            assert sent.returncode == 0, sent.stderr

        order(0)
        workers.until(r'[12] \| .*completed in .*→ "PAID 0"')
        os.kill(victim, signal.SIGKILL)
        for number in range(1, 3):
            order(number)
        workers.until(r"died: process [12] \(killed by SIGKILL\); it is started again in 500 ms")
        until(lambda: completed(shop, log) == 3, "all orders are sold")
        workers.send(signal.SIGTERM)
        assert workers.exit_code() == 0, workers.text
        assert workers.text.count("drained") == 2, workers.text
