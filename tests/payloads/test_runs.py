"""Payloads of whole runs: what the log holds of them, and what bodies, clients and readers see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure import App, Context, Event, FailureContext, NonRetriableError, SyncContext
from perdure.core.limits import Limits
from perdure.errors import RunFailed, StepError
from perdure.logs.contract import REPLIES_PARTITIONS, Topic
from perdure.payloads.aesgcm import AesGcm
from perdure.payloads.settings import Payloads
from perdure.payloads.zstd import Zstd
from perdure.testing import Environment, crash_everywhere, environment

pytestmark = pytest.mark.asyncio
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


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("payloads", [None, SEALED], ids=["plain", "sealed"])
async def test_nothing_secret_stands_in_the_log(payloads: Payloads | None, fails: bool) -> None:
    app = whole_app(payloads)
    async with environment(app) as env:
        run = await whole(env, fails=fails)
        (heard,) = env.runs("hear")
        if fails:
            assert run.error is not None
            assert run.error["message"] == heard.result == f"{SECRET} of a body"
            (handler,) = [found for found in env.runs() if found.function not in app_ids(app)]
            assert handler.result == f"{SECRET} undone: {SECRET} of a handler"
        else:
            expected = f"{SECRET}: {SECRET} of a step, {SECRET} of a signal, {SECRET} of an event"
            assert run.result == heard.result == expected
        assert run.values == {"progress": f"{SECRET} of a value"}
        assert run.step("say").output == f"{SECRET}: {SECRET} of a step"
        error = run.step("fail").error
        assert error is not None
        assert error["message"] == f"{SECRET}: {SECRET} of an error"
        assert "in fail" in error["traceback"]
        stands = await everything(env)
        assert (SECRET.encode() in stands) == (payloads is None)
        assert b"ValueError" in stands  # types of errors are in the clear


def app_ids(app: App) -> set[str]:
    return {"child", "broken", "order", "hear"}


async def test_it_survives_every_crash() -> None:
    await crash_everywhere(whole_app(), whole)


async def test_a_client_sees_what_is_in_it() -> None:
    app = whole_app()
    async with environment(app) as env:
        child, broken = app.functions.resolve("child"), app.functions.resolve("broken")
        good, bad = await app.start(child, {"word": SECRET}), await app.start(broken, {"word": SECRET})
        await env.advance("1h")
        assert await good.result() == f"{SECRET}: {SECRET} of a step"
        with pytest.raises(RunFailed, match=f"{SECRET} of an error") as raised:
            await bad.result()
        assert "in fail" in raised.value.traceback
        run = await whole(env)
        assert (
            await app.handle(app.functions.resolve("order"), run.id).value("progress")
            == f"{SECRET} of a value"
        )


async def test_events_of_other_producers_are_sealed_when_they_are_taken_in() -> None:
    app = whole_app()
    async with environment(app) as env:
        producer = env.log.producer()
        sent = asyncio.get_running_loop().create_future()
        value = f'{{"name": "order/placed", "id": "x", "data": {{"word": "{SECRET}", "number": 1}}}}'.encode()
        producer.append(Topic.EVENTS, 0, value, key=b"x", headers={}, done=sent.set_result)
        await sent
        await env.settle()
        assert [run.event["data"] for run in env.runs("order")] == [
            f'{{"word":"{SECRET}","number":1}}'.encode()
        ]
        journal = await everything(env)
        assert journal.count(SECRET.encode()) == 1  # as its producer wrote it


# --- large ones -----------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("payloads", [None, SEALED], ids=["plain", "sealed"])
@pytest.mark.parametrize("function", ["grow", "sync-grow"])
async def test_a_large_result_goes_to_the_store(function: str, payloads: Payloads | None) -> None:
    async with sized_run(function, 20_000, payloads=payloads) as (env, run):
        await env.crash_worker()
        await env.start_worker()
        await env.advance("2h")
        assert run.result == "x" * 20_000 + "y"
        handle = env.app.handle(env.app.functions.resolve(function), run.id)
        assert await handle.result() == "x" * 20_000 + "y"
        assert len(await everything(env)) < 20_000


async def test_a_child_hands_a_large_result_to_its_parent() -> None:
    async with sized_run("parent", 20_000) as (env, run):
        await env.advance("2h")
        assert run.result == 20_001


@pytest.mark.parametrize("function", ["grow", "sync-grow"])
async def test_too_large_names_the_limit(function: str) -> None:
    async with sized_run(function, 60_000) as (_, run):
        assert run.status == "failed"
        assert run.error["type"] == "perdure.errors.PayloadTooLarge"
        assert (
            "step 'large' has 60,002 bytes of JSON, more than Limits.stored_payload_bytes_max = 50,000"
            in (run.error["message"])
        )


async def test_large_results_survive_every_crash() -> None:
    async def script(env: Environment) -> None:
        run = await env.start(env.app.functions.resolve("parent"), {"size": 5_000})
        await env.advance("2h")
        assert run.result == 5_001

    await crash_everywhere(sized(SEALED), script)
