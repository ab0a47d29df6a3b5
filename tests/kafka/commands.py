"""`perdure` as a process of its own, with the environment of the tests."""

from __future__ import annotations

import os
import subprocess

from tests.cli.terminal import command

WITHIN_S = 90.0


def perdure(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; `env` is added to the environment."""
    return subprocess.run(
        command(*arguments),
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
