"""Timeouts of attempts and of their heartbeats, and what heartbeats hand on."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from perdure.errors import EncodingError, PayloadTooLarge, StepTimeout
from perdure.execution.current import current_step
from perdure.worker.details import Details
from tests.worker.attempts import WITHIN_S, begin, outcome, working

pytestmark = pytest.mark.asyncio


async def test_an_async_step_is_cancelled_at_its_timeout() -> None:
    cleaned = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async with working() as steps:
        result = await outcome(steps, hang, timeout=0.03)
        assert cleaned.is_set()
        assert isinstance(result.exception, StepTimeout)
        assert not result.final
        assert result.took >= 30_000
        assert result.failure is not None
        assert "timeout of 0.03 s" in result.failure["message"]
        assert "await asyncio.Event().wait()" in result.failure["traceback"]


async def test_a_result_that_comes_after_the_timeout_is_too_late() -> None:
    async def late() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return "made it"

    async with working() as steps:
        assert isinstance((await outcome(steps, late, timeout=0.01)).exception, StepTimeout)


async def test_one_that_does_not_stop_is_given_up_and_keeps_its_slot(
    caplog: pytest.LogCaptureFixture,
) -> None:
    may_end = asyncio.Event()

    async def stubborn() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    async with working(slots=1, stop_grace_s=0.01) as steps:
        result = await outcome(steps, stubborn, timeout=0.01)
        assert isinstance(result.exception, StepTimeout)
        assert "it keeps its slot" in caplog.text
        waiting = begin(steps, asyncio.sleep, 0)
        assert (steps.running, steps.waiting) == (1, 1)
        may_end.set()
        await waiting.outcome()


async def test_a_thread_fails_at_its_timeout_goes_on_and_keeps_its_slot() -> None:
    may_end = threading.Event()

    def block_here() -> str:
        may_end.wait(WITHIN_S)
        return "late"

    async with working(slots=1) as steps:
        started = begin(steps, block_here, timeout=0.03)
        result = await started.outcome()
        assert isinstance(result.exception, StepTimeout)
        assert result.failure is not None
        assert "in block_here" in result.failure["traceback"]  # where the thread is
        waiting = begin(steps, lambda: 1)
        assert (steps.running, steps.waiting) == (1, 1)
        may_end.set()
        assert (await waiting.outcome()).result == b"1"
        assert len(started.outcomes) == 1


async def test_b2_a_cancelled_thread_is_waited_for_up_to_its_timeout() -> None:
    may_end = threading.Event()
    async with working() as steps:
        started = begin(steps, lambda: may_end.wait(WITHIN_S), timeout=0.05)
        started.cancel()
        assert (await started.outcome()).failure is not None
        assert steps.running == 1
        may_end.set()


async def test_a_step_in_time_leaves_no_alarm() -> None:
    async with working() as steps:
        quick = await outcome(steps, asyncio.sleep, 0, timeout=0.02, heartbeat=0.01)
        assert quick.result == b"null"
        await asyncio.sleep(0.04)


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_silence_for_longer_than_the_heartbeat_is_a_timeout(kind: str) -> None:
    may_end = threading.Event()

    async def hang() -> None:
        await asyncio.Event().wait()

    def block() -> None:
        may_end.wait(WITHIN_S)

    async with working() as steps:
        result = await outcome(steps, hang if kind == "async" else block, heartbeat=0.03, timeout=10)
        may_end.set()
        assert isinstance(result.exception, StepTimeout)
        assert "no heartbeat for 0.03 s" in str(result.exception)


async def test_heartbeats_from_any_thread_keep_a_step_alive() -> None:
    async def work() -> str:
        step = current_step()

        def beat() -> None:
            for _ in range(10):
                step.heartbeat()
                threading.Event().wait(0.01)

        await asyncio.to_thread(beat)
        return "alive"

    async with working() as steps:
        began = time.monotonic()
        assert (await outcome(steps, work, heartbeat=0.08)).result == b'"alive"'
        assert time.monotonic() - began > 0.08


async def test_details_reach_the_next_attempt_and_the_ones_after_it() -> None:
    seen: list[object] = []
    progress: dict[str, int] = {"page": 1}

    def work(beats: bool) -> None:
        step = current_step()
        seen.append(step.details)
        if beats:
            step.heartbeat(progress)
            progress["page"] = 99
        raise OSError("again")

    async with working() as steps:
        await outcome(steps, work, True, key="/k", number=1)
        await outcome(steps, work, False, key="/k", number=2)
        await outcome(steps, work, False, key="/k", number=3)
        await outcome(steps, work, False, key="/other", number=2)
        await outcome(steps, work, False, key="/k", number=5)
        await outcome(steps, work, False, key="/k", number=6)  # there was no other after the fifth
        await outcome(steps, work, False, key="/given", number=2, details="from the engine")
    assert seen == [None, {"page": 1}, {"page": 1}, None, {"page": 1}, None, "from the engine"]


async def test_details_must_be_small_json() -> None:
    async with working() as steps:
        odd = await outcome(steps, lambda: current_step().heartbeat(object()))
        assert isinstance(odd.exception, EncodingError)
        assert "details of a heartbeat" in str(odd.exception)
        large = await outcome(steps, lambda: current_step().heartbeat("x" * 70_000))
        assert isinstance(large.exception, PayloadTooLarge)


async def test_kept_details_are_bounded() -> None:
    details = Details()
    for number in range(400):
        details.keep(("run", str(number)), b"x" * 60_000)
    assert details.take(("run", "0")) is None
    assert details.take(("run", "399")) is not None
    assert details.take(("run", "399")) is None


async def test_heartbeats_of_an_attempt_that_timed_out_raise_and_count_for_nothing() -> None:
    timed_out = threading.Event()
    raised: list[BaseException] = []
    ended = threading.Event()

    def block() -> None:
        step = current_step()
        timed_out.wait(WITHIN_S)
        try:
            step.heartbeat("stale")
        except BaseException as error:
            raised.append(error)
        ended.set()

    def look() -> object:
        return current_step().details

    async with working() as steps:
        await outcome(steps, block, key="/k", timeout=0.02)
        timed_out.set()
        assert await asyncio.to_thread(ended.wait, WITHIN_S)
        assert [type(error) for error in raised] == [StepTimeout]
        assert (await outcome(steps, look, key="/k", number=2)).result == b"null"


async def test_quiet_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with working() as steps:
            await outcome(steps, asyncio.sleep, 0)
    assert not caplog.records
