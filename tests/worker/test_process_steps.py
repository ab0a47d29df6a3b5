"""Steps in other processes: real ones, spawned, killed and replaced."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from perdure.core.limits import Limits
from perdure.errors import (
    EncodingError,
    PayloadTooLarge,
    RetryAfterError,
    StepProcessDied,
    StepStopped,
    StepTimeout,
    UsageError,
)
from perdure.execution.desk import snapshot_of
from perdure.worker.steps import LocalSteps
from tests.worker import functions
from tests.worker.attempts import WITHIN_S, Started, attempt, begin, outcome, working
from tests.worker.processes import alive, gone, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def steps() -> AsyncIterator[LocalSteps]:
    """One worker for all of these tests: a process takes a second to come up."""
    async with working(processes_max=1) as started:
        yield started


async def run(steps: LocalSteps, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return await outcome(steps, fn, *args, executor="process", **options)


async def test_a_step_runs_elsewhere_and_knows_itself(steps: LocalSteps) -> None:
    first = json.loads((await run(steps, functions.who, key="/who", number=3, details={"page": 7})).result)
    assert first.pop("pid") != os.getpid()
    assert first == {"key": "run-1/who", "attempt": 3, "details": {"page": 7}}


async def test_a_process_is_used_again(steps: LocalSteps) -> None:
    pids = {json.loads((await run(steps, functions.who)).result)["pid"] for _ in range(3)}
    assert len(pids) == 1


async def test_functions_of_both_kinds(steps: LocalSteps) -> None:
    for fn in (functions.double, functions.double_on_a_loop):
        result = await run(steps, fn, 21)
        assert result.result == b"42"
        assert 0 <= result.took < WITHIN_S * 1e6


async def test_exceptions_come_back_with_type_message_and_traceback(steps: LocalSteps) -> None:
    result = await run(steps, functions.refuse, "no stock")
    assert isinstance(result.exception, ValueError)
    assert result.failure["type"] == "ValueError"
    assert "in refuse" in result.failure["traceback"]
    later = await run(steps, functions.retry_later)
    assert isinstance(later.exception, RetryAfterError)
    assert (later.exception.delay, later.retry_after) == ("5m", 300_000_000)


async def test_an_exception_that_does_not_survive_pickling_keeps_its_type(steps: LocalSteps) -> None:
    result = await run(steps, functions.refuse_tangled)
    assert isinstance(result.exception, functions.Tangled)  # for Retry(on=...)
    assert result.failure["type"] == "tests.worker.functions.Tangled"
    assert result.failure["message"] == "7: later"
    assert not result.final


async def test_sys_exit_is_a_failure_and_the_process_goes_on(steps: LocalSteps) -> None:
    before = json.loads((await run(steps, functions.who)).result)["pid"]
    result = await run(steps, functions.exit_in_order)
    assert result.failure["type"] == "SystemExit"
    assert json.loads((await run(steps, functions.who)).result)["pid"] == before


@pytest.mark.parametrize(
    ("fn", "arg", "says"),
    [
        (functions.exit_at_once, 7, "ended with exit status 7"),
        (
            functions.kill_itself,
            signal.SIGKILL,
            "killed by SIGKILL; if nobody did that, it may have been out of memory",
        ),
        (functions.kill_itself, signal.SIGSEGV, "killed by SIGSEGV"),
    ],
)
async def test_a_process_that_dies_fails_its_attempt_and_is_replaced(
    steps: LocalSteps, fn: Callable[..., Any], arg: int, says: str
) -> None:
    result = await run(steps, fn, int(arg))
    assert isinstance(result.exception, StepProcessDied)
    assert says in str(result.exception)
    assert f"tests.worker.functions.{fn.__name__}" in str(result.exception)
    assert not result.final
    assert (await run(steps, functions.double, 4)).result == b"8"


async def test_a_process_that_died_while_idle_costs_no_attempt(steps: LocalSteps) -> None:
    pid = json.loads((await run(steps, functions.who)).result)["pid"]
    os.kill(pid, signal.SIGKILL)
    assert json.loads((await run(steps, functions.who)).result)["pid"] != pid


async def test_what_cannot_be_sent_is_a_failure_that_says_what_to_do(steps: LocalSteps) -> None:
    for fn, arg, says in (
        (lambda _: None, 1, "at the top level of a module"),
        (functions.double, threading.Lock(), "the arguments of step 'double-"),
        (functions.hand_out, functions.Unloadable(), "could not be read in the step's process: ImportError"),
    ):
        result = await run(steps, fn, arg)
        assert isinstance(result.exception, UsageError), result
        assert result.final
        assert says in str(result.exception)
        assert 'executor="thread"' in str(result.exception)


async def test_a_result_that_cannot_be_recorded(steps: LocalSteps) -> None:
    result = await run(steps, functions.hand_out, 1)
    assert isinstance(result.exception, EncodingError)
    assert result.final


async def test_watched_arguments_are_watched_there_too(steps: LocalSteps) -> None:
    asked = attempt(functions.add_to, [1], executor="process")
    asked.snapshot = snapshot_of(asked.args, asked.kwargs)
    result = await Started(steps, asked).outcome()
    assert isinstance(result.exception, UsageError)
    assert "was changed" in str(result.exception)


async def test_at_its_timeout_a_process_is_killed_with_what_it_started(
    steps: LocalSteps, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    started = begin(steps, functions.sleep_beside, str(pids), executor="process", timeout=0.6)
    result = await started.outcome()
    assert isinstance(result.exception, StepTimeout)
    for pid in pids.read_text().split():
        await gone(int(pid))
    assert (await run(steps, functions.double, 4)).result == b"8"


async def test_cancel_kills_it_and_one_that_waits_never_starts(steps: LocalSteps, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    started = begin(steps, functions.sleep_beside, str(pids), executor="process")
    waiting = begin(steps, functions.double, 1, executor="process")
    assert (steps.running, steps.waiting) == (1, 1)
    await until(lambda: pids.exists() and pids.read_text().endswith("\n"))
    waiting.cancel()
    started.cancel()
    assert isinstance((await started.outcome()).exception, StepStopped)
    assert isinstance((await waiting.outcome()).exception, StepStopped)
    assert not alive(int(pids.read_text().split()[0]))


async def test_heartbeats_and_their_details_come_from_there(steps: LocalSteps) -> None:
    result = await run(steps, functions.beat_and_hang, {"row": 5}, key="/beats", heartbeat=0.3)
    assert isinstance(result.exception, StepTimeout)
    assert "no heartbeat" in str(result.exception)
    again = await run(steps, functions.who, key="/beats", number=2)
    assert json.loads(again.result)["details"] == {"row": 5}


async def test_limits_hold_there_and_closing_ends_a_process_that_hangs(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    small = LocalSteps(processes_max=2, limits=Limits(payload_bytes_max=1, stored_payload_bytes_max=0))
    too_large = await outcome(small, functions.double, 21, executor="process")
    assert isinstance(too_large.exception, PayloadTooLarge)
    hanging = begin(small, functions.sleep_beside, str(pids), executor="process")
    await until(lambda: pids.exists() and pids.read_text().endswith("\n"))
    began = time.monotonic()
    await small.close(0.01)
    assert time.monotonic() - began < 2
    assert not hanging.outcomes
    for pid in pids.read_text().split():
        await gone(int(pid))
