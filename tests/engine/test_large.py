"""Things that are large, at a size that a test can bear: what grows with them is what should, counted and not timed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from perdure import App, Context
from perdure.core.limits import DEFAULT_LIMITS, KB
from perdure.engine.partition import Partition
from perdure.logs.contract import Entry, Topic
from perdure.testing import Environment, environment

pytestmark = pytest.mark.asyncio


async def plus(number: int) -> int:
    return number + 1


async def blob(size: int) -> str:
    return "x" * size


def app(**limits: int) -> App:
    a = App("large", limits=replace(DEFAULT_LIMITS, **limits))

    @a.function(on="many")
    async def many(ctx: Context) -> int:
        number = 0
        for _ in range(ctx.event.data["steps"]):
            number = await ctx.step.run("one", plus, number)
        return number

    @a.function(on="wide")
    async def wide(ctx: Context) -> int:
        return sum(await ctx.step.map("one", plus, range(ctx.event.data["steps"])))

    @a.function(on="heavy")
    async def heavy(ctx: Context) -> int:
        size = 0
        for n in range(ctx.event.data["steps"]):
            size += len(await ctx.step.run(f"blob-{n}", blob, ctx.event.data["size"]))
        await ctx.step.sleep("nap", "1h")
        return size

    @a.function(on="nap")
    async def naps(ctx: Context) -> None:
        await ctx.step.sleep("nap", "1d")

    return a


async def journal(env: Environment) -> list[Entry]:
    first, _ = await env.log.bounds(Topic.JOURNAL, 0)
    found: list[Entry] = []
    while batch := await env.log.read(Topic.JOURNAL, 0, first, 10_000):
        found += batch
        first = batch[-1].offset + 1
    return found


def partition(env: Environment) -> Partition:
    assert env._engine is not None
    return env._engine.partitions[0]


async def read_at_recovery(env: Environment) -> int:
    """How many entries the next owner reads before it leads."""
    await env.crash_worker()
    _, end = await env.log.bounds(Topic.JOURNAL, 0)
    names = await env.log.snapshots(0)
    return end - (int(names[-1]) if names else 0)


async def test_a_step_costs_the_same_at_the_end_of_a_long_run_as_at_its_beginning() -> None:
    steps = 1_000
    async with environment(app(), partitions=1) as env:
        (run,) = await env.send("many", {"steps": steps})
        assert run.result == steps
        sizes = [len(entry.value) for entry in await journal(env)][10:-10]
        tenths = [sum(sizes[at : at + len(sizes) // 10]) for at in range(0, len(sizes), len(sizes) // 10)][
            :10
        ]
        assert len(sizes) == pytest.approx(steps, rel=0.05)
        assert max(tenths) < 1.15 * min(tenths)


async def test_a_long_run_is_woken_from_its_own_records_alone() -> None:
    async with environment(app(snapshot_tail_bytes_min=20_000), partitions=1) as env:
        await env.send([{"name": "heavy", "data": {"steps": 300, "size": 1}} for _ in range(3)])
        await env.crash_worker()
        await env.start_worker()
        lead = partition(env).lead
        assert lead is not None
        assert lead.residents.residents == {}
        await env.advance("1h")
        assert [run.result for run in env.runs("heavy")] == [300] * 3


async def test_a_fan_out_beyond_a_commits_bound_takes_few_records_that_all_fit() -> None:
    width = 2_500
    async with environment(app(), partitions=1) as env:
        (run,) = await env.send("wide", {"steps": width})
        assert run.result == width * (width + 1) // 2
        entries = await journal(env)
        assert len(entries) < 20
        assert max(len(entry.value) for entry in entries) < DEFAULT_LIMITS.commit_bytes_max


async def test_payloads_at_their_bound_have_a_record_each_and_do_not_stay_in_memory() -> None:
    size, steps = DEFAULT_LIMITS.payload_bytes_max - KB, 12
    async with environment(app(), partitions=1) as env:
        (run,) = await env.send("heavy", {"steps": steps, "size": size})
        entries = [entry for entry in await journal(env) if len(entry.value) > size]
        assert len(entries) == steps
        assert max(len(entry.value) for entry in entries) < DEFAULT_LIMITS.entry_bytes_max
        (state,) = partition(env).state.runs.plain.values()
        assert state.size > steps * size
        lead = partition(env).lead
        assert lead is not None
        assert lead.life.spill.used >= steps * size  # its history lies in the file
        await env.advance("1h")
        assert run.result == steps * size


async def test_a_journal_that_is_trimmed_while_it_is_written_is_as_long_to_recover_as_its_state() -> None:
    limits = {"snapshot_tail_bytes_min": 8_000, "history_time_max": 60_000_000, "ended_runs_max": 10}
    read: list[int] = []
    kept: list[int] = []
    end = 0
    async with environment(app(**limits), partitions=1) as env:
        await env.send([{"name": "nap", "data": {}} for _ in range(20)])
        for _ in range(4):
            for _ in range(10):
                await env.send([{"name": "many", "data": {"steps": 5}} for _ in range(10)])
                await env.advance("10m")
            first, end = await env.log.bounds(Topic.JOURNAL, 0)
            kept.append(end - first)
            read.append(await read_at_recovery(env))
            await env.start_worker()
            assert len(await env.log.snapshots(0)) <= 3
        assert end > 4 * max(kept)
        assert all(later < 2 * earlier + 50 for earlier, later in pairwise(read)), read
        assert all(later < 2 * earlier + 50 for earlier, later in pairwise(kept)), kept
        assert len(list(partition(env).state.live_runs())) == 20


async def test_owners_that_come_and_go_do_not_make_the_tail_longer() -> None:
    """Each of them writes less than it takes to make a snapshot worth its while."""
    async with environment(app(snapshot_tail_bytes_min=6_000), partitions=1) as env:
        longest = 0
        for _ in range(12):
            await env.send([{"name": "many", "data": {"steps": 5}} for _ in range(3)])
            await env.advance("1s")
            longest = max(longest, await read_at_recovery(env))
            await env.start_worker()
        _, end = await env.log.bounds(Topic.JOURNAL, 0)
        assert longest < end / 2
