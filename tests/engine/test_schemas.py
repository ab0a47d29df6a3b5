"""Events that were written by schemas of a registry: they wait for it in order, and only a clear answer buries one."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace

import pytest

from perdure import App, Context, LogError
from perdure.authoring.written import WriterSchema
from perdure.core.limits import DEFAULT_LIMITS
from perdure.engine.schemas import Schemas
from perdure.logs.contract import Topic
from perdure.testing import Environment, environment
from tests.engine.going_on import app, append, dead_letters

pytestmark = pytest.mark.asyncio

TITLED = WriterSchema("JSON", '{"title": "order/placed"}')


class Source:
    """A registry that can be away."""

    def __init__(self, **schemas: WriterSchema) -> None:
        self.schemas = {int(name[1:]): schema for name, schema in schemas.items()}
        self.away = False
        self.asked: list[int] = []
        self.now_s = 0.0

    async def fetch(self, schema_id: int) -> WriterSchema | None:
        self.asked.append(schema_id)
        await asyncio.sleep(0)
        if self.away:
            raise LogError("nobody is there")
        return self.schemas.get(schema_id)

    def connect(self, env: Environment) -> None:
        assert env._engine is not None
        env._engine.services.schemas = Schemas(self, lambda: self.now_s)


def wire(schema_id: int, n: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + json.dumps({"n": n}).encode()


def orders() -> App:
    a = app(limits=replace(DEFAULT_LIMITS, events_buffered_max=8))

    @a.function(on="order/placed")
    async def order(ctx: Context) -> int:
        return ctx.event.data["n"]

    return a


def taken(env: Environment) -> list[object]:
    return [run.result for run in sorted(env.runs("order"), key=lambda run: run.view.event["ts"])]


async def test_a_schema_is_asked_for_once() -> None:
    source = Source(_7=TITLED)
    async with environment(orders(), partitions=1) as env:
        source.connect(env)
        for n in range(3):
            await append(env, Topic.EVENTS, 0, wire(7, n))
        assert taken(env) == [0, 1, 2]
        assert source.asked == [7]


async def test_while_the_registry_is_away_events_wait_in_their_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="perdure.registry")
    source = Source(_7=TITLED, _8=TITLED)
    async with environment(orders(), partitions=1) as env:
        source.connect(env)
        await append(env, Topic.EVENTS, 0, wire(7, 0))
        source.away = True
        for n in range(1, 41):  # far more than are read ahead; some need no registry
            value = [wire(7, n), wire(8, n), json.dumps({"name": "order/placed", "data": {"n": n}}).encode()][
                n % 3
            ]
            await append(env, Topic.EVENTS, 0, value)
        await env.advance("3m")
        before_the_first_unknown = taken(env)
        assert before_the_first_unknown == [0]
        assert await dead_letters(env) == []
        assert len([line for line in caplog.messages if "wait, and those behind them" in line]) == 1
        source.away = False
        await env.advance("10s")
        assert taken(env) == list(range(41))
        assert await dead_letters(env) == []
    assert [line for line in caplog.messages if "answers again" in line] == [
        "the Schema Registry answers again; the events that waited for it go on"
    ]


async def test_what_waits_is_taken_up_by_the_next_owner() -> None:
    source = Source(_7=TITLED)
    source.away = True
    async with environment(orders(), partitions=1) as env:
        source.connect(env)
        for n in range(3):
            await append(env, Topic.EVENTS, 0, wire(7, n))
        await env.advance("1m")
        assert env.runs("order") == []
        await env.crash_worker()
        a_worker_without = Source(_7=TITLED)
        original = Schemas.__init__

        def connected(self: Schemas, *_args: object) -> None:
            original(self, a_worker_without)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Schemas, "__init__", connected)
            await env.start_worker()
        assert taken(env) == [0, 1, 2]


async def test_an_id_that_the_registry_does_not_know_is_a_dead_letter_and_may_be_made_later() -> None:
    source = Source()
    async with environment(orders(), partitions=1) as env:
        source.connect(env)
        for n in range(3):
            await append(env, Topic.EVENTS, 0, wire(7, n))
        reasons = [letter["reason"] for letter in await dead_letters(env)]
        assert (
            reasons == ["this was written by the schema 7, and the Schema Registry knows no such schema"] * 3
        )
        assert source.asked == [7], "for a while its answer stands"
        source.schemas[7] = TITLED
        source.now_s += 2
        await append(env, Topic.EVENTS, 0, wire(7, 9))
        assert taken(env) == [9]


async def test_a_schema_that_cannot_be_used_is_told_for_each_event() -> None:
    source = Source(_7=WriterSchema("PROTOBUF", "message A {}"))
    async with environment(orders(), partitions=1) as env:
        source.connect(env)
        await append(env, Topic.EVENTS, 0, wire(7, 0))
        (letter,) = await dead_letters(env)
        assert letter["reason"] == (
            "this was written by the schema 7, and its schema is of the kind PROTOBUF, and events are Avro or JSON"
        )


async def test_without_a_registry_the_reason_says_what_to_set() -> None:
    async with environment(orders(), partitions=1) as env:
        await append(env, Topic.EVENTS, 0, wire(7, 0))
        (letter,) = await dead_letters(env)
        assert "set PERDURE_SCHEMA_REGISTRY_URL" in letter["reason"]


async def test_a_search_waits_for_the_registry_as_well() -> None:
    a = orders()

    @a.function(on="look")
    async def look(ctx: Context) -> object:
        found = await ctx.step.wait_for_event("earlier", "order/placed", timeout="1h", lookback="1h")
        return None if found is None else found.data

    source = Source(_7=TITLED)
    async with environment(a, partitions=1) as env:
        source.connect(env)
        await append(env, Topic.EVENTS, 0, wire(7, 5))
        assert env._engine is not None
        forgetful = Source(_7=TITLED)
        forgetful.away = True
        forgetful.connect(env)
        (run,) = await env.send("look", {})
        await env.advance("20s")
        assert run.status == "running"
        assert forgetful.asked
        forgetful.away = False
        await env.advance("2m")
        assert run.result == {"n": 5}
