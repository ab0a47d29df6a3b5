"""Identity, order and time in a run: the same on replay (A4, A5)."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import pytest

from perdure.execution import Context
from perdure.execution.tasks import hash_base
from tests.execution.harness import T0, Driver, execution, function, timer_fired, work

# --- A4: identity and order -------------------------------------------------------------------------------------------


def test_a4_tasks_are_named_by_path() -> None:
    async def child(ctx: Context) -> None:
        await asyncio.gather(ctx.step.run("a", work, "x"), ctx.step.run("a", work, "x"))
        await ctx.step.run("b", work, "x")

    async def body(ctx: Context) -> None:
        await asyncio.gather(child(ctx), ctx.step.run("a", work, "x"), child(ctx))

    run = Driver(body)
    assert run.open == ["1.1/a", "1.2/a", "2/a", "3.1/a", "3.2/a"]
    run.done("3.1/a")
    run.done("3.2/a")
    assert run.open == ["1.1/a", "1.2/a", "2/a", "3/b"]


def test_a4_ids_and_timers_are_numbered_per_task() -> None:
    async def branch(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")
        await ctx.step.run("a", work, "x")
        await asyncio.sleep(1)
        await asyncio.sleep(1)

    async def body(ctx: Context) -> None:
        await asyncio.gather(branch(ctx), branch(ctx))

    run = Driver(body)
    run.done("2/a")
    run.done("2/a:1")
    assert run.open == ["1/a", "2/~timer"]
    run.release(timer_fired("2/~timer", time=T0 + 1_000_000))
    assert run.open == ["1/a", "2/~timer:1"]


def test_a4_hashes_depend_on_the_run_alone_and_are_spread() -> None:
    assert hash_base("run-1") == hash_base("run-1")
    bases = [hash_base(f"run-{i}") for i in range(2_000)]
    assert len({base % 4096 for base in bases}) > 1_400, (
        "main tasks of many runs must not fall into one place"
    )
    assert all(0 <= base < 2**60 for base in bases)


def test_a4_starting_a_run_stays_cheap_beside_many_others() -> None:
    # Equal hashes made each start walk over all tasks of the process.
    import time

    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")

    made = function(body)
    runs = [execution(made, f"many-{i}") for i in range(6_000)]
    begun = time.process_time()
    for run in runs:
        run.begin()
    took = time.process_time() - begun
    for run in runs:
        run.teardown()
    assert took / len(runs) < 300e-6


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("timeout", [None, 5])
def test_a4_as_completed_over_coroutines_is_refused(timeout: float | None) -> None:
    async def body(ctx: Context) -> None:
        for one in asyncio.as_completed(
            [ctx.step.run("a", work, "x"), ctx.step.run("b", work, "x")], timeout=timeout
        ):
            await one

    run = Driver(body)
    assert run.result == "perdure.errors.UsageError"
    assert "create the tasks first" in run.error["message"]
    del run
    gc.collect()  # of the other coroutine, Python says that nobody awaited it


def test_a4_random_streams_are_per_task() -> None:
    async def branch(ctx: Context, step_id: str) -> list[float]:
        await ctx.step.run(step_id, work, "x")
        return [ctx.random.random(), ctx.random.random(), ctx.uuid4().int]

    async def body(ctx: Context) -> Any:
        return await asyncio.gather(branch(ctx, "a"), branch(ctx, "b"))

    def result(order: str) -> Any:
        run = Driver(body)
        for key in order.split():
            run.done(key)
        return run.result

    one = result("1/a 2/b")
    assert one == result("2/b 1/a")
    assert one[0] != one[1]


# --- A5: time ---------------------------------------------------------------------------------------------------------


def test_a5_time_is_that_of_the_op_and_never_goes_back() -> None:
    async def body(ctx: Context) -> list[Any]:
        loop = asyncio.get_running_loop()
        seen = [loop.time(), ctx.now().timestamp()]
        for _ in range(3):
            await ctx.step.run("a", work, "x")
            seen.append(loop.time())
        return seen

    run = Driver(body)
    run.done("/a", time=T0 + 2_500_000)
    run.done("/a:1", time=T0 + 1_000_000)
    run.done("/a:2", time=T0 + 3_000_000)
    start = T0 / 1e6
    assert run.result == [start, start, start + 2.5, start + 2.5, start + 3]
    assert run.record.ended is not None
    assert run.record.ended[1]["time"] == T0 + 3_000_000


@pytest.mark.parametrize(
    ("seconds", "us"),
    [
        (1, 1_000_000),
        (0.1, 100_000),
        (0.000001, 1),
        (1.0000005, 1_000_001),
        (3600, 3_600_000_000),
        (1e-9, 1),
        (-1, None),
    ],
)
def test_a5_due_is_whole_microseconds_rounded_up(seconds: float, us: int | None) -> None:
    async def body(ctx: Context) -> None:
        await asyncio.sleep(seconds)
        await ctx.step.run("a", work, "x")

    run = Driver(body)
    if us is None:
        assert run.open == ["/a"]
    else:
        due = run.record.open["/~timer"][1]["due"] - T0
        # A float tells today's time to a quarter of a microsecond.
        assert due == us or (us == 1 and seconds < 1e-7 and due == 0)


def test_a5_exact_due_for_whole_microseconds() -> None:
    rnd = random.Random(5)
    delays = [rnd.randrange(1, 10**12) for _ in range(2_000)]

    async def body(ctx: Context) -> None:
        loop = asyncio.get_running_loop()
        for delay in delays:
            loop.call_later(delay / 1e6, print)
        for delay in delays:
            loop.call_at(loop.time() + delay / 1e6, print)

    turn = execution(body).begin()
    assert turn.ended, "timers that no task waits for do not keep a run from ending"
    assert len(turn.ops) == 2

    async def check(ctx: Any) -> list[int]:
        loop = asyncio.get_running_loop()
        return [loop.due_us(loop.time() + delay / 1e6) - T0 for delay in delays]  # pyright: ignore[reportAttributeAccessIssue]

    assert Driver(check).result == delays


@pytest.mark.parametrize("when", [float("nan"), float("inf"), 1e30])
def test_a5_no_timer_beyond_a_hundred_years(when: float) -> None:
    async def body(ctx: Context) -> None:
        asyncio.get_running_loop().call_at(when, print)

    assert Driver(body).result == "perdure.errors.UsageError"


def test_a5_timeouts_take_numbers() -> None:
    async def body(ctx: Context) -> str:
        try:
            async with asyncio.timeout(86_400):
                await ctx.step.run("slow", work, "x")
        except TimeoutError:
            return "late"
        return "in time"

    run = Driver(body)
    assert run.record.open["/~timer"][1]["due"] == T0 + 86_400_000_000
    turn = run.release(timer_fired("/~timer", time=T0 + 86_400_000_000))
    assert ("perdure.StepAbandoned", {"key": "/slow"}) in turn.ops
    assert run.result == "late"
