"""A function that is paused starts nothing, and what it did not start is known."""

from __future__ import annotations

import pytest

from perdure import App, Context, Cron, RunCancelled, StepError, UsageError
from perdure.testing import environment
from tests.engine.going_on import app

pytestmark = pytest.mark.asyncio


def shop() -> App:
    a = app()

    @a.function(on=["order/placed", Cron("0 * * * *")])
    async def bill(ctx: Context) -> str:
        await ctx.step.sleep("a-while", "10m")
        return "billed"

    @a.function
    async def parent(ctx: Context) -> str:
        try:
            return await ctx.step.invoke("bill", "bill")
        except StepError as error:
            return f"{error.type_name}: {error.message}"

    return a


async def test_events_ticks_and_starts_are_refused_and_runs_go_on() -> None:
    a = shop()
    async with environment(a) as env:
        (before,) = await env.send("order/placed", {})
        await a.pause("bill", reason="the bank is away")
        await env.settle()
        assert await a.paused() == {"bill": "the bank is away"}
        assert await env.send("order/placed", {}, id="missed") == []
        await env.advance("1h")
        assert before.result == "billed"
        assert [(s.event, s.function, s.reason) for s in await a.runs.skipped()] == [
            ("bill 0 * * * *@2026-01-01T01:00:00Z", "bill", "the function is paused: the bank is away"),
            ("missed", "bill", "the function is paused: the bank is away"),
        ]
        started = await a.start(a.functions.resolve("bill"), {}, id="by-name")
        with pytest.raises(RunCancelled, match="the function is paused: the bank is away"):
            await started.result("5s")
        invoking = await env.start(a.functions.resolve("parent"))
        assert invoking.result == (
            "perdure.errors.UsageError: function bill did not start: the function is paused: the bank is away"
        )

        await a.resume("bill")
        await env.settle()
        assert await a.paused() == {}
        (after,) = await env.send("order/placed", {})
        await env.advance("1h")
        assert after.result == "billed"
        assert len([run for run in env.runs("bill") if run.status == "completed"]) == 2


async def test_a_pause_outlives_crashes_and_deploys() -> None:
    a, newer = shop(), shop()

    @newer.function(on="order/placed")
    async def thank(ctx: Context) -> str:
        return "thank you"

    async with environment(a) as env:
        await a.pause("bill")
        await env.settle()
        await env.crash_worker()
        await env.start_worker()
        assert await env.send("order/placed", {}) == []
        await env.stop_worker()
        env.app = newer
        await env.start_worker()
        await env.settle()
        await a.send("order/placed", {})
        await env.settle()
        assert [run.function for run in env.runs()] == ["thank"]
        assert {skip.reason for skip in await a.runs.skipped()} == {"the function is paused"}


async def test_ticks_that_wait_start_after_the_pause() -> None:
    a = app()

    @a.function(on=Cron("*/10 * * * *", overlap="buffer"))
    async def tidy(ctx: Context) -> None:
        await ctx.step.sleep("work", "15m")

    async with environment(a) as env:
        await env.advance("21m")  # the first one runs, the second one waits
        await a.pause(tidy)
        await env.settle()
        await env.advance("20m")
        assert len(env.runs()) == 1
        await a.resume(tidy)
        await env.settle()
        await env.advance("1s")
        assert len(env.runs()) == 2


async def test_a_function_that_is_not_there_and_a_reason_that_is_none() -> None:
    a = shop()
    async with environment(a):
        with pytest.raises(UsageError, match='did you mean "bill"'):
            await a.pause("bil")
        with pytest.raises(UsageError, match="must be a string"):
            await a.pause("bill", reason=7)  # pyright: ignore[reportArgumentType]
