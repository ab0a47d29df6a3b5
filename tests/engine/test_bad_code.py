"""What code gets that does not do what a step or a body may do: a typed error, and the engine goes on."""

from __future__ import annotations

import asyncio
import math
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Context,
    EncodingError,
    PayloadTooLarge,
    PerdureError,
    SyncContext,
    UsageError,
)
from perdure.core.limits import Limits
from perdure.testing import environment
from tests.engine.going_on import app, double, failed_with, goes_on, nested, run_body
from tests.house.sources import ROOT

# --- results and exceptions -------------------------------------------------------------------------------------------


def unannotated():
    return {1, 2}


def annotated() -> int:
    return "four"  # pyright: ignore[reportReturnType]


def not_a_number() -> float:
    return math.nan


def large() -> str:
    return "x" * 500_000


def deep() -> list[Any]:
    return nested(10_000)


RESULTS: list[tuple[Callable[[], Any], type[PerdureError], str]] = [
    (unannotated, EncodingError, "annotate the return type of"),
    (annotated, EncodingError, "the annotation says int"),
    (not_a_number, EncodingError, "use None or a string"),
    (large, PayloadTooLarge, "stored_payload_bytes_max = 400,000; store it elsewhere"),
    (deep, EncodingError, "flatten it"),
    (lambda: object(), EncodingError, "a lambda has no return type"),
]


@pytest.mark.parametrize(("fn", "kind", "words"), RESULTS, ids=range(len(RESULTS)))
@pytest.mark.asyncio
async def test_a_result_that_cannot_be_recorded_is_final(
    fn: Callable[[], Any], kind: type[PerdureError], words: str
) -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.options(retries=5).run("bad", fn)

    run = await run_body(body, Limits(stored_payload_bytes_max=400_000))
    failed_with(run, kind, words)
    assert run.step("bad").attempts == 1


@pytest.mark.asyncio
async def test_a_result_of_a_function_that_cannot_be_recorded_fails_the_run() -> None:
    async def thing(ctx: Context) -> object:
        return object()

    async def surrogate(ctx: Context) -> str:
        return "\ud800"

    async def large_too(ctx: Context) -> str:
        return "x" * 500_000

    failed_with(await run_body(thing), EncodingError, "a value of type object is not JSON")
    failed_with(await run_body(surrogate), EncodingError, "lone surrogate")
    small = Limits(stored_payload_bytes_max=400_000)
    failed_with(await run_body(large_too, small), PayloadTooLarge, "store it elsewhere")


class Unkind(Exception):
    """Cannot be pickled, printed or made again."""

    def __init__(self, one: int, two: int) -> None:
        self.numbers = one, two

    def __str__(self) -> str:
        raise RuntimeError("not to be printed")

    __repr__ = __str__

    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


def raise_unkind() -> None:
    raise Unkind(1, 2)


@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.asyncio
async def test_an_exception_that_cannot_be_pickled_or_printed_is_recorded(executor: Any) -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.options(executor=executor).run("bad", raise_unkind)

    failed_with(await run_body(body), Unkind, "a Unkind that cannot be printed")


@pytest.mark.asyncio
async def test_an_exception_that_cannot_be_printed_may_leave_a_body() -> None:
    async def body(ctx: Context) -> None:
        raise Unkind(1, 2)

    failed_with(await run_body(body), Unkind, "a Unkind that cannot be printed")


@pytest.mark.asyncio
async def test_what_would_end_the_process_parks_or_fails_its_run_alone() -> None:
    def leave() -> None:
        sys.exit(3)

    async def step_leaves(ctx: Context) -> None:
        await ctx.step.run("leave", leave)

    async def body_leaves(ctx: Context) -> None:
        sys.exit(3)

    failed_with(await run_body(step_leaves), SystemExit, "3")
    run = await run_body(body_leaves)
    assert run.status == "parked"
    assert "raised SystemExit" in run.view.reason


# --- except BaseException ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_except_base_exception_around_a_step_changes_nothing() -> None:
    a = app()

    @a.function
    async def careless(ctx: Context) -> list[str]:
        seen: list[str] = []
        for n in range(2):
            try:
                seen.append(str(await ctx.step.run("double", double, n)))
                await ctx.step.sleep("nap", "1h")
            except BaseException as error:
                seen.append(type(error).__name__)
        return seen

    async with environment(a, partitions=1) as env:
        run = await env.start(careless)
        await env.crash_worker()  # its coroutine is unwound, and nothing of that is recorded
        await env.start_worker()
        await env.advance("2h")
        assert run.result == ["0", "2"]
        cancelled = await env.start(careless)
        await cancelled.cancel()
        await env.advance("2h")
        assert cancelled.result == ["0", "CancelledError", "2"]
        await goes_on(env)


STUBBORN = """
import asyncio, dataclasses, gc
from perdure import App, Context
from perdure.core.limits import DEFAULT_LIMITS
from perdure.execution.teardown import graveyard
from perdure.testing import environment

app = App("test", limits=dataclasses.replace(DEFAULT_LIMITS, graveyard_max=2))

@app.function(on="go")
async def stubborn(ctx: Context) -> None:
    while True:
        try:
            await ctx.step.wait_for_signal("s", "never")
        except BaseException:
            pass

async def main():
    async with environment(app) as env:
        await env.send([{"name": "go", "data": {}} for _ in range(6)])
        await env.advance("2m")  # nothing comes: their coroutines are let go
        gc.collect()
        print(graveyard.buried, graveyard.pushed_out, len(graveyard), [run.status for run in env.runs()])

asyncio.run(main())
"""


def test_a3_bodies_that_refuse_to_end_neither_hang_the_worker_nor_its_exit() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUBBORN],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "framework")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"6 4 2 {['running'] * 6}"


# --- I/O and threads in a body ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_io_and_threads_in_a_body_fail_and_say_put_this_in_a_step() -> None:
    async def reads(ctx: Context) -> str:
        return Path(__file__).read_text()

    async def connects(ctx: Context) -> None:
        socket.create_connection(("127.0.0.1", 9))

    async def streams(ctx: Context) -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    async def forks(ctx: Context) -> None:
        subprocess.run(["true"], check=True)  # noqa: ASYNC221 - it is what must not be

    async def threads(ctx: Context) -> int:
        return await asyncio.to_thread(double, 1)

    async def executes(ctx: Context) -> int:
        return await asyncio.get_running_loop().run_in_executor(None, double, 1)

    for body in (reads, connects, streams, forks, threads, executes):
        failed_with(await run_body(body), UsageError, "put this in a step: await ctx.step.run(id, fn, ...)")


@pytest.mark.asyncio
async def test_io_in_steps_and_def_bodies_is_free(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    a = app()

    @a.function
    async def by_step(ctx: Context) -> int:
        return await ctx.step.run("write", place.write_text, "hello")

    @a.function
    def by_body(ctx: SyncContext) -> str:
        return place.read_text()

    async with environment(a, partitions=1) as env:
        assert (await env.start(by_step)).result == 5
        assert (await env.start(by_body)).result == "hello"
