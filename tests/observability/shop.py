"""An app under test whose run does a bit of everything."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from opentelemetry import trace

from perdure.app import App
from perdure.authoring.retry import Retry
from perdure.execution.context import Context
from perdure.testing.environment import Environment, environment


@asynccontextmanager
async def shop(log: list[str] | None = None) -> AsyncGenerator[tuple[App, Environment]]:
    app = App("shop")
    calls = [] if log is None else log

    async def flaky(amount: int) -> int:
        calls.append("flaky")
        if calls.count("flaky") == 1:
            raise ConnectionError("no route")
        return amount

    def in_thread() -> str:
        with trace.get_tracer("user").start_as_current_span("inside a step"):
            return "ok"

    @app.function(id="pack")
    async def pack(ctx: Context) -> str:
        await ctx.step.run("wrap", in_thread)
        return "packed"

    @app.function(on="order/placed", id="order", retry=Retry(initial="10s", factor=1, jitter=0))
    async def order(ctx: Context) -> str:
        await ctx.step.run("charge", flaky, 5)
        await ctx.step.sleep("trial", "7d")
        await ctx.step.wait_for_event("paid", "order/paid", match="data.order")
        return await ctx.step.invoke("pack", pack, {"order": 1})

    async with environment(app) as env:
        yield app, env


async def through(env: Environment, *, crash: bool = False) -> str:
    """A run of `order` from end to end; its id. With `crash`, each of its waits is interrupted by a takeover."""

    async def pause() -> None:
        if crash:
            await env.crash_worker()
            await env.start_worker()

    runs = await env.send("order/placed", {"order": 1})
    await pause()
    await env.advance("10s")
    await pause()
    await env.advance("7d")
    await pause()
    await env.send("order/paid", {"order": 1})
    assert runs[0].status == "completed", runs[0]
    return runs[0].id
