"""Real processes on a file: killed between the store and the log, and with a value of 100 MB."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.payloads.folder import FolderStore
from tests.house.sources import ROOT

PROGRAM = Path(__file__).with_name("program.py")
pytestmark = pytest.mark.slow


def run(folder: Path, log: str, mb: int, where: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'framework'}:{ROOT}"}
    command = [sys.executable, str(PROGRAM), str(folder), log, str(mb), where]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)


def seen(folder: Path) -> tuple[int, int]:
    """How often the step was called, and how many objects there are."""
    calls = (folder / "calls").read_text().count("call")
    return calls, len(list(FolderStore(folder / "payloads").names()))


@pytest.mark.parametrize(("where", "objects"), [("writing", 0), ("written", 1)])
def test_killed_between_the_object_and_the_append(tmp_path: Path, where: str, objects: int) -> None:
    log = f"sqlite:///{tmp_path}/log.db"
    assert run(tmp_path, log, 1, where).returncode == -9
    assert seen(tmp_path) == (1, objects)
    done = run(tmp_path, log, 1, "nowhere")
    assert done.stdout.split()[:1] == [str(1 << 20)], done.stderr
    assert seen(tmp_path) == (2, 1)  # the same bytes are the same object


def test_100_MB_pass_through_a_step(tmp_path: Path) -> None:
    log = f"sqlite:///{tmp_path}/log.db"
    done = run(tmp_path, log, 100, "nowhere")
    assert done.stdout.split()[:1] == [str(100 << 20)], done.stderr
    assert (tmp_path / "log.db").stat().st_size < 1 << 20
    again = run(tmp_path, log, 100, "nowhere")  # the result of the same run
    assert again.stdout.split()[:1] == [str(100 << 20)]
    assert seen(tmp_path) == (1, 1)
