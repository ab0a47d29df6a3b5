"""The testing kit itself: it is the same engine, and its checks can fail."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from perdure import App, Context, NonDeterminismError, SyncContext, UsageError
from perdure.testing import assert_replays, crash_everywhere, environment


def double(n: int) -> int:
    return 2 * n


def shop() -> App:
    a = App("shop")

    @a.function(on="order")
    async def order(ctx: Context) -> int:
        n = await ctx.step.run("price", double, ctx.event.data["n"])
        await ctx.step.sleep("pack", "1h")
        paid: int = await ctx.step.invoke("pay", pay, {"n": n})
        await ctx.step.send_event("tell", {"name": "paid", "data": {}})
        return await ctx.step.run("ship", double, paid)

    @a.function
    def pay(ctx: SyncContext) -> int:
        ctx.step.sleep("bank", "1d")
        return ctx.step.run("charge", double, ctx.event.data["n"])

    return a


@pytest.mark.asyncio
async def test_time_is_virtual_and_fires_in_order() -> None:
    async with environment(shop()) as env:
        began = env.now()
        (run,) = await env.send("order", {"n": 1})
        assert [(s.id, s.status) for s in run.steps] == [("price", "completed"), ("pack", "running")]
        await env.advance("7d")
        assert env.now() - began == timedelta(days=7)
        assert (run.status, run.result) == ("completed", 8)
        assert [s.id for s in run.steps] == ["price", "pack", "pay", "tell", "ship"]


@pytest.mark.asyncio
async def test_steps_are_mocked_by_value_error_and_callable() -> None:
    a = shop()
    async with environment(a) as env:
        env.mock_step("price", returns=100)
        mock = env.mock_step("charge", call=lambda n: n + 1, function="pay")
        (run,) = await env.send("order", {"n": 1})
        await env.advance("2d")
        assert (run.result, mock.calls) == (202, 1)
        env.mock_step("ship", raises=ConnectionError("strike"))
        (run,) = await env.send("order", {"n": 1})
        await env.advance("3d")
        assert (run.status, run.step("ship").status) == ("failed", "failed")
        with pytest.raises(UsageError, match="takes one of"):
            env.mock_step("ship", returns=1, raises=ValueError())


@pytest.mark.asyncio
async def test_crash_everywhere_passes_durable_code() -> None:
    report = await crash_everywhere(shop(), "order", {"n": 1})
    assert report.records > 10
    assert report.crashes == 2 * report.records


@pytest.mark.asyncio
async def test_crash_everywhere_catches_code_that_depends_on_its_process() -> None:
    a = App("careless")
    count = itertools.count()

    @a.function(on="order")
    async def order(ctx: Context) -> int:
        await ctx.step.run("price", double, 1)
        await ctx.step.sleep("pack", "1h")
        return next(count)  # a global that a replay moves on

    with pytest.raises(AssertionError, match=r"killed (before|after) record"):
        await crash_everywhere(a, "order", {})


@pytest.mark.asyncio
async def test_assert_replays_names_both_sides() -> None:
    async with environment(shop()) as env:
        (run,) = await env.send("order", {"n": 1})
        await env.advance("7d")
        assert_replays((r.view for r in env.runs()), shop())
        changed = App("shop")

        @changed.function(on="order", version="same")
        async def order(ctx: Context) -> int:
            return await ctx.step.run("cost", double, ctx.event.data["n"])

        with pytest.raises(NonDeterminismError, match="price"):
            assert_replays(run.view, changed)
        with pytest.raises(UsageError, match="does not have"):
            assert_replays(run.view, App("empty"))
