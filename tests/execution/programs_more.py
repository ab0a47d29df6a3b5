"""More bodies for the replay harness: the durable operations, and anyio."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio

from perdure.errors import StepError
from perdure.execution import Context
from tests.execution.harness import work
from tests.execution.programs import program, step, unordered


@program
async def background_outlives(ctx: Context) -> Any:
    async def background(name: str) -> None:
        try:
            await step(ctx, f"{name}1")
            await step(ctx, f"{name}2")
        finally:
            await step(ctx, f"{name}-final")

    tasks = {asyncio.create_task(background(n)) for n in "pqr"}
    found = await step(ctx, "main")
    return [found, len(tasks)]


@program
async def maps(ctx: Any) -> Any:
    try:
        first = await ctx.step.map("item", work, "abcdefg", limit=3)
        second = await ctx.step.map("item", work, "xy")
    except StepError as error:
        return ["failed", error.step_id, await step(ctx, "after")]
    return [*first, *second]


@program
async def races(ctx: Any) -> Any:
    async def slow() -> str:
        try:
            return await step(ctx, "slow")
        finally:
            await step(ctx, "slow-cleanup")

    seen: list[Any] = []
    for _ in range(3):
        try:
            seen.append(
                await ctx.step.race(slow=slow(), quick=step(ctx, "quick"), late=ctx.step.sleep("late", 2))
            )
        except StepError as error:
            seen.append(error.step_id)
    return [str(one) for one in seen]


@program
async def waits_for_events(ctx: Any) -> Any:
    async def one(name: str) -> str:
        found = await ctx.step.wait_for_event(
            "wait", f"ev/{name}", match="data.ref", timeout="4s", lookback="1h"
        )
        return "nothing" if found is None else found.data["from"] + await step(ctx, name)

    return await asyncio.gather(*(one(n) for n in "abc"), return_exceptions=False)


@program
async def waits_for_signals(ctx: Any) -> Any:
    seen: list[str] = []
    for i in range(3):
        found = await ctx.step.wait_for_signal(f"s{i}", "approve", timeout="2s" if i else None)
        seen.append("nothing" if found is None else f"{found.name} {found.data}")
        if found is None:
            await step(ctx, "remind")
    return seen


@program
async def sends_events(ctx: Any) -> Any:
    ids = await ctx.step.send_event("tell", [{"name": "a/b", "data": {"n": i}} for i in range(2)])
    await step(ctx, "a")
    ids += await ctx.step.send_event("tell", "a/c")
    return ids


@program
async def anyio_task_group(ctx: Context) -> Any:
    seen: list[str] = []

    async def branch(name: str) -> None:
        seen.append(await step(ctx, name))
        await anyio.sleep(1)
        seen.append(await step(ctx, name + "2"))

    async with anyio.create_task_group() as group:
        for name in "abcd":
            group.start_soon(branch, name)
    return seen


@program
async def anyio_scope(ctx: Context) -> Any:
    seen: list[Any] = []
    with anyio.move_on_after(3) as scope:
        try:
            seen.append(await step(ctx, "a"))
            seen.append(await step(ctx, "b"))
        finally:
            with anyio.CancelScope(shield=True):
                seen.append(await step(ctx, "clean"))
    return [*seen, scope.cancelled_caught]


@program
async def anyio_streams(ctx: Context) -> Any:
    send, receive = anyio.create_memory_object_stream[str](1)
    seen: list[str] = []

    async def produce() -> None:
        async with send:
            for name in "abc":
                await send.send(await step(ctx, name))

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        async with receive:
            async for one in receive:
                seen.append(await step(ctx, f"got-{one[-1]}"))
    return seen


@program
async def anyio_group_cancelled(ctx: Context) -> Any:
    ended: set[str] = set()

    async def branch(name: str) -> None:
        try:
            await step(ctx, name)
        finally:
            ended.add(name)

    async with anyio.create_task_group() as group:
        for name in "abcdef":
            group.start_soon(branch, name)
        try:
            await step(ctx, "main")
        except StepError:
            pass
        group.cancel_scope.cancel()
    return sorted(ended)


@unordered
async def order_of_anyio_cancels(ctx: Context) -> Any:
    seen: list[str] = []

    async def branch(name: str) -> None:
        try:
            await step(ctx, name)
        finally:
            seen.append(name)

    async with anyio.create_task_group() as group:
        for name in "abcdef":
            group.start_soon(branch, name)
        await step(ctx, "main")
        group.cancel_scope.cancel()
    return seen


@unordered
async def set_of_gathers(ctx: Context) -> Any:
    gathers = {asyncio.gather(step(ctx, n), return_exceptions=True) for n in "abcdef"}
    await asyncio.wait(gathers)
    return [str(one.result()[0]) for one in gathers]
