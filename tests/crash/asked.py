"""Functions of the service that are sent signals and requests."""

from __future__ import annotations

from typing import Any

from perdure import App, Context
from tests.crash.ledger import effect

Ctx = Context[dict[str, Any]]


def add(run: str, a: int, b: int) -> int:
    with effect(run, a, b):
        return a + b


def times(run: str, a: int, b: int) -> int:
    with effect(run, a, b):
        return a * b


async def approval(ctx: Ctx) -> int:
    n = await ctx.step.run("ask", add, ctx.run_id, ctx.event.data["n"], 0)
    given = await ctx.step.wait_for_signal("approved", "approve", timeout=600)
    return await ctx.step.run("book", add, ctx.run_id, n, -1 if given is None else given.data)


async def haggling(ctx: Ctx) -> int:
    n = await ctx.step.run("ask", add, ctx.run_id, ctx.event.data["n"], 0)
    offer = await ctx.step.wait_for_signal("offer", "offer", timeout=600)
    assert offer is not None
    price = await ctx.step.run("reckon", times, ctx.run_id, n, offer.data)
    offer.reply(price)
    return await ctx.step.run("book", add, ctx.run_id, price, 1)


def declare(app: App) -> None:
    app.function(retries=0)(approval)
    app.function(retries=0)(haggling)
