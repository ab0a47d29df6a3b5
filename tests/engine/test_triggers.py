"""Which events start a function: names, patterns and conditions, as a sender and a reader of the log see it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import App, Context, Event, Trigger
from perdure.authoring.events import Received
from perdure.core.decide.ingest import CONFLICT, REPEATED
from perdure.core.facts import read_fact
from perdure.engine.triggering import Triggering
from perdure.logs.contract import Topic
from perdure.testing import Environment, environment
from tests.engine.going_on import app, goes_on

pytestmark = pytest.mark.asyncio


class Paid(Event, name="payment/paid", key="data.order"):
    order: str
    cents: int
    plan: str = "free"


async def skips(env: Environment) -> list[tuple[str, str]]:
    """The function and the reason of each start that did not happen."""
    found: list[tuple[str, str]] = []
    for partition in range(env.log.partitions):
        first, end = await env.log.bounds(Topic.JOURNAL, partition)
        for entry in await env.log.read(Topic.JOURNAL, partition, first, end - first):
            fact = read_fact(entry.offset, entry.ts, entry.value, entry.headers)
            if fact.kind in ("Ingest", "Ticked"):
                found += [(skip["function"], skip["reason"]) for skip in fact.body["skipped"]]
    return found


def conditional() -> App:
    a = app()

    @a.function(on=Paid, if_='event.data.plan == "premium" && event.data.cents > 100')
    async def thank(ctx: Context[Paid]) -> int:
        return ctx.event.data.cents

    @a.function(on=[Trigger(Paid, if_=lambda event: event.data.cents < 10), "payment/refused"])
    async def doubt(ctx: Context[Any]) -> str:
        return ctx.event.name

    @a.function(on="payment/*", if_="event.data.vat.rate > 0.0")
    async def tax(ctx: Context) -> str:
        return "taxed"

    return a


async def test_conditions_decide_what_starts() -> None:
    async with environment(conditional()) as env:

        async def started(event: Paid | str, data: object = None) -> list[str]:
            return sorted(run.view.function for run in await env.send(event, data))

        assert await started(Paid(order="1", cents=500, plan="premium")) == ["thank"]
        assert await started(Paid(order="2", cents=500)) == []
        assert await started(Paid(order="3", cents=5, plan="premium")) == ["doubt"]
        assert await started("payment/refused", {"vat": {"rate": 0.2}}) == ["doubt", "tax"]
        await goes_on(env)


async def test_what_cannot_be_told_is_recorded_with_its_reason() -> None:
    def broken(event: Received[Any]) -> bool:
        return event.data["cents"] > 100

    a = conditional()

    @a.function(on="payment/*", if_=broken)
    async def never(ctx: Context) -> None: ...

    async with environment(a) as env:
        assert await env.send("payment/odd", {"vat": 3}) == []
        reasons = dict(await skips(env))
        assert reasons.keys() == {"tax", "never"}
        assert reasons["never"] == "if_ failed: broken raised KeyError: 'cents'"
        assert reasons["tax"].endswith("(in event.data.vat.rate > 0.0)")
        await goes_on(env)


async def test_a_repeated_id_is_asked_once() -> None:
    async with environment(conditional()) as env:
        paid = Paid(order="1", cents=500, plan="premium")
        assert len(await env.send(paid, id="p-1")) == 1
        assert len(await env.send(paid, id="p-1")) == 1, "the same run"
        assert ("thank", "an event of this id was routed before") in await skips(env)


async def test_a_repeated_id_that_says_something_else_is_reported() -> None:
    async with environment(conditional()) as env:
        paid = Paid(order="1", cents=500, plan="premium")
        assert len(await env.send(paid, id="p-1")) == 1
        assert len(await env.send(Paid(order="1", cents=900, plan="premium"), id="p-1")) == 1, "the same run"
        await env.send(
            {"name": "payment/unheard-of", "data": {"vat": {"rate": 0.2}}, "id": "p-1", "key": "1"}
        )
        await env.send(paid, id="p-1")
        assert [(f, r) for f, r in await skips(env) if "this id" in r] == [
            ("thank", CONFLICT),
            ("tax", CONFLICT),
            ("thank", REPEATED),
        ]
        await env.crash_worker()
        await env.start_worker()
        await env.send(Paid(order="1", cents=901, plan="premium"), id="p-1")
        assert (await skips(env))[-1] == ("thank", CONFLICT), "its successor knows what it said"


async def test_a_repeat_for_a_wait_that_says_something_else_is_reported() -> None:
    a = app()

    @a.function(on="begin")
    async def waits(ctx: Context) -> Any:
        got = await ctx.step.wait_for_event("paid", "paid", timeout="1d")
        return None if got is None else got.data

    async with environment(a) as env:
        (run,) = await env.send("begin", {})
        await env.send("paid", {"n": 1}, id="p-1")
        assert run.result == {"n": 1}
        await env.send("paid", {"n": 1}, id="p-1")
        assert await skips(env) == []
        await env.send("paid", {"n": 2}, id="p-1")
        assert await skips(env) == [("", CONFLICT)]


async def test_events_wait_where_the_code_of_a_predicate_is_missing() -> None:
    """As on a worker of older code while newer definitions are in force."""
    async with environment(conditional()) as env:
        engine = env._engine
        assert engine is not None
        services, told = engine.services, list[str]()
        services.on_trouble = lambda where, error: told.append(f"{where}: {error}")
        able, services.triggering = services.triggering, Triggering({})
        await env.app.send(Paid(order="1", cents=5), id="p-1")
        async with asyncio.timeout(20):
            while not told:
                await asyncio.sleep(0.001)
        (trouble,) = told
        assert "wait for a worker that can tell what they start: the function 'doubt'" in trouble
        services.triggering = able
        assert env.clock.step(env.clock.now() + 2_000_000), "it looks again"
        assert len(await env.send(Paid(order="1", cents=5), id="p-1")) == 1
        await goes_on(env)
