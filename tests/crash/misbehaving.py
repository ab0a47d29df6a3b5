"""A second version of the service: functions whose code harms the process that it runs in."""

from __future__ import annotations

import asyncio
import ctypes
import resource
import threading
from pathlib import Path
from typing import Any

from perdure import App, FailureContext, SyncContext
from tests.crash import service
from tests.crash.ledger import effect
from tests.crash.service import Ctx, add, long

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


# --- what kills its interpreter ---------------------------------------------------------------------------------------


def crash() -> None:
    """As native code does that is wrong: nothing may be said before."""
    ctypes.string_at(0)


async def killing(ctx: Ctx) -> None:
    """Its body kills the interpreter in its first turn."""
    crash()


async def killing_after_a_step(ctx: Ctx) -> None:
    await ctx.step.run("first", add, ctx.run_id, 1, 1)
    crash()


async def killing_after_a_sleep(ctx: Ctx) -> None:
    await ctx.step.sleep("nap", 0.05)
    crash()


async def killing_when_told(ctx: Ctx) -> None:
    await ctx.step.wait_for_event("tell", "crash/tell", match="data.n", timeout=600, lookback="10m")
    crash()


def plainly_killing(ctx: SyncContext[dict[str, Any]]) -> None:
    ctx.step.run("first", add, ctx.run_id, 1, 1)
    ctx.step.sleep("nap", 0.05)
    crash()


async def mourned(ctx: Ctx) -> None:
    """It has a handler for its failure."""
    crash()


async def mourning(ctx: FailureContext[dict[str, Any]]) -> str:
    return await ctx.step.run("tell", told, ctx.run_id, ctx.error.type_name)


async def told(run: str, error: str) -> str:
    with effect(run, error):
        return error


async def neighbour(ctx: Ctx) -> int:
    data: dict[str, Any] = ctx.event.data
    n = await ctx.step.run("first", long, ctx.run_id, data["n"], 0.0)
    await asyncio.sleep(data["nap"])
    return await ctx.step.run("last", long, ctx.run_id, n, 0.0)


# --- what eats memory -------------------------------------------------------------------------------------------------


def eat(run: str, megabytes: int) -> int:
    """Asks for more than its process may have: an ordinary failure."""
    with effect(run, megabytes):
        eaten = bytearray(megabytes * 1024 * 1024)
        return len(eaten)


def limited(run: str, megabytes: int, spare: int) -> int:
    """The same, in a process that may have `spare` MB more than it has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + spare * 1024 * 1024, before[1]))
    try:
        return eat(run, megabytes)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


async def eating(ctx: Ctx) -> int:
    return await ctx.step.run("eat", limited, ctx.run_id, 512, 64)


KILLING = (killing, killing_after_a_step, killing_after_a_sleep, killing_when_told, plainly_killing)


def declared() -> App:
    app = App("crash", log="memory:")
    for body in (spinning, locked, eating, neighbour, *KILLING):
        app.function(on=f"crash/{body.__name__}", retries=0)(body)
    app.function(on="crash/mourned", retries=0, on_failure=mourning)(mourned)
    return app


service.DECLARED[CODE] = declared()
