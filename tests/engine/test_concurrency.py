"""How many steps and runs go on at once: never more than the limit says, and no place is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import (
    Concurrency,
    Context,
    Priority,
    Singleton,
)
from perdure.testing import TestRun, environment
from tests.engine.flow import counted, gates, go, reasons, sleeping, sound
from tests.engine.going_on import app

pytestmark = pytest.mark.asyncio

# --- concurrency ------------------------------------------------------------------------------------------------------


async def test_concurrency_of_runs_is_held_from_start_to_end() -> None:
    async with environment(sleeping(concurrency=Concurrency(2, unit="run"))) as env:
        await go(env, 5)
        for done in (0, 2, 4):
            assert counted(env).get("completed", 0) == done
            assert counted(env).get("running", 0) == min(2, 5 - done)
            sound(env)
            await env.advance("10s")
        assert counted(env) == {"completed": 5}
        assert gates(env) == []


async def test_runs_that_wait_start_in_the_order_in_which_they_came() -> None:
    async with environment(sleeping(concurrency=Concurrency(1, unit="run"))) as env:
        runs: list[TestRun[Any]] = []
        for _ in range(4):
            runs += await go(env)
            await env.advance("1s")
        await env.advance("1m")
        assert sorted(runs, key=lambda run: run.view.started) == runs


async def test_priority_moves_a_run_that_waits() -> None:
    flow = {"concurrency": Concurrency(1, unit="run"), "priority": Priority("event.data.first ? 60 : 0")}
    async with environment(sleeping(**flow)) as env:
        (before,) = await go(env, 1, first=False)
        (usual,) = await go(env, 1, first=False)
        await env.advance("5s")
        (hurried,) = await go(env, 1, first=True)
        await env.advance("1m")
        started = [run.view.started for run in (before, hurried, usual)]
        assert started == sorted(started)


async def test_a_run_that_is_cancelled_while_it_waits_leaves_the_queue_and_one_that_fails_its_place() -> None:
    a = app()

    @a.function(on="go", id="f", retries=0, concurrency=Concurrency(1, unit="run"))
    async def f(ctx: Context) -> None:
        await ctx.step.sleep("work", "10s")
        raise ValueError("no")

    async with environment(a) as env:
        first, second, third = sorted(await go(env, 3), key=lambda run: run.status != "running")
        await second.cancel()
        assert second.status == "cancelled"
        await env.advance("10s")
        assert (first.status, third.status) == ("failed", "running")
        await third.cancel()
        assert third.status == "cancelled"
        assert gates(env) == []
        (again,) = await go(env)
        assert again.status == "running"


async def test_a_limit_on_steps_counts_what_executes_and_no_sleep() -> None:
    a = app()
    now: list[str] = []
    most = 0

    async def work(who: str) -> None:
        nonlocal most
        now.append(who)
        most = max(most, len(now))
        for _ in range(5):
            await asyncio.sleep(0)
        now.remove(who)

    @a.function(on="go", id="f", concurrency=Concurrency(2))
    async def f(ctx: Context) -> None:
        await ctx.step.run("one", work, ctx.run_id)
        await ctx.step.sleep("pause", "1h")
        await ctx.step.run("two", work, ctx.run_id)

    async with environment(a) as env:
        for _ in range(7):
            await env.app.send("go", {})
        await env.advance("30m")
        assert counted(env) == {"running": 7}, "all of them sleep"
        assert gates(env) == []
        await env.advance("2h")
        assert counted(env) == {"completed": 7}
        assert most == 2
        sound(env)


async def test_a_step_holds_no_place_while_it_pauses_before_its_next_attempt() -> None:
    a = app()
    tries: list[str] = []

    def work(who: str) -> None:
        tries.append(who)
        if tries.count(who) == 1 and who == "slow":
            raise ValueError("not yet")

    @a.function(on="go", id="f", concurrency=Concurrency(1))
    async def f(ctx: Context) -> None:
        await ctx.step.run("work", work, ctx.event.data["who"])

    async with environment(a) as env:
        (slow,) = await go(env, 1, who="slow")
        assert slow.status == "running"
        (quick,) = await go(env, 1, who="quick")
        assert quick.status == "completed"
        await env.advance("1h")
        assert slow.status == "completed"
        assert tries == ["slow", "quick", "slow"]
        assert gates(env) == []


async def test_several_limits_are_taken_from_the_narrowest_to_the_widest() -> None:
    """Ten runs of one customer may not hold all places of the app while they wait for the customer's own."""
    flow = [Concurrency(3, scope="app", unit="run"), Concurrency(1, key="event.data.who", unit="run")]
    async with environment(sleeping(concurrency=flow)) as env:
        many = await go(env, 10, who="ann")
        (other,) = await go(env, 1, who="bob")
        assert other.status == "running"
        assert sum(run.status == "running" for run in many) == 1
        sound(env)
        await env.advance("2m")
        assert counted(env) == {"completed": 11}
        assert gates(env) == []


async def test_a_limit_of_the_app_is_shared_by_its_functions() -> None:
    a = sleeping(concurrency=Concurrency(2, scope="app", unit="run"))

    @a.function(on="go", id="g", concurrency=Concurrency(2, scope="app", unit="run"))
    async def g(ctx: Context) -> None:
        await ctx.step.sleep("work", "10s")

    async with environment(a) as env:
        await go(env, 3)
        for _ in range(3):
            running = counted(env).get("running", 0) + counted(env, "g").get("running", 0)
            assert running == 2
            await env.advance("10s")
        assert (counted(env), counted(env, "g")) == ({"completed": 3}, {"completed": 3})


async def test_a_limit_is_changed_by_a_deploy() -> None:
    async with environment(sleeping(lasts="1h", concurrency=Concurrency(1, unit="run"))) as env:
        await go(env, 6)
        assert counted(env) == {"running": 1, "queued": 5}
        await env.stop_worker()
        env.app = sleeping(lasts="1h", concurrency=Concurrency(4, unit="run"))
        await env.start_worker()
        await env.settle()
        assert counted(env) == {"running": 4, "queued": 2}
        await env.stop_worker()
        env.app = sleeping(lasts="1h", concurrency=Concurrency(2, unit="run"))
        await env.start_worker()
        await env.advance("1h")
        assert counted(env) == {"completed": 4, "running": 2}
        await env.advance("1h")
        assert counted(env) == {"completed": 6}


# --- singleton --------------------------------------------------------------------------------------------------------


async def test_singleton_skips_a_start_while_a_run_is_live() -> None:
    async with environment(sleeping(singleton=Singleton(key="event.data.who"))) as env:
        (first,) = await go(env, 1, who="ann")
        await go(env, 2, who="ann")
        await go(env, 1, who="bob")
        assert counted(env) == {"running": 2, "skipped": 2}
        assert reasons(env) == [f"run {first.id} is live (singleton)"] * 2
        await env.advance("10s")
        await go(env, 1, who="ann")
        assert counted(env) == {"completed": 2, "skipped": 2, "running": 1}
        sound(env)


async def test_a_singleton_is_held_while_its_run_retries_sleeps_and_is_paused() -> None:
    a = app()

    def fails() -> None:
        raise ValueError("no")

    @a.function(on="go", id="f", retries=2, singleton=Singleton())
    async def f(ctx: Context) -> None:
        await ctx.step.run("work", fails)

    async with environment(a) as env:
        (first,) = await go(env)
        assert first.step("work").status == "retrying"
        (second,) = await go(env)
        assert second.status == "skipped"
        await first.pause()
        (third,) = await go(env)
        assert third.status == "skipped"
        await first.resume()
        await env.advance("1h")
        assert first.status == "failed"
        (fourth,) = await go(env)
        assert fourth.status == "running"


async def test_singleton_cancel_starts_the_newest_when_the_old_run_has_ended() -> None:
    a = app()
    cleaned: list[str] = []

    def clean(who: str) -> None:
        cleaned.append(who)

    @a.function(on="go", id="f", singleton=Singleton(mode="cancel"))
    async def f(ctx: Context) -> int:
        try:
            await ctx.step.sleep("work", "1h")
        finally:
            await ctx.step.sleep("wind-down", "10s")
            await ctx.step.run("clean", clean, ctx.run_id)
        return ctx.event.data["n"]

    async with environment(a) as env:
        (first,) = await go(env)
        (second,) = await go(env)
        (third,) = await go(env)
        assert [run.status for run in (first, second, third)] == ["running", "skipped", "queued"]
        assert second.view.reason == f"a later start took its place, run {third.id} (singleton)"
        await env.advance("10s")
        assert [run.status for run in (first, third)] == ["cancelled", "running"]
        assert first.view.reason == f"run {second.id} takes its place (singleton)"
        assert cleaned == [first.id], "the old run has wound down"
        await env.advance("2h")
        assert third.status == "completed"
        assert gates(env) == []
        sound(env)
