"""What becomes of a run whose payloads cannot be kept or opened: it waits, it is parked, and it goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure import (
    App,
    Context,
)
from perdure.client.connections import Connections
from perdure.logs.contract import Topic
from perdure.payloads.aesgcm import AesGcm
from perdure.payloads.chain import Chain
from perdure.payloads.store import MemoryStore
from perdure.payloads.vault import Vault
from perdure.payloads.zstd import Zstd
from perdure.testing import Environment, environment
from tests.payloads.shop import (
    KEY,
    SECRET,
    SMALL,
    Ordered,
    sized,
    whole_app,
)

pytestmark = pytest.mark.asyncio


class Shop:
    """A run that sleeps after a large step, under a store and keys that a test may take away."""

    def __init__(self, **codecs: Any) -> None:
        self.app = sized(**codecs)

    @asynccontextmanager
    async def asleep(self) -> AsyncGenerator[tuple[Environment, Any, MemoryStore]]:
        async with environment(self.app) as env:
            run = await env.start(self.app.functions.resolve("grow"), {"size": 5_000})
            assert [step.status for step in run.steps] == ["completed", "running"]
            await env.crash_worker()
            store = env.vault.store
            assert isinstance(store, MemoryStore)
            yield env, run, store


async def test_an_object_that_is_gone_parks_its_run_until_it_is_back() -> None:
    async with Shop().asleep() as (env, run, store):
        kept = dict(store._objects)
        store._objects.clear()
        await env.start_worker()
        await env.advance("3h")
        assert run.status == "parked"
        assert run.view.reason.startswith("payload-missing: the object sha256-")
        assert "Bring it back from a backup" in run.view.reason
        await run.resume()
        assert run.status == "parked"
        store._objects.update(kept)
        await run.resume()
        await env.advance("1h")
        assert run.result == "x" * 5_000 + "y"


async def test_an_object_that_is_damaged_parks_its_run() -> None:
    async with Shop().asleep() as (env, run, store):
        ((name, (data, at)),) = store._objects.items()
        store._objects[name] = (data[:-1] + b"?", at)
        await env.start_worker()
        await env.advance("3h")
        assert run.status == "parked"
        assert run.view.reason.startswith("payload-damaged: ")
        store._objects[name] = (data, at)
        await env.crash_worker()
        await env.start_worker()  # another owner tries by itself
        await env.advance("1h")
        assert run.result == "x" * 5_000 + "y"


class Away(MemoryStore):
    """A store that is out of reach when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.tries = 0

    def put(self, name: str, data: bytes) -> None:
        self._look()
        super().put(name, data)

    def get(self, name: str) -> bytes:
        self._look()
        return super().get(name)

    def _look(self) -> None:
        self.tries += 1
        if self.away:
            raise OSError("no route to host")


@asynccontextmanager
async def with_store_away() -> AsyncGenerator[tuple[Environment, Any, Away, list[int]]]:
    store, calls = Away(), list[int]()
    app = App("away", limits=SMALL)

    def large_once(size: int) -> str:
        calls.append(size)
        return "x" * size

    @app.function
    async def grow(ctx: Context) -> str:
        return await ctx.step.run("large", large_once, 5_000) + "y"

    async with environment(app, start=False) as env:
        env.vault.store = store
        store.away = True
        await env.start_worker()
        run = await env.start(grow)
        yield env, run, store, calls


async def test_a_store_that_is_away_for_a_while_is_waited_for() -> None:
    async with with_store_away() as (env, run, store, calls):
        assert (run.status, store.tries) == ("queued", 1)
        await env.advance("5m")
        assert store.tries > 5
        store.away = False
        await env.advance("1m")
        assert run.result == "x" * 5_000 + "y"
        assert calls == [5_000]  # the step is not run again


async def test_a_store_that_stays_away_parks_the_run() -> None:
    async with with_store_away() as (env, run, store, calls):
        await env.advance("15m")
        assert run.status == "parked"
        assert "payload-store: the store of payloads failed: OSError: no route to host" in run.view.reason
        store.away = False
        await run.resume()
        assert run.result == "x" * 5_000 + "y"
        assert calls == [5_000, 5_000]  # its result could not be kept


async def test_a_result_of_a_run_waits_for_the_store_too() -> None:
    app, store = App("away", limits=SMALL), Away()

    @app.function
    async def grow(ctx: Context) -> str:
        await ctx.step.sleep("nap", "1h")
        return "x" * 5_000

    async with environment(app, start=False) as env:
        env.vault.store = store
        await env.start_worker()
        first, second = await env.start(grow), await env.start(grow)
        store.away = True
        await env.advance("61m")
        assert first.status == second.status == "running"
        store.away = False
        await env.advance("1m")
        assert first.result == second.result == "x" * 5_000
        third = await env.start(grow)
        store.away = True
        await env.advance("2h")
        assert third.status == "parked"
        store.away = False
        await third.resume()
        assert third.result == "x" * 5_000


async def test_a_key_that_is_not_here_parks_the_run_and_shows_what_is_encrypted() -> None:
    app = whole_app()
    async with environment(app) as env:
        (run,) = await env.send(Ordered(word=SECRET, number=7))
        await env.advance("1h")
        await env.crash_worker()
        chain, other = env.vault.chain, Chain([AesGcm({"k2": b"2" * 32})])
        env.vault.chain = other
        await env.start_worker()
        assert run.step("say").output == "(encrypted: aesgcm k1, 70 bytes; payload-locked)"
        assert SECRET not in str(run.view)
        await run.signal("go", {"word": "", "fails": False})
        assert run.status == "parked"
        assert (
            "payload-locked: a payload was encrypted with the key 'k1', which this process has not (it has k2)"
            in (run.view.reason)
        )
        env.vault.chain = Chain([AesGcm({"k2": b"2" * 32, "k1": KEY})], [Zstd()])
        await run.resume()
        await env.send("order/paid", {"number": 7, "word": "paid"})
        assert run.result == f"{SECRET}: {SECRET} of a step, , paid"
        assert chain is not None


async def test_an_event_that_nobody_can_open_is_a_dead_letter() -> None:
    app = whole_app()
    async with environment(app) as env:
        other = Connections(app.name, env.log, vault=Vault(Chain([AesGcm({"k2": b"2" * 32})])))
        with app.borrowed(other, app.clock):
            await app.send(Ordered(word="x", number=1))
        await env.settle()
        first, end = await env.log.bounds(Topic.DEAD_LETTERS, 0)
        (letter,) = await env.log.read(Topic.DEAD_LETTERS, 0, first, 10)
        assert b"the key 'k2', which this process has not" in letter.value
        assert end - first == 1
