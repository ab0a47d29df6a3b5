"""Spans of the OpenTelemetry SDK with ids of our choice. Loaded only when a provider of the SDK is set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation import set_span_in_context

from perdure.core.ops import Failure
from perdure.core.sealed import shown_traceback
from perdure.observability import names
from perdure.observability.identity import SAMPLED, SpanRef
from perdure.observability.timeline import Note

Attributes = Mapping[str, str | int]
EMPTY: Final = Context()
"""No span is current in it. Without a context, the SDK would take what is current in the engine's own code."""
_NS: Final = 1_000
_ATTRIBUTES_MAX: Final = 16
"""More than any step or attempt has."""


class MadeSpan(Span):
    """A span whose ids, start and end are known when it is made."""


class Sampling:
    """What the sampler said about a run: the flags of its spans, and what to add to the run's own."""

    __slots__ = ("attributes", "flags", "recorded")

    def __init__(self, *, recorded: bool, flags: int, attributes: Attributes) -> None:
        self.recorded = recorded
        self.flags = TraceFlags(flags)
        self.attributes = attributes


class Spans:
    """Makes spans as a tracer of the user's provider would, and ends them into its span processors."""

    def __init__(self, tracer: Tracer, provider: TracerProvider, scope: InstrumentationScope) -> None:
        self._tracer = tracer
        # Not public; a provider without it has the limits that its environment variables say.
        self._limits: SpanLimits = getattr(provider, "_span_limits", None) or SpanLimits()
        self._scope = scope
        self._seen: object = ()
        self._simple = False

    def sampling(self, parent: SpanRef | None, trace: int, name: str, attributes: Attributes) -> Sampling:
        """Asks the provider's sampler, once for a run; all spans of the run follow.

        A sampler that decides by trace id, parent, or for all alike decides the same again after a change of owner.
        """
        decided = parent is not None and parent.flags is not None
        context = set_span_in_context(NonRecordingSpan(remote(parent)), EMPTY) if decided else EMPTY
        result = self._tracer.sampler.should_sample(context, trace, name, SpanKind.CONSUMER, attributes)
        given: Any = result.attributes  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        inherited = (parent.flags or 0) & ~SAMPLED if parent is not None else 0
        flags = inherited | (SAMPLED if result.decision.is_sampled() else 0)
        return Sampling(recorded=result.decision.is_recording(), flags=flags, attributes=dict(given or {}))

    def record(
        self,
        name: str,
        own: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        start: int,
        end: int,
        attributes: Attributes,
        error: Failure | None = None,
        notes: list[Note] | None = None,
    ) -> None:
        """Makes a span that began and ended at these times (µs), and hands it to the span processors."""
        tracer = self._tracer
        if error is None and kind is not SpanKind.CONSUMER and self._only_ends():
            # A step or attempt that went well, with a few attributes of ours: 10 µs less than the whole way.
            span = ReadableSpan(
                name,
                own,
                parent,
                resource=tracer.resource,
                attributes=attributes,
                kind=kind,
                start_time=start * _NS,
                end_time=end * _NS,
                instrumentation_scope=self._scope,
            )
            tracer.span_processor.on_end(span)
            return
        made = MadeSpan(
            name,
            own,
            parent,
            sampler=tracer.sampler,
            resource=tracer.resource,
            attributes=attributes,
            kind=kind,
            span_processor=tracer.span_processor,
            limits=self._limits,
            instrumentation_scope=self._scope,
        )
        context = EMPTY if parent is None else set_span_in_context(NonRecordingSpan(parent), EMPTY)
        made.start(start * _NS, context)
        for note in notes or ():
            made.add_event(note.name, {names.DETAIL: note.detail}, note.time * _NS)
        if error is not None:
            _fail(made, error, end)
        made.end(end * _NS)

    def _only_ends(self) -> bool:
        """Whether all span processors look at spans that have ended, and at no others, and limits are none for ours.

        Looked up again when the user has added one. What we cannot see into gets spans that are started and ended.
        """
        found: Any = getattr(self._tracer.span_processor, "_span_processors", None)
        if found is not self._seen:
            self._seen = found
            self._simple = _has_room(self._limits) and found is not None and all(map(_only_ends, found))
        return self._simple


def _only_ends(processor: SpanProcessor) -> bool:
    kind = type(processor)
    return all(
        getattr(kind, hook, None) in [getattr(known, hook, None) for known in _KNOWN]
        for hook in ("on_start", "_on_ending")
    )


_KNOWN: Final = (SpanProcessor, BatchSpanProcessor, SimpleSpanProcessor)
"""Their hooks for spans that start do nothing."""


def _has_room(limits: SpanLimits) -> bool:
    most = limits.max_span_attributes
    return limits.max_span_attribute_length is None and (most is None or most >= _ATTRIBUTES_MAX)


def _fail(span: Span, error: Failure, end: int) -> None:
    attributes = {
        names.EXCEPTION_TYPE: error["type"],
        names.EXCEPTION_MESSAGE: error["message"],
        names.EXCEPTION_STACKTRACE: shown_traceback(error["traceback"]),
    }
    span.add_event(names.EXCEPTION, attributes, end * _NS)
    span.set_status(Status(StatusCode.ERROR, f"{error['type']}: {error['message']}"))


def remote(ref: SpanRef | None) -> SpanContext:
    """The context of a span in another process."""
    assert ref is not None
    return SpanContext(ref.trace, ref.span, is_remote=True, trace_flags=TraceFlags(ref.flags or 0))


def local(trace: int, span: int, flags: TraceFlags) -> SpanContext:
    """The context of a span of this process."""
    return SpanContext(trace, span, is_remote=False, trace_flags=flags)
