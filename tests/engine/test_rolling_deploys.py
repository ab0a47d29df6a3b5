"""Two versions of an app take turns at the same runs (A12, decision 9)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import App, Concurrency, Context, LevelTooNew
from perdure.client.deployed import deployed
from perdure.core import codec
from perdure.core.facts import APP
from perdure.engine import deploying
from perdure.logs.contract import Topic
from perdure.logs.memory import MemoryLog
from perdure.steering.flow import change
from perdure.testing.clock import VirtualClock
from tests.engine.going_on import double

pytestmark = pytest.mark.asyncio


def billing(log: MemoryLog, first_step: str) -> tuple[App, Any]:
    app = App("billing", log=log)

    @app.function
    async def bill(ctx: Context) -> str:
        await ctx.step.run(first_step, double, 1)
        given = await ctx.step.wait_for_signal("approval", "approve")
        assert given is not None
        return f"{first_step} {given.data}"

    return app, bill


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0)


async def test_A12_a_run_that_did_not_fit_old_code_goes_on_by_itself_where_its_code_is() -> None:
    log = MemoryLog(1)
    (old, old_bill), (new, new_bill) = (
        billing(log.connect(name), step) for name, step in (("old", "count"), ("new", "sum"))
    )

    def has(run: Any, status: str) -> Any:
        async def asked() -> bool:
            return await run.status() == status

        return asked

    async with new.worker():
        run = await new.start(new_bill)
        await until(has(run, "running"))
        forced = await new.start(new_bill)
        await until(has(forced, "running"))
        await forced.pause()
    async with old.worker():
        await run.signal("approve", "yes")
        await until(has(run, "parked"))
        fits = await old.start(old_bill)
        await fits.signal("approve", "old")
        assert await fits.result(timeout=10) == "count old"
    async with old.worker():  # the same code again: nothing is tried twice
        assert await run.status() == "parked"
    async with new.worker():
        assert await run.result(timeout=10) == "sum yes"
        assert await forced.status() == "paused", "a person paused it"
    await old.close()
    await new.close()


async def test_a_worker_stops_at_definitions_that_it_cannot_read() -> None:
    """A newer library has put them in force: routed by older ones, events would be lost."""
    log = MemoryLog(2)
    app, bill = billing(log.connect("old"), "count")
    async with app._serving() as engine:
        await engine.ready()
        writer = (await app._connect().get()).client
        await writer.append(
            Topic.REGISTRY, 0, b"\xc3\x01\0\1\2\3\4\5\6\7", headers={APP: b"billing", "note": b"put"}
        )
        with pytest.raises(LevelTooNew, match="Upgrade this worker"):
            async with asyncio.timeout(10):
                await engine.failed()
        run = await app.start(bill)
        with pytest.raises(TimeoutError):
            await run.result(timeout=0.3)
    with pytest.raises(LevelTooNew) as refused:
        async with app.worker():
            pass
    assert refused.value.code == "level-too-new"
    await app.close()


async def test_where_the_log_keeps_everything_old_questions_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deploying, "ENTRIES_MAX", 50)
    log, clock = MemoryLog(2), VirtualClock()
    apps = [billing(log.connect(str(n)), f"step-{n}")[0] for n in range(3)]
    for app in apps:
        app.clock = clock
    reader = log.connect("reader")
    await reader.open()

    async def length() -> int:
        first, end = await reader.bounds(Topic.REGISTRY, 0)
        return end - first

    def in_force(engine: Any) -> str:
        return codec.encode("Config", engine.services.config | {"version": 0}).hex()

    spec = Concurrency(7).spec("bill")
    async with apps[0].worker() as first, apps[1].worker() as second, apps[2].worker() as third:
        await apps[0].pause("bill", reason="why")
        await change(await apps[0]._connect().client(), apps[0].name, spec)
        for _ in range(400):
            clock.step(clock.now() + 1_000_000)
            clock.move(clock.now() + 1_000_000)
            for _ in range(20):
                await asyncio.sleep(0)
        assert await length() < 60
        found = await deployed(reader)
        assert (found.paused, found.limits) == ({"bill": "why"}, {spec["id"]: spec}), "they stand there still"
        assert in_force(first) == in_force(second) == in_force(third)
        assert first.services.config["functions"][0]["code"] == apps[2].functions.definitions()[0]["code"]
    for app in apps:
        await app.close()
