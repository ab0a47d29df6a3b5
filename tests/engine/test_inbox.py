"""What one record brings a run all reaches its body, and once."""

from __future__ import annotations

import asyncio

import pytest

from perdure import App, Context, StepError, SyncContext
from perdure.core import codec
from perdure.logs.contract import Topic
from perdure.testing import Environment, environment
from tests.engine.going_on import app as app_that_goes_on
from tests.engine.going_on import double, goes_on

pytestmark = pytest.mark.asyncio


async def ends_shared(env: Environment) -> int:
    """The most runs that ended in one commit."""
    first, end = await env.log.bounds(Topic.JOURNAL, 0)
    commits = [codec.decode(entry.value) for entry in await env.log.read(Topic.JOURNAL, 0, first, end)]
    return max(
        sum(op[0] == "perdure.RunDone" for change in body["changes"] for op in change["ops"])
        for name, body in commits
        if name == "Commit"
    )


@pytest.mark.parametrize("partitions", [1, 8])
async def test_children_that_end_in_one_commit_are_all_told(partitions: int) -> None:
    a = app_that_goes_on()

    @a.function
    async def child(ctx: Context) -> int:
        return ctx.event.data["n"]

    @a.function
    async def parent(ctx: Context) -> list[int]:
        children = (ctx.step.invoke(f"c{n}", child, {"n": n}) for n in range(30))
        return await asyncio.gather(*children)

    async with environment(a, partitions=partitions) as env:
        run = await env.start(parent)
        assert run.result == list(range(30))
        assert partitions > 1 or await ends_shared(env) > 1, "nothing was shared, and nothing is shown"
        await goes_on(env)


async def test_children_of_a_def_body_that_end_in_one_commit_are_all_told() -> None:
    a = App("test")

    @a.function
    async def child(ctx: Context) -> int:
        return ctx.event.data["n"]

    @a.function
    async def two(ctx: Context) -> list[int]:
        return await asyncio.gather(*(ctx.step.invoke(f"c{n}", child, {"n": n}) for n in range(2)))

    @a.function
    def parent(ctx: SyncContext) -> list[int]:
        return ctx.step.invoke("two", two)

    async with environment(a, partitions=1) as env:
        assert (await env.start(parent)).result == [0, 1]


async def test_waits_that_one_ingest_answers_are_all_told() -> None:
    a = App("test")

    @a.function
    async def waits(ctx: Context) -> list[object]:
        names = ("one", "two", "three")
        events = await asyncio.gather(*(ctx.step.wait_for_event(n, f"ev/{n}") for n in names))
        return [event and event.data["n"] for event in events]

    async with environment(a, partitions=1) as env:
        run = await env.start(waits)
        await env.send([{"name": f"ev/{n}", "data": {"n": n}} for n in ("two", "one", "three")])
        assert run.result == ["one", "two", "three"]


async def test_a_def_body_whose_map_fails_twice_at_once_goes_on_without_the_second_failure() -> None:
    a = App("test")
    failing = asyncio.Event()

    async def bad(n: int) -> None:
        await failing.wait()
        raise ValueError(n)

    @a.function(retries=0)
    def work(ctx: SyncContext) -> int:
        try:
            ctx.step.map("bad", bad, range(4))
        except StepError:
            return ctx.step.run("after", double, 4)
        return 0

    async with environment(a, partitions=1) as env:
        starting = asyncio.create_task(env.start(work))
        while env._engine is None or env._engine.services.running < 4:
            await asyncio.sleep(0)
        failing.set()
        run = await starting
        assert (run.status, run.result) == ("completed", 8)


async def test_signals_for_a_busy_def_body_are_each_given_to_a_wait_of_their_own() -> None:
    a = App("test")

    @a.function
    def work(ctx: SyncContext) -> list[object]:
        got = [ctx.step.wait_for_signal(f"s{n}", "go") for n in range(3)]
        return [signal and signal.data for signal in got]

    async with environment(a, partitions=1) as env:
        run = await env.start(work)
        handle = a.handle(work, run.id)
        await asyncio.gather(*(handle.signal("go", n) for n in range(3)))
        await env.settle()
        assert sorted(map(str, run.result)) == ["0", "1", "2"]
