"""Trace and span ids, derived from run and step ids: whoever derives them, and however often, they are the same.

So a replay, another worker, or a tool that reads the log makes no second span, and what ends early (an attempt) names
its parents (step, run) long before these end and are emitted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple, cast

from perdure.core import payload
from perdure.core.ops import EventData
from perdure.core.routing import FAILED
from perdure.errors import EncodingError

SAMPLED: Final = 1

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class SpanRef(NamedTuple):
    """A span, by its ids. `flags` is None when nobody has decided yet whether its trace is sampled."""

    trace: int
    span: int
    flags: int | None


def parse_traceparent(text: str | None) -> SpanRef | None:
    """The span that a W3C traceparent names; None when it is not one, which is no error: it may come from anywhere."""
    found = None if text is None else _TRACEPARENT.fullmatch(text)
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    trace, span = int(found[2], 16), int(found[3], 16)
    return SpanRef(trace, span, int(found[4], 16)) if trace and span else None


def traceparent(trace: int, span: int, flags: int) -> str:
    """The W3C traceparent of a span."""
    return f"00-{trace:032x}-{span:016x}-{flags:02x}"


def current_traceparent() -> str | None:
    """The traceparent of the span that is current here, if any."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:  # nobody has loaded it, so there is none; loading it now would cost 40 ms
        return None
    context: Any = api.get_current_span().get_span_context()
    return traceparent(context.trace_id, context.span_id, context.trace_flags) if context.is_valid else None


def traced(events: Sequence[EventData]) -> Sequence[EventData]:
    """The events, with the trace that is current here, if any."""
    trace = current_traceparent()
    if trace is None:
        return events
    return [event if event["trace"] is not None else {**event, "trace": trace} for event in events]


class RunIds:
    """The ids of one run's spans.

    The trace id is that of the event that began the run, when its sender was traced, else it derives from the run's id
    alone. Span ids derive from the run, its event (a run id may be used again, after a restart or after it was
    forgotten) and the step's key.
    """

    __slots__ = ("_head", "parent", "run", "trace")

    def __init__(self, run_id: str, event: EventData) -> None:
        self._head = _head(run_id, event["id"])
        self.run = _number(self._head.digest())
        self.parent = _parent(event)
        """The span under which the run's own span lies."""
        self.trace = trace_of(run_id) if self.parent is None else self.parent.trace

    def step(self, key: str) -> int:
        """The span id of a step, sleep, wait or child."""
        head = self._head.copy()
        head.update(b"s" + key.encode())
        return _number(head.digest())

    def attempt(self, key: str, number: int) -> int:
        """The span id of one attempt of a step; attempts count from 1."""
        head = self._head.copy()
        head.update(b"a%d:" % number + key.encode())
        return _number(head.digest())


def trace_of(run_id: str) -> int:
    """The trace id of a run that was not started from within a trace."""
    return (
        int.from_bytes(blake2b(run_id.encode(), digest_size=16, person=b"perdure trace").digest(), "big") or 1
    )


def _head(run_id: str, event_id: str) -> blake2b:
    head = blake2b(digest_size=8, person=b"perdure span")
    for part in (run_id.encode(), event_id.encode("utf-8", "surrogatepass")):
        head.update(b"%d:" % len(part) + part)
    return head


def _number(digest: bytes) -> int:
    return int.from_bytes(digest, "big") or 1  # 0 is no id


def _parent(event: EventData) -> SpanRef | None:
    if event["name"] == FAILED and (failed := _failed_run(event)) is not None:
        return failed
    return parse_traceparent(event["trace"])


def _failed_run(event: EventData) -> SpanRef | None:
    """The span of the run whose failure this event tells of: its handler belongs to the same trace."""
    try:
        data: Mapping[str, Any] = payload.loads(event["data"])
        run_id, began = data["run_id"], data["event"]
        head = _head(run_id, began["id"])
        above = _parent(cast("EventData", {**began, "data": payload.dumps(began["data"])}))
    except (EncodingError, KeyError, TypeError, AttributeError):  # somebody else's event of that name
        return None
    trace, flags = (trace_of(run_id), None) if above is None else (above.trace, above.flags)
    return SpanRef(trace, _number(head.digest()), flags)
