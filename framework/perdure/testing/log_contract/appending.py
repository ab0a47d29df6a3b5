"""What is appended stands, in order, as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from perdure.errors import AppendFailed, EntryTooLarge, LogError, UsageError
from perdure.logs import Log, Topic
from perdure.testing.log_contract.world import (
    EVENTS,
    JOURNAL,
    World,
    append,
    read_all,
    scenario,
    tail,
    until,
)


class Appending:
    """What is appended stands, in order, as it was."""

    @scenario
    async def test_appends_land_in_order_at_the_offsets_told(self, world: World) -> None:
        log = await world.log()
        values = [b"%d" % number for number in range(100)]
        offsets = await append(log.producer(), JOURNAL, 1, *values)
        entries = await log.read(JOURNAL, 1, 0, 1_000)
        assert [entry.value for entry in entries] == values
        assert [entry.offset for entry in entries] == offsets

    @scenario
    async def test_offsets_are_contiguous_from_zero(self, world: World) -> None:
        log = await world.log()
        assert await append(log.producer(), JOURNAL, 0, b"a", b"b", b"c") == [0, 1, 2]
        assert await append(log.producer(), JOURNAL, 1, b"d") == [0]
        assert await append(log.producer(), EVENTS, 0, b"e") == [0]

    @scenario
    async def test_done_is_never_called_inside_append(self, world: World) -> None:
        log = await world.log()
        outcomes: list[int | LogError] = []
        log.producer().append(JOURNAL, 0, b"x", done=outcomes.append)
        assert outcomes == []
        await until(lambda: outcomes == [0], "the append is answered")

    @scenario
    async def test_an_entry_comes_back_as_it_was_appended(self, world: World) -> None:
        log, other = await world.log(), await world.log()
        headers = {
            "kind": b"commit",
            "empty": b"",
            "bytes": bytes(range(256)),
            "näme with spaces 1 2": b"3 4",
        }
        got, _ = tail(log, JOURNAL, 0, 0)
        far, _ = tail(other, JOURNAL, 0, 0)
        value, key = bytes(range(256)) * 3, b"run:\x00\xff"
        await append(log.producer(), JOURNAL, 0, value, key=key, headers=headers)
        await append(log.producer(), JOURNAL, 0, b"")
        await until(lambda: len(got) == 2 and len(far) == 2, "both are delivered")
        for full, empty in (got, far, await other.read(JOURNAL, 0, 0, 10)):
            assert (full.value, full.key, dict(full.headers)) == (value, key, headers)
            assert (empty.value, empty.key, dict(empty.headers)) == (b"", b"", {})

    @scenario
    async def test_concurrent_producers_neither_lose_nor_mix_up(self, world: World) -> None:
        logs = [await world.log(), await world.log()]
        producers = [log.producer() for log in logs for _ in range(2)]
        outcomes: list[int | LogError] = []
        for number in range(200):
            for index, producer in enumerate(producers):
                producer.append(JOURNAL, 0, b"%d:%d" % (index, number), done=outcomes.append)
            await asyncio.sleep(0)
        await until(lambda: len(outcomes) == 800, "every append is answered")
        entries = await read_all(logs[0], JOURNAL, 0)
        assert [entry.offset for entry in entries] == list(range(800))
        assert sorted(offset for offset in outcomes if isinstance(offset, int)) == list(range(800))
        for index in range(4):
            mine = [entry.value for entry in entries if entry.value.startswith(b"%d:" % index)]
            assert mine == [b"%d:%d" % (index, number) for number in range(200)]

    @scenario
    async def test_big_entries(self, world: World) -> None:
        log, other = await world.log(), await world.log()
        got, _ = tail(log, JOURNAL, 0, 0)
        far, _ = tail(other, JOURNAL, 0, 0)
        values = [bytes([number]) * 1_000_000 for number in range(12)]
        await append(log.producer(), JOURNAL, 0, *values)
        await until(lambda: len(got) == len(far) == 12, "all are delivered")
        assert [entry.value for entry in got] == [entry.value for entry in far] == values
        assert [entry.value for entry in await read_all(other, JOURNAL, 0)] == values

    @scenario
    async def test_times_never_decrease_and_are_those_of_the_logs_clock(self, world: World) -> None:
        log, other = await world.log(), await world.log()
        before = log.now()
        for number in range(20):
            await append((log, other)[number % 2].producer(), JOURNAL, 0, b"x", b"y")
        times = [entry.ts for entry in await log.read(JOURNAL, 0, 0, 100)]
        assert times == sorted(times)
        assert before <= times[0]
        assert times[-1] <= other.now()

    @scenario
    async def test_read_is_bounded_and_empty_at_the_end(self, world: World) -> None:
        log = await world.log()
        await append(log.producer(), JOURNAL, 0, b"a", b"b", b"c")
        assert [entry.value for entry in await log.read(JOURNAL, 0, 1, 1)] == [b"b"]
        assert [entry.value for entry in await log.read(JOURNAL, 0, 1, 10)] == [b"b", b"c"]
        assert list(await log.read(JOURNAL, 0, 3, 10)) == []
        assert list(await log.read(JOURNAL, 0, 99, 10)) == []

    @scenario
    async def test_an_unknown_partition_is_refused(self, world: World) -> None:
        log = await world.log()
        with pytest.raises(UsageError):
            log.producer().append(JOURNAL, log.partitions, b"x")
        with pytest.raises(UsageError):
            log.follow(Topic.REGISTRY, 1, 0, lambda batch: None)

    @scenario
    async def test_every_topic_can_be_written(self, world: World) -> None:
        log = await world.log()
        for topic in Topic:
            assert await append(log.producer(), topic, 0, topic.encode()) == [0]
        assert await append(log.producer(), Topic.REPLIES, 15, b"last") == [0]

    @scenario
    async def test_too_large_is_a_local_refusal_and_no_failure(self, world: World) -> None:
        log = await world.log()
        producer = log.producer()
        with pytest.raises(EntryTooLarge):
            producer.append(JOURNAL, 0, bytes(200_000_000), done=lambda outcome: pytest.fail("called"))
        assert await append(producer, JOURNAL, 0, b"fine") == [0]

    def test_a_failed_append_poisons_its_producer_alone(
        self, connect: Callable[[], Log], fail_next_append: Callable[[Log, Topic, int], None]
    ) -> None:
        async def run(contract: object, world: World) -> None:
            log = await world.log()
            producer, other = log.producer(), log.producer()
            assert await append(producer, JOURNAL, 0, b"before") == [0]
            fail_next_append(log, JOURNAL, 0)
            (failed,) = await append(producer, JOURNAL, 0, b"fails")
            assert isinstance(failed, AppendFailed)
            for partition in (0, 1):
                (later,) = await append(producer, JOURNAL, partition, b"later")
                assert isinstance(later, AppendFailed)
            assert isinstance((await append(other, JOURNAL, 1, b"other"))[0], int)
            assert isinstance((await append(log.producer(), JOURNAL, 0, b"new"))[0], int)
            values = [entry.value for entry in await log.read(JOURNAL, 0, 0, 10)]
            assert values[0] == b"before"
            assert values[-1] == b"new"
            assert b"later" not in values

        scenario(run)(self, connect)

    @scenario
    async def test_an_error_in_a_callback_does_not_stop_the_log(self, world: World) -> None:
        log = await world.log()
        reported: list[Mapping[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))

        def fail(outcome: object) -> None:
            raise ValueError("from a callback")

        got, _ = tail(log, JOURNAL, 0, 0)
        log.follow(JOURNAL, 0, 0, fail)
        log.producer().append(JOURNAL, 0, b"a", done=fail)
        await until(lambda: len(reported) == 2, "both errors are reported")
        assert await append(log.producer(), JOURNAL, 0, b"b") == [1]
        await until(lambda: [entry.value for entry in got] == [b"a", b"b"], "the other follower goes on")
