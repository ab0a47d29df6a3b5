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
from time import perf_counter
from typing import Any

LIBRARIES = ("confluent-kafka", "fastavro", "pydantic", "opentelemetry-api")
BUSY = 0.15
"""So much of a core taken by others, and figures say more about these."""
OURS = "perdure-bench-"
"""In the command line of what a measurement starts, and does not have as its child: a broker."""
TICKS = os.sysconf("SC_CLK_TCK")
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


class Others:
    """How much of the machine others have used since this was made. The load average says less: it counts us, too."""

    def __init__(self) -> None:
        self._began, self._all, self._own = perf_counter(), _busy_s(), _own_s()

    def cores(self) -> float:
        """Cores that processes were busy on that neither are nor descend from this one."""
        busy, own = _busy_s() - self._all, _own_s() - self._own
        return round(max(busy - own, 0.0) / (perf_counter() - self._began), 3)


def remark(others: Iterable[float | None]) -> str:
    """What is to be said of figures beside which others used so many cores; "" for those of a quiet machine."""
    return f". **Busy: {AGAIN}**" if any(one is None or one > BUSY for one in others) else ""


def _busy_s() -> float:
    """Seconds that all cores were busy, with what they did for the kernel."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / TICKS


def _own_s() -> float:
    """The same of this process, of all that descend from it, and of those that have ended and were waited for."""
    parents: dict[int, int] = {}
    spent: dict[int, int] = {}
    ours = {os.getpid()}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            if OURS in (place / "cmdline").read_text():
                ours.add(int(place.name))
        except (OSError, UnicodeDecodeError):  # it has ended
            continue
        parents[int(place.name)] = int(fields[1])
        spent[int(place.name)] = sum(map(int, fields[11:15]))
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        ours |= more
        grown = bool(more)
    return sum(spent.get(pid, 0) for pid in ours) / TICKS


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
