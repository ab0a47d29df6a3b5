"""Sending, starting, steering, failure handlers, and the testing kit."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from perdure import App, Context, Event, FailureContext, Handle, Received, SyncContext, SyncFailureContext
from perdure.testing import Environment, TestRun, assert_replays, crash_everywhere, environment

app = App("shop", log="memory:")


class Paid(Event, name="payment/paid"):
    payment_id: str


class Refunded(Event, name="payment/refunded"):
    payment_id: str


async def refund(ctx: FailureContext[Paid]) -> None:
    assert_type(ctx.event, Received[Paid])
    assert_type(ctx.error.type_name, str)
    assert_type(ctx.run_id, str)
    await ctx.step.run("refund", print, ctx.event.data.payment_id)


async def refund_anything(ctx: FailureContext) -> str:
    assert_type(ctx.event.data, dict[str, Any])
    return "refunded"


def refund_blocking(ctx: SyncFailureContext[Paid]) -> None:
    ctx.step.sleep("pause", "1h")
    ctx.step.run("refund", print, ctx.event.data.payment_id)


def refund_blocking_anything(ctx: SyncFailureContext) -> None: ...


@app.function(on=Paid, on_failure=refund)
async def pay(ctx: Context[Paid]) -> int:
    return len(ctx.event.data.payment_id)


@app.function(on=Paid, on_failure=refund_blocking)
async def pay_two(ctx: Context[Paid]) -> int:
    return 2


@app.function(on_failure=refund_blocking_anything)
def pay_three(ctx: SyncContext) -> str:
    return "3"


@app.function(on=[Paid, Refunded], on_failure=refund_anything)
async def pay_four(ctx: Context[Paid | Refunded]) -> None: ...


async def sends() -> None:
    assert_type(await app.send(Paid(payment_id="1"), id="signup-1", key="1", v="2"), list[str])
    await app.send("reminder/send", {"user": 1}, ts=datetime.now(UTC) + timedelta(days=3))
    await app.send([Paid(payment_id="1"), {"name": "a", "data": {}}])
    await app.send([Paid(payment_id="1"), Paid(payment_id="2")])
    await app.send({"name": "a", "data": {"n": 1}, "ts": 5.0})
    await app.send([{"name": "a", "data": {}}, {"name": "b", "data": {"n": [1]}}])
    events: list[Paid] = [Paid(payment_id=str(n)) for n in range(3)]
    await app.send(events)
    rows: list[dict[str, object]] = [{"name": "a", "data": {}}]
    await app.send(rows)
    assert_type(app.send_sync(Paid(payment_id="1"), id="signup-1"), list[str])


async def steers() -> None:
    run = await app.start(pay, Paid(payment_id="1"), id="order-42", tags={"tenant": "acme"})
    assert_type(run, Handle[int])
    assert_type(await run.result(timeout="30s"), int)
    assert_type(await (await app.start(pay_three, {"any": "thing"})).result(), str)
    await app.start(pay_four, Refunded(payment_id="1"))
    await app.start(pay, {"payment_id": "1"})
    await app.start(pay_three)
    await run.signal("approve", {"by": "ann"}, id="once")
    await run.cancel(reason="enough", force=True)
    assert_type(await run.status(), str)
    assert_type(app.handle(pay, "1p0-x"), Handle[int])


@asynccontextmanager
async def lifespan(_asgi: object) -> AsyncGenerator[None]:
    async with app.worker(slots=10, drain_timeout=5):
        yield


def measured(payment_id: str) -> int:
    return len(payment_id)


async def tests() -> None:
    async with environment(app, partitions=2) as env:
        assert_type(env, Environment)
        env.mock_step("refund", returns=None, function=pay)
        env.mock_step("refund", raises=ConnectionError("down"))
        env.mock_step("refund", call=measured)
        run = await env.start(pay, Paid(payment_id="1"))
        assert_type(run, TestRun[int])
        assert_type(run.result, int)
        assert_type(run.status, str)
        assert_type([step.id for step in run.steps], list[str])
        assert_type(run.step("refund").attempts, int)
        runs = await env.send(Paid(payment_id="1"))
        assert_type(runs, list[TestRun[Any]])
        await env.advance("7d")
        await env.advance(timedelta(days=1))
        assert_type(env.now(), datetime)
        if run.error is not None:
            assert_type(run.error["message"], str)
        assert_replays(run.view, app)
    await crash_everywhere(app, Paid(payment_id="1"))


def retrying(times: int) -> Callable[[Callable[[], Awaitable[int]]], Callable[[], Awaitable[int]]]:
    def declare(fn: Callable[[], Awaitable[int]]) -> Callable[[], Awaitable[int]]:
        return fn

    return declare
