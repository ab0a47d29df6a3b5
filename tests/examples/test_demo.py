"""examples/demo.py and the examples as programs, as somebody runs them who has just cloned the project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(example: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    env |= {"PYTHONPATH": str(ROOT / "framework"), "PYTHONWARNINGS": "error", "TMPDIR": str(folder), **more}
    command = [sys.executable, str(EXAMPLES / f"{example}.py")]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.slow
def test_the_demo_kills_its_worker_twice_and_proves_that_nothing_was_lost(tmp_path: Path) -> None:
    done = run("demo", tmp_path, CI="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for line in [
        "kill -9: the card is charged, and nobody has recorded it",
        "kill -9: between two steps, while the order waits",
        "process-order is done",
        "✓ the interrupted step ran again, in another process",
        "✓ with the same idempotency key",
        "✓ so the card was charged once",
        "✓ every other step ran once",
    ]:
        assert line in done.stdout
    assert "✗" not in done.stdout
    assert "\x1b[" not in done.stdout, "no colours where there is no terminal"
    assert list(tmp_path.iterdir()) == [], "the demo cleans up behind itself"


def test_the_demo_fails_when_its_proof_fails(tmp_path: Path) -> None:
    # A provider without idempotency keys: what is asked for twice is charged twice.
    broken = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import demo; from fakes import payments\n"
        "demo.payments.charges = lambda: 2 * [payments.Charge('ch', 'card', 4200)]\n"
        "demo.play = lambda stage, workers: played()\n"
        "async def played(): return demo.Order(order_id='1', status='delivered'), [-9, -9, 0]\n"
        "sys.exit(demo.main())"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT / "framework"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", broken, str(EXAMPLES)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "✗ so the card was charged once" in done.stdout


@pytest.mark.parametrize(
    ("example", "line"),
    [
        ("onboarding", "welcome"),
        ("payments", "was not paid: the bank declined 9.00"),
        ("orders", "status='delivered'"),
        ("user_import", "9 users imported"),
        ("report", "287.50 in 5 regions"),
    ],
)
def test_an_example_is_a_program(example: str, line: str, tmp_path: Path) -> None:
    log = f"sqlite:///{tmp_path}/log.db"
    done = run(example, tmp_path, PERDURE_LOG=log, PERDURE_EXAMPLES=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert line in done.stdout
    assert done.stderr == ""
