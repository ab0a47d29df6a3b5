"""What the engine keeps: snapshots and trimming (A10, A15), eviction and the spill file (A3, B11), dormant runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from perdure import App, Context, SyncContext
from perdure.core.limits import DEFAULT_LIMITS
from perdure.errors import LogError
from perdure.logs.contract import Topic
from perdure.logs.memory import MemoryLog
from perdure.testing import Environment, environment
from tests.core.journal import portrait

pytestmark = pytest.mark.asyncio


def double(n: int) -> int:
    return 2 * n


def app(**limits: int) -> App:
    a = App("test", limits=replace(DEFAULT_LIMITS, **limits))

    @a.function(on="work")
    async def work(ctx: Context) -> int:
        n = await ctx.step.run("one", double, ctx.event.data["n"])
        await ctx.step.sleep("nap", "2h")
        n = await ctx.step.run("two", double, n)
        await ctx.step.wait_for_event("w", "go", match="data.n", timeout="30d")
        return await ctx.step.run("three", double, n)

    return a


async def bounds(env: Environment) -> list[tuple[int, int]]:
    return [await env.log.bounds(Topic.JOURNAL, n) for n in range(env.log.partitions)]


async def test_A10_the_journal_is_trimmed_behind_verified_snapshots_and_runs_go_on() -> None:
    a = app(snapshot_tail_bytes_min=3_000, history_time_max=60_000_000)
    async with environment(a, partitions=1) as env:
        await env.send([{"name": "work", "data": {"n": n}} for n in range(30)])
        for _ in range(6):
            await env.advance("1h")
            await env.send([{"name": "work", "data": {"n": n}} for n in range(10)])
        ((first, end),) = await bounds(env)
        assert 0 < first < end
        assert len(await env.log.snapshots(0)) <= 3
        await env.crash_worker()
        await env.start_worker()
        await env.advance("3h")
        await env.send([{"name": "go", "data": {"n": n}} for n in range(30)])
        await env.advance("1h")
        done = [run for run in env.runs("work") if run.status == "completed"]
        assert len(done) == 90
        assert {run.result for run in done} == {8 * n for n in range(30)}


async def test_A10_state_from_snapshot_and_tail_is_that_of_the_whole_journal() -> None:
    a = app(snapshot_tail_bytes_min=3_000)
    async with environment(a, partitions=1) as env:
        await env.send([{"name": "work", "data": {"n": n}} for n in range(40)])
        await env.advance("3h")
        assert await env.log.snapshots(0)
        await env.crash_worker()
        await env.start_worker()
        await env.settle()
        assert env._engine is not None
        state = env._engine.partitions[0].state
        state.limits = env.reader.partitions[0].state.limits
        assert portrait(state) == portrait(env.reader.partitions[0].state)


async def test_A3_B11_a_run_that_sleeps_for_long_holds_no_coroutine_and_comes_back_from_the_spill_file() -> (
    None
):
    a = app(spilled_history_bytes_min=0)
    async with environment(a, partitions=1) as env:
        runs = await env.send([{"name": "work", "data": {"n": n}} for n in range(20)])
        assert env._engine is not None
        lead = env._engine.partitions[0].lead
        assert lead is not None
        assert lead.residents.residents == {}
        assert lead.life.spill.bytes > 0
        await env.advance("2h")
        await env.send([{"name": "go", "data": {"n": n}} for n in range(20)])
        assert [run.result for run in runs] == [8 * n for n in range(20)]


async def test_B11_coroutines_in_memory_are_bounded() -> None:
    a = App("test", limits=replace(DEFAULT_LIMITS, resident_runs_max=5))

    @a.function(on="work")
    async def waits(ctx: Context) -> object:
        signal = await ctx.step.wait_for_signal("s", "go", timeout="30s")
        return None if signal is None else signal.data

    async with environment(a, partitions=1) as env:
        runs = await env.send([{"name": "work", "data": {}} for _ in range(30)])
        assert env._engine is not None
        lead = env._engine.partitions[0].lead
        assert lead is not None
        assert len(lead.residents.residents) <= 5
        await runs[3].signal("go", 3)
        await env.advance("1m")
        assert [run.result for run in runs[:5]] == [None, None, None, 3, None]


async def test_A14_ten_thousand_sleeping_def_runs_hold_no_threads() -> None:
    a = App("test")

    @a.function(on="work")
    def sleeps(ctx: SyncContext) -> int:
        ctx.step.sleep("nap", "1d")
        return ctx.step.run("double", double, ctx.event.data["n"])

    import threading

    async with environment(a) as env:
        for at in range(0, 2_000, 500):
            await env.send([{"name": "work", "data": {"n": n}} for n in range(at, at + 500)])
        assert sum("perdure-turn" in t.name for t in threading.enumerate()) <= 16
        assert {run.status for run in env.runs("sleeps")} == {"running"}
        await env.advance("1d")
        assert {run.result for run in env.runs("sleeps")} == {2 * n for n in range(2_000)}


async def test_A14_def_bodies_may_invoke_each_other_deeper_than_there_are_threads() -> None:
    a = App("test")

    @a.function
    def dive(ctx: SyncContext) -> int:
        depth = ctx.event.data["depth"]
        return 0 if depth == 0 else 1 + ctx.step.invoke("deeper", dive, {"depth": depth - 1})

    async with environment(a) as env:
        run = await env.start(dive, {"depth": 40})
        assert run.result == 40


async def test_A15_history_is_gone_with_its_retention_and_states_stay() -> None:
    a = app(snapshot_tail_bytes_min=2_000, history_time_max=60_000_000)
    async with environment(a, partitions=1) as env:
        runs = await env.send([{"name": "work", "data": {"n": n}} for n in range(30)])
        await env.advance("3h")
        await env.send([{"name": "work", "data": {"n": n}} for n in range(30)])
        await env.advance("3h")
        from perdure.index.reader import JournalReader

        fresh = JournalReader(env.log, a.limits)
        await fresh.read()
        assert {run.id for run in runs} <= {run.id for run in fresh.runs()}
        assert all(run.status == "running" for run in fresh.runs())


async def test_dormant_runs_wake_for_what_comes() -> None:
    a = app()
    async with environment(a) as env:
        (run,) = await env.send("work", {"n": 3})
        await env.advance("2h")
        for _ in range(3):
            await env.crash_worker()
            await env.start_worker()
        await asyncio.sleep(0)
        await env.send("go", {"n": 3})
        assert run.result == 24


async def test_B12_event_names_that_differ_for_each_run_are_refused_at_their_bound() -> None:
    a = App("test", limits=replace(DEFAULT_LIMITS, armed_paths_max=3))

    @a.function(on="work")
    async def waits(ctx: Context) -> None:
        await ctx.step.wait_for_event("w", f"order/{ctx.event.data['n']}", timeout="1h")

    async with environment(a, partitions=1) as env:
        runs = [(await env.send("work", {"n": n}))[0] for n in range(5)]
        assert [run.status for run in runs] == ["running"] * 3 + ["failed"] * 2
        assert runs[4].error is not None
        assert "use match=" in runs[4].error["message"]


async def test_A10_a_snapshot_that_cannot_be_stored_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    a = app(snapshot_tail_bytes_min=3_000)
    put, failures = MemoryLog.put_snapshot, iter([LogError("no room"), None])

    async def full_at_first(self: MemoryLog, partition: int, name: str, chunks: Sequence[bytes]) -> None:
        error = next(failures, None)
        if error is not None:
            raise error
        await put(self, partition, name, chunks)

    monkeypatch.setattr(MemoryLog, "put_snapshot", full_at_first)
    async with environment(a, partitions=1) as env:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        for _ in range(3):
            await env.send([{"name": "work", "data": {"n": n}} for n in range(30)])
            await env.advance("1s")
        assert await env.log.snapshots(0)


async def test_A10_a_partition_that_has_come_to_rest_leaves_little_to_read_to_its_next_owner() -> None:
    a = app(snapshot_tail_bytes_min=2 * 1024 * 1024)
    async with environment(a, partitions=1) as env:
        await env.send([{"name": "work", "data": {"n": n, "text": "x" * 3_000}} for n in range(100)])
        await env.advance("5s")
        assert not await env.log.snapshots(0)
        await env.send("work", {"n": 1})  # something happens
        await env.advance("6s")
        assert not await env.log.snapshots(0)
        await env.advance("10s")
        (name,) = await env.log.snapshots(0)
        _, end = await env.log.bounds(Topic.JOURNAL, 0)
        assert end - int(name) < 10
        await env.advance("1h")  # and no more of them, since nothing happens
        assert list(await env.log.snapshots(0)) == [name]
