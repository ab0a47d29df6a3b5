"""Objects go with the log: what nothing refers to is removed, and nothing else."""

from __future__ import annotations

from hashlib import sha256
from time import time
from typing import Any

import pytest

from perdure import App, Context, Payloads
from perdure.core.limits import HOUR_US, Limits
from perdure.engine.keeping import FIRST_PAYLOADS_US
from perdure.engine.sweeping import Swept, sweep
from perdure.errors import LogError
from perdure.logs.contract import Log, Topic
from perdure.payloads.store import MemoryStore
from perdure.testing import Environment, environment
from tests.payloads.shop import SEALED

pytestmark = pytest.mark.asyncio
LATER = 2.0**40
SMALL = Limits(
    payload_bytes_max=1_000, snapshot_tail_bytes_min=1_000, dormant_runs_max=0, ended_run_time_max=HOUR_US,
    history_time_max=HOUR_US, event_time_max=HOUR_US, payload_time_max=0,
)  # fmt: skip


def large(letter: str) -> str:
    """Text that does not compress to nothing."""
    return "".join(sha256(f"{letter}{n}".encode()).hexdigest() for n in range(100))[:5_000]


def app_of(payloads: Payloads | None = None) -> App:
    app = App("swept", limits=SMALL, payloads=payloads)

    @app.function
    async def keep(ctx: Context) -> str:
        made = await ctx.step.run("large", large, ctx.event.data["letter"])
        await ctx.step.sleep("for-long", ctx.event.data["nap"])
        return made

    @app.function
    async def above(ctx: Context) -> int:
        made = await ctx.step.invoke("keep", "keep", ctx.event.data)
        await ctx.step.sleep("for-long", "30d")
        return len(made)

    @app.function(on="perdure/function.finished", if_='event.data.function_id == "keep"')
    async def hear(ctx: Context) -> int:
        await ctx.step.sleep("for-long", "30d")
        return len(ctx.event.data["result"])

    return app


def store_of(env: Environment) -> MemoryStore:
    assert isinstance(env.vault.store, MemoryStore)
    return env.vault.store


async def start(env: Environment, name: str, **data: Any) -> Any:
    return await env.start(env.app.functions.resolve(name), data)


async def pass_time(env: Environment, hours: int) -> None:
    """The log drops what is old while other runs come and go."""
    for _ in range(hours):
        await env.advance("1h")
        for partition in range(8):
            await start(env, "keep", letter=str(partition % 2), nap="1s")
        await env.advance("1s")


@pytest.mark.parametrize("payloads", [None, SEALED], ids=["plain", "sealed"])
async def test_what_a_run_needs_stays_and_what_nothing_needs_goes(payloads: Payloads | None) -> None:
    async with environment(app_of(payloads)) as env:
        runs = [await start(env, "keep", letter=letter, nap="20d") for letter in "abc"]
        for run in env.runs("hear"):
            await run.cancel(force=True)
        store = store_of(env)
        before = set(store._objects)
        assert len(before) == 3
        await pass_time(env, 6)
        assert await env.log.snapshots(0), "this test is about trimmed journals"
        for run in env.runs("hear"):
            await run.cancel(force=True)
        await sweep(env.log, store, LATER)
        assert before <= set(store._objects)
        await env.crash_worker()
        await env.start_worker()
        await env.advance("20d")
        assert [run.result for run in runs] == [large(letter) for letter in "abc"]
        for run in env.runs("hear"):
            await run.cancel(force=True)
        await pass_time(env, 6)
        for run in env.runs("hear"):
            await run.cancel(force=True)
        await sweep(env.log, store, LATER)
        assert not before & set(store._objects)


@pytest.mark.parametrize("name", ["above", "keep"])
@pytest.mark.parametrize("payloads", [None, SEALED], ids=["plain", "sealed"])
async def test_what_was_handed_on_stays(name: str, payloads: Payloads | None) -> None:
    """To a parent, and by what the engine tells of a run's end."""
    async with environment(app_of(payloads)) as env:
        first = await start(env, name, letter="z", nap="1s")
        await env.advance("1s")
        (heard,) = env.runs("hear")
        if name == "above":
            await heard.cancel(force=True)
        store = store_of(env)
        assert store._objects
        waits = first if name == "above" else heard
        assert waits.status == "running"
        await pass_time(env, 4)
        await sweep(env.log, store, LATER)
        await env.crash_worker()
        await env.start_worker()
        await env.advance("31d")
        assert waits.result == 5_000


async def test_what_was_put_lately_stays() -> None:
    async with environment(app_of()) as env:
        store = store_of(env)
        store.put("sha256-" + "1" * 64, b"of a record that is on its way")
        assert await sweep(env.log, store, time() - 60) == Swept(0, 0)
        assert await sweep(env.log, store, LATER) == Swept(1, 30)


class Blind:
    """A log of which a part cannot be read."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, topic: Topic, partition: int, offset: int, entries_max: int) -> Any:
        if partition == 3:
            raise LogError("no")
        return await self._log.read(topic, partition, offset, entries_max)


async def test_nothing_goes_while_a_part_of_the_log_cannot_be_read() -> None:
    async with environment(app_of()) as env:
        store = store_of(env)
        store.put("sha256-" + "1" * 64, b"x")
        with pytest.raises(LogError):
            await sweep(Blind(env.log), store, LATER)  # type: ignore[arg-type]
        assert len(store._objects) == 1


async def test_the_owner_of_the_first_partition_does_it_by_itself() -> None:
    async with environment(app_of()) as env:
        store = store_of(env)
        orphan = "sha256-" + "1" * 64
        store.put(orphan, b"x")
        store._objects[orphan] = (b"x", 1.0)
        await env.advance(FIRST_PAYLOADS_US / 1e6 + 1)
        for _ in range(8):
            await start(env, "keep", letter="a", nap="1s")
        await env.settle()
        assert orphan not in store._objects
        assert store._objects
