"""The run's event loop: what it does, and what it refuses (B1)."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio.to_thread
import pytest

from perdure.errors import UsageError
from perdure.execution import BodyExited, Context
from tests.execution.harness import Driver, work

# --- B1: the loop -----------------------------------------------------------------------------------------------------


def test_b1a_an_abandoned_generator_is_closed_by_the_runs_own_loop() -> None:
    async def numbers(ctx: Context) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await ctx.step.run("close", work, "x")

    async def body(ctx: Context) -> str:
        async for _ in numbers(ctx):
            break
        return await ctx.step.run("after", work, "x")

    async def host() -> list[str]:
        run = Driver(body)
        own = [one async for one in numbers_of_the_host()]
        assert own == [1]
        return run.open

    async def numbers_of_the_host() -> AsyncIterator[int]:
        yield 1

    assert asyncio.run(host()) == ["/after", "1/close"]


def test_b1a_generators_of_the_host_are_left_to_the_host() -> None:
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(type(asyncio.get_running_loop()).__name__)

    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")

    async def host() -> None:
        run = Driver(body)
        async for _ in numbers():
            break
        run.done("/a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(host())
    assert closed == ["_UnixSelectorEventLoop"]


REFUSED = {
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "to_thread": lambda loop: asyncio.to_thread(print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(print),
    "open_connection": lambda loop: asyncio.open_connection("localhost", 1),
    "start_server": lambda loop: asyncio.start_server(print, "localhost", 1),
    "subprocess": lambda loop: asyncio.create_subprocess_exec("true"),
    "shell": lambda loop: asyncio.create_subprocess_shell("true"),
    "getaddrinfo": lambda loop: loop.getaddrinfo("localhost", 1),
    "add_reader": lambda loop: loop.add_reader(0, print),
    "signal": lambda loop: loop.add_signal_handler(1, print),
    "sock_recv": lambda loop: loop.sock_recv(None, 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_b1b_unsupported_calls_say_what_to_do(name: str) -> None:
    async def body(ctx: Context) -> None:
        found = REFUSED[name](asyncio.get_running_loop())
        if asyncio.iscoroutine(found) or isinstance(found, asyncio.Future):
            await found

    run = Driver(body)
    assert run.result == "perdure.errors.UsageError"
    assert "put this in a step" in run.error["message"]


def test_b1b_every_method_of_a_loop_is_there_or_says_why_not() -> None:
    async def body(ctx: Context) -> list[str]:
        loop = asyncio.get_running_loop()
        missing: list[str] = []
        for name in dir(asyncio.AbstractEventLoop):
            if name.startswith("_") or getattr(type(loop), name) is not getattr(
                asyncio.AbstractEventLoop, name
            ):
                continue
            missing.append(name)
        assert loop.get_task_factory() is None
        assert loop.get_debug() is False
        assert loop.is_running()
        assert not loop.is_closed()
        return missing

    assert Driver(body).result == []


@pytest.mark.parametrize(
    "name", ["run_forever", "stop", "close", "set_task_factory", "set_exception_handler"]
)
def test_b1b_the_body_does_not_drive_its_loop(name: str) -> None:
    async def body(ctx: Context) -> None:
        loop = asyncio.get_running_loop()
        getattr(loop, name)(*([print] if name.startswith("set_") else []))

    assert Driver(body).result == "perdure.errors.UsageError"


def test_b1c_another_run_cannot_wake_this_one() -> None:
    shared = asyncio.Event()

    async def waits(ctx: Context) -> None:
        task = asyncio.create_task(shared.wait())
        await ctx.step.run("a", work, "x")
        await task

    async def wakes(ctx: Context) -> None:
        await ctx.step.run("b", work, "x")
        shared.set()

    waiting = Driver(waits)
    other = Driver(wakes, run_id="run-2")
    other.done("/b")
    assert other.result == "perdure.errors.UsageError"
    assert "outside of its turn" in other.error["message"]
    assert waiting.open == ["/a"]


def test_b1c_a_thread_cannot_wake_a_run() -> None:
    kept: list[Any] = []

    async def body(ctx: Context) -> None:
        kept.append(asyncio.get_running_loop().create_future())
        kept.append(asyncio.get_running_loop())
        waiter = asyncio.ensure_future(asyncio.shield(kept[0]))
        await ctx.step.run("a", work, "x")
        await waiter

    run = Driver(body)
    errors: list[BaseException] = []

    def foreign() -> None:
        for call in (
            lambda: kept[0].set_result(1),
            lambda: kept[1].call_soon(print),
            lambda: kept[1].call_later(1, print),
        ):
            try:
                call()
            except BaseException as error:
                errors.append(error)

    thread = threading.Thread(target=foreign)
    thread.start()
    thread.join()
    assert [type(error) for error in errors] == [UsageError] * 3
    assert run.open == ["/a"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["main", "task", "callback"])
def test_b1d_exits_drop_the_run_and_record_nothing(kind: type[BaseException], where: str) -> None:
    async def leaves() -> None:
        raise kind

    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")
        if where == "main":
            raise kind
        if where == "task":
            await asyncio.gather(leaves(), ctx.step.run("b", work, "x"))
        asyncio.get_running_loop().call_soon(sys.exit if kind is SystemExit else _interrupt)
        await ctx.step.run("b", work, "x")

    run = Driver(body)
    with pytest.raises(BodyExited) as raised:
        run.done("/a")
    assert isinstance(raised.value.__cause__, kind)
    assert asyncio._get_running_loop() is None
    again = run.replayed()
    assert list(again.outstanding()) == ["/a"]
    again.teardown()


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_b1e_bodies_run_in_a_fresh_context_and_steps_in_a_copy() -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")
    var.set("of the host")

    async def body(ctx: Context) -> list[str]:
        seen = [var.get()]
        var.set("of the body")
        await ctx.step.run("a", work, "x")
        seen.append(var.get())
        return seen

    run = Driver(body)
    ask = run.execution.outstanding()["/a"]
    assert ask.context.run(var.get) == "of the body"
    ask.context.run(var.set, "of the step")
    run.done("/a")
    assert run.result == ["unset", "of the body"]
    assert var.get() == "of the host"


@pytest.mark.parametrize("how", ["sleep", "callbacks", "anyio"])
def test_b1f_a_turn_that_does_not_settle_fails_the_run(how: str) -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")
        loop = asyncio.get_running_loop()
        asyncio.create_task(ctx.step.run("other", work, "x"))
        if how == "sleep":
            while True:
                await asyncio.sleep(0)
        elif how == "callbacks":

            def again() -> None:
                loop.call_soon(again)

            again()
            await ctx.step.run("b", work, "x")
        else:
            with anyio.CancelScope() as scope:
                scope.cancel()
                while True:
                    try:
                        await ctx.step.run("never", work, "x")
                    except asyncio.CancelledError:
                        pass

    run = Driver(body)
    turn = run.done("/a")
    assert run.result == "perdure.execution.loop.TurnTooLong"
    assert "20,000 callbacks" in run.error["message"]
    assert [name for name, _ in turn.ops] == ["perdure.RunFailed"]
    run.replayed()


def test_b1g_exceptions_of_callbacks_go_to_the_log_and_the_run_goes_on() -> None:
    async def body(ctx: Context) -> str:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        return await ctx.step.run("a", work, "x")

    run = Driver(body)
    [line] = run.last.lines
    assert line.level == "error"
    assert line.fields["error"]["type"] == "ZeroDivisionError"
    run.done("/a", "x")
    assert run.result == "x"


def test_b1g_exceptions_that_nobody_looked_at_go_to_the_log() -> None:
    async def fails() -> None:
        raise ValueError("unseen")

    async def body(ctx: Context) -> None:
        asyncio.create_task(fails())
        await ctx.step.run("a", work, "x")

    run = Driver(body)
    turn = run.done("/a")
    assert [line.fields["error"]["message"] for line in turn.lines] == ["unseen"]
