"""What is kept: bounds and trims, snapshots, opening and closing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from perdure.errors import LogError, UsageError
from perdure.logs import Log
from perdure.testing.log_contract.world import (
    JOURNAL,
    World,
    append,
    first_at,
    scenario,
    tail,
    until,
)


class Keeping:
    """What is kept: bounds and trims, snapshots, opening and closing."""

    @scenario
    async def test_bounds_follow_appends_and_trims(self, world: World) -> None:
        log = await world.log()
        assert await log.bounds(JOURNAL, 0) == (0, 0)
        await append(log.producer(), JOURNAL, 0, *[b"x"] * 10)
        assert await log.bounds(JOURNAL, 0) == (0, 10)
        await log.trim(JOURNAL, 0, 4)
        assert await log.bounds(JOURNAL, 0) == (4, 10)
        await log.trim(JOURNAL, 0, 2)
        assert await log.bounds(JOURNAL, 0) == (4, 10)
        assert [entry.offset for entry in await log.read(JOURNAL, 0, 0, 3)] == [4, 5, 6]
        got, _ = tail(log, JOURNAL, 0, 0)
        await until(lambda: [entry.offset for entry in got] == list(range(4, 10)), "from the first retained")

    @scenario
    async def test_offsets_go_on_after_a_trim_to_empty(self, world: World) -> None:
        log, other = await world.log(), await world.log()
        got, _ = tail(other, JOURNAL, 0, 0)
        await append(log.producer(), JOURNAL, 0, b"a", b"b", b"c")
        await until(lambda: len(got) == 3, "all are delivered")
        await log.trim(JOURNAL, 0, 99)
        assert await other.bounds(JOURNAL, 0) == (3, 3)
        assert await append(log.producer(), JOURNAL, 0, b"d") == [3]
        assert await append(other.producer(), JOURNAL, 0, b"e") == [4]
        await log.trim(JOURNAL, 0, 5)
        await log.close()
        await log.open()
        assert await append(log.producer(), JOURNAL, 0, b"f") == [5]
        await until(lambda: [entry.offset for entry in got] == list(range(6)), "the follower has no gap")

    @scenario
    async def test_offset_at_finds_the_first_at_or_after_a_time(self, world: World) -> None:
        log = await world.log()
        assert await log.offset_at(JOURNAL, 0, log.now()) == 0
        for number in range(7):
            await append(log.producer(), JOURNAL, 0, b"%d" % number)
        entries = await log.read(JOURNAL, 0, 0, 10)
        for entry in entries:
            assert await log.offset_at(JOURNAL, 0, entry.ts) == first_at(entries, entry.ts)
            assert await log.offset_at(JOURNAL, 0, entry.ts + 1) == first_at(entries, entry.ts + 1)
        assert await log.offset_at(JOURNAL, 0, 0) == 0
        await log.trim(JOURNAL, 0, 3)
        assert await log.offset_at(JOURNAL, 0, 0) == 3
        assert await log.offset_at(JOURNAL, 0, entries[5].ts) == first_at(entries, entries[5].ts)

    @scenario
    async def test_snapshots(self, world: World) -> None:
        log, other = await world.log(), await world.log()
        assert list(await log.snapshots(0)) == []
        await log.put_snapshot(0, "b", [b"one", b"", bytes(300_000)])
        await log.put_snapshot(0, "a", [])
        await log.put_snapshot(1, "b", [b"other partition"])
        assert list(await other.snapshots(0)) == ["b", "a"]
        assert list(await other.get_snapshot(0, "b")) == [b"one", b"", bytes(300_000)]
        assert list(await other.get_snapshot(0, "a")) == []
        await other.put_snapshot(0, "b", [b"two"])
        assert list(await log.get_snapshot(0, "b")) == [b"two"]
        assert list(await log.snapshots(0)) == ["a", "b"]
        await log.drop_snapshot(0, "b")
        await log.drop_snapshot(0, "b")
        assert list(await other.snapshots(0)) == ["a"]
        assert list(await other.get_snapshot(1, "b")) == [b"other partition"]
        with pytest.raises(LogError):
            await other.get_snapshot(0, "b")

    @scenario
    async def test_close_answers_every_append(self, world: World) -> None:
        log = await world.log()
        outcomes: list[int | LogError] = []
        producer = log.producer()
        for number in range(500):
            producer.append(JOURNAL, 0, b"%d" % number, done=outcomes.append)
        await log.close()
        assert outcomes == list(range(500))
        with pytest.raises(UsageError):
            producer.append(JOURNAL, 0, b"too late")

    @scenario
    async def test_close_gives_the_partitions_back(self, world: World) -> None:
        log, other = await world.log(), await world.log()
        first, second = await world.join(log), await world.join(other)
        await until(lambda: len(second.held) == log.partitions // 2, "they share")
        await log.close()
        assert first.held == set()
        assert not any(kind == "lost" for kind, _ in first.told)
        await until(lambda: len(second.held) == log.partitions, "the other has all")

    @scenario
    async def test_reopened_it_goes_on_where_it_was(self, world: World) -> None:
        log = await world.log()
        await append(log.producer(), JOURNAL, 0, b"a")
        await log.close()
        await log.close()
        await log.open()
        assert await append(log.producer(), JOURNAL, 0, b"b") == [1]
        got, _ = tail(log, JOURNAL, 0, 0)
        await until(lambda: [entry.value for entry in got] == [b"a", b"b"], "both are there")

    def test_from_one_event_loop_to_the_next(self, connect: Callable[[], Log]) -> None:
        log = connect()

        async def once(number: int) -> None:
            await log.open()
            try:
                assert await append(log.producer(), JOURNAL, 0, b"x") == [number]
            finally:
                await log.close()

        for number in range(3):
            asyncio.run(once(number))
