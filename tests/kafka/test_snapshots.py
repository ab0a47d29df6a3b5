"""Snapshots on a real broker: in chunks, in two generations, verified before the journal is trimmed (A10)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from perdure import App, Context
from perdure.core.limits import DEFAULT_LIMITS
from perdure.core.snapshot import restore
from perdure.engine.engine import Engine
from perdure.errors import LogError
from perdure.logs import Topic, open_log
from perdure.logs.kafka import KafkaLog, snapshots
from perdure.logs.kafka.producing import KafkaProducer
from tests.brokers import broker
from tests.kafka.test_growth import led, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

SMALL = {"snapshot_tail_bytes_min": 2_000, "snapshot_chunk_bytes_max": 1_500, "history_time_max": 0}
WAITING = 20


async def double(n: int) -> int:
    return 2 * n


class Shop:
    """One worker at a time on a log of one partition, and what it had trouble with."""

    def __init__(self, **limits: int) -> None:
        self.url = broker().url(partitions=1)
        self.troubles: list[str] = []
        self.app = App("shop", log=self.url, limits=replace(DEFAULT_LIMITS, **limits))

        @self.app.function(on="order/placed")
        async def order(ctx: Context) -> int:
            n = await ctx.step.run("double", double, ctx.event.data["n"])
            await ctx.step.wait_for_event("paid", "order/paid", timeout="1h")
            return n

        @self.app.function(on="quick")
        async def quick(ctx: Context) -> int:
            return await ctx.step.run("double", double, ctx.event.data["n"])

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[Engine]:
        asyncio.get_running_loop().set_exception_handler(self._trouble)
        async with self.app.worker() as engine:
            yield engine
        await self.app.close()

    def _trouble(self, _loop: object, context: dict[str, Any]) -> None:
        self.troubles.append(f"{context.get('message')}: {context.get('exception')}")

    async def send(self, name: str, *numbers: int) -> None:
        await self.app.send([{"name": name, "data": {"n": n}} for n in numbers])

    async def log(self) -> KafkaLog:
        log = open_log(self.url, "shop")
        assert isinstance(log, KafkaLog)
        await log.open()
        return log

    async def worked(self) -> tuple[int, Sequence[str]]:
        """Lets runs wait, then works until the journal and older snapshots are trimmed; where the journal begins, and
        the snapshots that are left."""
        log = await self.log()
        topic = f"{log.settings.namespace}.shop.snapshots"
        async with self.worker() as engine:
            await self.send("order/placed", *range(WAITING))
            first, dropped = 0, 0
            async with asyncio.timeout(60):
                while not (first and dropped):
                    await self.send("quick", *range(20))
                    await until(engine.quiet, "they are over")
                    first, _ = await log.bounds(Topic.JOURNAL, 0)
                    dropped, _ = await log.ask(Topic.JOURNAL, lambda lookup: lookup.bounds(topic, 0))
            (mine,) = engine.partitions.values()
            lead = mine.lead
            assert lead is not None
            await until(
                lambda: not lead.snapshots._busy and not engine.services.tasks, "nothing is under way"
            )
        found = (await log.bounds(Topic.JOURNAL, 0))[0], await log.snapshots(0)
        await log.close()
        return found

    async def damage(self, name: str) -> None:
        """A set of that name whose chunks are not what its end says: the newest of a name is the one that counts."""
        log = await self.log()
        producer, mark = KafkaProducer(log), os.urandom(8)
        topic = f"{log.settings.namespace}.shop.snapshots"
        headers = snapshots.chunk_headers(mark)
        offset = await landed(lambda done: producer.append_to(topic, 0, b"bad", name.encode(), headers, done))
        end = snapshots.end_value(offset, [b"good"], log.ids)
        headers = snapshots.end_headers(mark)
        await landed(lambda done: producer.append_to(topic, 0, end, name.encode(), headers, done))
        await log.close()


async def landed(append: Callable[[Callable[[Any], None]], None]) -> int:
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    append(done.set_result)
    result = await done
    assert isinstance(result, int), result
    return result


async def results(engine: Engine, shop: Shop) -> list[int]:
    """Pays, and what the runs that waited came to."""
    (mine,) = engine.partitions.values()
    waited = [run for run in mine.state.live_runs() if run.function == "order"]
    await shop.send("order/paid", 0)
    await until(lambda: not any(run.live for run in waited), "they end")
    return sorted(int(run.result or b"-1") for run in waited)


def test_the_journal_is_trimmed_behind_the_older_of_two_sets() -> None:
    async def script() -> None:
        shop = Shop(**SMALL)
        first, names = await shop.worked()
        log = await shop.log()
        assert len(names) >= 2
        covers = []
        for name in names:
            chunks = await log.get_snapshot(0, name)
            assert len(chunks) > 1, "in chunks"
            state, reaches = restore(chunks)
            assert int(name) == reaches
            assert sum(run.live and run.function == "order" for run in state.runs.values()) == WAITING
            covers.append(reaches)
        assert first == covers[-2], "two generations reach the journal that is left"
        await log.close()
        async with shop.worker() as engine:
            await until(lambda: led(engine) == [0], "a successor leads")
            assert await results(engine, shop) == [2 * n for n in range(WAITING)]
        assert not shop.troubles

    asyncio.run(script())


def test_a_damaged_set_is_told_and_the_one_before_is_taken() -> None:
    async def script() -> None:
        shop = Shop(**SMALL)
        _, names = await shop.worked()
        await shop.damage(names[-1])
        async with shop.worker() as engine:
            await until(lambda: led(engine) == [0], "a successor leads")
            assert await results(engine, shop) == [2 * n for n in range(WAITING)]
        (told,) = shop.troubles
        assert f"snapshot {names[-1]} of partition 0 is damaged; an older one is tried" in told
        assert "their checksum differs" in told

    asyncio.run(script())


def test_two_damaged_sets_leave_the_partition_alone() -> None:
    """Beginning anew with what is left of the journal would begin runs a second time."""

    async def script() -> None:
        shop = Shop(**SMALL)
        first, names = await shop.worked()
        for name in names:
            await shop.damage(name)
        log = await shop.log()
        before = await log.bounds(Topic.JOURNAL, 0)
        async with shop.worker() as engine:
            refused = f"the journal begins at {first}, and no snapshot reaches that far"
            await until(lambda: [told for told in shop.troubles if refused in told], "it says so")
            await until(
                lambda: len([told for told in shop.troubles if refused in told]) > 1, "it looks again"
            )
            assert led(engine) == []
        assert await log.bounds(Topic.JOURNAL, 0) == before, "not even a claim was appended"
        await log.close()

    asyncio.run(script())


def test_nothing_is_trimmed_behind_a_set_that_cannot_be_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    get = KafkaLog.get_snapshot

    async def garbled(self: KafkaLog, partition: int, name: str) -> Sequence[bytes]:
        return [chunk[:-1] + b"?" for chunk in await get(self, partition, name)]

    async def script() -> None:
        shop = Shop(**SMALL)
        log = await shop.log()
        async with shop.worker() as engine:
            with monkeypatch.context() as patched:
                patched.setattr(KafkaLog, "get_snapshot", garbled)
                async with asyncio.timeout(40):
                    while len(shop.troubles) < 3:
                        await shop.send("quick", *range(20))
                        await asyncio.sleep(0.05)
            (mine,) = engine.partitions.values()
            assert not mine.state.sets
            assert (await log.bounds(Topic.JOURNAL, 0))[0] == 0
            assert all("snapshot of partition 0" in told for told in shop.troubles), shop.troubles
            async with asyncio.timeout(40):
                while not (await log.bounds(Topic.JOURNAL, 0))[0]:
                    await shop.send("quick", *range(20))
                    await asyncio.sleep(0.05)
        await log.close()

    asyncio.run(script())


def test_a_quiet_partition_has_a_snapshot_in_time() -> None:
    """Few records, or none, are as much at risk from a retention as many. Whoever leads sees to it."""

    async def script() -> None:
        shop = Shop(snapshot_time_max=1_500_000, history_time_max=0)
        async with shop.worker() as engine:
            await shop.send("order/placed", 0)
            (mine,) = engine.partitions.values()
            await until(lambda: len(mine.state.sets) == 2, "two sets, one after the other")
            covers = [each["covers"] for each in mine.state.sets]
        async with shop.worker() as engine:
            (mine,) = engine.partitions.values()
            await until(
                lambda: mine.state.sets and mine.state.sets[0]["covers"] >= covers[1], "and so does another"
            )
            assert await results(engine, shop) == [0]
        assert not shop.troubles

    asyncio.run(script())


def test_a_journal_that_was_made_anew_is_not_taken_for_the_old_one() -> None:
    async def script() -> None:
        shop = Shop(**SMALL)
        await shop.worked()
        log = await shop.log()
        client: Any = log._cluster.admin._client
        name = f"{log.settings.namespace}.shop.journal"
        client.delete_topics([name])[name].result()
        found: list[str] = [name]
        async with asyncio.timeout(30):
            while name in found:
                found = await asyncio.to_thread(log._cluster.admin.topics)
        await log.close()
        await shop.app.send("quick", {"n": 1})  # which makes the topic that is missing
        with pytest.raises(LogError, match="is not the topic that this app's workers knew"):
            async with shop.worker():
                pass

    asyncio.run(script())
