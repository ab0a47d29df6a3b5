"""On what a figure was measured: without it, a figure says nothing."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("confluent-kafka", "fastavro", "pydantic", "opentelemetry-api")
BUSY_LOAD = 1.0
"""A load average before a measurement, above which its figures say more about what else ran."""
AGAIN = "to be measured again on a quiet machine"
CODE = ("framework", "schemas", "benchmarks", ":!benchmarks/figures")
ROOT = Path(__file__).resolve().parent.parent


def described(folder: Path) -> dict[str, Any]:
    """The machine, what runs on it, and which code; the log lies in `folder`."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "file_system": _file_system(folder),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "libraries": {name: _version(name) for name in LIBRARIES},
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--", *CODE)),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def remark(before: Iterable[float]) -> str:
    """What is to be said of figures that were measured after such loads; "" for those of a quiet machine."""
    return f". **Busy: {AGAIN}**" if any(one > BUSY_LOAD for one in before) else ""


def load() -> float:
    """Load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _file_system(folder: Path) -> str:
    """Its type: on a tmpfs, making a commit durable costs nothing."""
    found, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, this, *_ = line.split()
        if folder.resolve().is_relative_to(place) and len(place) >= len(found):
            found, kind = place, this
    return kind


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
