"""Long journals are read one after the other at a takeover, so that the first is led long before the last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from perdure import App, Context
from perdure.engine import apart
from perdure.engine.engine import Engine
from perdure.engine.partition import Partition
from perdure.engine.services import Services
from perdure.logs.contract import Entry, Topic
from perdure.logs.memory import MemoryLog

pytestmark = pytest.mark.asyncio
PARTITIONS = 4


@pytest.fixture(autouse=True)
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three entries are many."""
    monkeypatch.setattr(apart, "LONG_READ_ENTRIES", 3)


async def written() -> tuple[App, MemoryLog]:
    """A log with a few runs in each partition."""
    log = MemoryLog(PARTITIONS)
    a = App("test", log=log)

    @a.function
    async def one(ctx: Context) -> int:
        return await ctx.step.run("one", abs, -1)

    async with a.worker():
        handles = [await a.start(one) for _ in range(PARTITIONS * 3)]
        assert [await handle.result() for handle in handles] == [1] * len(handles)
    return a, log


def leads(engine: Engine) -> list[int]:
    return [number for number, partition in engine.partitions.items() if partition.lead is not None]


async def until_they_lead(engine: Engine, numbers: set[int]) -> None:
    async with asyncio.timeout(10):
        while set(leads(engine)) != numbers:
            await asyncio.sleep(0.001)


async def test_one_is_led_before_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = await written()
    reading: list[int] = []
    taken = Partition._take

    def noted(self: Partition, entry: Entry) -> None:
        if self.lead is None and self.number not in reading[-1:]:
            reading.append(self.number)
        taken(self, entry)

    monkeypatch.setattr(Partition, "_take", noted)
    async with a.worker() as engine:
        await until_they_lead(engine, set(range(PARTITIONS)))
    assert sorted(reading) == list(range(PARTITIONS)), "each is read in one go, up to its claim"
    await a.close()


async def test_one_of_which_nothing_comes_holds_nobody_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = await written()
    read = MemoryLog.read

    async def deaf(self: MemoryLog, topic: Topic, partition: int, *more: int) -> Sequence[Entry]:
        if (topic, partition) == (Topic.JOURNAL, 0):
            await asyncio.sleep(3600)
        return await read(self, topic, partition, *more)

    monkeypatch.setattr(MemoryLog, "read", deaf)
    monkeypatch.setattr(apart, "LONG_READ_US", 50_000)
    async with a._serving() as engine:
        await until_they_lead(engine, set(range(1, PARTITIONS)))
    await a.close()


@pytest.mark.parametrize("how", ["lost", "revoked"])
async def test_one_that_goes_while_it_waits_or_reads_leaves_its_turn_to_others(how: str) -> None:
    a, _ = await written()
    async with a._serving() as engine:
        async with asyncio.timeout(10):
            while len(engine.partitions) < PARTITIONS:
                await asyncio.sleep(0)
        for number in (0, 2):
            gone: Any = engine.lost(number) if how == "lost" else await engine.revoked(number)
            assert gone is None
        await until_they_lead(engine, {1, 3})
        assert not engine.services.long_reads.locked()
    await a.close()


async def test_who_leads_already_is_not_behind_what_another_has_to_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is followed comes in the order in which it was fetched (Kafka): so only the ends of long journals are."""
    a, log = await written()
    followed: dict[int, int] = {}
    follow = Services.follow

    def noted(self: Services, topic: Topic, partition: int, offset: int) -> None:
        if topic is Topic.JOURNAL:
            followed[partition] = offset
        follow(self, topic, partition, offset)

    ends = {number: (await log.bounds(Topic.JOURNAL, number))[1] for number in range(PARTITIONS)}
    monkeypatch.setattr(Services, "follow", noted)
    monkeypatch.setattr(apart, "PART_ENTRIES", 2)
    async with a.worker() as engine:
        await until_they_lead(engine, set(range(PARTITIONS)))
        assert followed == ends
        claims = [partition.state.epoch for partition in engine.partitions.values()]
        assert claims == [2] * PARTITIONS, "no claim was made too early"
    await a.close()
