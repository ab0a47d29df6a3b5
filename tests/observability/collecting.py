"""Spans of a test, kept in memory, and found by what they are."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from perdure.observability import names


class Collected:
    """A provider whose spans are kept."""

    def __init__(self, sampler: Sampler | None = None, limits: SpanLimits | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, span_limits=limits, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def clear(self) -> None:
        self._exporter.clear()

    def step(self, step_id: str, run_id: str | None = None) -> ReadableSpan:
        """The span of a step; fails unless there is exactly one."""
        return self._one(
            s
            for s in self.spans
            if attribute(s, names.STEP_ID) == step_id
            and attribute(s, names.STEP_KIND) is not None
            and run_id in (None, attribute(s, names.RUN_ID))
        )

    def attempts(self, step_id: str) -> list[ReadableSpan]:
        found = [
            s for s in self.spans if attribute(s, names.STEP_ID) == step_id and attribute(s, names.ATTEMPT)
        ]
        return sorted(found, key=lambda s: attribute(s, names.ATTEMPT))

    def run(self, function_id: str) -> ReadableSpan:
        """The span of a function's run; fails unless there is exactly one."""
        return self._one(s for s in self.spans if attribute(s, names.FUNCTION_ID) == function_id)

    def named(self, name: str) -> ReadableSpan:
        return self._one(s for s in self.spans if s.name == name)

    @staticmethod
    def _one(found: Iterator[ReadableSpan]) -> ReadableSpan:
        spans = list(found)
        assert len(spans) == 1, [s.name for s in spans]
        return spans[0]


@contextmanager
def provider_set(monkeypatch: pytest.MonkeyPatch, provider: Any) -> Generator[None]:
    """As if the user had set it; the API lets a process do that only once."""
    with monkeypatch.context() as patch:
        patch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
        yield


def attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def trace_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def parent_id(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def duration_us(span: ReadableSpan) -> int:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) // 1_000
