"""`def` bodies: their tries, their threads, and what comes while they compute or pause."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import App, Retry, SyncContext
from perdure.core.ids import BODY
from perdure.engine.residents import NO_THREAD_US
from perdure.execution.ports import NoThread
from perdure.testing import environment
from perdure.worker.steps import LocalSteps
from tests.engine.going_on import collecting_troubles, double
from tests.engine.test_findings_ends import until

pytestmark = pytest.mark.asyncio


def app() -> App:
    return App("test")


async def test_a_def_body_has_all_its_tries_again_after_it_got_on() -> None:
    a = app()
    failed: set[int] = set()

    @a.function(retry=Retry(limit=2, initial="1s", jitter=0))
    def work(ctx: SyncContext) -> str:
        for n in range(6):
            ctx.step.run(f"s{n}", double, n)
            if n not in failed:
                failed.add(n)
                raise ConnectionError(f"flaky after step {n}")
        return "done"

    async with environment(a, partitions=1) as env:
        run = await env.start(work)
        await env.advance("1m")
        assert (run.status, failed) == ("completed", set(range(6)))


async def test_an_outcome_that_comes_while_a_def_body_pauses_between_two_tries_is_taken() -> None:
    a = app()
    tries: list[int] = []
    gates = [asyncio.Event(), asyncio.Event()]

    async def step(n: int) -> int:
        await gates[n].wait()
        return n

    @a.function(retry=Retry(limit=5, initial="1m", jitter=0))
    def work(ctx: SyncContext) -> list[int]:
        tries.append(1)
        if len(tries) == 2:
            raise ConnectionError("the body's own I/O fails, as it is run again for the first outcome")
        return ctx.step.map("m", step, [0, 1])

    async with environment(a, partitions=1) as env:
        starting = asyncio.create_task(env.start(work))
        await until(env, lambda: bool(env._engine and env._engine.services.running == 2))
        gates[0].set()
        await until(env, lambda: len(tries) == 2 and BODY in env.reader.runs()[0].pending)
        gates[1].set()
        run = await starting
        await env.advance("2m")
        assert run.result == [0, 1], run.view


async def test_a_def_body_waits_for_a_thread_that_the_system_does_not_give_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = app()

    @a.function
    def work(ctx: SyncContext) -> int:
        return ctx.step.run("double", double, 4)

    compute, refusals = LocalSteps.compute, iter([True, False, True])

    def refused_at_times(self: LocalSteps, fn: Any, done: Any) -> None:
        if next(refusals, False):
            raise NoThread("can't start new thread")
        compute(self, fn, done)

    monkeypatch.setattr(LocalSteps, "compute", refused_at_times)
    with collecting_troubles() as troubles:
        async with environment(a, partitions=1) as env:
            await a.start(work)
            for refused in (1, 2):
                await until(env, lambda refused=refused: len(troubles) == refused)
                while env.clock.step(env.clock.now() + NO_THREAD_US):
                    pass
            await until(env, lambda: env.runs()[0].status == "completed")
    assert len(troubles) == 2
