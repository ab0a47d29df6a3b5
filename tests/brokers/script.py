"""`infra/kafka.sh` from Python."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.brokers.asking import unavailable

SCRIPT = Path(__file__).resolve().parents[2] / "infra" / "kafka.sh"
MISSING = 3
"""Its exit code when there is no Java or no Maven."""
TIMEOUT_S = 110
"""It gives up by itself before; fetching the jars may take this long where they are not cached yet."""


def environment(folder: Path, properties: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the script reads: where the nodes are, and lines for their server.properties."""
    lines = "\n".join(f"{name}={value}" for name, value in (properties or {}).items())
    return os.environ | {"KAFKA_DIR": str(folder), "KAFKA_PROPS": lines}


def kafka_sh(env: Mapping[str, str], *arguments: str) -> str:
    """Runs it and returns what it prints. Without Java or Maven, the test ends here."""
    command = [str(SCRIPT), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode == MISSING:
        unavailable(done.stderr.strip())
    if done.returncode:
        raise AssertionError(
            f"kafka.sh {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout.strip()
