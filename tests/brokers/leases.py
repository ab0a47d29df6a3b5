"""What several processes share ends with the last of them, also when that one is killed.

Each process that uses a thing holds a shared lock on a file, which the kernel drops when the process ends in whatever
way. And each leaves a keeper behind: `flock`, in a session of its own, waiting for the exclusive lock to run a command
that ends the thing. So the command runs when the last user is gone, and a kill -9 of a whole test run leaves nothing.
There may be several keepers, one after the other; the command must not mind to find nothing.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class Lease:
    """The use of a shared thing by this process, until it is released or the process ends."""

    def __init__(self, file: Path, ending: Sequence[str], env: Mapping[str, str]) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)  # waits while a keeper of former users is at work
        subprocess.run(
            ["setsid", "--fork", "flock", "--exclusive", str(file), *ending],
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )

    def release(self) -> None:
        """Ends the use. If it was the last one, the keeper does its work at once."""
        os.close(self._descriptor)

    @contextmanager
    def or_release(self) -> Generator[None]:
        """Releases it when what it was taken for fails."""
        try:
            yield
        except BaseException:
            self.release()
            raise
