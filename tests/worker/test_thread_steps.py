"""Steps that are a `def`: they run in threads."""

from __future__ import annotations

import asyncio
import sys
import threading
from functools import partial
from typing import Any, Never

import pytest

from perdure.errors import StepStopped
from perdure.execution.current import current_step, in_step
from perdure.execution.ports import NoThread
from tests.worker.attempts import WITHIN_S, begin, outcome, working

pytestmark = pytest.mark.asyncio


async def test_a_def_runs_in_a_thread_and_knows_its_step() -> None:
    def look() -> list[Any]:
        return [threading.current_thread().name.partition("-1")[0], current_step().idempotency_key]

    async with working() as steps:
        assert (await outcome(steps, look, key="/look")).result == b'["perdure-step","run-1/look"]'


async def test_exceptions_are_failures() -> None:
    def refuse(error: BaseException) -> Never:
        raise error

    async with working() as steps:
        for error in (
            ValueError("no"),
            SystemExit(1),
            KeyboardInterrupt(),
            StopIteration(),
            BaseException("x"),
        ):
            result = await outcome(steps, refuse, error)
            assert result.exception is error
            assert result.failure is not None
            assert result.failure["type"] == type(error).__name__
            assert "worker/steps.py" not in result.failure["traceback"]


async def test_a_call_that_gives_a_coroutine_goes_on_on_the_loop() -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        assert in_step()
        return 2 * number

    class Doubler:
        async def __call__(self, number: int) -> int:
            return await double(number)

    async with working(threads_max=1, slots=2) as steps:
        assert (await outcome(steps, lambda: double(4))).result == b"8"
        assert (await outcome(steps, partial(double, 5))).result == b"10"
        assert (await outcome(steps, Doubler(), 6)).result == b"12"
        release = asyncio.Event()
        waiting = begin(steps, lambda: release.wait())
        assert (await outcome(steps, lambda: 1)).result == b"1"  # the only thread is free again
        release.set()
        assert (await waiting.outcome()).result == b"true"
        assert steps.running == 0


async def test_a_cancelled_thread_goes_on_and_is_told_when_it_has_ended() -> None:
    may_end = threading.Event()

    def wait() -> str:
        assert may_end.wait(WITHIN_S)
        return "ended"

    async with working(threads_max=1) as steps:
        started, waiting = begin(steps, wait), begin(steps, lambda: 1)
        started.cancel()
        await asyncio.sleep(0.02)
        assert not started.outcomes
        assert (steps.running, steps.waiting) == (1, 1)
        may_end.set()
        assert (await started.outcome()).result == b'"ended"'
        assert (await waiting.outcome()).result == b"1"


async def test_a_cancelled_thread_learns_it_by_its_heartbeat() -> None:
    begun = threading.Event()

    def count() -> None:
        begun.set()
        while True:
            current_step().heartbeat()

    async with working() as steps:
        started = begin(steps, count)
        assert await asyncio.to_thread(begun.wait, WITHIN_S)
        started.cancel()
        assert isinstance((await started.outcome()).exception, StepStopped)


async def test_a_coroutine_of_a_cancelled_call_is_never_begun() -> None:
    may_return = threading.Event()

    async def never() -> None:
        raise AssertionError

    def make() -> Any:
        assert may_return.wait(WITHIN_S)
        return never()

    async with working() as steps:
        started = begin(steps, make)
        started.cancel()
        may_return.set()
        assert isinstance((await started.outcome()).exception, StepStopped)
        assert steps.running == 0


async def test_no_thread_to_be_had_is_a_failure_of_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: threading.Thread) -> Never:
        raise RuntimeError("can't start new thread")

    async with working() as steps:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            result = await outcome(steps, lambda: 1)
        assert isinstance(result.exception, RuntimeError)
        assert (await outcome(steps, lambda: 1)).result == b"1"


async def test_no_thread_for_a_turn_is_said_and_leaves_no_turn_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_self: threading.Thread) -> Never:
        raise RuntimeError("can't start new thread")

    async with working() as steps:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(NoThread):
                steps.compute(lambda: 1, lambda _: None)
        heard = asyncio.get_running_loop().create_future()
        steps.compute(lambda: 1, heard.set_result)
        assert await heard == 1


async def test_turns_are_computed_though_steps_have_all_the_threads() -> None:
    may_end = threading.Event()
    async with working(slots=1, turn_threads_max=1) as steps:
        started = begin(steps, lambda: may_end.wait(WITHIN_S))
        results: list[Any] = []
        heard = asyncio.Event()

        def done(result: Any) -> None:
            assert threading.current_thread() is threading.main_thread()
            results.append(result)
            if len(results) == 3:
                heard.set()

        steps.compute(lambda: "a turn", done)
        steps.compute(lambda: 1 // 0, done)
        steps.compute(lambda: sys.exit(2), done)
        await asyncio.wait_for(heard.wait(), WITHIN_S)
        assert [type(result) for result in results] == [str, ZeroDivisionError, SystemExit]
        may_end.set()
        await started.outcome()


async def test_many_threads_each_answer_once() -> None:
    def square(number: int) -> int:
        return number * number

    async with working(slots=20) as steps:
        started = [begin(steps, square, number) for number in range(500)]
        results = [await each.outcome() for each in started]
        assert [result.result for result in results] == [str(number**2).encode() for number in range(500)]
        assert (steps.running, steps.waiting) == (0, 0)
