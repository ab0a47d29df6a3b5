"""The test's side of the zygote and its children: start, wait with a deadline, kill by pid."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.crash import ledger

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 60.0
_never = threading.Event()


def until(holds: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> None:
    """Returns when `holds()`; a deadline away, AssertionError."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        pause(0.003)


def pause(seconds: float) -> None:
    """Lets a random moment come, or the next look."""
    _never.wait(seconds)


class Zygote:
    """The process that forks all others."""

    def __init__(self, root: Path = ROOT, modules: Sequence[str] = (), **env: str) -> None:
        """`root`: the tree that it and its children run from. `modules`: with further lives, or with others."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env=os.environ | {"PYTHONPATH": f"{root}/framework{os.pathsep}{root}"} | env,
        )

    def command(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class Child:
    """One process."""

    def __init__(self, zygote: Zygote, life: str, folder: Path, arguments: dict[str, Any]) -> None:
        self._zygote = zygote
        self.folder = folder
        self.life = life
        self.pid: int = zygote.command(life=life, arguments={"folder": str(folder)} | arguments)["pid"]
        self._fd = os.pidfd_open(self.pid)
        self.code: int | None = None

    def ended(self) -> bool:
        return self.code is not None or bool(select.select([self._fd], [], [], 0)[0])

    def wait(self, within_s: float = WITHIN_S) -> int:
        """Its exit code, once it has ended."""
        code = self.code
        if code is None:
            ready = select.select([self._fd], [], [], within_s)[0]
            assert ready, f"{self.life} ({self.pid}) does not end within {within_s:g} s\n{self.errors()}"
            code = self.code = int(self._zygote.command(reap=self.pid)["code"])
            os.close(self._fd)
        return code

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> int:
        if self.code is None:
            self.signal(signal.SIGKILL)
        return self.wait()

    def started(self) -> None:
        """Waits until this worker is in the group."""
        until(
            lambda: any(line.what == "started" and line.pid == self.pid for line in ledger.read(self.folder)),
            "the worker has started",
        )

    def stop(self) -> int:
        """Asks it to leave, once it has come."""
        self.started()
        self.signal(signal.SIGTERM)
        return self.wait()

    def stopped(self) -> bool:
        """Whether it is paused."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def errors(self) -> str:
        """What the processes of this folder wrote on stderr."""
        file = self.folder / "errors"
        return file.read_text() if file.exists() else ""


class Place:
    """A folder with a log, and the processes on it."""

    def __init__(self, zygote: Zygote, folder: Path, **options: Any) -> None:
        self._zygote = zygote
        self.folder = folder
        self.options = options
        self.children: list[Child] = []

    def start(self, life: str, *, zygote: Zygote | None = None, **arguments: Any) -> Child:
        """`zygote`: of another tree than the place's own."""
        self.children.append(Child(zygote or self._zygote, life, self.folder, self.options | arguments))
        return self.children[-1]

    def close(self) -> None:
        for child in self.children:
            child.kill()
