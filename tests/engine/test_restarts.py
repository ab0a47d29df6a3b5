"""`restart_with`: loops without end, in a memory and a log that stay as they are."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from perdure import App, Context, Event, FailureContext, SyncContext, current_step
from perdure.core.limits import DEFAULT_LIMITS
from perdure.errors import RunCancelled, RunFailed, UsageError
from perdure.logs.contract import Topic
from perdure.testing import Environment, TestRun, crash_everywhere, environment
from tests.engine.going_on import app as app_that_goes_on
from tests.engine.going_on import failed_with, goes_on

pytestmark = pytest.mark.asyncio


def key_of(n: int) -> str:
    return f"{n}:{current_step().idempotency_key}"


def state_of(env: Environment, run: TestRun[Any]) -> Any:
    assert env._engine is not None
    states = (partition.state for partition in env._engine.partitions.values())
    return next(state.runs[run.id] for state in states if run.id in state.runs)


async def test_a_run_begins_anew_under_its_id_and_the_handle_gets_the_last_result() -> None:
    a = app_that_goes_on()

    @a.function
    async def loop(ctx: Context) -> list[int]:
        done: list[int] = [*ctx.event.data["done"], await ctx.step.run("double", lambda n: 2 * n, 4)]
        if len(done) < 5:
            await ctx.restart_with({"done": done})
        return done

    async with environment(a) as env:
        run = await env.start(loop, {"done": []})
        assert run.result == [8] * 5
        assert (run.view.restarts, [s.id for s in run.steps]) == (4, ["double"])
        assert await a.handle(loop, run.id).result() == [8] * 5
        await goes_on(env)


async def test_a_def_body_begins_anew() -> None:
    a = App("test")

    @a.function
    def loop(ctx: SyncContext) -> int:
        n = ctx.event.data["n"]
        ctx.step.sleep("nap", "1h")
        if n < 3:
            ctx.restart_with({"n": n + 1})
        return n

    async with environment(a) as env:
        run = await env.start(loop, {"n": 0})
        await env.advance("4h")
        assert (run.result, run.view.restarts) == (3, 3)


async def test_each_life_has_keys_times_and_numbers_of_its_own() -> None:
    a = App("test")

    @a.function
    async def loop(ctx: Context) -> list[Any]:
        seen = ctx.event.data["seen"]
        key = await ctx.step.run("key", key_of, 1)
        sent = await ctx.step.send_event("tell", ["told"])
        child = await ctx.step.start("other", other)
        await ctx.step.sleep("nap", "1h")
        seen = [
            *seen,
            [key, sent[0], child, ctx.random.random(), str(ctx.uuid4()), ctx.started_at.timestamp()],
        ]
        if len(seen) < 3:
            await ctx.restart_with({"seen": seen})
        return seen

    @a.function
    async def other(ctx: Context) -> None: ...

    async with environment(a) as env:
        run = await env.start(loop, {"seen": []})
        await env.advance("3h")
        lives = run.result
        for column in zip(*lives, strict=True):
            assert len(set(column)) == 3, column
        assert [later[-1] - lives[0][-1] for later in lives] == [0, 3600, 7200]


async def test_cleanup_runs_with_its_steps_before_the_next_life() -> None:
    a = App("test")
    order: list[str] = []

    async def note(what: str) -> None:
        order.append(what)

    @a.function
    async def loop(ctx: Context) -> int:
        n = ctx.event.data["n"]
        try:
            await ctx.step.run("work", note, f"work {n}")
            if n < 2:
                await ctx.restart_with({"n": n + 1})
        finally:
            await ctx.step.run("close", note, f"close {n}")
        return n

    async with environment(a) as env:
        assert (await env.start(loop, {"n": 0})).result == 2
        assert order == ["work 0", "close 0", "work 1", "close 1", "work 2", "close 2"]


async def test_a_branch_may_ask_for_it_and_its_siblings_are_given_up() -> None:
    a = App("test")

    @a.function
    async def child(ctx: Context) -> None:
        await ctx.step.wait_for_signal("never", "never")

    @a.function
    async def loop(ctx: Context) -> str:
        if ctx.event.data["n"]:
            return "second life"

        async def again() -> None:
            await ctx.step.sleep("nap", "1m")
            await ctx.restart_with({"n": 1})

        async with asyncio.TaskGroup() as group:
            group.create_task(again())
            group.create_task(ctx.step.invoke("child", child))
            group.create_task(ctx.step.wait_for_event("ev", "some/event"))
        return "not reached"

    async with environment(a) as env:
        run = await env.start(loop, {"n": 0})
        await env.advance("2m")
        assert run.result == "second life"
        (given_up,) = env.runs(child)
        assert given_up.status == "cancelled"
        assert not state_of(env, run).pending


async def test_signals_that_nobody_took_tags_values_and_the_parent_stay_with_the_run() -> None:
    a = App("test")

    @a.function
    async def loop(ctx: Context) -> list[Any]:
        got = await ctx.step.wait_for_signal("s", "go")
        assert got is not None
        taken = [*ctx.event.data["taken"], got.data]
        ctx.set_value("taken", taken)
        if len(taken) < 3:
            await ctx.restart_with({"taken": taken})
        return taken

    @a.function
    async def parent(ctx: Context) -> list[Any]:
        return await ctx.step.invoke("loop", loop, {"taken": []})

    async with environment(a, partitions=1) as env:
        run = await env.start(parent)
        (looping,) = env.runs(loop)
        await looping.pause()
        for n in range(3):
            await looping.signal("go", n)
        await looping.resume()
        assert run.result == [0, 1, 2]
        assert looping.values == {"taken": [0, 1, 2]}


async def test_an_event_between_two_lives_is_found_with_lookback_and_none_twice() -> None:
    a = App("test")

    @a.function
    async def loop(ctx: Context) -> list[int]:
        got = await ctx.step.wait_for_event("ev", "tick", lookback="1h")
        assert got is not None
        seen = [*ctx.event.data["seen"], got.data["n"]]
        await ctx.step.sleep("work", "1m")
        if len(seen) < 4:
            await ctx.restart_with({"seen": seen})
        return seen

    async with environment(a) as env:
        run = await env.start(loop, {"seen": []})
        for n in range(4):
            await env.send("tick", {"n": n}, key="k")
        await env.advance("10m")
        assert run.result == [0, 1, 2, 3]


async def test_a_cancel_wins_over_it() -> None:
    a = App("test")

    @a.function
    async def loop(ctx: Context) -> None:
        try:
            await ctx.step.sleep("nap", "1h")
        finally:
            await ctx.restart_with({})

    async with environment(a) as env:
        run = await env.start(loop)
        await run.cancel(reason="enough")
        assert run.status == "cancelled"
        with pytest.raises(RunCancelled, match="enough"):
            await a.handle(loop, run.id).result()


async def test_a_paused_run_that_begins_anew_stays_paused() -> None:
    a = App("test")
    going = asyncio.Event()

    async def work() -> None:
        await going.wait()

    @a.function
    async def loop(ctx: Context) -> str:
        if not ctx.event.data["n"]:
            await ctx.step.run("work", work)
            await ctx.restart_with({"n": 1})
        return "second life"

    async with environment(a, partitions=1) as env:
        starting = asyncio.create_task(env.start(loop, {"n": 0}))
        while env._engine is None or not env._engine.services.running:
            await asyncio.sleep(0)
        (run_id,) = env._engine.partitions[0].state.runs.plain
        client = await env._connections.client()
        await client.command(run_id, "PauseAsk", {"reason": ""})
        for _ in range(20):
            await asyncio.sleep(0)
        going.set()
        run = await starting
        assert (run.status, run.view.restarts) == ("paused", 1)
        await run.resume()
        assert run.result == "second life"


async def test_data_that_do_not_fit_and_a_failure_handler_are_refused() -> None:
    a = app_that_goes_on()

    class Counted(Event, name="counted"):
        n: int

    @a.function(on=Counted, retries=0)
    async def typed(ctx: Context[Counted]) -> int:
        if ctx.event.data.n < 2:
            await ctx.restart_with(Counted(n=ctx.event.data.n + 1))
        await ctx.restart_with({"n": "many"})
        return 0

    async def handler(ctx: FailureContext) -> None:
        await ctx.restart_with({})

    @a.function(retries=0, on_failure=handler)
    async def fails(ctx: Context) -> None:
        raise ValueError("no")

    async with environment(a) as env:
        (run,) = await env.send(Counted(n=0))
        failed_with(run, UsageError, "does not fit Counted")
        await env.start(fails)
        failed_with(env.runs("fails:on-failure")[0], UsageError, "a failure handler runs once")
        await goes_on(env)


async def test_it_survives_a_crash_at_every_record() -> None:
    a = App("test")

    @a.function(on="loop/begun")
    async def loop(ctx: Context) -> int:
        n = ctx.event.data["n"]
        total = ctx.event.data.get("total", 0) + await ctx.step.run("double", lambda n: 2 * n, n)
        await ctx.step.sleep("nap", "1h")
        if n < 3:
            await ctx.restart_with({"n": n + 1, "total": total})
        return total

    report = await crash_everywhere(a, "loop/begun", {"n": 1})
    assert report.crashes > 20


async def test_memory_and_log_of_a_loop_without_end_stay_as_they_are() -> None:
    limits = replace(DEFAULT_LIMITS, history_time_max=1, snapshot_tail_bytes_min=64 * 1024)
    a = App("test", limits=limits)
    laps = 600

    @a.function
    async def loop(ctx: Context) -> int:
        n = await ctx.step.run("next", lambda n: n + 1, ctx.event.data["n"])
        if n % laps:
            await ctx.restart_with({"n": n})
        return n

    async with environment(a, partitions=1) as env:
        sizes: list[tuple[int, int, int]] = []
        tracemalloc.start()
        for lap in range(4):
            run = await env.start(loop, {"n": lap * laps})
            assert run.result == (lap + 1) * laps
            state = state_of(env, run)
            assert (state.restarts, len(state.seen) <= limits.seen_events_max) == (laps - 1, True)
            await env.advance("1m")
            gc.collect()
            first, end = await env.log.bounds(Topic.JOURNAL, 0)
            sizes.append((tracemalloc.get_traced_memory()[0], end - first, state.size))
        tracemalloc.stop()
    memory, entries, history = zip(*sizes, strict=True)
    assert max(entries) < 2 * laps, entries
    assert memory[3] - memory[1] < 300_000, memory
    assert max(history) < 1_000, history


async def test_a_function_that_invokes_itself_without_end_fails_and_the_engine_goes_on() -> None:
    a = app_that_goes_on(limits=replace(DEFAULT_LIMITS, invoke_depth_max=20))

    @a.function(retries=0)
    async def deeper(ctx: Context) -> int:
        return await ctx.step.invoke("deeper", deeper, {})

    async with environment(a) as env:
        run = await env.start(deeper)
        assert run.status == "failed"
        assert len(env.runs(deeper)) == 21
        with pytest.raises(RunFailed, match="invoke_depth_max"):
            await a.handle(deeper, run.id).result()
        await goes_on(env)
