"""A16 on a real broker: the journal grows under load, and nothing is restarted for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from perdure import App, Context
from perdure.core import ids, routing
from perdure.core.invariants import check, check_between
from perdure.core.state import Run
from perdure.engine.engine import Engine
from perdure.errors import RunNotFound, UsageError
from perdure.index.reader import JournalReader
from perdure.logs import open_log
from perdure.logs.kafka import KafkaLog
from tests.brokers import broker
from tests.kafka.commands import perdure

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


async def double(n: int) -> int:
    return 2 * n


def make_app(url: str) -> App:
    """As each process has it: connections are its own."""
    app = App("shop", log=url)

    @app.function(on="order/placed")
    async def order(ctx: Context) -> int:
        n = await ctx.step.run("double", double, ctx.event.data["n"])
        paid = await ctx.step.wait_for_event("paid", "order/paid", match="data.n", timeout="1h")
        assert paid is not None
        return await ctx.step.invoke("child", "child", {"n": n})

    @app.function
    async def child(ctx: Context) -> int:
        await ctx.step.sleep("nap", 0.05)
        return await ctx.step.run("double", double, ctx.event.data["n"])

    @app.function
    async def named(ctx: Context) -> str:
        await ctx.step.wait_for_event("paid", "order/paid", match="data.n", timeout="1h")
        return ctx.run_id

    return app


async def until(holds: Callable[[], Any], what: str, within_s: float = 40.0) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None


def led(*engines: Engine) -> list[int]:
    return sorted(
        number for engine in engines for number, mine in engine.partitions.items() if mine.lead is not None
    )


@asynccontextmanager
async def reading(url: str) -> AsyncGenerator[JournalReader]:
    log = open_log(url, "shop")
    await log.open()
    try:
        yield JournalReader(log)
    finally:
        await log.close()


async def settled(reader: JournalReader, runs: int) -> list[Run]:
    """All runs, once there are so many and all have ended."""
    async with asyncio.timeout(60):
        while True:
            await reader.read()
            found = reader.runs()
            if len(found) >= runs and not any(run.live for run in found):
                return found
            await asyncio.sleep(0.1)


async def grow(url: str, partitions: int) -> None:
    log = open_log(url, "shop")
    assert isinstance(log, KafkaLog)
    await log.grow_topics(partitions)


def test_a_journal_grows_twice_under_load() -> None:
    url = broker().url(partitions=4)

    async def script() -> None:
        early, late, client = make_app(url), make_app(url), make_app(url)
        sent: list[int] = []
        enough = asyncio.Event()

        async def load() -> None:
            while not enough.is_set():
                sent.append(len(sent))
                await client.send("order/placed", {"n": sent[-1]})
                await asyncio.sleep(0.03)

        named = client.functions.resolve("named")
        started = await client.start(named, {"n": 3}, id="order-1")  # its client is of before the growth
        async with early.worker() as first:
            await until(lambda: led(first) == [0, 1, 2, 3], "all four are led")
            loading = asyncio.create_task(load())
            await until(lambda: len(sent) > 20, "there is load")
            await grow(url, 8)
            await until(lambda: led(first) == list(range(8)), "the worker has taken up the new ones")
            async with late.worker() as second:
                await until(lambda: len(led(second)) == 4 and len(led(first, second)) == 8, "they share")
                await grow(url, 12)
                await until(
                    lambda: led(first, second) == list(range(12)) and len(led(second)) == 6,
                    "they share what is new",
                )
                placed = len(sent)
                await until(lambda: len(sent) > placed + 40, "there is load on all")
                enough.set()
                await loading
                assert (await client.start(named, {"n": 3}, id="order-1")).run_id == started.run_id
                await client.send([{"name": "order/paid", "data": {"n": n}} for n in sent])
                async with reading(url) as reader:
                    runs = await settled(reader, 2 * len(sent) + 1)
                    await asked_of_all(runs, client, make_app(url))
                    states = [partition.state for partition in reader.partitions]
                    assert not [
                        *(fault for state in states for fault in check(state)),
                        *check_between(states),
                    ]
        for app in (early, late, client):
            await app.close()
        judge(runs, len(sent))

    asyncio.run(script())


async def asked_of_all(runs: list[Run], *clients: App) -> None:
    """A run of each generation is known to a client of before the growth, and to one of after it."""
    orders = [run for run in runs if run.function == "order"]
    of = {routing.generation_of(routing.run_partition(run.id, 4), (4, 8, 12)): run for run in orders}
    assert of.keys() == {1, 2, 3}
    for client in clients:
        for run in of.values():
            handle: Any = client.handle(client.functions.resolve("order"), run.id)
            assert await handle.result(timeout="20s") == 4 * int(
                run.event["data"].split(b":")[1].rstrip(b"}")
            )
    await clients[-1].close()


def judge(runs: list[Run], orders: int) -> None:
    assert Counter((run.function, run.status) for run in runs) == {
        ("order", "completed"): orders,
        ("child", "completed"): orders,
        ("named", "completed"): 1,
    }
    for function in ("order", "child"):
        homes = [ids.placement(run.id) for run in runs if run.function == function]
        generations = Counter(placed[0] for placed in homes if placed is not None)
        assert generations.keys() == {1, 2, 3}, "all generations are used"
        assert all(
            routing.generation_of(placed[1], (4, 8, 12)) == placed[0]
            for placed in homes
            if placed is not None
        )


def test_a_client_of_before_the_growth_steers_a_run_of_after_it() -> None:
    """It has asked for nothing and followed nothing until then: so nobody told it of the growth."""
    url = broker().url(partitions=1)

    async def script() -> None:
        old, worker = make_app(url), make_app(url)
        await old.send("order/paid", {"n": 0})  # so it is connected
        await grow(url, 2)
        async with worker.worker() as engine:
            await until(lambda: led(engine) == [0, 1], "both are led")
            run_id = ids.placed_run(2, 1, "here")
            new = make_app(url)
            command = await new.start(new.functions.resolve("child"), {"n": 1})
            assert await command.result(timeout="20s") == 2
            handle: Any = old.handle(old.functions.resolve("child"), run_id)
            with pytest.raises(RunNotFound, match="never started"):
                await handle.status()
            nowhere: Any = old.handle(old.functions.resolve("child"), ids.placed_run(2, 7, "x"))
            with pytest.raises(RunNotFound, match="this log has 2 partitions"):
                await nowhere.status()
            await new.close()
        await old.close()
        await worker.close()

    asyncio.run(script())


def test_a_second_app_of_a_namespace_may_have_more_partitions_than_its_events() -> None:
    """Events are there before it, and theirs are its first generation."""
    url = broker().url(partitions=2)

    async def script() -> None:
        first = make_app(url)
        await first.send("order/paid", {"n": 0})
        await first.close()
        parts = urlsplit(url)
        other = open_log(f"kafka://{parts.netloc}{parts.path}?create=6", "bills")
        await other.open()
        assert tuple(other.generations) == (2, 6)
        await other.close()
        fewer = open_log(f"kafka://{parts.netloc}{parts.path}?create=1", "mails")
        with pytest.raises(UsageError, match="events have 2 partitions already"):
            await fewer.open()

    asyncio.run(script())


def test_growing_from_the_command_line() -> None:
    parts = urlsplit(broker().url())
    url = f"kafka://{parts.netloc}{parts.path}"
    options = ("--log", url, "--app", "shop", "--partitions")
    assert perdure("topics", "create", *options, "2", "--replication", "1").returncode == 0
    grown = perdure("topics", "grow", *options, "5")
    assert (grown.returncode, grown.stdout) == (0, "the journal has 5 partitions now\n"), grown.stderr
    again = perdure("topics", "grow", *options, "5")
    assert (again.returncode, "has 5 partitions already" in again.stderr) == (2, True), again.stderr
    created = perdure("topics", "create", *options, "8", "--replication", "1")
    assert (created.returncode, "perdure topics grow" in created.stderr) == (2, True), created.stderr
    doctor = perdure("doctor", "--log", url)
    assert "5 partitions" in doctor.stdout, doctor.stderr

    async def generations() -> None:
        log = open_log(url, "shop")
        await log.open()
        assert tuple(log.generations) == (2, 5)
        await log.close()

    asyncio.run(generations())


def test_a_growth_that_was_cut_off_is_completed_by_another() -> None:
    """Partitions were made, and nobody wrote them down: they are not used, and the next growth takes them."""
    url = broker().url(partitions=2)

    async def script() -> None:
        app = make_app(url)
        await app.send("order/paid", {"n": 0})
        log = open_log(url, "shop")
        assert isinstance(log, KafkaLog)
        await log.open()
        cluster = log._cluster
        name = f"{log.settings.namespace}.shop.journal"
        cluster.admin.add_partitions([name], 6)
        assert tuple(log.generations) == (2,)
        async with app.worker() as engine:
            await until(lambda: led(engine) == [0, 1], "it works with those that are in use")
            faults = await log.check_topics()
            assert [str(fault) for fault in faults if "of which 2 are used" in fault.sentence]
            await log.grow_topics(4)
            await until(lambda: led(engine) == [0, 1, 2, 3], "it takes up as many as were asked for")
            await log.grow_topics(6)
            await until(lambda: led(engine) == [0, 1, 2, 3, 4, 5], "it takes them up")
        await log.close()
        await app.close()

    asyncio.run(script())
