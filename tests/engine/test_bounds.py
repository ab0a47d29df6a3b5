"""Nothing is unbounded (B12): each bound of `core/limits.py` that a run or a client can reach, reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from perdure import App, Context
from perdure.client.client import Client
from perdure.core.limits import DEFAULT_LIMITS
from perdure.engine.engine import Engine
from perdure.engine.partition import Partition
from perdure.logs.contract import Topic
from perdure.logs.memory import MemoryLog
from perdure.logs.memory.net import BATCH_ENTRIES_MAX
from perdure.testing import Environment, environment
from tests.engine.going_on import double, goes_on

pytestmark = pytest.mark.asyncio


def bounded(log: MemoryLog | None = None, /, **limits: int) -> App:
    """An app with these bounds; `fine` shows that the engine goes on."""
    a = App("test", log=log, limits=replace(DEFAULT_LIMITS, **limits))

    @a.function(on="fine")
    async def fine(ctx: Context) -> int:
        return await ctx.step.run("double", double, 4)

    return a


def holding(a: App) -> tuple[list[int], asyncio.Event]:
    """`go` runs a step that is held until the event is set; which ones have begun."""
    running: list[int] = []
    release = asyncio.Event()

    async def hold(n: int) -> int:
        running.append(n)
        await release.wait()
        return n

    @a.function(on="go")
    async def go(ctx: Context) -> int:
        return await ctx.step.run("hold", hold, ctx.event.data["n"])

    return running, release


def partition(env: Environment, number: int = 0) -> Partition:
    assert env._engine is not None
    return env._engine.partitions[number]


@asynccontextmanager
async def worker(a: App) -> AsyncGenerator[Engine]:
    try:
        async with a.worker() as engine:
            yield engine
    finally:
        await a.close()


async def test_B12_an_inbox_that_is_full_refuses_and_the_run_goes_on() -> None:
    a = bounded(inbox_max=5)

    @a.function
    async def waits(ctx: Context) -> list[Any]:
        got = [await ctx.step.wait_for_signal(f"s{n}", "go", timeout="1h") for n in range(8)]
        return [signal and signal.data for signal in got]

    async with environment(a, partitions=1) as env:
        run = await env.start(waits)
        await run.pause()
        for n in range(20):
            await run.signal("go", n)
        state = partition(env).state
        assert len(state.runs[run.id].inbox) == 5
        assert state.voids["inbox full"] == 15
        await goes_on(env)
        await run.resume()  # there is room to steer it
        assert (run.status, state.voids["inbox full"]) == ("running", 15)
        for n in range(20, 23):
            await run.signal("go", n)
        assert run.result == [0, 1, 2, 3, 4, 20, 21, 22]


async def test_B12_a_run_that_is_full_of_signals_can_be_cancelled() -> None:
    a = bounded(inbox_max=5)

    @a.function
    async def waits(ctx: Context) -> None:
        await ctx.step.wait_for_signal("s", "go")

    async with environment(a, partitions=1) as env:
        run = await env.start(waits)
        for n in range(7):
            await run.signal("other", n)
        assert partition(env).state.voids["inbox full"] == 2
        await run.cancel()
        assert run.status == "cancelled"
        await goes_on(env)


async def test_B12_a_full_outbox_holds_events_back_until_messages_are_acked() -> None:
    log = MemoryLog(2)
    a = bounded(log, outbox_max=10, ingest_events_max=5)

    @a.function
    async def child(ctx: Context) -> None: ...

    @a.function(on="go")
    async def parent(ctx: Context) -> None:
        for n in range(4):
            await ctx.step.start(f"child-{n}", child, {})

    deepest = 0
    async with worker(a) as engine:
        await a.send([{"name": "go", "data": {}} for _ in range(80)])
        async with asyncio.timeout(20):
            while True:
                states = [p.state for p in engine.partitions.values()]
                leads = [p.lead for p in engine.partitions.values() if p.lead is not None]
                deepest = max(deepest, *(lead.life.outbox.depth() for lead in leads))
                ended = [run for s in states for run in s.runs.values() if not run.live]
                if len(ended) == 400:
                    break
                await asyncio.sleep(0)
    assert (
        10 < deepest <= 50
    )  # the runs of the batches before may still add; without the bound it is about 80


async def test_B12_a_cell_keeps_a_bounded_number_of_events_and_finds_the_others_by_a_search() -> None:
    a = bounded(kept_events_max=5)

    @a.function
    async def looks_back(ctx: Context) -> list[int]:
        got = [await ctx.step.wait_for_event(f"w{n}", "door", timeout="1h", lookback="1h") for n in range(20)]
        return [event.data["n"] for event in got if event is not None]

    @a.function
    async def arms(ctx: Context) -> None:
        await ctx.step.wait_for_event("w", "door", timeout="1s")

    async with environment(a, partitions=1) as env:
        await env.start(arms)
        await env.advance("2s")
        await env.send([{"name": "door", "data": {"n": n}} for n in range(20)])
        (cell,) = partition(env).state.cells.values()
        assert len(cell.kept) == 5
        run = await env.start(looks_back)
        await env.advance("2h")
        assert sorted(run.result) == list(range(20))
        assert all(len(cell.kept) <= 5 for cell in partition(env).state.cells.values())
        await goes_on(env)


@pytest.mark.parametrize(("bound", "value"), [("run_ops_max", 30), ("run_bytes_max", 3_000)])
async def test_B12_a_history_without_end_parks_its_run_with_advice(bound: str, value: int) -> None:
    a = bounded(None, **{bound: value})

    @a.function
    async def endless(ctx: Context) -> None:
        while True:
            await ctx.step.run("double", double, 1)

    async with environment(a, partitions=1) as env:
        run = await env.start(endless)
        assert run.status == "parked"
        assert "begin a fresh one with ctx.restart_with(data)" in run.view.reason
        assert 10 < len(run.view.ops) < 100
        await env.crash_worker()
        await env.start_worker()
        assert run.status == "parked"
        await run.resume()  # it does not run away: parked again after a turn
        assert run.status == "parked"
        await run.cancel()
        assert run.status == "cancelled"
        await goes_on(env)


async def test_B12_events_that_are_read_ahead_are_bounded_and_the_follow_goes_on() -> None:
    a = bounded(events_buffered_max=10, ingest_events_max=100)

    @a.function(on="go")
    async def go(ctx: Context) -> int:
        return ctx.event.data["n"]

    calls: list[str] = []
    read_ahead: list[int] = []
    async with environment(a, partitions=1) as env:
        assert env._engine is not None
        member: Any = env._engine.services.member
        pause, resume = member.pause, member.resume

        def paused(topic: Topic, number: int) -> None:
            calls.append("pause")
            lead = partition(env).lead
            assert lead is not None
            read_ahead.append(len(lead.router._ahead))
            pause(topic, number)

        def resumed(topic: Topic, number: int) -> None:
            calls.append("resume")
            resume(topic, number)

        member.pause, member.resume = paused, resumed
        await a.send([{"name": "go", "data": {"n": n}} for n in range(1_500)])
        await env.settle()
        assert sorted(run.result for run in env.runs("go")) == list(range(1_500))
        assert calls[0] == "pause"
        assert calls.count("pause") == calls.count("resume") >= 1
        assert max(read_ahead) <= 10 + BATCH_ENTRIES_MAX  # one batch of the log may come on top
        await goes_on(env)


async def test_B12_clients_that_wait_for_a_run_are_bounded_and_all_get_their_answer() -> None:
    log = MemoryLog(1)
    a = bounded(log, watchers_max=2)

    @a.function
    async def waits(ctx: Context) -> Any:
        signal = await ctx.step.wait_for_signal("s", "go")
        return signal and signal.data

    async with worker(a) as engine:
        run = await a.start(waits, {})
        clients = [Client(log, lambda size, n=n: bytes([n]) * size) for n in range(6)]
        for client in clients:
            await client.open()
        asking = [asyncio.create_task(client.end_of(run.run_id, None)) for client in clients]
        state = engine.partitions[0].state
        async with asyncio.timeout(5):
            while state.runs[run.run_id].status != "running" or len(state.runs[run.run_id].watchers) < 2:
                await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(state.runs[run.run_id].watchers) == 2
        await run.signal("go", 5)
        async with asyncio.timeout(15):
            assert [reply["result"] for reply in await asyncio.gather(*asking)] == [b"5"] * 6
        for client in clients:
            client.close()


async def test_B12_ids_and_ended_runs_are_forgotten_at_their_bounds() -> None:
    a = bounded(event_ids_max=10, ended_runs_max=10, commands_max=4)

    @a.function
    async def counts(ctx: Context) -> int:
        got = [await ctx.step.wait_for_signal(f"s{n}", "go") for n in range(20)]
        return len(got)

    async with environment(a, partitions=1) as env:
        for n in range(30):
            await env.send("fine", {}, id=f"event-{n}")
        state = partition(env).state
        assert len(state.event_ids) == 10
        assert len(state.runs) == len(state.ended) == 10
        run = await env.start(counts)
        for n in range(20):
            await run.signal("go", n)
            assert len(state.runs[run.id].commands) <= 4
        assert run.result == 20
        await goes_on(env)


async def test_B12_attempts_in_flight_hold_new_events_back() -> None:
    a = bounded(attempts_running_max=4, ingest_events_max=2)
    running, release = holding(a)

    async with environment(a, partitions=1) as env:
        await a.send([{"name": "go", "data": {"n": n}} for n in range(20)])
        for _ in range(500):
            await asyncio.sleep(0)
        assert 4 <= len(running) <= 6
        release.set()
        async with asyncio.timeout(10):
            while len(running) < 20:
                env.clock.step(env.clock.now() + 1_000_000)
                await asyncio.sleep(0)
        await env.settle()
        assert sorted(run.result for run in env.runs("go")) == list(range(20))
        await goes_on(env)


async def test_B12_events_wait_in_the_log_while_steps_wait_for_a_slot() -> None:
    a = bounded(runs_under_way_max=8)
    events = 1_200
    running, release = holding(a)

    async with environment(a, partitions=2) as env:
        await a.send([{"name": "go", "data": {"n": n}} for n in range(events)])
        for _ in range(5_000):
            await asyncio.sleep(0)
        await env.reader.read()
        assert len(running) == 1_000  # the slots of this worker
        assert 1_000 < len(env.runs("go")) <= 1_010
        release.set()
        async with asyncio.timeout(20):
            while len(running) < events:
                env.clock.step(env.clock.now() + 1_000_000)
                await asyncio.sleep(0)
        await env.settle()
        assert sorted(run.result for run in env.runs("go")) == list(range(events))
        assert env._engine is not None
        services = env._engine.services
        assert (services.committing, services.routing) == (0, 0)
        await goes_on(env)


async def test_B12_no_more_events_with_a_time_in_the_future_are_kept_than_may_be() -> None:
    a = App("test", limits=replace(DEFAULT_LIMITS, delayed_events_max=3, ingest_events_max=1))

    @a.function(on="later")
    async def later(ctx: Context) -> None: ...

    async with environment(a, partitions=1) as env:
        due = env.now() + timedelta(hours=1)
        await env.send([{"name": "later", "data": {}, "ts": due} for _ in range(5)])
        assert [run.status for run in env.runs()] == ["scheduled"] * 3
        assert await env.log.bounds(Topic.DEAD_LETTERS, 0) == (0, 2)
        await env.advance("1h")
        assert [run.status for run in env.runs()] == ["completed"] * 3
