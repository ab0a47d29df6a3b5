"""Functions for steps in other processes, which have to be found by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any, Never

from perdure import errors
from perdure.execution.current import current_step


def double(number: int) -> int:
    return 2 * number


async def double_on_a_loop(number: int) -> int:
    return double(number)


def who() -> dict[str, Any]:
    step = current_step()
    return {"pid": os.getpid(), "key": step.idempotency_key, "attempt": step.attempt, "details": step.details}


def refuse(reason: str) -> Never:
    raise ValueError(reason)


class Tangled(Exception):
    """Cannot be made from its args, so it does not survive pickling."""

    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"{code}: {hint}")


def refuse_tangled() -> Never:
    raise Tangled(7, hint="later")


def retry_later() -> Never:
    raise errors.RetryAfterError("5m", "busy")


def exit_in_order() -> Never:
    sys.exit(3)


def exit_at_once(status: int) -> Never:
    os._exit(status)


def kill_itself(number: int) -> Never:
    os.kill(os.getpid(), number)
    signal.pause()
    raise AssertionError


def sleep_beside(pids: str) -> None:
    """Starts a program of its own, says both pids, and sleeps for as long as it is let."""
    program = subprocess.Popen(["sleep", "1000"])
    with open(pids, "w") as file:
        file.write(f"{os.getpid()} {program.pid}\n")
    program.wait()


def beat_and_hang(details: Any) -> None:
    current_step().heartbeat(details)
    signal.pause()


def hand_out(_value: Any) -> object:
    return object()


class Unloadable:
    """Goes out well, and cannot be read on the other side."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _not_here, ()


def _not_here() -> Never:
    raise ImportError("no module named elsewhere")


def add_to(numbers: list[int]) -> None:
    numbers.append(1)
