"""A broker for one measurement: started by infra/kafka.sh for as long as it is needed, or one that runs already."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from machine import ROOT

SCRIPT = ROOT / "infra" / "kafka.sh"
JVM = "-Xmx512m -Xms512m"
"""In place of the script's own, with which a broker starts quickly and stays slow."""


@contextmanager
def broker(named: str, folder: Path) -> Generator[str]:
    """The bootstrap servers: those that are named, else of one node with its data in a new folder in this one."""
    if named:
        yield named
        return
    with tempfile.TemporaryDirectory(prefix="perdure-bench-kafka-", dir=folder) as place:
        env = {"KAFKA_JVM": JVM, **os.environ, "KAFKA_DIR": f"{place}/nodes"}

        def script(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([SCRIPT, *words], env=env, stdout=subprocess.PIPE, text=True, check=False)

        try:
            started = script("start", "1", "auto")
            if started.returncode:
                sys.exit("no broker; `--kafka HOST:PORT` measures on one that runs already")
            yield started.stdout.strip()
        finally:
            script("wipe")
