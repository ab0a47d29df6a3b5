"""The run's event loop: what it does, and what it refuses (A4, A5, B1, B3)."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio.to_thread
import pytest

from perdure.errors import Stuck, UsageError
from perdure.execution import BodyExited, Context
from perdure.execution.tasks import hash_base
from tests.execution.harness import T0, Driver, execution, function, resumed, timer_fired, work

OUTSIDE = asyncio.Event()


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


# --- A11: stuck -------------------------------------------------------------------------------------------------------


def test_a11_a_body_that_nothing_can_wake_is_stuck_and_says_where() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")
        await asyncio.Event().wait()  # here

    run = Driver(body)
    line = body.__code__.co_firstlineno + 2
    with pytest.raises(Stuck, match=rf"test_loop\.py:{line}, in .*body"):
        run.done("/a")
    run.execution.teardown()


def test_a11_stuck_names_the_other_tasks_too() -> None:
    async def branch() -> None:
        await asyncio.Semaphore(0).acquire()

    async def body(ctx: Context) -> None:
        await asyncio.gather(branch(), branch())

    run = execution(body)
    with pytest.raises(Stuck, match=r"other tasks wait at .*branch"):
        run.begin()
    run.teardown()


def test_a11_a_thread_of_anyio_cannot_wake_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    async def body(ctx: Context) -> None:
        await anyio.to_thread.run_sync(lambda: 1)

    run = execution(body)
    try:
        turn = run.begin()
    except Stuck as error:
        assert "put it in a step" in str(error)  # noqa: PT017
    else:  # 3.12 and later: threads raise an audit event
        assert turn.error is not None
        assert "step" in str(turn.error)
    run.teardown()
    for thread in threading.enumerate():
        if thread.name == "AnyIO worker thread":
            thread.join(10)


# --- B3: I/O in a body ------------------------------------------------------------------------------------------------

IO = {
    "open": lambda: open(__file__),  # noqa: SIM115
    "read_text": lambda: Path(__file__).read_text(),
    "listdir": lambda: os.listdir("."),
    "mkdir": lambda: os.mkdir("/tmp/never-made"),
    "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
    "socket": lambda: socket.socket(),
    "getaddrinfo": lambda: socket.getaddrinfo("localhost", 80),
    "popen": lambda: subprocess.Popen(["true"]),
    "system": lambda: os.system("true"),
}


@pytest.mark.parametrize("name", IO)
def test_b3_files_sockets_and_processes_are_refused_in_a_body(name: str) -> None:
    async def body(ctx: Context) -> None:
        IO[name]()

    run = Driver(body)
    assert run.result == "perdure.errors.UsageError"
    assert "put this in a step" in run.error["message"]


def test_b3_the_program_itself_may_be_read() -> None:
    sys.modules.pop("this_is_a_test_module", None)

    async def body(ctx: Context) -> str:
        import importlib

        sys.modules.pop("colorsys", None)
        importlib.import_module("colorsys")
        try:
            raise ValueError("x")
        except ValueError:
            import traceback

            text = traceback.format_exc()
        ZoneInfo.clear_cache()
        moment = datetime(2024, 7, 1, tzinfo=UTC).astimezone(ZoneInfo("Europe/Zurich"))
        return f"{moment.hour} {'raise ValueError' in text}"

    run = Driver(body)
    assert run.result == "2 True", run.error


def test_b3_outside_of_turns_and_in_def_bodies_io_is_free() -> None:
    def body(ctx: Any) -> int:
        return len(Path(__file__).read_text()) and len(os.listdir("."))

    assert Driver(body).result > 0
    assert Path(__file__).exists()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="3.11 raises no audit event for threads")
def test_b3_threads_are_refused_where_python_tells() -> None:
    async def body(ctx: Context) -> None:
        threading.Thread(target=print).start()

    assert Driver(body).result == "perdure.errors.UsageError"


# --- nothing is left behind -------------------------------------------------------------------------------------------


def test_the_host_loop_is_what_it_was_after_a_turn() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")

    async def host() -> None:
        loop = asyncio.get_running_loop()
        run = Driver(body)
        assert asyncio.get_running_loop() is loop
        run.done("/a")
        assert asyncio.current_task() is not None

    asyncio.run(host())


def test_a_resume_only_passes_time() -> None:
    async def body(ctx: Context) -> str:
        await ctx.step.run("a", work, "x")
        return ctx.now().isoformat()

    run = Driver(body)
    turn = run.release(resumed(run.execution.code, time=T0 + 7_000_000))
    assert turn.ops == []
    run.done("/a")
    assert run.result.endswith("13:27+00:00")
