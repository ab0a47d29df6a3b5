"""Steering runs: signals, cancels, pauses, parking, and the retries of `def` bodies."""

from __future__ import annotations

import pytest

from perdure import App, Context, Retry, SyncContext
from perdure.testing import environment

pytestmark = pytest.mark.asyncio


def app() -> App:
    return App("test")


def double(n: int) -> int:
    return 2 * n


async def test_signals_are_given_in_order_also_when_they_came_before_the_wait() -> None:
    a = app()

    @a.function
    async def approve(ctx: Context) -> list[object]:
        await ctx.step.sleep("first", "1h")
        got = [await ctx.step.wait_for_signal(f"s{n}", "approve", timeout="1d") for n in range(3)]
        return [None if signal is None else signal.data for signal in got]

    async with environment(a) as env:
        run = await env.start(approve)
        await run.signal("approve", {"by": "ann"})
        await run.signal("other", 1)
        await env.advance("1h")
        await run.signal("approve", {"by": "bob"})
        await env.advance("1d")
        assert run.result == [{"by": "ann"}, {"by": "bob"}, None]


async def test_a_cancelled_run_may_clean_up_and_a_forced_one_may_not() -> None:
    a = app()
    cleaned: list[str] = []

    def clean(who: str) -> None:
        cleaned.append(who)

    @a.function
    async def long(ctx: Context) -> None:
        try:
            await ctx.step.sleep("long", "30d")
        finally:
            await ctx.step.run("clean", clean, ctx.event.data["who"])

    async with environment(a) as env:
        kind, hard = [await env.start(long, {"who": who}) for who in ("kind", "hard")]
        await kind.cancel(reason="enough")
        await hard.cancel(force=True)
        assert (kind.status, hard.status, cleaned) == ("cancelled", "cancelled", ["kind"])
        assert kind.view.reason == "enough"


async def test_a_paused_run_starts_no_steps_and_goes_on_when_resumed() -> None:
    a = app()

    @a.function
    async def work(ctx: Context) -> int:
        await ctx.step.sleep("nap", "1h")
        return await ctx.step.run("double", double, 4)

    async with environment(a) as env:
        run = await env.start(work)
        await run.pause(reason="incident")
        await env.advance("2h")
        assert (run.status, len(run.steps)) == ("paused", 1)
        await run.resume()
        await env.advance("1s")
        assert run.result == 8


async def test_an_error_can_park_a_run_until_the_code_is_mended() -> None:
    a = app()
    broken = True

    @a.function(on_error="pause")
    async def work(ctx: Context) -> int:
        got = await ctx.step.run("double", double, 4)
        if broken:
            raise ZeroDivisionError("bug")
        return await ctx.step.run("again", double, got)

    async with environment(a) as env:
        run = await env.start(work)
        assert run.status == "parked"
        assert "ZeroDivisionError" in run.view.reason
        broken = False
        await run.resume()
        assert (run.status, run.result) == ("completed", 16)


async def test_a_step_out_of_attempts_can_pause_its_run() -> None:
    a = app()
    down = True

    def call() -> str:
        if down:
            raise ConnectionError("down")
        return "up"

    @a.function(retry=Retry(limit=1, initial="1s", then="pause"))
    async def work(ctx: Context) -> str:
        return await ctx.step.run("call", call)

    async with environment(a) as env:
        run = await env.start(work)
        await env.advance("1m")
        assert run.status == "parked"
        down = False
        await run.resume()
        assert run.result == "up"


async def test_a_def_body_is_retried_under_the_functions_policy() -> None:
    a = app()
    tries: list[int] = []

    @a.function(retry=Retry(limit=3, initial="1m", jitter=0))
    def work(ctx: SyncContext) -> int:
        got = ctx.step.run("double", double, 4)
        tries.append(got)
        if len(tries) < 3:
            raise ConnectionError("the body itself failed")
        return got

    async with environment(a) as env:
        run = await env.start(work)
        await env.advance("10m")
        assert (run.result, tries, run.step("double").attempts) == (8, [8, 8, 8], 1)


async def test_a_def_body_out_of_tries_fails() -> None:
    a = app()

    @a.function(retries=1)
    def work(ctx: SyncContext) -> int:
        raise ConnectionError("always")

    async with environment(a) as env:
        run = await env.start(work)
        await env.advance("10m")
        assert (run.status, run.error and run.error["type"]) == ("failed", "ConnectionError")


async def test_a_def_body_that_raises_while_it_is_replayed_is_tried_again() -> None:
    a = app()
    down = False

    @a.function(retry=Retry(limit=5, initial="1m", jitter=0))
    def work(ctx: SyncContext) -> int:
        if down:
            raise ConnectionError("the database of the body is away")
        ctx.step.sleep("nap", "1h")
        return ctx.step.run("double", double, 4)

    async with environment(a) as env:
        run = await env.start(work)
        await env.crash_worker()
        down = True
        await env.start_worker()
        await env.advance("1h")
        assert run.status == "running"
        down = False
        await env.advance("2h")
        assert run.result == 8
