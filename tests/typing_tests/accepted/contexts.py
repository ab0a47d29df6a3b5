"""Contexts, events, and what `ctx.event` is in each kind of body."""

from datetime import datetime
from random import Random
from typing import Any, assert_type
from uuid import UUID

from perdure import App, Context, Event, Function, Received, SyncContext, Tick, Trigger

app = App("shop")


class UserCreated(Event, name="user/created", key="data.user_id"):
    user_id: str
    email: str
    plan: str = "free"


class OrderPlaced(Event, name="order/placed"):
    # The fields of an event may have any name.
    id: int
    name: str
    key: str
    data: dict[str, int]
    ts: float = 0.0
    v: str = ""


@app.function(on=UserCreated, retries=3)
async def onboard(ctx: Context[UserCreated]) -> dict[str, str]:
    assert_type(ctx.event, Received[UserCreated])
    assert_type(ctx.event.data, UserCreated)
    assert_type(ctx.event.data.email, str)
    assert_type(ctx.events, list[Received[UserCreated]])
    assert_type(ctx.event.name, str)
    assert_type(ctx.event.key, str)
    assert_type(ctx.event.ts, datetime)
    assert_type(ctx.event.v, str | None)
    return {"user": ctx.event.data.user_id}


@app.function(on=[UserCreated, OrderPlaced])
async def either(ctx: Context[UserCreated | OrderPlaced]) -> str:
    data = ctx.event.data
    if isinstance(data, UserCreated):
        return data.email
    assert_type(data, OrderPlaced)
    assert_type(data.id, int)
    assert_type(data.key, str)
    return data.name


@app.function(on="user/*")
async def untyped(ctx: Context) -> Any:
    assert_type(ctx.event.data, dict[str, Any])
    return ctx.event.data["user_id"]


@app.function(on=(Trigger("order/*"), "user/created", UserCreated), id="mixed", version="2")
async def mixed(ctx: Context) -> None: ...


@app.function(on=Tick)
async def nightly(ctx: Context[Tick]) -> str:
    assert_type(ctx.event.data.at, datetime)
    return ctx.event.data.schedule


@app.function
async def bare(ctx: Context) -> int:
    assert_type(ctx.now(), datetime)
    assert_type(ctx.random, Random)
    assert_type(ctx.uuid4(), UUID)
    assert_type(ctx.run_id, str)
    assert_type(ctx.started_at, datetime)
    assert_type(ctx.evicting, bool)
    ctx.log.info("begun", number=1)
    ctx.set_value("progress", {"done": 1})
    return 1


@app.function
def blocking(ctx: SyncContext[OrderPlaced]) -> list[int]:
    assert_type(ctx.event.data, OrderPlaced)
    return [ctx.event.data.id]


@app.function(on_error="pause")
def blocking_bare(ctx: SyncContext) -> None:
    assert_type(ctx.event.data, dict[str, Any])


@app.function(on=OrderPlaced)
async def unannotated_result(ctx: Context[OrderPlaced]):
    return ctx.event.data.id


def check_the_functions() -> None:
    assert_type(onboard, Function[UserCreated, dict[str, str]])
    assert_type(either, Function[UserCreated | OrderPlaced, str])
    assert_type(untyped, Function[dict[str, Any], Any])
    assert_type(bare, Function[dict[str, Any], int])
    assert_type(blocking, Function[OrderPlaced, list[int]])
    assert_type(blocking_bare, Function[dict[str, Any], None])
    assert_type(unannotated_result, Function[OrderPlaced, int])
    assert_type(onboard.id, str)


def helper(ctx: Context[Any]) -> str:
    return ctx.run_id


async def shared(ctx: Context[UserCreated | OrderPlaced]) -> None: ...


@app.function(on=UserCreated)
async def covariant(ctx: Context[UserCreated]) -> str:
    await shared(ctx)  # a context of one event is one of several
    return helper(ctx)
