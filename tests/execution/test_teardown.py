"""A suspended coroutine is torn down, never dropped (A3)."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from perdure.execution import Context
from perdure.execution.teardown import graveyard
from tests.execution.harness import Driver, execution, function, work

SEEN: list[str] = []


async def awaiting_finally(ctx: Context) -> None:
    try:
        await ctx.step.run("charge", work, "x")
    finally:
        ctx.log.info("refunding")
        await ctx.step.run("refund", work, "x")


async def stray_task(ctx: Context) -> None:
    try:
        await ctx.step.run("x", work, "x")
    finally:
        # Whatever loop is running: it must not become a task of another run.
        asyncio.get_running_loop().create_task(ctx.step.run("stray", work, "x"))


async def task_group(ctx: Context) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(awaiting_finally(ctx))
        group.create_task(awaiting_finally(ctx))


async def gathering(ctx: Context) -> None:
    try:
        await asyncio.gather(awaiting_finally(ctx), awaiting_finally(ctx))
    finally:
        await asyncio.gather(awaiting_finally(ctx), awaiting_finally(ctx))


async def plain_finally(ctx: Context) -> None:
    try:
        await ctx.step.run("s", work, "x")
    finally:
        SEEN.append("evicting" if ctx.evicting else "running")
        ctx.set_value("progress", 1)


async def swallowing(ctx: Context) -> None:
    try:
        await ctx.step.run("a", work, "x")
    except BaseException:
        ctx.log.info("swallowed")
    await ctx.step.run("b", work, "x")


async def generator(ctx: Context) -> None:
    async def numbers():
        try:
            while True:
                yield await ctx.step.run("g", work, "x")
        finally:
            await ctx.step.run("g-close", work, "x")

    async for _ in numbers():
        pass


async def timers(ctx: Context) -> None:
    try:
        async with asyncio.timeout(50):
            await asyncio.sleep(10)
    finally:
        await asyncio.sleep(1)


async def sent_in_finally(ctx: Context) -> None:
    try:
        await ctx.step.sleep("s", 1)
    finally:
        await ctx.step.send_event("bye", "a/b")


async def quiet_body(ctx: Context) -> str:
    gc.collect()
    await asyncio.sleep(0)
    gc.collect()
    return await ctx.step.run("y", work, "y")


BODIES = [
    awaiting_finally,
    stray_task,
    task_group,
    gathering,
    plain_finally,
    swallowing,
    generator,
    timers,
    sent_in_finally,
]


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    seen: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: seen.append(repr(info.exc_value)))
    yield seen
    gc.collect()
    assert not seen


# gather(a(), b()) in a finally: a() is refused, and Python warns that nobody awaited b().
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_a3_torn_down_without_a_trace(body: Any, unraisable: list[str]) -> None:
    run = Driver(body)
    buried = graveyard.buried
    before = len(run.record.turns)
    run.execution.teardown()
    assert graveyard.buried == buried
    assert len(run.record.turns) == before
    desk = run.execution._desk
    turn = desk.close_turn()
    assert (turn.ops, turn.steps, turn.lines, turn.values) == ([], [], [], {})

    other = execution(quiet_body, "run-2")
    del run, desk
    first = other.begin()
    assert [ask.step_id for ask in first.steps] == ["y"]
    assert first.lines == []
    other.teardown()


def test_a3_a_finally_can_tell_that_it_is_torn_down() -> None:
    SEEN.clear()
    run = Driver(plain_finally)
    run.execution.teardown()
    assert SEEN == ["evicting"]
    SEEN.clear()
    run = Driver(plain_finally)
    run.done("/s")
    assert SEEN == ["running"]


@pytest.mark.parametrize("catching", [BaseException, Exception])
def test_a3_what_refuses_to_end_is_buried(catching: type[BaseException]) -> None:
    async def stubborn(ctx: Context) -> None:
        while True:
            try:
                await ctx.step.run("z", work, "x")
            except catching:
                pass

    run = Driver(stubborn)
    buried, torn_down = graveyard.buried, graveyard.torn_down
    run.execution.teardown()
    assert graveyard.buried == buried + (catching is BaseException)
    assert graveyard.torn_down == torn_down + 1


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a3_stubborn_by_other_calls_of_the_loop() -> None:
    caught: list[str] = []

    async def stubborn(ctx: Context) -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except BaseException as error:
                caught.append(type(error).__name__)
            try:
                await asyncio.gather(asyncio.sleep(1), asyncio.sleep(1))
            except BaseException as error:
                caught.append(type(error).__name__)

    run = Driver(stubborn)
    buried = graveyard.buried
    run.execution.teardown()
    assert graveyard.buried == buried + 1
    assert set(caught) == {"Evicted"}


def test_a3_the_graveyard_is_bounded() -> None:
    from perdure.core.limits import Limits
    from perdure.execution.teardown import Graveyard

    yard = Graveyard()
    for i in range(10):
        yard.bury(i, 3)
    assert (len(yard), yard.buried, yard.pushed_out) == (3, 10, 7)
    assert Limits().graveyard_max > 0


def test_a3_teardown_twice_and_before_the_beginning() -> None:
    run = execution(awaiting_finally)
    run.teardown()
    run.teardown()
    run = Driver(awaiting_finally)
    run.execution.teardown()
    run.execution.teardown()


def test_a3_dropping_an_execution_does_not_drop_its_coroutine() -> None:
    SEEN.clear()
    run = Driver(plain_finally)
    held = run.execution
    del run
    gc.collect()
    assert SEEN == []
    held.teardown()


def test_a3_refuses_to_tear_down_in_its_own_turn() -> None:
    async def body(ctx: Any) -> None:
        with pytest.raises(RuntimeError, match="own turn"):
            ctx._desk.owner.teardown()

    run = execution(body)
    run._desk.owner = run
    assert run.begin().ended


def test_a3_context_variables_are_those_of_the_task() -> None:
    from contextvars import ContextVar

    var: ContextVar[str] = ContextVar("var", default="unset")
    seen: list[str] = []

    async def body(ctx: Context) -> None:
        var.set("body")
        try:
            await ctx.step.run("a", work, "x")
        finally:
            seen.append(var.get())

    run = Driver(body)
    run.execution.teardown()
    assert seen == ["body"]
    assert var.get() == "unset"


async def two_steps(ctx: Context) -> str:
    async with asyncio.timeout(60):
        await ctx.step.run("a", work, "x")
    return await ctx.step.run("b", work, "x")


def test_a_run_that_has_ended_leaves_nothing_to_the_garbage_collector() -> None:
    """A cycle for each run keeps its memory until the collector comes, and the collector took a tenth of the time."""

    body = function(two_steps)

    def once() -> None:
        run = Driver(body)
        run.done("/a")
        run.done("/b")
        assert run.result == "ok"

    once()  # what is made once in a process
    gc.collect()
    gc.disable()
    try:
        once()
        assert gc.collect() == 0
    finally:
        gc.enable()
