"""Whether processes are there, for tests that end them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from tests.worker.attempts import WITHIN_S

__all__ = ["alive", "gone", "until"]


async def until(holds: Callable[[], bool]) -> None:
    """Waits until `holds()`; a deadline away, TimeoutError."""
    async with asyncio.timeout(WITHIN_S):
        while not holds():
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether the process runs. One that has ended and was not yet waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it goes while it is read
        pass
    if os.path.exists("/proc/self/stat"):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(pid: int) -> None:
    await until(lambda: not alive(pid))
