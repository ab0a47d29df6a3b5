"""How many attempts run at once, and in which order the others follow."""

from __future__ import annotations

import asyncio
import threading

import pytest

from perdure.errors import StepStopped
from perdure.worker.slots import Slots
from tests.worker.attempts import WITHIN_S, begin, outcome, working


def test_first_come_first_served_within_what_a_lane_allows() -> None:
    slots = Slots[str](3, {"loop": 3, "thread": 1, "process": 1})
    assert slots.take("thread 1", "thread")
    assert not slots.take("thread 2", "thread")
    assert slots.take("loop 1", "loop")
    assert slots.take("process 1", "process")
    assert not slots.take("loop 2", "loop")
    assert not slots.take("thread 3", "thread")
    slots.free("loop")
    assert slots.next() == "loop 2"
    assert slots.next() is None
    slots.free("thread")
    assert slots.next() == "thread 2"
    slots.free("loop")
    assert slots.next() is None  # the lane of the one that waits is full
    assert (slots.running, slots.waiting) == (2, 1)
    assert slots.leave("thread 3", "thread")
    assert not slots.leave("thread 3", "thread")
    assert (slots.running, slots.waiting) == (2, 0)


def test_a_move_makes_room_in_the_lane_that_was_left() -> None:
    slots = Slots[str](2, {"loop": 2, "thread": 1, "process": 1})
    assert slots.take("a", "thread")
    assert not slots.take("b", "thread")
    slots.move("thread", "loop")
    assert slots.next() == "b"
    assert slots.running == 2


@pytest.mark.asyncio
async def test_no_more_than_the_slots_run_and_the_order_is_kept() -> None:
    running, most = 0, 0
    order: list[int] = []

    async def step(number: int) -> None:
        nonlocal running, most
        order.append(number)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    async with working(slots=3) as steps:
        started = [begin(steps, step, number) for number in range(30)]
        for each in started:
            assert (await each.outcome()).result is not None
    assert most == 3
    assert order == list(range(30))


@pytest.mark.asyncio
async def test_threads_that_are_busy_do_not_keep_async_steps_waiting() -> None:
    may_end = threading.Event()

    async def quick() -> None: ...

    async with working(slots=10, threads_max=1) as steps:
        blocked = [begin(steps, lambda: may_end.wait(WITHIN_S)) for _ in range(5)]
        assert (steps.running, steps.waiting) == (1, 4)
        assert (await outcome(steps, quick)).result == b"null"
        may_end.set()
        for each in blocked:
            assert (await each.outcome()).result == b"true"


@pytest.mark.asyncio
async def test_one_that_waits_and_is_cancelled_never_starts_and_is_told_once() -> None:
    may_end = asyncio.Event()
    begun: list[str] = []

    async def step(name: str) -> None:
        begun.append(name)
        await may_end.wait()

    async with working(slots=1) as steps:
        first, second, third = (begin(steps, step, name) for name in "abc")
        second.cancel()
        assert not second.outcomes  # from the loop, not from within the call
        assert isinstance((await second.outcome()).exception, StepStopped)
        may_end.set()
        await first.outcome()
        await third.outcome()
        assert begun == ["a", "c"]
        assert len(second.outcomes) == 1
