"""Bodies for the replay harness: the asyncio and anyio that users write, where order is easily lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from perdure.errors import StepError
from perdure.execution import Context
from tests.execution.harness import work

Program = Callable[["Any"], Awaitable[Any]]

PROGRAMS: dict[str, Program] = {}


def program(body: Program) -> Program:
    PROGRAMS[body.__name__] = body
    return body


UNORDERED: dict[str, Program] = {}
"""Bodies whose order is not the run's to give. The reason is with the test."""


def unordered(body: Program) -> Program:
    UNORDERED[body.__name__] = body
    return body


async def step(ctx: Any, name: str) -> str:
    ctx.jitter()
    return await ctx.step.run(name, work, name)


@program
async def sequence(ctx: Context) -> Any:
    first = await step(ctx, "a")
    await ctx.step.sleep("nap", "3s")
    await asyncio.sleep(0.25)
    return [
        first,
        await step(ctx, "a"),
        await step(ctx, "b"),
        ctx.now().isoformat(),
        str(ctx.uuid4()),
        ctx.random.random(),
    ]


@program
async def wait_first_completed(ctx: Context) -> Any:
    async def branch(name: str) -> str:
        try:
            return await step(ctx, name)
        except asyncio.CancelledError:
            await step(ctx, "undo")
            return name

    _, rest = await asyncio.wait(
        [asyncio.create_task(branch(n)) for n in "abcdef"], return_when=asyncio.FIRST_COMPLETED
    )
    for task in rest:
        task.cancel()
    return [str((await asyncio.gather(task, return_exceptions=True))[0]) for task in rest]


@program
async def wait_then_iterate_done(ctx: Context) -> Any:
    done, _ = await asyncio.wait([asyncio.create_task(step(ctx, n)) for n in "abcd"])
    return [await step(ctx, "after-" + ("x" if task.exception() else task.result())) for task in done]


@program
async def wait_first_exception(ctx: Context) -> Any:
    tasks = [asyncio.create_task(step(ctx, n), name=n) for n in "abcde"]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION, timeout=4)
    for task in rest:
        task.cancel()
    return [await step(ctx, f"seen-{task.get_name()}") for task in done]


@program
async def as_completed_tasks(ctx: Context) -> Any:
    async def branch(name: str) -> str:
        return await step(ctx, "same") + name

    seen: list[str] = []
    for next_one in asyncio.as_completed([asyncio.create_task(branch(n)) for n in "abcdef"], timeout=30):
        try:
            seen.append(await next_one)
        except (StepError, TimeoutError) as error:
            seen.append(type(error).__name__)
    return seen


@program
async def gather_fails(ctx: Context) -> Any:
    return await asyncio.gather(step(ctx, "a"), step(ctx, "b"), step(ctx, "c"))


@program
async def gather_with_exceptions(ctx: Context) -> Any:
    found = await asyncio.gather(*(step(ctx, f"s{i % 3}") for i in range(7)), return_exceptions=True)
    return [str(one) for one in found]


@program
async def task_group_aborts(ctx: Context) -> Any:
    seen: list[str] = []

    async def branch(name: str) -> None:
        try:
            seen.append(await step(ctx, name))
        except asyncio.CancelledError:
            seen.append("cancelled " + name)
            seen.append(await step(ctx, "undo"))
            raise

    try:
        async with asyncio.TaskGroup() as group:
            for name in "abcdef":
                group.create_task(branch(name))
    except* StepError:
        seen.append("group")
    return seen


@program
async def nested_task_groups(ctx: Context) -> Any:
    seen: list[str] = []

    async def leaf(name: str) -> None:
        await asyncio.sleep(len(seen) * 0.3)
        seen.append(await step(ctx, name))

    async def branch(name: str) -> None:
        async with asyncio.TaskGroup() as inner:
            for i in range(3):
                inner.create_task(leaf(f"{name}{i}"))
        seen.append(await step(ctx, f"end-{name}"))

    try:
        async with asyncio.TaskGroup() as outer:
            for name in "xyz":
                outer.create_task(branch(name))
    except* StepError as group:
        seen.append(str(len(group.exceptions)))
    return seen


@program
async def timeouts_in_task_group(ctx: Context) -> Any:
    seen: list[str] = []

    async def branch(name: str, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                async with asyncio.timeout(delay / 2):
                    seen.append(await step(ctx, name + "1"))
                seen.append(await step(ctx, name + "2"))
        except TimeoutError:
            seen.append("late " + name)
            await step(ctx, "undo" + name)

    async with asyncio.TaskGroup() as group:
        for i, name in enumerate("abc"):
            group.create_task(branch(name, 1 + i))
    return seen


@program
async def timeout_rescheduled(ctx: Context) -> Any:
    seen: list[str] = []
    try:
        async with asyncio.timeout(2) as limit:
            for i in range(5):
                seen.append(await step(ctx, f"s{i}"))
                limit.reschedule(asyncio.get_running_loop().time() + 2)
    except TimeoutError:
        seen.append("late")
    return seen


@program
async def wait_for_many(ctx: Context) -> Any:
    async def one(name: str) -> str:
        try:
            return await asyncio.wait_for(step(ctx, name), 1.5)
        except (TimeoutError, StepError) as error:
            return await step(ctx, f"{type(error).__name__}-{name}")

    return await asyncio.gather(*(one(n) for n in "abcd"))


@program
async def shield_and_cancel(ctx: Context) -> Any:
    inner = asyncio.ensure_future(step(ctx, "inner"))

    async def waiter() -> str:
        return await asyncio.shield(inner)

    task = asyncio.create_task(waiter())
    await step(ctx, "x")
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        await step(ctx, "cancelled")
    return await inner


@program
async def semaphore(ctx: Context) -> Any:
    gate, seen = asyncio.Semaphore(2), list[str]()

    async def branch(name: str) -> None:
        async with gate:
            try:
                seen.append(await step(ctx, name))
            except StepError:
                seen.append("failed " + name)

    await asyncio.gather(*(branch(str(i)) for i in range(6)))
    return seen


@program
async def semaphore_with_wait_for(ctx: Context) -> Any:
    gate, seen = asyncio.Semaphore(1), list[str]()

    async def plain(name: str) -> None:
        async with gate:
            seen.append(await step(ctx, "same") + name)

    async def limited(name: str) -> None:
        await asyncio.wait_for(gate.acquire(), 9)
        try:
            seen.append(await step(ctx, "same") + name)
        finally:
            gate.release()

    await asyncio.gather(plain("a"), limited("b"), plain("c"), limited("d"))
    return seen


@program
async def queue_fan_in(ctx: Context) -> Any:
    queue, seen = asyncio.Queue[str](2), list[str]()

    async def produce(name: str) -> None:
        for _ in range(3):
            try:
                await queue.put(await step(ctx, name))
            except StepError:
                await queue.put("failed")

    async def consume() -> None:
        for _ in range(6):
            seen.append(await queue.get())
            await asyncio.sleep(0.5)

    await asyncio.gather(produce("a"), produce("b"), consume())
    return seen


@program
async def workers_on_a_queue(ctx: Context) -> Any:
    queue, seen = asyncio.Queue[str](), list[str]()
    for i in range(6):
        queue.put_nowait(f"job{i}")

    async def worker(name: str) -> None:
        while True:
            job = await queue.get()
            try:
                seen.append(name + await step(ctx, job))
            except StepError:
                seen.append(name + "failed")
            finally:
                queue.task_done()

    tasks = [asyncio.create_task(worker(n)) for n in "AB"]
    await queue.join()
    for task in tasks:
        task.cancel()
    return seen


@program
async def condition_and_lock(ctx: Context) -> Any:
    condition, seen = asyncio.Condition(), list[str]()

    async def waiter(name: str) -> None:
        async with condition:
            await condition.wait_for(lambda: len(seen) >= 2)
            seen.append(await step(ctx, name))

    async def feeder() -> None:
        for i in range(3):
            seen.append(await step(ctx, f"feed{i}"))
            async with condition:
                condition.notify_all()

    await asyncio.gather(waiter("p"), waiter("q"), feeder())
    return seen


@program
async def event_set(ctx: Context) -> Any:
    go, seen = asyncio.Event(), list[str]()

    async def plain(name: str) -> None:
        await go.wait()
        seen.append(await step(ctx, "same") + name)

    async def waited_for(name: str) -> None:
        await asyncio.wait_for(go.wait(), 50)
        seen.append(await step(ctx, "same") + name)

    async def timed(name: str) -> None:
        async with asyncio.timeout(50):
            await go.wait()
        seen.append(await step(ctx, "same") + name)

    async def setter() -> None:
        await step(ctx, "go")
        go.set()

    await asyncio.gather(waited_for("w"), plain("d"), timed("t"), setter(), return_exceptions=True)
    return seen


@program
async def swallows_cancels(ctx: Context) -> Any:
    seen: list[str] = []
    for i in range(5):
        try:
            seen.append(await step(ctx, f"s{i}"))
        except BaseException as error:
            seen.append(type(error).__name__)
    return seen


@program
async def finally_awaits(ctx: Context) -> Any:
    try:
        await step(ctx, "a")
        await asyncio.sleep(5)
        await step(ctx, "b")
    finally:
        await step(ctx, "cleanup")
        await ctx.step.sleep("pause", "1s")
        await step(ctx, "cleaned")


@program
async def generator_abandoned(ctx: Context) -> Any:
    async def numbers():
        try:
            while True:
                yield await step(ctx, "next")
        finally:
            await step(ctx, "close")

    seen: list[str] = []
    async for one in numbers():
        seen.append(one)
        if len(seen) == 2:
            break
    return [*seen, await step(ctx, "after")]


@program
async def generator_left_open(ctx: Context) -> Any:
    async def numbers(name: str):
        try:
            yield await step(ctx, "next")
            yield "second"
        finally:
            await step(ctx, f"close-{name}")

    kept = [numbers("a"), numbers("b")]
    cycle: list[Any] = [kept]
    cycle.append(cycle)
    return [await anext(one) for one in kept]
