"""The spans of whole runs, on the engine: the tree, across retries, waits, children, crashes and replays."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from perdure.app import App
from perdure.authoring.retry import Retry
from perdure.errors import StepError
from perdure.execution.context import Context, FailureContext
from perdure.execution.sync_context import SyncContext
from perdure.observability import names
from perdure.observability.identity import RunIds, trace_of
from perdure.testing.environment import Environment, environment
from tests.observability.collecting import (
    Collected,
    attribute,
    duration_us,
    parent_id,
    provider_set,
    span_id,
    trace_id,
)
from tests.observability.shop import shop, through

DAY_US = 86_400_000_000
SECOND_US = 1_000_000


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Generator[Collected]:
    found = Collected()
    with provider_set(monkeypatch, found.provider):
        yield found


def check_tree(found: Collected, run_id: str) -> None:
    run = found.run("order")
    assert attribute(run, names.RUN_ID) == run_id
    assert attribute(run, names.RUN_STATUS) == "completed"
    assert attribute(run, names.APP) == "shop"
    assert run.parent is None
    assert trace_id(run) == trace_of(run_id)
    assert {trace_id(s) for s in found.spans} == {trace_id(run)}

    kinds = {s: attribute(found.step(s), names.STEP_KIND) for s in ("charge", "trial", "paid", "wrap")}
    assert kinds == {"charge": "step", "trial": "sleep", "paid": "wait", "wrap": "step"}
    for step_id in ("charge", "trial", "paid", "pack"):
        step = found.step(step_id, run_id)
        assert parent_id(step) == span_id(run)
        assert attribute(step, names.STEP_STATUS) == "completed"

    first, second = found.attempts("charge")
    assert {parent_id(first), parent_id(second)} == {span_id(found.step("charge"))}
    assert first.status.status_code is StatusCode.ERROR
    assert [e.name for e in first.events] == ["exception"]
    raised = first.events[0].attributes or {}
    assert (raised[names.EXCEPTION_TYPE], raised[names.EXCEPTION_MESSAGE]) == ("ConnectionError", "no route")
    assert second.status.status_code is StatusCode.UNSET
    assert attribute(found.step("charge"), names.STEP_ATTEMPTS) == 2

    child = found.run("pack")
    assert parent_id(child) == span_id(found.step("pack"))
    assert attribute(child, names.PARENT_RUN_ID) == run_id
    assert parent_id(found.step("wrap")) == span_id(child)
    assert parent_id(found.named("inside a step")) == span_id(found.attempts("wrap")[0])

    ids = [span_id(s) for s in found.spans]
    assert len(ids) == len(set(ids)) == 11


@pytest.mark.asyncio
async def test_one_tree_for_a_run_with_a_retry_a_sleep_a_wait_and_a_child(collected: Collected) -> None:
    async with shop() as (_, env):
        run_id = await through(env)
    check_tree(collected, run_id)


@pytest.mark.asyncio
async def test_times_are_those_of_the_records(collected: Collected) -> None:
    async with shop() as (_, env):
        run_id = await through(env)
        view = env.run(run_id).view
    assert duration_us(collected.step("trial")) == 7 * DAY_US
    assert duration_us(collected.step("charge")) == 10 * SECOND_US
    assert duration_us(collected.run("order")) == view.ops[-1][1]["time"] - view.started
    took = [body["took"] for name, body in view.ops if "took" in body and body["key"] == "/charge"]
    assert [duration_us(a) for a in collected.attempts("charge")] == took
    first, second = (a.end_time or 0 for a in collected.attempts("charge"))
    assert second - first == 10 * SECOND_US * 1_000


@pytest.mark.asyncio
async def test_crashes_and_replays_make_no_second_span_and_lose_no_parent(collected: Collected) -> None:
    async with shop() as (_, env):
        run_id = await through(env, crash=True)
    check_tree(collected, run_id)
    assert duration_us(collected.step("trial")) == 7 * DAY_US


@pytest.mark.asyncio
async def test_ids_are_the_same_for_whoever_derives_them(collected: Collected) -> None:
    async with shop() as (_, env):
        run_id = await through(env)
        view = env.run(run_id).view
    ids = RunIds(run_id, view.event)
    assert span_id(collected.run("order")) == ids.run
    assert span_id(collected.step("charge")) == ids.step("/charge")
    assert [span_id(a) for a in collected.attempts("charge")] == [ids.attempt("/charge", n) for n in (1, 2)]


@pytest.mark.asyncio
async def test_the_trace_goes_from_the_client_into_the_run(collected: Collected) -> None:
    tracer = trace.get_tracer("user")
    async with shop() as (app, env):
        with tracer.start_as_current_span("request") as request:
            await app.send("order/placed", {"order": 1})
        await env.settle()
        with tracer.start_as_current_span("start"):
            await env.start(app.functions.resolve("pack"))
        await env.advance("10s")
        await env.crash_worker()
        await env.start_worker()
        entries = await _headers(env)
        await env.advance("7d")
        await env.send("order/paid", {"order": 1})
    run = collected.run("order")
    assert (trace_id(run), parent_id(run)) == (
        request.get_span_context().trace_id,
        span_id(collected.named("request")),
    )
    assert trace_id(collected.attempts("charge")[1]) == trace_id(run)
    packs = [s for s in collected.spans if attribute(s, names.FUNCTION_ID) == "pack"]
    assert {parent_id(s) for s in packs} == {
        span_id(collected.named("start")),
        span_id(collected.step("pack", attribute(run, names.RUN_ID))),
    }
    wanted = f"00-{trace_id(run):032x}-{span_id(collected.named('request')):016x}-"
    assert any(value.decode().startswith(wanted) for value in entries)


async def _headers(env: Environment) -> list[bytes]:
    from perdure.core.facts import TRACE
    from perdure.logs.contract import Topic

    found: list[bytes] = []
    for topic in (Topic.EVENTS, Topic.JOURNAL):
        for partition in range(env.log.partitions):
            entries = await env.log.read(topic, partition, 0, 1_000)
            found += [e.headers[TRACE] for e in entries if TRACE in e.headers]
    return found


@pytest.mark.asyncio
async def test_events_that_a_run_sends_hand_its_trace_on(collected: Collected) -> None:
    app = App("shop")

    @app.function(on="a", id="sender")
    async def sender(ctx: Context) -> None:
        await ctx.step.send_event("tell", {"name": "b", "data": {}})
        await ctx.step.start("aside", receiver, {})
        await ctx.step.sleep("pause", "1h")

    @app.function(on="b", id="receiver")
    async def receiver(_ctx: Context) -> None: ...

    async with environment(app) as env:
        await env.send("a")
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1h")
    received = [s for s in collected.spans if attribute(s, names.FUNCTION_ID) == "receiver"]
    assert {parent_id(s) for s in received} == {
        span_id(collected.step("tell")),
        span_id(collected.step("aside")),
    }
    assert trace_id(collected.run("sender")) == trace_id(received[0]) == trace_id(received[1])


@pytest.mark.asyncio
async def test_a_failed_run_and_its_handler_share_a_trace(collected: Collected) -> None:
    app = App("shop")

    def broken() -> None:
        raise ValueError("broken")

    async def handle(ctx: FailureContext) -> None:
        await ctx.step.run("tell", lambda: None)

    @app.function(on="a", id="fails", retries=0, on_failure=handle)
    async def fails(ctx: Context) -> None:
        await ctx.step.run("break", broken)

    async with environment(app) as env:
        await env.send("a")
    run, step = collected.run("fails"), collected.step("break")
    assert run.status.status_code is step.status.status_code is StatusCode.ERROR
    assert attribute(run, names.RUN_STATUS) == "failed"
    assert [e.name for e in run.events] == ["exception"]
    handler = collected.run("fails:on-failure")
    assert parent_id(handler) == span_id(run)
    assert trace_id(handler) == trace_id(run)


@pytest.mark.asyncio
async def test_losers_and_cancelled_runs_end_too(collected: Collected) -> None:
    app = App("shop")

    @app.function(on="a", id="waits")
    async def waits(ctx: Context) -> None:
        await ctx.step.wait_for_event("never", "no/such")

    async with environment(app) as env:
        run = await env.start(waits)
        await env.crash_worker()
        await env.start_worker()
        await run.cancel(reason="enough", force=True)
    span = collected.run("waits")
    assert (attribute(span, names.RUN_STATUS), attribute(span, names.RUN_REASON)) == ("cancelled", "enough")
    never = collected.step("never")
    assert attribute(never, names.STEP_STATUS) == "abandoned"
    assert parent_id(never) == span_id(span)


@pytest.mark.asyncio
async def test_a_def_body_is_traced_alike(collected: Collected) -> None:
    app = App("shop")

    def add(a: int, b: int) -> int:
        return a + b

    @app.function(on="a", id="plain")
    def plain(ctx: SyncContext) -> int:
        total = ctx.step.run("add", add, 1, 2)
        ctx.step.sleep("nap", "1h")
        return ctx.step.run("add", add, total, 1)

    async with environment(app) as env:
        await env.send("a")
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1h")
    shown = [attribute(s, names.STEP_ID) for s in collected.spans if attribute(s, names.STEP_KIND)]
    assert shown == ["add", "nap", "add:1"]
    assert {s.name for s in collected.spans} == {"plain", "add", "add attempt", "nap"}


@pytest.mark.asyncio
async def test_nothing_is_kept_of_runs_that_are_left(collected: Collected) -> None:
    async with shop() as (_, env):
        await through(env)
        engine = env._engine
        assert engine is not None
        observers: Any = engine.services.observers
        tracing = observers._propagator
        assert tracing._runs == {}


@pytest.mark.asyncio
async def test_a_step_that_fails_for_good_and_is_caught(collected: Collected) -> None:
    app = App("shop")

    def broken() -> None:
        raise ValueError("broken")

    @app.function(on="a", id="catches", retry=Retry(limit=1, initial="1s", jitter=0))
    async def catches(ctx: Context) -> str:
        try:
            await ctx.step.run("break", broken)
        except StepError:
            return "caught"
        return "never"

    async with environment(app) as env:
        await env.send("a")
        await env.advance("1s")
    assert len(collected.attempts("break")) == 2
    assert collected.step("break").status.status_code is StatusCode.ERROR
    assert collected.run("catches").status.status_code is StatusCode.UNSET
