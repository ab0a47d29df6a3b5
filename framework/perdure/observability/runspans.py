"""OpenTelemetry spans, made from accepted records: one per run, per step and per attempt, and never a second one.

The spans form the tree run → step → attempt; a child run lies below the step that invoked it, and the code of a step
sees its attempt as the current span. Times are those of the records. A span is handed to the span processors of the
provider when its end is accepted, at most once: what was accepted by the log and not yet read back when a worker died
has no span. `BatchSpanProcessor` exports on a thread of its own; `SimpleSpanProcessor` exports at once, here, on the
event loop of the engine, and is for tests only.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from typing import Any

from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from perdure.core import codec
from perdure.core.ids import shown_step
from perdure.core.ops import Op
from perdure.core.state import Run
from perdure.observability import names
from perdure.observability.identity import RunIds, parse_traceparent, traceparent
from perdure.observability.observer import Attempted, Observer, Propagator
from perdure.observability.spans import Sampling, Spans, local, remote
from perdure.observability.timeline import Mark, Timeline

_log = logging.getLogger("perdure.observability")


def tracing_with(provider: TracerProvider, version: str, app: str) -> Sequence[Observer]:
    """The tracing observer for a provider; none when the SDK is disabled (`OTEL_SDK_DISABLED`)."""
    tracer = provider.get_tracer(names.SCOPE, version)
    if not isinstance(tracer, Tracer):
        return ()
    return (Tracing(Spans(tracer, provider, InstrumentationScope(names.SCOPE, version)), app),)


class TracedRun:
    """One run that this process works on: its ids, what the sampler said, and what is under way."""

    __slots__ = ("_attempts", "_steps", "ids", "line", "own", "parent", "sampling", "text")

    def __init__(self, ids: RunIds, sampling: Sampling, line: Timeline) -> None:
        self.ids = ids
        self.sampling = sampling
        self.line = line
        self.own: SpanContext = local(ids.trace, ids.run, sampling.flags)
        self.parent: SpanContext | None = None if ids.parent is None else remote(ids.parent)
        self.text = traceparent(ids.trace, ids.run, sampling.flags)
        # Hashes, derived once for what is under way.
        self._steps: dict[str, SpanContext] = {}
        self._attempts: dict[str, tuple[int, SpanContext]] = {}

    def step(self, key: str) -> SpanContext:
        """The span context of a step."""
        found = self._steps.get(key)
        if found is None:
            found = self._steps[key] = local(self.ids.trace, self.ids.step(key), self.sampling.flags)
        return found

    def attempt(self, key: str, number: int) -> SpanContext:
        """The span context of an attempt."""
        known = self._attempts.get(key)
        if known is not None and known[0] == number:
            return known[1]
        found = local(self.ids.trace, self.ids.attempt(key, number), self.sampling.flags)
        self._attempts[key] = number, found
        return found

    def forget(self, key: str) -> None:
        """The step has ended."""
        self._steps.pop(key, None)
        self._attempts.pop(key, None)


class Tracing(Observer, Propagator):
    """Makes the spans of runs. What it keeps of a run derives from the run's log and goes when the run is left."""

    def __init__(self, spans: Spans, app: str = "") -> None:
        self._spans = spans
        self._app = app
        self._runs: dict[str, TracedRun] = {}
        self._complained = False

    # ------------------------------------------------------------------ what is known

    def begun(self, run: Run) -> None:
        self._runs[run.id] = self._traced(run)

    def woken(self, run: Run) -> None:
        if run.id in self._runs:
            return
        traced = self._runs[run.id] = self._traced(run)
        if traced.sampling.recorded:
            for part in run.history:
                for op in codec.ops_of(part):
                    traced.line.take(op)  # what ended there has its span already

    def left(self, run_id: str) -> None:
        self._runs.pop(run_id, None)

    def _traced(self, run: Run) -> TracedRun:
        ids = RunIds(run.id, run.event)
        try:
            sampling = self._spans.sampling(ids.parent, ids.trace, run.function, self._on_run(run))
        except Exception as error:  # noqa: BLE001 - a sampler is the user's: it must not stop a run
            self._complain(error)
            sampling = Sampling(recorded=False, flags=0, attributes={})
        return TracedRun(ids, sampling, Timeline(run.started or max(run.created, run.not_before)))

    # ------------------------------------------------------------------ spans

    def accepted(self, run: Run, ops: Sequence[Op], seen: int) -> None:
        traced = self._runs.get(run.id)
        if traced is None:
            traced = self._traced(run)  # nobody woke it: it is ended or parked from outside
        if not traced.sampling.recorded:
            return
        for op in ops:
            for mark in traced.line.take(op):
                self._record(run, traced, mark)

    def _record(self, run: Run, traced: TracedRun, mark: Mark) -> None:
        try:
            if mark.kind == "run":
                self._record_run(run, traced, mark)
            elif mark.kind == "attempt":
                self._record_attempt(run, traced, mark)
            else:
                self._record_step(run, traced, mark)
        except Exception as error:  # noqa: BLE001 - span processors are the user's: they must not stop a run
            self._complain(error)

    def _record_attempt(self, run: Run, traced: TracedRun, mark: Mark) -> None:
        key, number = mark.key, mark.number
        shown = shown_step(key)
        attributes = {names.RUN_ID: run.id, names.STEP_ID: shown, names.ATTEMPT: number}
        own, parent = traced.attempt(key, number), traced.step(key)
        name = f"{_plain(shown)} attempt"
        self._spans.record(name, own, parent, SpanKind.INTERNAL, mark.start, mark.end, attributes, mark.error)

    def _record_step(self, run: Run, traced: TracedRun, mark: Mark) -> None:
        shown = shown_step(mark.key)
        attributes: dict[str, str | int] = {
            names.RUN_ID: run.id,
            names.STEP_ID: shown,
            names.STEP_KIND: mark.kind,
            names.STEP_STATUS: mark.status,
        }
        if mark.number:
            attributes[names.STEP_ATTEMPTS] = mark.number
        own = traced.step(mark.key)
        traced.forget(mark.key)
        kind = SpanKind.PRODUCER if mark.kind in ("send", "start") else SpanKind.INTERNAL
        self._spans.record(_plain(shown), own, traced.own, kind, mark.start, mark.end, attributes, mark.error)

    def _record_run(self, run: Run, traced: TracedRun, mark: Mark) -> None:
        attributes = {**self._on_run(run), **traced.sampling.attributes, names.RUN_STATUS: mark.status}
        if traced.line.reason:
            attributes[names.RUN_REASON] = traced.line.reason
        self._spans.record(
            run.function,
            traced.own,
            traced.parent,
            SpanKind.CONSUMER,
            mark.start,
            mark.end,
            attributes,
            mark.error,
            traced.line.notes,
        )

    def _on_run(self, run: Run) -> dict[str, str | int]:
        attributes: dict[str, str | int] = {
            names.FUNCTION_ID: run.function,
            names.RUN_ID: run.id,
            names.EVENT_NAME: run.event["name"],
            names.EVENT_ID: run.event["id"],
        }
        if self._app:
            attributes[names.APP] = self._app
        if run.parent is not None:
            attributes[names.PARENT_RUN_ID] = run.parent
        for name, value in run.tags.items():
            attributes[names.TAG + name] = value
        return attributes

    def _complain(self, error: Exception) -> None:
        """Once is enough: it would be said for every span."""
        if not self._complained:
            self._complained = True
            _log.error("spans are lost: a sampler or a span processor raised", exc_info=error)

    # ------------------------------------------------------------------ handing the trace on

    def traceparent(self, run: Run, key: str, number: int) -> str | None:
        """See `Propagator`. The steps of a run that is not recorded share what says so."""
        traced = self._runs.get(run.id)
        if traced is None:
            traced = self._traced(run)
        if not traced.sampling.recorded:
            return traced.text
        own = traced.attempt(key, number) if number else traced.step(key)
        return traceparent(own.trace_id, own.span_id, own.trace_flags)

    def around(self, attempt: Attempted) -> AbstractContextManager[Any]:
        """See `Propagator`. Spans that the step makes become children of its attempt."""
        ref = parse_traceparent(attempt.traceparent)
        if ref is None:
            return nullcontext()
        span = NonRecordingSpan(local(ref.trace, ref.span, TraceFlags(ref.flags or 0)))
        return Inside(set_span_in_context(span))


class Inside:
    """An OpenTelemetry context that is current while the code of a step runs."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._token: Token[Context] | None = None

    def __enter__(self) -> None:
        self._token = attach(self._context)

    def __exit__(self, *_raised: object) -> None:
        if self._token is not None:
            detach(self._token)


def _plain(shown: str) -> str:
    """A step's id without its index: names of spans are few, whatever loops a body has."""
    head, _, tail = shown.rpartition(":")
    return head if head and tail.isdecimal() else shown
