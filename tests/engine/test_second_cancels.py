"""Cancels that nobody asked for by hand are never the second one: that would be by force, and cut cleaning up short."""

from __future__ import annotations

import pytest

from perdure import CancelOn, Context, Singleton
from perdure.testing import environment
from tests.engine.going_on import app
from tests.engine.test_cancel_on import Cancelled, Placed

pytestmark = pytest.mark.asyncio


async def test_an_event_that_cancels_a_run_and_its_child_lets_both_clean_up() -> None:
    """The parent's end cancels the child once more; by itself that is no second cancel, which would be by force."""
    a, cleaned = app(), list[str]()
    gone = CancelOn(Cancelled, match="data.order")

    def clean(who: str) -> None:
        cleaned.append(who)

    @a.function(on="pack", cancel_on=gone)
    async def pack(ctx: Context) -> None:
        try:
            await ctx.step.sleep("pack", "1d")
        finally:
            await ctx.step.sleep("wind-down", "1m")
            await ctx.step.run("clean", clean, "child")

    @a.function(on=Placed, cancel_on=gone)
    async def ship(ctx: Context[Placed]) -> None:
        try:
            await ctx.step.invoke("pack", pack, {"order": ctx.event.data.order})
        finally:
            await ctx.step.run("clean", clean, "parent")

    async with environment(a) as env:
        (parent,) = await env.send(Placed(customer="ada", order=7))
        await env.send(Cancelled(order=7))
        await env.advance("2m")
        (child,) = env.runs("pack")
        assert (parent.status, child.status) == ("cancelled", "cancelled")
        assert sorted(cleaned) == ["child", "parent"]


@pytest.mark.parametrize("by_hand_first", [True, False])
async def test_a_singleton_forces_nobody_who_cleans_up(by_hand_first: bool) -> None:
    a, cleaned = app(), list[int]()

    @a.function(on="go", singleton=Singleton(mode="cancel"))
    async def f(ctx: Context) -> None:
        try:
            await ctx.step.sleep("work", "1d")
        finally:
            await ctx.step.sleep("wind-down", "1m")
            await ctx.step.run("clean", cleaned.append, ctx.event.data["n"])

    async with environment(a) as env:
        (first,) = await env.send("go", {"n": 1})
        if by_hand_first:
            await first.cancel()
        await env.send("go", {"n": 2})
        await env.advance("2m")
        assert (first.status, cleaned) == ("cancelled", [1])
