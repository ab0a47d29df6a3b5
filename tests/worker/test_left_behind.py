"""What a worker that ends without closing leaves behind: nothing that runs, and no exit that waits."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker.attempts import WITHIN_S
from tests.worker.processes import gone

PROGRAM = Path(__file__).with_name("left_behind.py")


@pytest.mark.parametrize(("how", "code"), [("killed", -9), ("forgets", 0)])
def test_the_process_exits_and_its_step_processes_with_it(how: str, code: int, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    run = subprocess.run(
        [sys.executable, str(PROGRAM), how, str(pids)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=WITHIN_S,
    )
    assert run.returncode == code
    for pid in pids.read_text().split():
        asyncio.run(gone(int(pid)))


def test_a_main_module_that_starts_a_worker_when_imported_is_told_so(tmp_path: Path) -> None:
    program = tmp_path / "unguarded.py"
    program.write_text(
        "import sys\n"
        "from perdure.worker.process import run_until_signalled\n"
        "from tests.worker.unguarded import once\n"
        "sys.exit(run_until_signalled(once, drain_timeout_s=1, until=lambda step: step))\n"
    )
    run = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=WITHIN_S,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0
    assert "the process for tests.worker.functions.double ended before it was ready" in run.stdout
    assert 'if __name__ == "__main__"' in run.stdout
    assert "UsageError: a worker was started while a step's process imports the main module" in run.stderr
