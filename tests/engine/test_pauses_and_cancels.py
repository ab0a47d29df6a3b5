"""Pauses, resumes and cancels in any order: what was asked for last is what holds."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from perdure import App, Context
from perdure.testing import environment
from tests.engine.test_findings_ends import until

pytestmark = pytest.mark.asyncio


def app() -> App:
    return App("test")


async def test_a_pause_before_the_first_commit_holds() -> None:
    a = app()
    begun, go_on = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    async def first() -> None:
        begun.set()
        await go_on.wait()

    @a.function
    async def work(ctx: Context) -> None:
        await ctx.step.run("first", first)
        await ctx.step.run("second", ran.append, "second")

    async with environment(a, partitions=1) as env:
        handle = await a.start(work)
        await begun.wait()  # no record says so yet
        await handle.pause()
        await until(env, lambda: any(run.status == "paused" for run in env.runs()))
        go_on.set()
        await env.settle()
        (run,) = env.runs()
        assert (run.status, ran) == ("paused", [])
        await run.resume()
        assert (run.status, ran) == ("completed", ["second"])


async def test_of_a_resume_and_a_pause_the_later_one_holds() -> None:
    a = app()
    ran: list[str] = []

    @a.function
    async def work(ctx: Context) -> None:
        await ctx.step.sleep("nap", "1h")
        await ctx.step.run("after", ran.append, "after")

    async with environment(a, partitions=1) as env:
        run = await env.start(work)
        handle = a.handle(work, run.id)
        await handle.pause()
        await asyncio.gather(handle.resume(), handle.pause())
        await env.advance("2h")
        assert (run.status, ran) == ("paused", [])
        await asyncio.gather(handle.pause(), handle.resume())
        await env.advance("2h")
        assert (run.status, ran) == ("completed", ["after"])


async def test_a_resume_of_a_run_that_goes_on_does_not_undo_a_later_pause() -> None:
    a = app()

    @a.function
    async def work(ctx: Context) -> None:
        await ctx.step.sleep("nap", "1h")

    async with environment(a, partitions=1) as env:
        run = await env.start(work)
        await run.resume()
        await run.pause()
        await env.advance("2h")
        assert run.status == "paused"
        await run.resume()
        await env.advance("1s")
        assert run.status == "completed"


async def test_a_scheduled_run_that_was_paused_and_resumed_still_starts_at_its_time() -> None:
    a = app()
    began: list[datetime] = []

    @a.function(on="later")
    async def work(ctx: Context) -> None:
        began.append(ctx.now())

    async with environment(a, partitions=1) as env:
        at = env.now() + timedelta(hours=1)
        (run,) = await env.send("later", {}, ts=at)
        await run.pause()
        await run.resume()
        assert (run.status, began) == ("scheduled", [])
        await env.crash_worker()
        await env.start_worker()
        await env.advance("59m")
        assert began == []
        await env.advance("1m")
        assert (run.status, began) == ("completed", [at])


async def test_a_scheduled_run_that_was_paused_beyond_its_time_starts_when_it_is_resumed() -> None:
    a = app()

    @a.function(on="later")
    async def work(ctx: Context) -> str:
        return "done"

    async with environment(a, partitions=1) as env:
        (run,) = await env.send("later", {}, ts=env.now() + timedelta(hours=1))
        await run.pause()
        await env.advance("2h")
        assert run.status == "paused"
        await run.resume()
        await env.advance("1s")
        assert run.result == "done"


# --- cancels that need no body ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [True, False])
async def test_a_run_whose_function_is_gone_can_be_cancelled(force: bool) -> None:
    a = app()

    @a.function
    async def gone(ctx: Context) -> None:
        await ctx.step.sleep("nap", "1h")

    async with environment(a, partitions=1) as env:
        run = await env.start(gone)
        await env.stop_worker()
        del a.functions._functions["gone"]
        await env.start_worker()
        if not force:
            await run.cancel()  # the body may want to clean up, when it comes back
            assert run.status == "running"
        await run.cancel(force=force)
        assert run.status == "cancelled"


async def test_a_second_cancel_ends_a_run_whose_body_does_not_heed_the_first() -> None:
    a = app()

    @a.function
    async def deaf(ctx: Context) -> None:
        while True:
            try:
                await ctx.step.sleep("nap", "1h")
            except asyncio.CancelledError:
                continue

    async with environment(a, partitions=1) as env:
        run = await env.start(deaf)
        await run.cancel()
        await env.crash_worker()
        await env.start_worker()
        assert run.status == "running"
        await run.cancel()
        assert run.status == "cancelled"


@pytest.mark.parametrize("evicted", [True, False])
async def test_a_paused_run_is_cancelled_without_its_body_wherever_that_is(evicted: bool) -> None:
    a = app()
    cleaned: list[str] = []

    @a.function
    async def work(ctx: Context) -> None:
        try:
            await ctx.step.wait_for_signal("go", "go")
        finally:
            await ctx.step.run("clean", cleaned.append, "clean")

    async with environment(a, partitions=1) as env:
        run = await env.start(work)
        await run.pause()
        if evicted:
            await env.crash_worker()
            await env.start_worker()
        await run.cancel()
        assert (run.status, cleaned) == ("cancelled", [])
