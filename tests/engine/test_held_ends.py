"""Ends that are held back while an attempt is in flight (B2): what the log says of them, and who books them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure import App, Context, StepError, SyncContext
from perdure.authoring.functions import Function
from perdure.core import ops
from perdure.core.invariants import check
from perdure.core.state import Run
from perdure.testing import Environment, environment
from tests.engine.going_on import double
from tests.engine.test_findings_ends import Recorder, until

pytestmark = pytest.mark.asyncio


class Blocking:
    """A step in a thread that nobody can stop, until the test lets it go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        self.began.set()
        self.go_on.wait(30)


def functions(a: App, blocking: Blocking) -> dict[str, Function[Any, Any]]:
    def bad(n: int) -> None:
        if n:
            blocking()
        else:
            blocking.began.wait(30)
            raise ValueError("bad")

    @a.function
    async def races(ctx: Context) -> str:
        await ctx.step.race(a=ctx.step.run("slow", blocking), b=ctx.step.run("quick", double, 1))
        return "raced"

    @a.function
    async def leaves(ctx: Context) -> str:
        _left = asyncio.create_task(ctx.step.run("slow", blocking))
        await ctx.step.run("quick", double, 1)
        return "left"

    @a.function(on_error="pause")
    async def parks(ctx: Context) -> None:
        _left = asyncio.create_task(ctx.step.run("slow", blocking))
        await ctx.step.run("quick", double, 1)
        raise ValueError("bad")

    @a.function(retries=0)
    def fails(ctx: SyncContext) -> None:
        ctx.step.map("m", bad, [0, 1])

    @a.function(retries=0)
    def catches(ctx: SyncContext) -> str:
        try:
            ctx.step.map("m", bad, [0, 1])
        except StepError:
            return "caught"
        return ""

    return {f.id: f for f in (races, leaves, parks, fails, catches)}


ENDS = {
    "races": ("completed", b'"raced"'),
    "leaves": ("completed", b'"left"'),
    "parks": ("parked", None),
    "fails": ("failed", None),
    "catches": ("completed", b'"caught"'),
}


def only(env: Environment) -> Run:
    (run,) = env.reader.runs()
    return run


def is_held(env: Environment) -> bool:
    return any(run.held is not None for run in env.reader.runs())


@asynccontextmanager
async def held(name: str) -> AsyncIterator[tuple[Environment, App, Blocking]]:
    """A run of this function whose body has ended, and whose step in a thread goes on."""
    a, blocking = App("test"), Blocking()
    function = functions(a, blocking)[name]
    async with environment(a, partitions=1) as env:
        try:
            await a.start(function, {"n": 1})
            await until(env, lambda: is_held(env))
            yield env, a, blocking
        finally:
            blocking.go_on.set()


@pytest.mark.parametrize("name", ENDS)
async def test_B2_the_log_says_that_an_end_is_held_back_and_the_end_follows_the_last_attempt(
    name: str,
) -> None:
    async with held(name) as (env, _, blocking):
        assert (only(env).status, only(env).pending) == ("running", {})
        assert check(env.reader.partitions[0].state) == []
        blocking.go_on.set()
        await env.settle()
        assert (only(env).status, only(env).result) == ENDS[name]
        assert only(env).held is None


@pytest.mark.parametrize("how", ["crash", "leave"])
@pytest.mark.parametrize("name", ENDS)
async def test_B2_a_held_end_is_booked_by_the_next_owner(name: str, how: str) -> None:
    async with held(name) as (env, _, _):
        if how == "crash":
            env.crash_now()
        else:
            await env.stop_worker()
        await env.start_worker()
        assert (only(env).status, only(env).result) == ENDS[name], only(env).reason
        assert check(env.reader.partitions[0].state) == []


async def test_B2_a_run_that_was_parked_by_a_held_end_fits_its_record_when_it_is_resumed() -> None:
    async with held("parks") as (env, _, _):
        env.crash_now()
        await env.start_worker()
        await env.run(only(env).id).resume()
        assert only(env).reason == "an error left the body: ValueError: bad"


async def test_a_forced_cancel_waits_for_no_thread() -> None:
    a, blocking = App("test"), Blocking()

    @a.function
    async def hangs(ctx: Context) -> None:
        await ctx.step.run("hang", blocking)

    async with environment(a, partitions=1) as env:
        handle = await a.start(hangs)
        await until(env, blocking.began.is_set)
        await handle.cancel(force=True)
        await until(env, lambda: any(run.status == "cancelled" for run in env.reader.runs()))
        assert not blocking.go_on.is_set()
        blocking.go_on.set()


@pytest.mark.parametrize("name", ["races", "fails"])
async def test_a_forced_cancel_of_a_run_whose_end_is_held_back_ends_it_at_once(name: str) -> None:
    async with held(name) as (env, a, blocking):
        await a.handle(functions(App("other"), blocking)[name], only(env).id).cancel(force=True)
        await until(env, lambda: only(env).status == "cancelled")
        assert only(env).held is None


async def test_a_cancel_while_the_run_is_being_parked_ends_it() -> None:
    async with held("parks") as (env, a, blocking):
        await a.handle(functions(App("other"), blocking)["parks"], only(env).id).cancel()
        await until(env, lambda: bool(only(env).inbox))
        blocking.go_on.set()
        await env.settle()
        assert (only(env).status, only(env).inbox) == ("cancelled", [])


async def test_a_pause_while_an_end_is_held_back_does_not_lose_it() -> None:
    async with held("races") as (env, a, blocking):
        await a.handle(functions(App("other"), blocking)["races"], only(env).id).pause()
        await until(env, lambda: only(env).status == "paused")
        blocking.go_on.set()
        await env.settle()
        assert (only(env).status, only(env).result) == ENDS["races"]


async def test_an_end_is_not_said_twice_when_the_last_attempt_stops_in_time() -> None:
    """An attempt that is over before the turn is committed leaves nothing to hold back."""
    a = App("test")

    @a.function
    async def work(ctx: Context) -> int:
        return await ctx.step.run("double", double, 4)

    recorder = Recorder()
    a.observers.append(recorder)
    async with environment(a, partitions=1) as env:
        assert (await env.start(work)).result == 8
    names = [name for name, _ in recorder.ops]
    assert (names[-1], ops.END_HELD in names) == (ops.RUN_DONE, False)


async def test_an_end_that_is_booked_later_than_it_was_held_leaves_the_state_as_the_log_says_it() -> None:
    async with held("races") as (env, _, blocking):
        assert env._engine is not None
        lead = env._engine.partitions[0].lead
        assert lead is not None
        (resident,) = lead.residents.residents.values()
        resident.time += 1_000_000
        was = only(env).held
        mark = lead.residents.mark
        lead.residents.mark = lambda _resident: None  # type: ignore[method-assign]
        blocking.go_on.set()
        await until(env, lambda: not resident.running)
        assert lead.life.state.runs[only(env).id].held == was
        lead.residents.mark = mark
        lead.residents.mark(resident)
        await env.settle()
        assert only(env).status == "completed"
