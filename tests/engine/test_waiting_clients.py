"""Clients that ask for a run while nobody leads, or wait long for its end (A13, B12)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import App, Context
from perdure.client import client as client_module
from perdure.client import ends
from perdure.client.client import Client
from perdure.core import codec
from perdure.core.facts import KIND
from perdure.logs.contract import REPLIES_PARTITIONS, Topic
from perdure.logs.memory import MemoryLog

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients ask again soon."""
    monkeypatch.setattr(client_module, "ASK_AGAIN_S", (0.01,))
    monkeypatch.setattr(ends, "ASK_AGAIN_S", (0.01,))


def service(log: MemoryLog) -> tuple[App, Any]:
    a = App("test", log=log)

    @a.function
    async def waits(ctx: Context) -> Any:
        ctx.set_value("stage", "open")
        signal = await ctx.step.wait_for_signal("s", "go")
        return signal and signal.data

    return a, waits


async def queries(log: MemoryLog) -> list[dict[str, Any]]:
    entries = await log.read(Topic.JOURNAL, 0, 0, 10_000)
    commands = [codec.decode(e.value)[1] for e in entries if e.headers.get(KIND) == b"Command"]
    return [command for command in commands if command["body"][0] == "perdure.Query"]


async def replies(log: MemoryLog) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for partition in range(REPLIES_PARTITIONS):
        found += [codec.decode(e.value)[1] for e in await log.read(Topic.REPLIES, partition, 0, 10_000)]
    return found


async def apart(log: MemoryLog, name: bytes) -> Client:
    """A client of another process: it is answered through the log."""
    client = Client(log, lambda size: (name * size)[:size])
    await client.open()
    return client


async def asked(log: MemoryLog, times: int) -> None:
    async with asyncio.timeout(10):
        while len(await queries(log)) < times:
            await asyncio.sleep(0.001)


async def test_A13_what_is_asked_while_nobody_leads_is_answered_once_somebody_does() -> None:
    log = MemoryLog(1)
    a, waits = service(log)
    async with a.worker():
        handle = await a.start(waits, {})
        while (await handle.status()) != "running":
            await asyncio.sleep(0)
    before = len(await queries(log))
    asking = [asyncio.create_task(handle.status()), asyncio.create_task(handle.value("stage"))]
    await asked(log, before + 2)
    async with a.worker(), asyncio.timeout(10):
        assert await asyncio.gather(*asking) == ["running", "open"]
    await a.close()


async def test_A13_nobody_answers_in_time() -> None:
    log = MemoryLog(1)
    await log.open()
    client = await apart(log, b"c")
    with pytest.raises(TimeoutError):
        await client.ask("run", timeout_s=0.05)
    assert len({query["id"] for query in await queries(log)}) == 1
    assert len(await queries(log)) > 1
    client.close()
    await log.close()


async def test_B12_a_client_that_waits_long_is_one_watcher_and_is_answered_once() -> None:
    log = MemoryLog(1)
    a, waits = service(log)
    async with a.worker() as engine:
        client = await apart(log, b"c")
        handle = await a.start(waits, {})
        waiting = [asyncio.create_task(client.end_of(handle.run_id, None)) for _ in range(3)]
        await asked(log, 8)
        gone = waiting.pop()  # the others go on without it
        gone.cancel()
        await asked(log, 12)
        state = engine.partitions[0].state
        mine = [command for of, command in state.runs[handle.run_id].watchers.items() if of == client.id]
        assert len(mine) == 1
        assert {q["id"] for q in await queries(log) if q["client"] == client.id} == set(mine)
        await handle.signal("go", 5)
        async with asyncio.timeout(10):
            results = await asyncio.gather(*waiting)
        assert [reply["result"] for reply in results] == [b"5", b"5"]
        assert [reply["command"] for reply in await replies(log)] == mine
        assert client._ends == client._waiting == {}
        client.close()
    await a.close()


async def test_B12_whoever_starts_a_run_again_under_its_id_waits_for_the_same_end() -> None:
    log = MemoryLog(1)
    a, waits = service(log)
    async with a.worker() as engine:
        handles = [await a.start(waits, {}, id="one") for _ in range(3)]
        results = [asyncio.create_task(handle.result()) for handle in handles]
        run_id = handles[0].run_id
        await asked(log, 3)
        assert len(engine.partitions[0].state.runs[run_id].watchers) == 1
        await handles[0].signal("go", 5)
        async with asyncio.timeout(10):
            assert await asyncio.gather(*results) == [5, 5, 5]
        assert await handles[1].result() == 5
    await a.close()


async def test_a_client_keeps_nothing_of_runs_whose_handles_are_gone() -> None:
    log = MemoryLog(1)
    a, waits = service(log)
    async with a.worker():
        kept = await a.start(waits, {})
        ids = [(await a.start(waits, {})).run_id for _ in range(5)]
        client = await a._connect().client()
        assert list(client._ends) == [kept.run_id]
        again = a.handle(waits, ids[0])
        results = [asyncio.create_task(handle.result()) for handle in (again, kept)]
        await asked(log, 2)
        await again.signal("go", 5)
        await kept.signal("go", 6)
        async with asyncio.timeout(10):
            assert await asyncio.gather(*results) == [5, 6]
        assert client._ends == client._waiting == client._awaited == {}
    await a.close()


async def test_a_client_looks_only_after_ends_that_are_awaited() -> None:
    log = MemoryLog(1)
    a, waits = service(log)
    async with a.worker():
        handles = [await a.start(waits, {}) for _ in range(3)]
        result = asyncio.create_task(handles[1].result())
        await asked(log, 2)
        client = await a._connect().client()
        assert list(client._awaited) == [handles[1].run_id]
        result.cancel()
        await asyncio.gather(result, return_exceptions=True)
        assert not client._awaited
        assert len(client._ends) == 3
    await a.close()


@pytest.mark.parametrize("signals", [0, 1, 2])
@pytest.mark.parametrize("partitions", [3, 4, 5, 6, 8, 12])
async def test_runs_go_round_all_partitions_whatever_else_a_client_makes(
    partitions: int, signals: int
) -> None:
    """Ids of events, commands and signals are counted too: three to six a run may be a multiple of the partitions."""
    a, waits = service(MemoryLog(partitions))
    found: list[int] = []
    for _ in range(partitions):
        run = await a.start(waits)
        for _ in range(signals):
            await run.signal("go", timeout=0.001)  # no worker is there to say anything
        found.append(int(run.run_id.partition("-")[0].partition("p")[2]))
    assert sorted(found) == list(range(partitions))
    await a.close()
