"""What `send` and `start` promise to a sender, and in which order what was sent is routed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import App, Concurrency, Context, Event
from perdure.testing import environment
from tests.engine.flow import counted
from tests.engine.going_on import app


class Placed(Event, name="order/placed"):
    order: str


class Paid(Event, name="order/paid"):
    cents: int


@pytest.mark.asyncio
async def test_a_batch_of_five_thousand_is_one_call_and_its_ids_come_back_in_order() -> None:
    a = app()

    @a.function(on="row")
    async def take(ctx: Context) -> int:
        return ctx.event.data["n"]

    async with environment(a) as env:
        rows = [{"name": "row", "data": {"n": n}, "id": f"row-{n}", "key": f"k{n % 7}"} for n in range(5_000)]
        assert await a.send(rows) == [row["id"] for row in rows]
        await env.settle()
        assert sorted(run.result for run in env.runs(take)) == list(range(5_000))


@pytest.mark.asyncio
async def test_events_of_a_key_take_turns_in_the_order_in_which_they_were_sent() -> None:
    a = app()
    seen: list[tuple[str, int]] = []

    def note(key: str, n: int) -> None:
        seen.append((key, n))

    @a.function(on="go", id="f", concurrency=Concurrency(1, key="event.key", unit="run"))
    async def turns(ctx: Context) -> None:
        await ctx.step.run("begin", note, ctx.event.key, ctx.event.data["n"])
        await ctx.step.sleep("work", "10s")

    async with environment(a) as env:
        await a.send([{"name": "go", "key": f"k{n % 3}", "data": {"n": n}} for n in range(12)])
        await env.settle()
        assert counted(env) == {"running": 3, "queued": 9}
        await env.advance("10m")
        assert counted(env) == {"completed": 12}
    for key in ("k0", "k1", "k2"):
        mine = [n for name, n in seen if name == key]
        assert mine == sorted(mine)
        assert len(mine) == 4


@pytest.mark.asyncio
async def test_a_function_of_several_events_is_given_each_as_its_class() -> None:
    a = app()

    @a.function(on=[Placed, Paid])
    async def either(ctx: Context[Placed | Paid]) -> list[Any]:
        data = ctx.event.data
        if isinstance(data, Placed):
            return ["placed", data.order]
        return ["paid", data.cents]

    async with environment(a) as env:
        (placed,) = await env.send(Placed(order="7"))
        (paid,) = await env.send(Paid(cents=5))
        assert (placed.result, paid.result) == (["placed", "7"], ["paid", 5])


@pytest.mark.asyncio
async def test_a_wait_sees_a_delayed_event_at_its_time() -> None:
    a = app()

    @a.function(on="order/placed")
    async def waits(ctx: Context) -> list[Any]:
        got = await ctx.step.wait_for_event("paid", Paid, timeout="1d")
        return [None if got is None else got.data.cents, ctx.now().isoformat()]

    async with environment(a) as env:
        due = env.now() + timedelta(hours=3)
        (run,) = await env.send("order/placed", {})
        await env.send(Paid(cents=5), ts=due)
        await env.advance("2h59m")
        assert run.status == "running"
        await env.advance("1m")
        assert run.result == [5, due.isoformat()]


@pytest.mark.asyncio
async def test_a_run_started_by_a_delayed_event_is_listed_from_the_first_moment() -> None:
    a = app()

    @a.function(on="remind")
    async def remind(ctx: Context) -> None: ...

    async with environment(a) as env:
        await env.send("remind", {}, ts=env.now() + timedelta(days=3))
        (view,) = await a.runs.list(status="scheduled")
        assert view.function == "remind"
        await a.runs.cancel(status="scheduled", reason="moved")
        await env.settle()
        assert [view.status for view in await a.runs.list(function="remind")] == ["cancelled"]


def test_code_without_an_event_loop_sends_as_well(tmp_path: Path) -> None:
    a = App("shop", log=f"sqlite:///{tmp_path}/log.db")
    assert a.send_sync("order/placed", {"n": 1}, id="one") == ["one"]
    first, second = a.send_sync([Placed(order="1"), {"name": "order/paid", "data": {}, "id": "two"}])
    assert first.startswith("~")
    assert second == "two"


@pytest.mark.asyncio
async def test_code_inside_an_event_loop_may_send_in_either_way(tmp_path: Path) -> None:
    """As a web framework's `def` handler does in a thread, or careless code on the loop itself."""
    a = App("shop", log=f"sqlite:///{tmp_path}/log.db")
    assert await a.send("order/placed", {}, id="one") == ["one"]
    assert a.send_sync("order/placed", {}, id="two") == ["two"]
    await a.close()
