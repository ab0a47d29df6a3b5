"""A worker as a process: signals, draining and exit codes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from perdure.worker.process import run_until_signalled
from tests.worker.attempts import WITHIN_S

PROGRAM = Path(__file__).with_name("signalled.py")


class Program:
    """The program, its output line by line, and its end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=WITHIN_S)
        return self.process.returncode, out + err


@contextmanager
def program(how: str) -> Iterator[Program]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        try:
            yield Program(process)
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_and_the_code_is_0(number: signal.Signals) -> None:
    with program("serve") as run:
        assert run.line() == "serving"
        run.send(number)
        assert run.line().startswith(f"{number.name}: draining; running steps have 30 s")
        assert run.line() == "leaving"
        assert run.end() == (0, "left\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_stops_at_once(number: signal.Signals, code: int) -> None:
    with program("slow-drain") as run:
        assert run.line() == "serving"
        run.send(signal.SIGTERM)
        run.line()
        assert run.line() == "leaving"
        run.send(number)
        assert run.line() == f"{number.name} again: stopping at once"
        assert run.end() == (code, "")


def test_a_signal_before_the_start_is_complete() -> None:
    with program("slow-start") as run:
        assert run.line() == "starting"
        run.send(signal.SIGTERM)
        code, said = run.end()
        assert code == 143
        assert "before the start was complete" in said


def test_a_step_that_blocks_the_loop_cannot_keep_the_process() -> None:
    with program("blocked") as run:
        assert run.line() == "serving"
        for _ in range(3):
            run.send(signal.SIGTERM)
            threading.Event().wait(0.05)  # signals of one kind that come at once are one signal
        code, said = run.end()
        assert code == 143
        assert "exiting" in said


def test_a_drain_that_hangs_is_left_two_seconds_after_the_second_signal() -> None:
    with program("stuck-drain") as run:
        assert run.line() == "serving"
        run.send(signal.SIGTERM)
        run.line()
        assert run.line() == "leaving"
        threading.Event().wait(0.05)
        run.send(signal.SIGTERM)
        code, said = run.end()
        assert code == 143
        assert "something hangs" in said


def test_it_ends_by_itself_and_its_errors_are_raised() -> None:
    with program("until") as run:
        assert run.end() == (0, "serving\nleaving\nleft\n")
    with program("until-raises") as run:
        code, said = run.end()
        assert code == 1
        assert "OSError: the log is gone" in said


def test_outside_of_the_main_thread_there_are_no_signals() -> None:
    codes: list[int] = []

    @asynccontextmanager
    async def serve() -> AsyncIterator[asyncio.Event]:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, event.set)
        yield event

    def run() -> None:
        codes.append(run_until_signalled(serve, drain_timeout_s=1, until=asyncio.Event.wait))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(WITHIN_S)
    assert codes == [0]


def test_handlers_are_put_back() -> None:
    @asynccontextmanager
    async def serve() -> AsyncIterator[None]:
        assert signal.getsignal(signal.SIGTERM) is not before[1]
        yield

    async def at_once(_served: None) -> None: ...

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run_until_signalled(serve, drain_timeout_s=1, until=at_once) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
