"""Messages to one partition share entries, within bounds (A1, A7)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from perdure import App, Context
from perdure.core.facts import KIND
from perdure.core.limits import DEFAULT_LIMITS
from perdure.logs.contract import Topic
from perdure.logs.memory import MemoryLog
from perdure.testing import environment

pytestmark = pytest.mark.asyncio


async def kinds(log: MemoryLog, partition: int) -> list[bytes]:
    return [entry.headers.get(KIND, b"") for entry in await log.read(Topic.JOURNAL, partition, 0, 100_000)]


@pytest.mark.parametrize("bound", [DEFAULT_LIMITS.commit_bytes_max, 600])
async def test_events_that_runs_elsewhere_wait_for_take_few_entries(bound: int) -> None:
    log = MemoryLog(partitions=2)
    app = App("test", log=log, limits=replace(DEFAULT_LIMITS, commit_bytes_max=bound))

    @app.function
    async def waits(ctx: Context[dict[str, int]]) -> int:
        met = await ctx.step.wait_for_event("met", "answer", match="data.number")
        return -1 if met is None else met.data["number"]

    async with environment(app, partitions=2) as env:
        runs = [await env.start(waits, {"number": number}) for number in range(100)]
        before = [len(await kinds(env.log, partition)) for partition in range(2)]
        async with asyncio.timeout(30):
            await app.send([{"name": "answer", "data": {"number": number}} for number in range(100)])
            await env.settle()
        assert [run.result for run in runs] == list(range(100))
        added = [(await kinds(env.log, partition))[before[partition] :] for partition in range(2)]
        if bound > 600:
            assert all(b"Messages" in some for some in added)
            assert sum(some.count(b"Message") for some in added) < 20
        else:
            assert sum(some.count(b"Messages") for some in added) >= 10
