"""Apps in which each kind of payload goes into the log, and what stands there then."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure import (
    App,
    Context,
    Event,
    FailureContext,
    NonRetriableError,
    SyncContext,
)
from perdure.core.limits import Limits
from perdure.errors import StepError
from perdure.logs.contract import REPLIES_PARTITIONS, Topic
from perdure.payloads.aesgcm import AesGcm
from perdure.payloads.settings import Payloads
from perdure.payloads.zstd import Zstd
from perdure.testing import Environment, environment

KEY = bytes(range(32))
SECRET = "s3cret"
SEALED = Payloads(codecs=[Zstd(min_bytes=64), AesGcm({"k1": KEY})])
TOPICS = {Topic.JOURNAL: 4, Topic.EVENTS: 4, Topic.REPLIES: REPLIES_PARTITIONS, Topic.DEAD_LETTERS: 1}


class Ordered(Event, name="order/placed"):
    word: str
    number: int = 0


def say(word: str) -> str:
    return f"{word}: {SECRET} of a step"


def fail(word: str) -> None:
    raise ValueError(f"{word}: {SECRET} of an error")


def whole_app(payloads: Payloads | None = SEALED, **more: Any) -> App:
    """An app in which each kind of payload goes into the log."""
    app = App("sealed", payloads=payloads, **more)

    @app.function
    async def child(ctx: Context) -> str:
        return await ctx.step.run("say", say, ctx.event.data["word"])

    @app.function
    async def broken(ctx: Context) -> None:
        await ctx.step.run("fail", fail, ctx.event.data["word"])

    async def undo(ctx: FailureContext[Ordered]) -> str:
        assert SECRET in ctx.error.message
        return f"{ctx.event.data.word} undone: {SECRET} of a handler"

    @app.function(on=Ordered, if_="event.data.number > 0", on_failure=undo, retries=1)
    async def order(ctx: Context[Ordered]) -> str:
        word = ctx.event.data.word
        said = await ctx.step.run("say", say, word)
        ctx.set_value("progress", f"{SECRET} of a value")
        assert await ctx.step.invoke("child", "child", {"word": word}) == said
        with pytest.raises(StepError, match=SECRET):
            await ctx.step.invoke("broken", "broken", {"word": word})
        with pytest.raises(StepError, match=SECRET) as raised:
            await ctx.step.run("fail", fail, word)
        assert isinstance(raised.value.cause, ValueError)
        await ctx.step.send_event("send", {"name": "order/said", "data": {"said": said}})
        signal = await ctx.step.wait_for_signal("signal", "go")
        assert signal is not None
        event = await ctx.step.wait_for_event("paid", "order/paid", match="data.number")
        assert event is not None
        if signal.data["fails"]:
            raise NonRetriableError(f"{SECRET} of a body")
        return f"{said}, {signal.data['word']}, {event.data['word']}"

    @app.function(on="perdure/function.finished", if_="event.data.function_id == 'order'")
    async def hear(ctx: Context) -> str:
        return str(ctx.event.data.get("result") or ctx.event.data["error"]["message"])

    return app


async def whole(env: Environment, *, fails: bool = False) -> Any:
    (run,) = await env.send(Ordered(word=SECRET, number=7))
    await env.advance("1h")  # the retries
    assert run.status == "running", run.error
    await run.signal("go", {"word": f"{SECRET} of a signal", "fails": fails})
    await env.send("order/paid", {"number": 7, "word": f"{SECRET} of an event"})
    return run


async def everything(env: Environment) -> bytes:
    """All that stands in the log."""
    found = bytearray()
    for topic, partitions in TOPICS.items():
        for number in range(partitions):
            first, end = await env.log.bounds(topic, number)
            at = first
            while at < end:
                batch = await env.log.read(topic, number, at, 1_000)
                for entry in batch:
                    found += entry.key + b" ".join(entry.headers.values()) + entry.value
                at = batch[-1].offset + 1
    return bytes(found)


SMALL = Limits(payload_bytes_max=1_000, stored_payload_bytes_max=50_000)


def large(size: int) -> str:
    return "x" * size


def sized(payloads: Payloads | None = None, limits: Limits = SMALL) -> App:
    app = App("sized", payloads=payloads, limits=limits)

    @app.function
    async def grow(ctx: Context) -> str:
        made = await ctx.step.run("large", large, ctx.event.data["size"])
        await ctx.step.sleep("a-while", "2h")
        return made + "y"

    @app.function
    async def parent(ctx: Context) -> int:
        return len(await ctx.step.invoke("grow", grow, ctx.event.data))

    @app.function
    def sync_grow(ctx: SyncContext) -> str:
        made = ctx.step.run("large", large, ctx.event.data["size"])
        ctx.step.sleep("a-while", "2h")
        return made + "y"

    return app


@asynccontextmanager
async def sized_run(name: str, size: int, **more: Any) -> AsyncGenerator[tuple[Environment, Any]]:
    app = sized(**more)
    async with environment(app) as env:
        run = await env.start(app.functions.resolve(name), {"size": size})
        yield env, run
