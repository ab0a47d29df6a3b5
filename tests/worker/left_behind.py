"""A program with steps that hang, for the tests of what is left behind; how it ends comes on the command line."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

from perdure.worker.steps import LocalSteps
from tests.worker.attempts import begin
from tests.worker.functions import sleep_beside
from tests.worker.processes import until


async def main(how: str, pids: str) -> None:
    steps = LocalSteps()
    begin(steps, sleep_beside, pids, executor="process")
    begin(steps, threading.Event().wait, 1000)
    file = Path(pids)
    await until(lambda: file.exists() and file.read_text().endswith("\n"))
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
