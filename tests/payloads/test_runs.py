"""Payloads of whole runs: what the log holds of them, and what bodies, clients and readers see."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from perdure import (
    App,
    CancelOn,
    Concurrency,
    Context,
    Idempotency,
    Trigger,
    UsageError,
)
from perdure.core.decide.ingest import CONFLICT, REPEATED
from perdure.core.ops import EventData
from perdure.core.repeats import digest
from perdure.errors import RunFailed
from perdure.logs.contract import Topic
from perdure.payloads.settings import Payloads
from perdure.testing import Environment, crash_everywhere, environment
from tests.payloads.shop import (
    SEALED,
    SECRET,
    SMALL,
    Ordered,
    everything,
    large,
    sized,
    sized_run,
    whole,
    whole_app,
)

pytestmark = pytest.mark.asyncio


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


async def test_a_repeat_that_says_something_else_is_told_though_its_digest_is_sealed() -> None:
    app = whole_app()
    async with environment(app) as env:
        for number in (1, 1, 2):
            await env.send(Ordered(word="once", number=number), id="o-1", key="o")
        reasons = [skip.reason for skip in await app.runs.skipped()]
        assert sorted(reasons) == sorted([REPEATED, CONFLICT])
        event: EventData = {**env.runs("order")[0].event, "data": b'{"word":"once","number":1}'}
        said = digest(event)
        assert said not in await everything(env)
        assert said.hex().encode() not in await everything(env)


async def test_a_request_and_its_answer() -> None:
    app = App("asked", payloads=SEALED)

    @app.function
    async def answering(ctx: Context) -> None:
        signal = await ctx.step.wait_for_signal("ask", "ask")
        assert signal is not None
        signal.reply(f"{signal.data}, {SECRET} of an answer")
        await ctx.step.signal("tell", ctx.event.data["other"], "ask", f"{SECRET} of a signal sent")
        await ctx.step.sleep("on", "1h")

    async with environment(app) as env:
        other = await env.start(answering, {"other": "nobody"})
        run = await env.start(answering, {"other": other.id})
        answer = await app.handle(answering, run.id).request("ask", f"{SECRET} of a request")
        await env.settle()
        assert answer == f"{SECRET} of a request, {SECRET} of an answer"
        assert other.step("ask").output == f"{SECRET} of a signal sent"
        assert SECRET.encode() not in await everything(env)


# --- large ones -----------------------------------------------------------------------------------------------------


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


# --- what hangs on the data of events -------------------------------------------------------------------------------


async def test_keys_of_flow_control_are_read_from_sealed_events() -> None:
    app = App("limited", payloads=SEALED)

    @app.function(
        on="go",
        id="f",
        concurrency=Concurrency(1, key="event.data.tenant", unit="run"),
        idempotency=Idempotency("event.data.order"),
    )
    async def f(ctx: Context) -> str:
        await ctx.step.sleep("work", "10s")
        return ctx.event.data["tenant"]

    async with environment(app) as env:
        sent = [("s3cret-a", 1), ("s3cret-a", 2), ("s3cret-b", 3), ("s3cret-b", 3)]
        await env.send([{"name": "go", "data": {"tenant": t, "order": o}} for t, o in sent])
        assert sorted(run.status for run in env.runs("f")) == ["queued", "running", "running", "skipped"]
        await env.advance("1m")
        ended = [run.result for run in env.runs("f") if run.status == "completed"]
        assert sorted(ended) == ["s3cret-a", "s3cret-a", "s3cret-b"]


async def test_keys_of_flow_control_are_read_from_what_lies_in_the_store() -> None:
    """A parent hands a large value to a child that is under a limit by what is in it."""
    app = App("limited", payloads=SEALED, limits=SMALL)
    at_once: list[int] = []

    @app.function(on="go")
    async def parent(ctx: Context) -> list[int]:
        data = {"tenant": "s3cret-a", "text": large(5_000)}
        children = [ctx.step.invoke(f"child-{n}", "child", data) for n in range(3)]
        return await asyncio.gather(*children)

    @app.function(concurrency=Concurrency(1, key="event.data.tenant", unit="run"))
    async def child(ctx: Context) -> int:
        at_once.append(sum(run.status == "running" for run in env.runs("child")))
        await ctx.step.sleep("work", "10s")
        return len(ctx.event.data["text"])

    async with environment(app) as env:
        (run,) = await env.send("go", {})
        assert sorted(child.status for child in env.runs("child")) == ["queued", "queued", "running"]
        await env.advance("1m")
        assert run.result == [5_000] * 3


async def test_what_looks_at_events_sees_their_data() -> None:
    app = App("looking", payloads=SEALED)
    seen: list[str] = []

    @app.function(on=Trigger("a", if_='event.data.word == "yes"'))
    async def by_text(ctx: Context) -> str:
        event = await ctx.step.wait_for_event("b", "b", if_="async.data.n > event.data.n")
        assert event is not None
        return event.data["word"]

    @app.function(on=Trigger("a", if_=lambda event: event.data["word"] == "yes"))
    async def by_code(ctx: Context) -> str:
        event = await ctx.step.wait_for_event("b", "b", if_=lambda event: event.data["n"] > 1)
        assert event is not None
        return event.data["word"]

    @app.function(on="a", cancel_on=CancelOn("stop", match="key"))
    async def cancelled(ctx: Context) -> None:
        await ctx.step.sleep("long", "10d")

    async with environment(app) as env:
        assert len(await env.send("a", {"word": "no", "n": 1}, key="x")) == 1
        runs = await env.send("a", {"word": "yes", "n": 1}, key="k")
        assert len(runs) == 3
        await env.send("b", {"n": 1, "word": "first"})
        await env.send("b", {"n": 2, "word": "second"}, ts=env.now() + timedelta(hours=1))
        await env.advance("1h")
        await env.send("stop", {}, key="k")
        seen = [str(run.result) if run.status == "completed" else run.status for run in runs]
        assert sorted(seen) == ["cancelled", "second", "second"]
        assert [run.status for run in env.runs("cancelled")] == ["running", "cancelled"]


async def test_what_nobody_could_match_is_refused_at_start() -> None:
    app = App("refused", payloads=SEALED)

    @app.function(on="a", cancel_on=CancelOn("stop", match="data.id"))
    async def one(ctx: Context) -> None:
        pass

    with pytest.raises(UsageError, match=r"'one', cancel_on: .*which this app encrypts; match by the key"):
        async with environment(app):
            pass


async def test_a_process_without_the_keys_sends_no_clear_text() -> None:
    app, plain = whole_app(), whole_app(None)
    async with environment(app) as env:
        run = await env.start(app.functions.resolve("child"), {"word": "w"})
        with plain.borrowed(plain.connections(env.log.connect()), env.clock):
            child = plain.functions.resolve("child")
            handle = plain.handle(child, run.id)
            for send in (
                lambda: plain.send("order/placed", {"word": SECRET}),
                lambda: plain.start(child, {"word": SECRET}),
                lambda: handle.signal("go", SECRET),
                lambda: handle.request("go", SECRET),
            ):
                with pytest.raises(UsageError, match="this process has no keys"):
                    await send()
            await handle.cancel()
            await plain.close()
        assert SECRET.encode() not in await everything(env)
