"""Draining and closing: what runs may end, nothing new begins, and nothing can hold the worker up."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from perdure.worker.steps import LocalSteps
from tests.worker.attempts import WITHIN_S, begin, working

pytestmark = pytest.mark.asyncio


async def test_draining_lets_end_what_runs_and_starts_nothing() -> None:
    may_end = threading.Event()
    async with working(slots=1) as steps:
        running = begin(steps, lambda: may_end.wait(WITHIN_S))
        waiting = begin(steps, lambda: 1)
        draining = asyncio.create_task(steps.drain(WITHIN_S))
        await asyncio.sleep(0)
        late = begin(steps, lambda: 1)
        may_end.set()
        assert await draining == 0
        assert (await running.outcome()).result == b"true"  # told before drain returned, or now
        assert not waiting.outcomes  # it never began, and has not failed
        assert not late.outcomes
        assert (steps.running, steps.waiting) == (0, 0)


async def test_draining_is_bounded_and_says_what_is_left() -> None:
    may_end = threading.Event()
    async with working() as steps:
        begin(steps, lambda: may_end.wait(WITHIN_S))
        assert await steps.drain(0.02) == 1
        may_end.set()
        assert await steps.drain(WITHIN_S) == 0


async def test_draining_waits_for_turns_of_bodies() -> None:
    may_end = threading.Event()
    results: list[object] = []
    async with working() as steps:
        steps.compute(lambda: may_end.wait(WITHIN_S), results.append)
        draining = asyncio.create_task(steps.drain(WITHIN_S))
        await asyncio.sleep(0.01)
        assert not draining.done()
        may_end.set()
        await draining
        assert results == [True]


async def test_closing_stops_what_runs_and_does_not_call_it_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cleaned = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    steps = LocalSteps()
    started = begin(steps, wait)
    await asyncio.sleep(0)
    await steps.close(0.02)
    assert cleaned.is_set()
    assert not started.outcomes
    assert "1 step is given up; a new owner" in caplog.text
    await steps.close()


async def test_closing_is_not_held_up_by_a_stuck_thread_or_a_stubborn_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("perdure.worker.steps._CUT_S", 0.05)
    may_end, released = threading.Event(), asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    steps = LocalSteps()
    threaded, looped = begin(steps, lambda: may_end.wait(WITHIN_S)), begin(steps, stubborn)
    await asyncio.sleep(0.01)
    began = time.monotonic()
    await steps.close(0.01)
    assert time.monotonic() - began < 1
    may_end.set()
    released.set()
    async with asyncio.timeout(WITHIN_S):
        while steps.running:
            await asyncio.sleep(0.005)
    assert not threaded.outcomes
    assert not looped.outcomes


async def test_the_threads_end_with_the_worker() -> None:
    before = set(threading.enumerate())
    async with working() as steps:
        for each in [begin(steps, lambda: 1) for _ in range(5)]:
            await each.outcome()
        assert set(threading.enumerate()) > before
    async with asyncio.timeout(WITHIN_S):
        while {thread for thread in threading.enumerate() if thread.is_alive()} - before:
            await asyncio.sleep(0.005)


async def test_a_close_that_is_cancelled_still_stops_everything() -> None:
    ended = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    steps = LocalSteps()
    begin(steps, wait)
    closing = asyncio.create_task(steps.close(WITHIN_S))
    await asyncio.sleep(0.01)
    closing.cancel()
    await asyncio.wait_for(ended.wait(), WITHIN_S)
    assert closing.cancelled()
