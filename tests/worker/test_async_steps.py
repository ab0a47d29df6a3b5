"""Steps that are `async def`: tasks of the worker's loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from perdure.errors import EncodingError, NonRetriableError, StepStopped, UsageError
from perdure.execution.current import current_step, in_step
from perdure.execution.ports import Attempt, Outcome
from tests.worker.attempts import Started, attempt, begin, outcome, working

pytestmark = pytest.mark.asyncio

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


async def test_a_result_is_encoded_and_timed() -> None:
    async def greet(name: str) -> str:
        await asyncio.sleep(0.002)
        return f"hello {name}"

    async with working() as steps:
        result = await outcome(steps, greet, "Ada")
    assert result.result == b'"hello Ada"'
    assert result.failure is None
    assert result.took >= 2_000


async def test_done_comes_from_a_plain_callback_after_start_has_returned() -> None:
    heard: list[tuple[asyncio.Task[Any] | None, bool, str]] = []

    async def quick() -> None:
        colour.set("red")

    async with working() as steps:
        ended = asyncio.Event()

        def done(_outcome: Outcome) -> None:
            heard.append((asyncio.current_task(), in_step(), colour.get()))
            ended.set()

        steps.start(attempt(quick), done)
        assert not heard
        await asyncio.wait_for(ended.wait(), 5)
    assert heard == [(None, False, "none")]


async def test_a_step_runs_in_a_copy_of_the_context_of_the_ask() -> None:
    async def paint() -> str:
        before = colour.get()
        colour.set("red")
        return before

    asked = attempt(paint)
    asked.context.run(colour.set, "blue")
    async with working() as steps:
        for _ in range(2):
            assert (await Started(steps, asked).outcome()).result == b'"blue"'
    assert asked.context[colour] == "blue"


async def test_a_step_is_a_task_of_its_own_and_knows_itself() -> None:
    async def look() -> list[Any]:
        task = asyncio.current_task()
        async with asyncio.timeout(5):  # wants a task
            await asyncio.sleep(0)
        step = current_step()
        return [task is not None and task.get_name(), step.idempotency_key, step.attempt, step.max_attempts]

    async with working() as steps:
        result = await outcome(steps, look, key="/look", number=2)
    assert result.result == b'["step look of run-1","run-1/look",2,5]'


async def test_an_exception_is_a_failure() -> None:
    async def refuse() -> None:
        raise ValueError("no stock")

    async with working() as steps:
        result = await outcome(steps, refuse)
    assert result.result is None
    assert isinstance(result.exception, ValueError)
    assert result.failure is not None
    assert result.failure["type"] == "ValueError"
    assert result.failure["message"] == "no stock"
    assert 'raise ValueError("no stock")' in result.failure["traceback"]
    assert "worker/steps.py" not in result.failure["traceback"]
    assert not result.final


async def test_final_failures() -> None:
    async def give_up() -> None:
        raise NonRetriableError("closed")

    async def hand_out() -> object:
        return object()

    async with working() as steps:
        assert (await outcome(steps, give_up)).final
        unencoded = await outcome(steps, hand_out)
        assert unencoded.final
        assert isinstance(unencoded.exception, EncodingError)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError("mine"), BaseException("x")]
)
async def test_what_would_end_the_loop_is_a_failure_of_the_step(error: BaseException) -> None:
    async def leave() -> None:
        await asyncio.sleep(0)
        raise error

    async with working() as steps:
        result = await outcome(steps, leave)
        assert result.exception is error
        assert result.failure is not None
        assert result.failure["type"].endswith(type(error).__name__)
        assert steps.running == 0


async def test_cancel_ends_the_task_and_is_told_once() -> None:
    cleaned = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async with working() as steps:
        started = begin(steps, wait)
        await asyncio.sleep(0)
        started.cancel()
        started.cancel()
        result = await started.outcome()
        assert cleaned.is_set()
        assert isinstance(result.exception, StepStopped)
        assert result.failure is not None
        assert "await asyncio.Event().wait()" in result.failure["traceback"]
        started.cancel()
        assert len(started.outcomes) == 1


async def test_cancel_before_the_first_line() -> None:
    async def never() -> None:
        raise AssertionError

    async with working() as steps:
        started = begin(steps, never)
        started.cancel()
        assert isinstance((await started.outcome()).exception, StepStopped)


async def test_a_step_that_swallows_its_cancellation_is_waited_for_and_keeps_its_slot() -> None:
    may_end, cancelled = asyncio.Event(), asyncio.Event()

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
        await may_end.wait()
        return "done all the same"

    async def other() -> None: ...

    async with working(slots=1) as steps:
        started = begin(steps, stubborn)
        await asyncio.sleep(0)
        started.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)
        waiting = begin(steps, other)
        assert (steps.running, steps.waiting) == (1, 1)
        assert not started.outcomes
        may_end.set()
        assert (await started.outcome()).result == b'"done all the same"'
        assert (await waiting.outcome()).result == b"null"


async def test_cancel_reaches_every_attempt_of_the_step_and_no_other() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    async with working() as steps:
        one, again, other = (begin(steps, wait, key=key) for key in ("/a", "/a", "/b"))
        await asyncio.sleep(0)
        one.cancel()
        await one.outcome()
        await again.outcome()
        assert not other.outcomes
        steps.cancel("run-2", "/b")
        await asyncio.sleep(0.01)
        assert not other.outcomes
        assert steps.running == 1


async def test_around_is_entered_in_the_step() -> None:
    @contextmanager
    def span(started: Attempt) -> Iterator[None]:
        token = colour.set(str(started.traceparent))
        yield
        colour.reset(token)

    async def on_loop() -> str:
        return colour.get()

    def in_thread() -> str:
        return colour.get()

    async with working(around=span) as steps:
        for fn in (on_loop, in_thread):
            asked = attempt(fn)
            asked.traceparent = "00-trace"
            assert (await Started(steps, asked).outcome()).result == b'"00-trace"'


async def test_a_failing_listener_does_not_cost_a_slot() -> None:
    async def quick() -> None: ...

    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    async with working(slots=1) as steps:
        steps.start(attempt(quick), lambda _outcome: 1 / 0)  # type: ignore[arg-type]
        assert (await outcome(steps, quick)).result == b"null"
        steps.start(attempt(lambda: None), lambda _outcome: 1 / 0)  # type: ignore[arg-type]
        assert (await outcome(steps, lambda: None)).result == b"null"
    assert [type(complaint["exception"]) for complaint in complaints] == [ZeroDivisionError] * 2


@pytest.mark.parametrize("bound", ["slots", "threads_max", "processes_max", "turn_threads_max"])
async def test_bounds_are_checked(bound: str) -> None:
    with pytest.raises(UsageError, match=f"{bound}=0"):
        async with working(**{bound: 0}):
            pass
