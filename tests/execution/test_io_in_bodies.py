"""What has no place in a body: waiting for what cannot come (A11), files, sockets and threads (B3)."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio.to_thread
import pytest

from perdure.errors import Stuck
from perdure.execution import Context
from tests.execution.harness import T0, Driver, execution, resumed, work

# --- A11: stuck -------------------------------------------------------------------------------------------------------


def test_a11_a_body_that_nothing_can_wake_is_stuck_and_says_where() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")
        await asyncio.Event().wait()  # here

    run = Driver(body)
    line = body.__code__.co_firstlineno + 2
    with pytest.raises(Stuck, match=rf"test_io_in_bodies\.py:{line}, in .*body"):
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


@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.check_output(["true"]),
        lambda: subprocess.run(["true"], capture_output=True, check=True),
        lambda: subprocess.Popen(["cat"], stdin=subprocess.PIPE),
    ],
)
def test_b3_a_process_with_pipes_is_called_a_process(start: Any) -> None:
    async def body(ctx: Context) -> None:
        start()

    assert Driver(body).error["message"].startswith("processes (subprocess.Popen) cannot be used in the body")


def test_b3_a_descriptor_is_still_a_file() -> None:
    async def body(ctx: Context) -> None:
        open(0)  # noqa: SIM115

    assert Driver(body).error["message"].startswith("files (open 0) cannot be used in the body")


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="until 3.13, time.sleep raises no audit event; the lint has it"
)
def test_b3_sleeping_is_refused_where_python_tells() -> None:
    blocking = time.sleep

    async def body(ctx: Context) -> None:
        blocking(0)

    assert (
        Driver(body).error["message"].startswith("a blocking sleep (time.sleep) cannot be used in the body")
    )


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
