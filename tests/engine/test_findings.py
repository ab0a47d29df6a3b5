"""Findings of the design review through the whole engine: sizes, arguments, what a run waits for, deploys, results."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

import perdure
from perdure import App, Context, FailureContext, PayloadTooLarge, UsageError
from perdure.core import codec, ops
from perdure.core.facts import KIND, STAMP, Stamp, read_fact
from perdure.core.fold import fold
from perdure.core.invariants import check
from perdure.core.ops import Op
from perdure.core.state import PartitionState
from perdure.logs.contract import Topic
from perdure.logs.memory import MemoryLog
from perdure.testing import Environment, environment
from tests.engine.going_on import app, double, failed_with, goes_on
from tests.simulation.world import LIMITS, PARTITIONS, simulate

pytestmark = pytest.mark.asyncio


async def largest_entry(env: Environment) -> int:
    sizes = [0]
    for number in range(env.log.partitions):
        _, end = await env.log.bounds(Topic.JOURNAL, number)
        sizes += [len(entry.value) for entry in await env.log.read(Topic.JOURNAL, number, 0, end + 1)]
    return max(sizes)


# --- A7: sizes --------------------------------------------------------------------------------------------------------


async def test_A7_a_hundred_large_results_at_once_are_cut_into_commits_that_fit() -> None:
    a = app()

    async def page(n: int) -> str:
        return f"{n:03}" + "x" * 200_000

    @a.function
    async def crawl(ctx: Context) -> int:
        pages = await asyncio.gather(*(ctx.step.run("page", page, n) for n in range(100)))
        return sum(int(text[:3]) for text in pages)

    async with environment(a, partitions=1) as env:
        run = await env.start(crawl)
        assert run.result == sum(range(100))
        assert await largest_entry(env) < a.limits.entry_bytes_max
        await goes_on(env)


async def test_A7_a_turn_that_asks_for_fifty_thousand_steps_fails_its_run_alone() -> None:
    a = app()

    @a.function
    async def greedy(ctx: Context) -> int:
        return len(await asyncio.gather(*(ctx.step.run("double", double, n) for n in range(50_000))))

    @a.function
    async def greedy_map(ctx: Context) -> int:
        return len(await ctx.step.map("double", double, range(50_000)))

    async with environment(a, partitions=1) as env:
        failed_with(await env.start(greedy_map), UsageError, "use ctx.step.map(..., limit=...)")
        failed_with(await env.start(greedy), UsageError, "a turn may ask for 10,000 steps")
        await goes_on(env)


async def test_A7_one_event_wakes_two_thousand_waiters() -> None:
    a = app()

    @a.function(on="go")
    async def waits(ctx: Context) -> int:
        opened = await ctx.step.wait_for_event("door", "door/opened")
        assert opened is not None
        return opened.data["n"]

    async with environment(a, partitions=2) as env:
        await a.send([{"name": "go", "data": {}} for _ in range(2_000)])
        await env.settle()
        await env.send("door/opened", {"n": 7})
        runs = env.runs("waits")
        assert (len(runs), {run.result for run in runs}) == (2_000, {7})
        assert await largest_entry(env) < a.limits.entry_bytes_max
        await goes_on(env)


async def test_A7_a_turn_too_large_for_a_record_fails_its_run_and_its_handler_starts() -> None:
    a = app()
    handled: list[str] = []

    async def failed(ctx: FailureContext) -> None:
        handled.append(ctx.error.type_name)

    @a.function(on_failure=failed)
    async def loud(ctx: Context) -> None:
        events = [{"name": "big", "data": {"text": "x" * 250_000}} for _ in range(6)]
        await ctx.step.run("double", double, 1)
        await ctx.step.send_event("all", events)
        await ctx.step.sleep("nap", "1h")

    async with environment(a, partitions=1) as env:
        run = await env.start(loud)
        failed_with(run, PayloadTooLarge, "one turn of this run needs a record of")
        assert handled == ["perdure.errors.PayloadTooLarge"]
        await env.crash_worker()  # a successor does not meet it again
        await env.start_worker()
        assert run.status == "failed"
        await goes_on(env)


# --- A9: arguments ----------------------------------------------------------------------------------------------------


async def test_A9_a_crash_before_the_first_commit_gives_the_same_arguments_and_key_again() -> None:
    a = App("test")
    seen: list[tuple[datetime, float, str, str]] = []
    hold = asyncio.Event()

    async def charge(at: datetime, dice: float, name: str) -> None:
        seen.append((at, dice, name, perdure.current_step().idempotency_key))
        if len(seen) == 1:
            await hold.wait()

    @a.function
    async def pay(ctx: Context) -> str:
        await ctx.step.run("charge", charge, ctx.now(), ctx.random.random(), str(ctx.uuid4()))
        return "paid"

    async with environment(a, partitions=1) as env:
        handle = await a.start(pay, {})
        while not seen:
            await asyncio.sleep(0)
        await env.reader.read()
        assert env.reader.ops(handle.run_id) == ()  # no commit names the step that runs
        env.crash_now()
        env.clock.move(env.clock.now() + 3_600_000_000)
        await env.start_worker()
        await env.advance("1s")
        assert env.run(handle.run_id).result == "paid"
        assert len(seen) == 2
        assert seen[0] == seen[1]


async def test_A9_a_step_or_a_sibling_that_changes_an_argument_is_told() -> None:
    a = app()

    def sort(items: list[int]) -> int:
        items.sort()
        return items[0]

    @a.function
    async def mutates(ctx: Context) -> int:
        return await ctx.step.run("sort", sort, [3, 1, 2])

    @a.function
    async def sibling(ctx: Context) -> list[int]:
        items = [3, 1, 2]
        first = asyncio.create_task(ctx.step.run("length", double, len(items)))
        held = asyncio.create_task(ctx.step.run("held", first_of, items))
        await first
        items.append(4)
        return [await held]

    hold = asyncio.Event()

    async def first_of(items: list[int]) -> int:
        await hold.wait()
        return items[0]

    async with environment(a, partitions=1) as env:
        run = await env.start(mutates)
        failed_with(run, UsageError, "Give the step a copy")
        assert run.step("sort").attempts == 1
        starting = asyncio.create_task(env.start(sibling))
        while not any(s.id == "held" for r in env.runs("sibling") for s in r.steps):
            await asyncio.sleep(0)
            await env.reader.read()
        hold.set()
        failed_with(await starting, UsageError, "by another branch of the body")
        await goes_on(env)


# --- A11: what a run waits for ----------------------------------------------------------------------------------------


async def test_A11_a_body_that_waits_for_nothing_recorded_is_parked_and_says_where() -> None:
    a = app()

    @a.function
    async def stuck(ctx: Context) -> None:
        await ctx.step.run("double", double, 1)
        await asyncio.Event().wait()  # nobody sets it

    async with environment(a, partitions=1) as env:
        run = await env.start(stuck)
        line = stuck.body.__code__.co_firstlineno + 3
        assert run.status == "parked"
        assert f"{__file__}:{line}, in " in run.view.reason
        assert "put it in a step" in run.view.reason
        await run.resume()  # with the same code it is parked again
        assert run.status == "parked"
        await run.cancel()
        assert run.status == "cancelled"
        await goes_on(env)


async def test_A11_every_prefix_of_a_simulated_log_says_what_each_run_waits_for() -> None:
    checked = 0
    for seed in range(900, 906):
        world = await simulate(seed)
        for number in range(PARTITIONS):
            state = PartitionState(number, PARTITIONS, limits=LIMITS)
            slot = world.log.slot(Topic.JOURNAL, number)
            for entry in slot.read(0, slot.next):
                fold(state, read_fact(entry.offset, entry.ts, entry.value, entry.headers))
                state.effects.clear()
                assert check(state) == [], f"seed {seed}, partition {number}, entry {entry.offset}"
                checked += 1
    assert checked > 500


# --- A12: mixed workers -----------------------------------------------------------------------------------------------


@dataclass
class Deploy:
    """A version of a service: its app on a connection of its own."""

    app: App
    work: Any
    fresh: Any = None


def version(log: MemoryLog, number: int) -> Deploy:
    a = App("shop", log=log)

    @a.function(version=str(number))
    async def work(ctx: Context) -> str:
        await ctx.step.run("double", double, 1)
        signal = await ctx.step.wait_for_signal("approval", "approve")
        assert signal is not None
        return f"{signal.data} by v{number}"

    deploy = Deploy(a, work)
    if number > 1:

        @a.function
        async def fresh(ctx: Context) -> str:
            return f"fresh by v{number}"

        deploy.fresh = fresh
    return deploy


async def test_A12_a_run_whose_code_is_absent_stays_queued_until_a_worker_has_it() -> None:
    log = MemoryLog(2)
    old, new = version(log.connect("old"), 1), version(log.connect("new"), 2)
    async with old.app.worker():
        runs = [await new.app.start(new.fresh, {}) for _ in range(4)]
        known = await old.app.start(old.work, {})
        await known.signal("approve", "known")
        assert await known.result(timeout=5) == "known by v1"
        assert [await run.status() for run in runs] == ["queued"] * 4
    async with new.app.worker():
        assert [await run.result(timeout=5) for run in runs] == ["fresh by v2"] * 4
    await old.app.close()
    await new.app.close()


async def test_A12_a_rolling_deploy_works_forwards_and_backwards_under_traffic() -> None:
    log = MemoryLog(4)
    old, new = version(log.connect("old"), 1), version(log.connect("new"), 2)
    client = version(log.connect("client"), 2)
    for before, after in ((old, new), (new, old)):
        async with before.app.worker():
            begun = [await client.app.start(client.work, {}) for _ in range(8)]
            async with after.app.worker():  # both for a while
                begun += [await client.app.start(client.work, {}) for _ in range(8)]
                for run in begun[::2]:
                    await run.signal("approve", "early")
                results = await asyncio.gather(*(run.result(timeout=5) for run in begun[::2]))
                assert {text.removesuffix("1").removesuffix("2") for text in results} == {"early by v"}
        async with after.app.worker():
            for run in begun[1::2]:
                await run.signal("approve", "late")
            results = await asyncio.gather(*(run.result(timeout=5) for run in begun[1::2]))
            assert set(results) == {f"late by v{2 if after is new else 1}"}
    for deploy in (old, new, client):
        await deploy.app.close()


# --- A13: results in another process ----------------------------------------------------------------------------------


async def test_A13_a_result_reaches_a_process_that_is_no_worker_and_a_zombies_does_not() -> None:
    log = MemoryLog(1)
    server, client = version(log.connect("server"), 1), version(log.connect("client"), 1)
    async with server.app.worker() as engine:
        run = await client.app.start(client.work, {})
        waiting = asyncio.create_task(run.result(timeout=10))
        while await run.status() != "running":
            pass
        state = engine.partitions[0].state
        zombie = Stamp(b"a former owner..", state.epoch - 1, 7).pack()
        done: Op = (ops.RUN_DONE, {"time": state.time, "result": b'"by a zombie"'})
        change = {"entity": run.run_id, "prev": state.runs[run.run_id].prev, "ops": [done]}
        value = codec.encode("Commit", {"changes": [change], "acks": []})
        writer = await client.app._connect().client()
        await writer.append(Topic.JOURNAL, 0, value, headers={KIND: b"Commit", STAMP: zombie})
        assert (await run.status(), waiting.done()) == ("running", False)
        assert state.voids["commit of a former owner"] == 1
        await run.signal("approve", "true")
        assert await waiting == "true by v1"
        late = client.app.handle(client.work, run.run_id)
        assert await late.result(timeout=5) == "true by v1"
    await server.app.close()
    await client.app.close()
