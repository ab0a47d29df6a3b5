"""Functions that run other functions: however the other one ends, whoever waits for it is told, by type."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import (
    App,
    CancelOn,
    Context,
    NonRetriableError,
    RateLimit,
    Singleton,
    StepError,
    SyncContext,
    UsageError,
)
from perdure.testing import Environment, TestRun, crash_everywhere, environment
from tests.engine.going_on import app as app_that_goes_on
from tests.engine.going_on import failed_with, goes_on

pytestmark = pytest.mark.asyncio


class Declined(NonRetriableError):
    pass


def decline() -> None:
    raise Declined("no money")


def targets(a: App) -> dict[str, Any]:
    """One function for each way to end."""

    @a.function(retries=0)
    async def completes(ctx: Context) -> dict[str, int]:
        return {"n": ctx.event.data["n"]}

    @a.function(retries=0)
    async def fails(ctx: Context) -> None:
        await ctx.step.run("decline", decline)

    @a.function(retries=0, cancel_on=CancelOn("target/cancelled"))
    async def cancelled(ctx: Context) -> None:
        await ctx.step.sleep("long", "7d")

    @a.function(retries=0)
    async def late(ctx: Context) -> None:
        await ctx.step.sleep("long", "7d")

    @a.function(retries=0, rate_limit=RateLimit(1, "1h"))
    async def limited(ctx: Context) -> int:
        return 1

    @a.function(retries=0, singleton=Singleton(mode="skip"))
    async def single(ctx: Context) -> None:
        await ctx.step.sleep("long", "7d")

    return {f.id: f for f in (completes, fails, cancelled, late, limited, single)}


async def ending_of(ctx: Context, target: str) -> list[Any]:
    """How it ends for whoever invokes it."""
    try:
        result = await ctx.step.invoke("other", target, {"n": 7}, timeout="1d")
    except StepError as error:
        return [error.type_name.rpartition(".")[2], type(error.cause).__name__, error.step_id, error.message]
    return ["fine", result]


@pytest.mark.parametrize("partitions", [1, 8])
@pytest.mark.parametrize(
    ("target", "kind", "cause", "words"),
    [
        ("fails", "Declined", "Declined", "no money"),
        ("cancelled", "RunCancelled", "RunCancelled", "the event target/cancelled"),
        ("late", "StepTimeout", "StepTimeout", "did not end in time"),
        ("limited", "UsageError", "UsageError", "skipped"),
        ("single", "UsageError", "UsageError", "skipped"),
    ],
)
async def test_whoever_invokes_is_told_of_each_end_by_type(
    partitions: int, target: str, kind: str, cause: str, words: str
) -> None:
    a = App("test")
    made = targets(a)

    @a.function(retries=0)
    async def parent(ctx: Context) -> list[Any]:
        return await ending_of(ctx, target)

    async with environment(a, partitions=partitions) as env:
        if target in ("limited", "single"):
            await env.start(made[target])  # has the place
        run = await env.start(parent)
        await env.send("target/cancelled")
        await env.advance("2d")
        told, by, step, message = run.result
        assert (told, by, step) == (kind, cause, "other")
        assert words in message
        assert not any(one.view.status == "running" for one in env.runs(parent))


async def test_a_result_comes_back_by_object_and_by_id_from_each_partition() -> None:
    a = App("test")
    made = targets(a)

    @a.function
    async def parent(ctx: Context) -> list[Any]:
        return [
            await ctx.step.invoke(f"c{n}", made["completes"] if n % 2 else "completes", {"n": n})
            for n in range(16)
        ]

    async with environment(a, partitions=8) as env:
        run = await env.start(parent)
        assert run.result == [{"n": n} for n in range(16)]
        assert len({one.id.partition("-")[0] for one in env.runs("completes")}) > 1


async def test_an_unknown_function_and_one_of_another_app_are_refused_at_once() -> None:
    a, other = app_that_goes_on(), App("other")

    @other.function
    async def theirs(ctx: Context) -> None: ...

    @a.function(retries=0)
    async def unknown(ctx: Context) -> None:
        await ctx.step.invoke("x", "no-such-function", {})

    @a.function(retries=0)
    async def foreign(ctx: Context) -> None:
        await ctx.step.start("x", theirs)

    async with environment(a) as env:
        failed_with(await env.start(unknown), UsageError, "this app has no function 'no-such-function'")
        failed_with(await env.start(foreign), UsageError, "this app has no function 'theirs")
        await goes_on(env)


def closing(parent_close: Any) -> tuple[App, Any, Any]:
    a = App("test")

    @a.function
    async def child(ctx: Context) -> str:
        await ctx.step.sleep("work", "2h")
        return "done"

    @a.function
    async def parent(ctx: Context) -> str:
        return await ctx.step.invoke("child", child, {}, parent_close=parent_close)

    return a, parent, child


@pytest.mark.parametrize("partitions", [1, 8])
@pytest.mark.parametrize(("parent_close", "status"), [("cancel", "cancelled"), ("abandon", "completed")])
@pytest.mark.parametrize("end", ["cancelled", "forced"])
async def test_children_follow_the_parent_close_policy(
    partitions: int, parent_close: str, status: str, end: str
) -> None:
    a, parent, child = closing(parent_close)
    async with environment(a, partitions=partitions) as env:
        run = await env.start(parent)
        await run.cancel(force=end == "forced")
        await env.advance("3h")
        assert run.status == "cancelled"
        assert [one.status for one in env.runs(child)] == [status]


async def test_a_child_that_is_not_awaited_any_more_is_closed_by_its_policy() -> None:
    a = App("test")

    @a.function
    async def child(ctx: Context) -> str:
        await ctx.step.sleep("work", "2h")
        return ctx.event.data["name"]

    @a.function
    async def parent(ctx: Context) -> str:
        winner, _ = await ctx.step.race(
            stopped=ctx.step.invoke("stopped", child, {"name": "a"}),
            left=ctx.step.invoke("left", child, {"name": "b"}, parent_close="abandon"),
            time=ctx.step.sleep("time", "1h"),
        )
        return winner

    async with environment(a) as env:
        run = await env.start(parent)
        await env.advance("3h")
        assert run.result == "time"
        assert sorted(one.status for one in env.runs(child)) == ["cancelled", "completed"]


async def test_what_is_started_and_not_awaited_goes_its_own_way() -> None:
    a = App("test")

    @a.function
    async def other(ctx: Context) -> str:
        await ctx.step.sleep("work", "2h")
        return "done"

    @a.function
    def parent(ctx: SyncContext) -> str:
        started = ctx.step.start("other", other)
        ctx.step.sleep("rest", "1h")
        return started

    async with environment(a) as env:
        run = await env.start(parent)
        await run.cancel()
        await env.advance("3h")
        (there,) = env.runs(other)
        assert (run.status, there.status, there.view.parent) == ("cancelled", "completed", None)


async def test_a_parent_and_its_children_survive_a_crash_at_every_record() -> None:
    a = App("test")
    targets(a)

    @a.function(on="go")
    async def parent(ctx: Context) -> list[Any]:
        return [await ending_of(ctx, target) for target in ("completes", "fails", "late")]

    async def script(env: Environment) -> None:
        run: TestRun[Any]
        (run,) = await env.send("go")
        await env.advance("2d")
        assert [end[0].rpartition(".")[2] for end in run.result] == ["fine", "Declined", "StepTimeout"]

    report = await crash_everywhere(a, script)
    assert report.crashes > 20
