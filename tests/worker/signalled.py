"""A program with a worker in it, for the tests of signals: what it is to do comes on the command line."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from perdure.worker.process import run_until_signalled


def say(line: str) -> None:
    print(line, flush=True)


@asynccontextmanager
async def serve() -> AsyncIterator[str]:
    how = sys.argv[1]
    if how == "slow-start":
        say("starting")
        await asyncio.sleep(60)
    say("serving")
    if how == "blocked":
        asyncio.get_running_loop().call_soon(threading.Event().wait, 60)
    yield how
    say("leaving")
    await asyncio.sleep({"slow-drain": 60.0}.get(how, 0.01))
    if how == "stuck-drain":
        threading.Event().wait(60)
    say("left")


async def until(how: str) -> None:
    if how == "until":
        return
    if how == "until-raises":
        raise OSError("the log is gone")
    await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(run_until_signalled(serve, drain_timeout_s=30, until=until, say=say))
