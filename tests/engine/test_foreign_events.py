"""Events that a producer appended which knows nothing of perdure: they start runs, or go to the dead letters."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from perdure import Context
from perdure.core import codec
from perdure.logs.contract import Topic
from perdure.testing import environment
from tests.engine.going_on import app, append, dead_letters, goes_on

pytestmark = pytest.mark.asyncio


async def test_json_of_a_foreign_producer_starts_runs_and_ends_waits() -> None:
    a = app()

    @a.function(on="order/placed")
    async def order(ctx: Context) -> list[object]:
        paid = await ctx.step.wait_for_event("paid", "order/paid", match="data.order")
        assert paid is not None
        return [ctx.event.data, ctx.event.key, paid.data["by"]]

    async with environment(a, partitions=1) as env:
        placed = {"name": "order/placed", "data": {"order": 7}}
        await append(env, Topic.EVENTS, 0, json.dumps(placed).encode())
        (run,) = env.runs("order")
        paid = {"specversion": "1.0", "type": "order/paid", "id": "p", "data": {"order": 7, "by": "bob"}}
        await append(env, Topic.EVENTS, 0, json.dumps(paid).encode())
        assert run.result == [{"order": 7}, run.view.event["id"], "bob"]


async def test_a_foreign_event_of_the_future_is_delivered_then() -> None:
    a = app()

    @a.function(on="remind")
    async def remind(ctx: Context) -> str:
        return ctx.now().isoformat()

    @a.function(on="begin")
    async def waits(ctx: Context) -> str:
        assert await ctx.step.wait_for_event("remind", "remind", timeout="2d") is not None
        return ctx.now().isoformat()

    async with environment(a, partitions=1) as env:
        (waiting,) = await env.send("begin", {})
        due = env.now() + timedelta(hours=5)
        as_json = {"name": "remind", "ts": due.timestamp(), "data": {}}
        await append(env, Topic.EVENTS, 0, json.dumps(as_json).encode())
        await append(env, Topic.EVENTS, 0, b"{}", event=b"remind", ts=due.isoformat().encode())
        cloud = {
            "specversion": "1.0",
            "type": "remind",
            "id": "c",
            "source": "s",
            "time": due.isoformat(),
            "data": {},
        }
        await append(env, Topic.EVENTS, 0, json.dumps(cloud).encode())
        assert [run.status for run in env.runs("remind")] == ["scheduled"] * 3
        await env.advance("4h59m")
        assert [run.status for run in env.runs("remind")] == ["scheduled"] * 3
        assert waiting.status == "running"
        await env.advance("1m")
        assert [run.result for run in env.runs("remind")] == [due.isoformat()] * 3
        assert waiting.result == due.isoformat()


async def test_the_same_entry_is_one_event_for_every_owner() -> None:
    """An owner that dies before its Ingest is accepted reads it again, and gives it the same id."""
    a = app()

    @a.function(on="order/placed")
    async def order(ctx: Context) -> str:
        return ctx.event.id

    async with environment(a, partitions=1) as env:
        await append(env, Topic.EVENTS, 0, b'{"order": 1}', event=b"order/placed")
        await env.crash_worker()
        await env.start_worker()
        (run,) = env.runs("order")
        (first, *_) = await env.log.read(Topic.EVENTS, 0, 0, 1)
        assert run.result == f"entry 0:{first.offset}:{first.ts}"


async def test_a_name_of_the_engines_own_events_is_refused_to_others() -> None:
    a = app()

    @a.function(on="perdure/function.failed")
    async def failures(ctx: Context) -> None: ...

    async with environment(a, partitions=1) as env:
        ours = {"id": "i", "ts": 0, "key": "k", "v": None, "data": b"{}", "trace": None}
        await append(env, Topic.EVENTS, 0, codec.encode("Event", {"name": "perdure/function.failed", **ours}))
        await append(env, Topic.EVENTS, 0, b'{"name": "perdure/function.failed", "data": {}}')
        assert env.runs() == []
        reasons = [letter["reason"] for letter in await dead_letters(env)]
        assert len(reasons) == 2
        assert all("is for the events of the engine itself" in reason for reason in reasons)
        await goes_on(env)
