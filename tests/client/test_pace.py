"""Backpressure: a sender waits for the worker, and for nobody else (B12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from perdure import App, Context
from perdure.client import pace as pace_module
from perdure.client.pace import Pace
from perdure.core.limits import DEFAULT_LIMITS
from perdure.errors import PerdureError
from perdure.logs.memory import MemoryLog

pytestmark = pytest.mark.asyncio


class Owner:
    """Takes events up when it is told to."""

    def __init__(self) -> None:
        self.routed = 0
        self.answers = True
        self.asked = 0

    async def ask(self, partition: int) -> int:
        self.asked += 1
        if not self.answers:
            raise PerdureError("nobody is there")
        return self.routed


class Sender:
    """Sends events one after the other, as fast as it may."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.sent = 0

    async def send(self, count: int) -> None:
        for _ in range(count):
            if not self._pace.enter(0):
                await self._pace.turn(0)
            await asyncio.sleep(0)
            self._pace.left(0, self.sent)
            self.sent += 1


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "ASK_AGAIN_S", 0.001)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def rests(looked: Callable[[], int], sender: Sender) -> None:
    """It has asked again and again, and sent nothing more."""
    before, sent = looked(), sender.sent
    await until(lambda: looked() >= before + 5)
    assert sender.sent == sent


async def test_a_sender_is_never_further_ahead_than_it_may() -> None:
    owner = Owner()
    sender = Sender(Pace(owner.ask, 100))
    sending = asyncio.ensure_future(sender.send(1_000))
    for routed in range(0, 900, 90):
        owner.routed = routed
        await until(lambda: sender.sent >= routed + 100)  # noqa: B023
        await rests(lambda: owner.asked, sender)
        assert sender.sent == routed + 100
    owner.routed = 950
    await asyncio.wait_for(sending, 10)


async def test_senders_are_let_through_one_by_one_in_their_order() -> None:
    owner = Owner()
    pace = Pace(owner.ask, 10)
    sender = Sender(pace)
    await sender.send(10)
    passed: list[int] = []

    async def one(number: int) -> None:
        if not pace.enter(0):
            await pace.turn(0)
        passed.append(number)

    waiting = [asyncio.ensure_future(one(number)) for number in range(6)]
    await until(lambda: owner.asked > 5)
    assert not passed
    waiting.pop(1).cancel()
    owner.routed = 3  # room for three, of which none is accepted yet
    await until(lambda: len(passed) == 3)
    before = owner.asked
    await until(lambda: owner.asked > before + 5)
    assert passed == [0, 2, 3]
    waiting[3].cancel()
    pace.left(0, None)  # the sending of one has failed
    await until(lambda: len(passed) == 4)
    assert passed == [0, 2, 3, 5]
    pace.close()


async def test_nobody_waits_where_no_worker_answers() -> None:
    owner = Owner()
    owner.answers = False
    sender = Sender(Pace(owner.ask, 10))
    await asyncio.wait_for(sender.send(1_000), 10)


async def test_nobody_waits_for_a_worker_that_does_not_get_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "STUCK_S", 0.05)
    owner = Owner()
    sender = Sender(Pace(owner.ask, 10))
    await asyncio.wait_for(sender.send(1_000), 10)
    owner.routed = 500  # it goes on: so it is waited for
    more = asyncio.ensure_future(sender.send(1_000))
    await until(lambda: owner.asked > 20)
    await asyncio.wait_for(more, 10)


async def test_a_bound_of_0_is_none() -> None:
    owner = Owner()
    await asyncio.wait_for(Sender(Pace(owner.ask, 0)).send(10_000), 10)
    assert owner.asked == 0


async def test_few_questions_are_asked_of_a_worker_that_keeps_up() -> None:
    owner = Owner()
    pace = Pace(owner.ask, 800)
    sender = Sender(pace)
    for _ in range(100):
        await sender.send(100)
        owner.routed = sender.sent
    assert 50 <= owner.asked <= 101


def service(held: asyncio.Event) -> App:
    log = MemoryLog(partitions=1)
    limits = replace(DEFAULT_LIMITS, events_waiting_max=20, runs_under_way_max=4)
    app = App("test", log=log, limits=limits)

    async def wait() -> None:
        await held.wait()

    @app.function(on="go")
    async def go(ctx: Context) -> None:
        await ctx.step.run("wait", wait)

    return app


async def sends(app: App, count: int, sent: list[int]) -> None:
    for number in range(count):
        await app.send("go", {"number": number})
        sent.append(number)


async def test_B12_a_sender_waits_for_a_worker_that_is_behind() -> None:
    held, sent = asyncio.Event(), list[int]()
    app = service(held)
    async with app.worker(slots=2):
        sending = asyncio.ensure_future(sends(app, 300, sent))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(sending), 1)
        assert 20 <= len(sent) <= 40
        held.set()
        await asyncio.wait_for(sending, 20)
    await app.close()


async def test_B12_a_sender_does_not_wait_where_no_worker_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "ANSWER_S", 0.05)
    sent = list[int]()
    app = service(asyncio.Event())
    await asyncio.wait_for(sends(app, 300, sent), 20)
    await app.close()
