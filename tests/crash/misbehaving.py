"""A second version of the service: functions whose code harms the process that it runs in."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from perdure import App
from tests.crash import service
from tests.crash.ledger import effect
from tests.crash.service import Ctx, long

CODE = 20


# --- what holds the event loop ----------------------------------------------------------------------------------------


async def spin(run: str) -> None:
    with effect(run):
        while True:
            pass


async def spinning(ctx: Ctx) -> None:
    """Its step blocks the event loop for ever."""
    await ctx.step.run("spin", spin, ctx.run_id)


async def locked(ctx: Ctx) -> None:
    """Its body waits in C code, where nothing can be raised in it."""
    held = threading.Lock()
    held.acquire()
    held.acquire()


async def neighbour(ctx: Ctx) -> int:
    data: dict[str, Any] = ctx.event.data
    n = await ctx.step.run("first", long, ctx.run_id, data["n"], 0.0)
    await asyncio.sleep(data["nap"])
    return await ctx.step.run("last", long, ctx.run_id, n, 0.0)


def declared() -> App:
    app = App("crash", log="memory:")
    for body in (spinning, locked, neighbour):
        app.function(on=f"crash/{body.__name__}", retries=0)(body)
    return app


service.DECLARED[CODE] = declared()
