"""Who has set which tracer provider, and what it wants."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

from perdure.observability import names
from tests.observability.collecting import Collected, attribute, provider_set, span_id
from tests.observability.shop import shop, through


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Generator[Collected]:
    found = Collected()
    with provider_set(monkeypatch, found.provider):
        yield found


@pytest.mark.asyncio
async def test_a_trace_that_is_not_sampled_makes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Counting(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            made.append(span)

    found = Collected(ParentBased(ALWAYS_OFF))
    found.provider.add_span_processor(Counting())
    with provider_set(monkeypatch, found.provider):
        async with shop() as (_, env):
            await through(env)
    assert made == found.spans == []


@pytest.mark.asyncio
async def test_whoever_sends_decides_about_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Collected(ParentBased(ALWAYS_ON))
    unsampled = trace.SpanContext(7, 8, is_remote=True, trace_flags=trace.TraceFlags(0))
    with provider_set(monkeypatch, found.provider):
        async with shop() as (_, env):
            with trace.use_span(trace.NonRecordingSpan(unsampled)):
                await env.send("order/placed", {"order": 1})
            await env.advance("10s")
            await env.advance("7d")
            await env.send("order/paid", {"order": 1})
    assert found.spans == []


@pytest.mark.asyncio
async def test_without_a_provider_there_is_no_observer(monkeypatch: pytest.MonkeyPatch) -> None:
    from perdure.observability.tracing import tracing

    with provider_set(monkeypatch, None):
        assert tracing() == ()
    with provider_set(monkeypatch, trace.NoOpTracerProvider()):
        assert tracing() == ()


@pytest.mark.asyncio
async def test_a_provider_that_is_not_the_sdks_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from perdure.observability.tracing import tracing

    class Other(trace.TracerProvider):
        def get_tracer(self, *_args: Any, **_more: Any) -> Any:
            return trace.NoOpTracer()

    with provider_set(monkeypatch, Other()):
        assert tracing() == ()
    assert "runs are not traced" in caplog.text


@pytest.mark.asyncio
async def test_a_span_processor_that_raises_stops_no_run(
    collected: Collected, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(SpanProcessor):
        def on_end(self, span: Any) -> None:
            raise RuntimeError("full")

    collected.provider.add_span_processor(Broken())
    async with shop() as (_, env):
        env.mock_step("wrap", returns="ok")  # it makes a span itself, and would see the error
        await through(env)
    assert caplog.text.count("spans are lost") == 1


@pytest.mark.asyncio
async def test_a_run_that_came_with_a_trace_hands_it_on_where_nobody_traces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampled = trace.SpanContext(7, 8, is_remote=True, trace_flags=trace.TraceFlags(1))
    with provider_set(monkeypatch, None):
        async with shop() as (_, env):
            with trace.use_span(trace.NonRecordingSpan(sampled)):
                (run,) = await env.send("order/placed", {"order": 1})
            await env.advance("10s")
            await env.advance("7d")
            await env.send("order/paid", {"order": 1})
        assert run.event["trace"] == f"00-{7:032x}-{8:016x}-01"
        assert [r.event["trace"] for r in env.runs() if r.function == "pack"] == [run.event["trace"]]


@pytest.mark.asyncio
async def test_a_span_processor_that_looks_at_starts_sees_the_same_spans(collected: Collected) -> None:
    started: list[int] = []

    class Enriching(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            started.append(span.get_span_context().span_id)
            assert trace.get_current_span(parent_context).get_span_context() == (
                span.parent or trace.INVALID_SPAN_CONTEXT
            )
            span.set_attribute("team", "payments")

    async with shop() as (_, env):
        run_id = await through(env)
        usual = {s.name: dict(s.attributes or {}) for s in collected.spans if s.name != "inside a step"}
        assert attribute(collected.run("order"), names.RUN_ID) == run_id
        collected.clear()
        collected.provider.add_span_processor(Enriching())  # also later than the worker's start
        await through(env)
    spans = [s for s in collected.spans if s.name != "inside a step"]
    assert {span_id(s) for s in spans} <= set(started)
    assert all(attribute(s, "team") == "payments" for s in spans)
    assert {s.name: set(s.attributes or {}) - {"team"} for s in spans} == {
        n: set(a) for n, a in usual.items()
    }


@pytest.mark.asyncio
async def test_the_users_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Collected(limits=SpanLimits(max_span_attribute_length=4))
    with provider_set(monkeypatch, found.provider):
        async with shop() as (_, env):
            await through(env)
    assert {attribute(s, names.STEP_ID) for s in found.spans} >= {"char", "tria", "paid"}
