"""Child processes of a command."""

from __future__ import annotations

import asyncio.subprocess
import os
from contextlib import suppress

__all__ = ["signal_to"]


def signal_to(process: asyncio.subprocess.Process, number: int) -> None:
    """Sends a signal to a child, if it still runs.

    `process.send_signal` looks first whether the child has died, and so takes its exit code away from the event loop,
    which then says that it is 255.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
