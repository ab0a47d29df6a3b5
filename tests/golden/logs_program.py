"""The app whose whole logs are kept in `logs/`: each function has a run there that is in a state of its own.

It is never edited: what it did stands in logs that every later release opens and carries on. One that has to change
gets a new name, and a new log beside the old ones.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from perdure import App, Context, FailureContext, Retry, SyncContext
from perdure.logs.contract import Log

Ctx = Context[dict[str, Any]]

NAME = "golden"
opened = threading.Event()
"""Set when a log is carried on: what could not end when it was written can now."""
LATER = "3s"
"""Longer than the writing takes from there."""


class Refused(Exception):
    """A step, or a body, that fails."""


async def add(a: int, b: int) -> int:
    return a + b


async def fails_first(n: int) -> int:
    from perdure import current_step

    if current_step().attempt == 1:
        raise Refused("the first time")
    return n


async def refuses(n: int) -> int:
    raise Refused(f"never {n}")


async def gated(n: int) -> int:
    while not opened.is_set():
        await asyncio.sleep(0.01)
    return n


def lingers() -> None:
    opened.wait()


async def whole(ctx: Ctx) -> int:
    """Done when the log was written."""
    n = ctx.event.data["n"]
    ctx.set_value("progress", 0.5)
    a = await ctx.step.run("a", add, n, 1)
    b = await ctx.step.options(retry=Retry(limit=2, initial=0.01, jitter=0)).run("b", fails_first, a)
    await ctx.step.sleep("nap", 0.02)
    await ctx.step.send_event("tell", {"name": "golden/told", "data": {"n": b}})
    return await ctx.step.run("c", add, b, 1)


async def undo(ctx: FailureContext[dict[str, Any]]) -> str:
    return await ctx.step.run("undo", _message_of, ctx.error.message)


async def _message_of(message: str) -> str:
    return message


async def fails(ctx: Ctx) -> int:
    return await ctx.step.run("refuses", refuses, ctx.event.data["n"])


async def sleeps(ctx: Ctx) -> int:
    n = await ctx.step.run("before", add, ctx.event.data["n"], 1)
    await ctx.step.sleep("nap", LATER)
    return await ctx.step.run("after", add, n, 1)


async def retries(ctx: Ctx) -> int:
    policy = Retry(limit=1, initial=3.0, jitter=0)
    return await ctx.step.options(retry=policy).run("flaky", fails_first, ctx.event.data["n"])


async def waits(ctx: Ctx) -> int:
    paid = await ctx.step.wait_for_event("pay", "golden/paid", match="data.n", timeout="3650d")
    return await ctx.step.run("book", add, -1 if paid is None else paid.data["amount"], 1)


async def looks_back(ctx: Ctx) -> int:
    paid = await ctx.step.wait_for_event("pay", "golden/paid", match="data.n", timeout="3650d", lookback="1h")
    return await ctx.step.run("book", add, -1 if paid is None else paid.data["amount"], 2)


async def signalled(ctx: Ctx) -> int:
    given = await ctx.step.wait_for_signal("approved", "approve", timeout="3650d")
    return await ctx.step.run("book", add, ctx.event.data["n"], -1 if given is None else given.data)


async def parent(ctx: Ctx) -> int:
    doubled: int = await ctx.step.invoke("child", "child", {"n": ctx.event.data["n"]})
    return await ctx.step.run("more", add, doubled, 1)


async def child(ctx: Ctx) -> int:
    return await ctx.step.run("gated", gated, 2 * ctx.event.data["n"])


async def quick_parent(ctx: Ctx) -> int:
    doubled: int = await ctx.step.invoke("child", "quick_child", {"n": ctx.event.data["n"]})
    return await ctx.step.run("more", add, doubled, 1)


async def quick_child(ctx: Ctx) -> int:
    return await ctx.step.run("double", add, ctx.event.data["n"], ctx.event.data["n"])


async def races(ctx: Ctx) -> str:
    name, _ = await ctx.step.race(
        quick=ctx.step.run("quick", add, 1, 1),
        nap=ctx.step.sleep("nap", "1d"),
        event=ctx.step.wait_for_event("never", "golden/never", timeout="1d"),
        run=ctx.step.invoke("other", "signalled", {"n": 1}),
        slow=ctx.step.run("slow", lingers),
    )
    return name


async def parks(ctx: Ctx) -> int:
    n = await ctx.step.run("before", add, ctx.event.data["n"], 1)
    if not opened.is_set():
        raise Refused("not yet")
    return await ctx.step.run("after", add, n, 1)


def plain(ctx: SyncContext[dict[str, Any]]) -> int:
    n = ctx.step.run("before", add, ctx.event.data["n"], 1)
    ctx.step.sleep("nap", LATER)
    return ctx.step.run("after", add, n, 1)


def app_on(log: Log | str) -> App:
    """The app on a log."""
    app = App(NAME, log=log)
    for body in (whole, sleeps, retries, waits, looks_back, signalled, parent, quick_parent, races, plain):
        app.function(on=f"golden/{body.__name__}", retries=0)(body)
    app.function(on="golden/fails", retries=0, on_failure=undo)(fails)
    app.function(on="golden/parks", retries=0, on_error="pause")(parks)
    for body in (child, quick_child):
        app.function(retries=0, id=body.__name__)(body)
    return app


# --- what stands in the logs, and what must come of it ----------------------------------------------------------------

RUNS: dict[str, tuple[str, str, Any]] = {
    "whole": ("whole", "completed", 5),
    "fails": ("fails", "failed", "never 3"),
    "sleeps": ("sleeps", "running", 5),
    "retries": ("retries", "running", 3),
    "waits": ("waits", "running", 401),
    "waits-later": ("waits", "running", 701),
    "looks-back": ("looks_back", "completed", 502),
    "signalled": ("signalled", "running", 10),
    "approved": ("signalled", "completed", 10),
    "parent": ("parent", "running", 7),
    "quick-parent": ("quick_parent", "completed", 7),
    "races": ("races", "completed", "quick"),
    "parks": ("parks", "parked", 5),
    "plain": ("plain", "running", 5),
    "paused": ("signalled", "paused", 10),
    "resumed": ("signalled", "running", 10),
    "cancelled": ("signalled", "cancelled", None),
    "scheduled": ("whole", "scheduled", 5),
}
"""By the id of the event that started it: the function, its status in the log, and its result in the end. All have
n=3, but for `waits` (4), `waits-later` (7) and `looks-back` (5), which match by it."""
NUMBERS = {"waits": 4, "waits-later": 7, "looks-back": 5}
APPROVE = ("signalled", "paused", "resumed")
"""Those that are sent a signal, with 7, when the log is carried on."""
