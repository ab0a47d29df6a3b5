"""The version of the service whose functions are under flow control."""

from __future__ import annotations

import asyncio

from perdure import App, Concurrency, Context, Singleton, Throttle
from tests.crash.ledger import effect

LIMITED = 4
RUNS = 3
"""Runs of `held` at once."""
STEPS = 2
"""Steps of `stepping` at once."""
STEP_S = 0.004


async def work(run: str, n: int) -> int:
    with effect(run, n):
        await asyncio.sleep(STEP_S)
    return n


async def held(ctx: Context) -> int:
    await ctx.step.run("one", work, ctx.run_id, 1)
    await ctx.step.sleep("nap", 0.01)
    return await ctx.step.run("two", work, ctx.run_id, 2)


async def stepping(ctx: Context) -> int:
    both = await asyncio.gather(*(ctx.step.run(f"s{n}", work, ctx.run_id, n) for n in range(2)))
    return sum(both)


async def alone(ctx: Context) -> int:
    return await ctx.step.run("one", work, ctx.run_id, 1)


def declared() -> App:
    """The app, with nowhere to run yet."""
    app = App("crash", log="memory:")
    narrow = Concurrency(1, key="event.data.who", unit="run")
    app.function(on="limited", retries=0, concurrency=[Concurrency(RUNS, unit="run"), narrow])(held)
    app.function(on="limited", retries=0, concurrency=Concurrency(STEPS), throttle=Throttle(100, "1s"))(
        stepping
    )
    app.function(on="limited", retries=0, singleton=Singleton(key="event.data.who"))(alone)
    return app
