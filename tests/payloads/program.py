"""A process with a worker whose step returns much: `program.py FOLDER LOG MB WHERE`, and WHERE it kills itself."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from pathlib import Path

from perdure import App, Context, FolderStore, Payloads


def large(mb: int) -> str:
    with open(FOLDER / "calls", "a") as file:
        file.write("call\n")
    return "0123456789abcdef" * (mb << 16)


class Killing(FolderStore):
    """Dies as it puts."""

    def put(self, name: str, data: bytes) -> None:
        if WHERE == "writing":
            os.fsync = _die
        super().put(name, data)
        if WHERE == "written":
            _die(0)


def _die(_handle: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


async def main(log: str, mb: int) -> None:
    app = App("large", log=log, payloads=Payloads(store=Killing(FOLDER / "payloads")))

    @app.function
    async def grow(ctx: Context) -> int:
        made = await ctx.step.run("large", large, ctx.event.data["mb"])
        await ctx.step.sleep("nap", 0.01)
        return len(made)

    async with app.worker():
        run = await app.start(grow, {"mb": mb}, id="one")
        print(await run.result(timeout=90), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
    await app.close()


if __name__ == "__main__":
    FOLDER, WHERE = Path(sys.argv[1]), sys.argv[4]
    asyncio.run(main(sys.argv[2], int(sys.argv[3])))
