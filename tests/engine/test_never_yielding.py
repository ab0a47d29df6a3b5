"""B1 f, B6: handlers that never yield. Who holds up a worker is named, and a body is stopped; the partition goes on."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from pathlib import Path

import pytest

from perdure import App, Context, RunFailed
from perdure.core.limits import DEFAULT_LIMITS
from perdure.testing import environment
from tests.engine.going_on import app, double, failed_with, goes_on, run_body


@pytest.mark.asyncio
async def test_an_async_step_that_blocks_the_loop_is_named_and_the_worker_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = App("test", log=f"sqlite:///{tmp_path}/log.db")

    async def blocks() -> int:
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            pass
        return 1

    @a.function
    async def work(ctx: Context) -> int:
        return await ctx.step.run("blocking", blocks) + await ctx.step.run("double", double, 1)

    with caplog.at_level(logging.WARNING, "perdure.worker"):
        async with a.worker(blocked_after=0.1):
            assert await (await a.start(work, {})).result(timeout=10) == 3
    await a.close()
    assert any("blocking" in record.getMessage() for record in caplog.records)


@pytest.mark.asyncio
async def test_a_body_that_never_settles_fails_and_says_what_to_look_for() -> None:
    async def spins(ctx: Context) -> None:
        while True:
            await asyncio.sleep(0)

    failed_with(
        await run_body(spins), "perdure.execution.loop.TurnTooLong", "awaits nothing but asyncio.sleep(0)"
    )


IMPATIENT = dataclasses.replace(DEFAULT_LIMITS, turn_time_max=300_000)


@pytest.mark.asyncio
async def test_b1_f_a_body_that_computes_without_end_is_stopped_and_its_line_is_named() -> None:
    async def computes(ctx: Context) -> None:
        await ctx.step.run("double", double, 1)
        while True:
            pass

    failed_with(
        await run_body(computes, limits=IMPATIENT), "perdure.execution.loop.TurnTooLong", "in computes"
    )


@pytest.mark.asyncio
async def test_b1_f_a_body_that_catches_its_stop_is_stopped_again() -> None:
    caught = list[str]()

    async def computes(ctx: Context) -> None:
        while True:
            try:
                while True:
                    pass
            except Exception as error:  # never: the stop is no Exception
                caught.append(f"Exception {error!r}")
            except BaseException as error:
                caught.append(type(error).__name__)
                while True:
                    pass

    run = await run_body(computes, limits=IMPATIENT)
    failed_with(run, "perdure.execution.loop.TurnTooLong", "in computes")
    assert caught == ["Overdue"]


@pytest.mark.asyncio
async def test_b1_f_a_task_of_a_body_that_computes_without_end_is_stopped() -> None:
    async def spins() -> None:
        while True:
            pass

    async def gathers(ctx: Context) -> None:
        await asyncio.gather(spins(), ctx.step.run("double", double, 1), return_exceptions=True)

    failed_with(await run_body(gathers, limits=IMPATIENT), "perdure.execution.loop.TurnTooLong", "in spins")


@pytest.mark.asyncio
async def test_b1_f_a_cleanup_that_computes_without_end_is_stopped_when_the_run_moves() -> None:
    a = app(limits=IMPATIENT)

    @a.function
    async def clings(ctx: Context) -> str:
        try:
            await ctx.step.sleep("nap", "1h")
        except BaseException:
            while True:
                pass
        return "rested"

    async with environment(a, partitions=1) as env:
        run = await env.start(clings)
        await env.crash_worker()
        await env.start_worker()
        await env.advance("2h")
        assert run.result == "rested"
        await goes_on(env)


@pytest.mark.asyncio
async def test_b1_f_the_worker_of_a_real_log_goes_on_behind_a_body_that_never_yields(tmp_path: Path) -> None:
    a = app(log=f"sqlite:///{tmp_path}/log.db", limits=IMPATIENT)

    @a.function(retries=0)
    async def never_yields(ctx: Context) -> None:
        while True:
            pass

    async with a.worker():
        stuck = await a.start(never_yields, {})
        with pytest.raises(RunFailed, match="never ends"):
            await stuck.result(timeout=20)
    await a.close()


@pytest.mark.asyncio
async def test_b1_f_a_body_that_waits_for_a_lock_is_named_and_not_stopped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held, named = threading.Lock(), threading.Event()
    held.acquire()
    threading.Thread(target=lambda: (named.wait(20), held.release()), daemon=True).start()

    class Hears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            named.set()

    a = app(log=f"sqlite:///{tmp_path}/log.db", limits=IMPATIENT)

    @a.function
    async def waits(ctx: Context) -> str:
        held.acquire()
        return "got it"

    log, hears = logging.getLogger("perdure.worker"), Hears()
    log.addHandler(hears)
    try:
        async with a.worker(blocked_after=0.5):
            assert await (await a.start(waits, {})).result(timeout=20) == "got it"
    finally:
        log.removeHandler(hears)
        await a.close()
    assert "held the event loop for 0.5 s" in caplog.text
    assert "held.acquire()" in caplog.text
