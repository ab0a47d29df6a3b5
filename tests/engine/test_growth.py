"""A16 with the whole engine: the journal grows while runs sleep, wait and have children, and their worker is killed."""

from __future__ import annotations

from collections import Counter

import pytest

from perdure import App, Context
from perdure.core.invariants import check, check_between
from perdure.testing import Environment, environment
from tests.engine.going_on import double

pytestmark = pytest.mark.asyncio


def app() -> App:
    made = App("grows")

    @made.function(on="order/placed")
    async def order(ctx: Context) -> int:
        n: int = await ctx.step.run("double", double, ctx.event.data["n"])
        paid = await ctx.step.wait_for_event("paid", "order/paid", match="data.n", timeout="30d")
        assert paid is not None
        children = [await ctx.step.invoke(f"child-{i}", "child", {"n": n}) for i in range(3)]
        await ctx.step.sleep("rest", "1h")
        return await ctx.step.run("sum", sum, children)

    @made.function
    async def child(ctx: Context) -> int:
        await ctx.step.sleep("nap", "1m")
        return await ctx.step.run("double", double, ctx.event.data["n"])

    @made.function
    async def named(ctx: Context) -> str:
        await ctx.step.sleep("nap", "1d")
        return "once"

    return made


def homes(env: Environment, function: str) -> Counter[int]:
    """The runs of a function, by the partition that they are in."""
    return Counter(
        reader.state.number
        for reader in env.reader.partitions
        for run in reader.runs()
        if run.function == function
    )


def assert_whole(env: Environment) -> None:
    states = [reader.state for reader in env.reader.partitions]
    assert not [fault for state in states for fault in check(state)]
    assert not check_between(states)


@pytest.mark.parametrize("crash", [False, True], ids=["alive", "killed"])
async def test_a_journal_grows_twice_under_runs_of_every_kind(crash: bool) -> None:
    made = app()
    async with environment(made, partitions=4) as env:
        for n in range(6):
            await env.send("order/placed", {"n": n})
        once = await env.start(made.functions.resolve("named"), {}, id="order-1")
        assert set(homes(env, "order")) <= set(range(4))

        for partitions in (8, 12):
            env.log.grow(partitions)
            if crash:
                await env.crash_worker()
                await env.start_worker()
            await env.settle()
            for n in range(partitions * 10, partitions * 10 + 40):
                await env.send("order/placed", {"n": n})
            again = await env.start(made.functions.resolve("named"), {}, id="order-1")
            assert again.id == once.id, "an id of a user's names the same run as before"
        assert set(homes(env, "order")) & set(range(4, 8)), "the second generation is used"
        assert set(homes(env, "order")) & set(range(8, 12)), "and the third"
        assert homes(env, "named").total() == 1

        for n in [*range(6), *range(80, 120), *range(120, 160)]:
            await env.send("order/paid", {"n": n})
        if crash:
            await env.crash_worker()
            await env.start_worker()
        await env.advance("3m")
        children = homes(env, "child")
        assert children.total() == 3 * 86
        assert set(children) & set(range(4, 12)), "children are spread as well"
        await env.advance("2d")
        orders = [run for run in env.runs() if run.function == "order"]
        assert Counter(run.status for run in orders) == {"completed": 86}
        assert sorted(run.result for run in orders) == sorted(12 * n for n in [*range(6), *range(80, 160)])
        assert once.result == "once"
        assert_whole(env)
