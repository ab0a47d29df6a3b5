"""Derived ids: stable, distinct, and never the invalid zero; and what is taken for a traceparent."""

from __future__ import annotations

import pytest

from perdure.core.ops import EventData
from perdure.observability.identity import (
    RunIds,
    SpanRef,
    current_traceparent,
    parse_traceparent,
    trace_of,
    traceparent,
)


def event(id: str = "e1", trace: str | None = None, name: str = "a", data: bytes = b"{}") -> EventData:  # noqa: A002
    return {"name": name, "id": id, "ts": 0, "key": id, "v": None, "data": data, "trace": trace}


def test_ids_are_what_they_have_always_been() -> None:
    """Spans of old runs can be found again: a change here is a break."""
    ids = RunIds("1p3-abcdefghij2345672345", event())
    assert f"{ids.trace:032x}" == TRACE
    assert [f"{i:016x}" for i in (ids.run, ids.step("/a"), ids.attempt("/a", 1))] == [RUN, STEP, ATTEMPT]


TRACE = "a84428faadeede59bf996ea5a80aa530"
RUN = "a99e6d719863187d"
STEP = "7cfc9e309b76c960"
ATTEMPT = "0576d768f6e4767f"


def test_all_spans_of_a_run_differ() -> None:
    found = [
        i
        for run in ("r1", "r2")
        for begun in ("e1", "e2")
        for ids in [RunIds(run, event(begun))]
        for i in (
            ids.run,
            ids.step("/a"),
            ids.step("/a:1"),
            ids.attempt("/a", 1),
            ids.attempt("/a", 2),
            ids.step("1/a"),
        )
    ]
    assert len(set(found)) == len(found)
    assert RunIds("r", event("1e")).run != RunIds("r1", event("e")).run


def test_the_trace_of_the_sender_goes_first() -> None:
    ids = RunIds("r1", event(trace=traceparent(7, 8, 1)))
    assert (ids.trace, ids.parent) == (7, SpanRef(7, 8, 1))
    assert (RunIds("r1", event()).trace, RunIds("r1", event()).parent) == (trace_of("r1"), None)
    assert RunIds("r1", event(trace="nonsense")).trace == trace_of("r1")


def test_a_failure_handler_lies_below_the_run_that_failed() -> None:
    began = b'{"name":"a","id":"e1","ts":0,"key":"k","v":null,"data":{},"trace":%s}'
    data = b'{"run_id":"r1","function_id":"f","error":{},"event":' + began + b"}"
    failed = event("f1", None, "perdure/function.failed", data % b"null")
    assert RunIds("handler", failed).parent == SpanRef(trace_of("r1"), RunIds("r1", event()).run, None)
    within = traceparent(7, 8, 1)
    failed = event("f1", within, "perdure/function.failed", data % f'"{within}"'.encode())
    assert RunIds("handler", failed).parent == SpanRef(7, RunIds("r1", event()).run, 1)
    assert RunIds("handler", event("f1", within, "perdure/function.failed")).parent == SpanRef(7, 8, 1)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        (traceparent(1, 2, 0), SpanRef(1, 2, 0)),
        (f"cc-{1:032x}-{2:016x}-01-more", SpanRef(1, 2, 1)),
        (f"00-{1:032x}-{2:016x}-01-more", None),
        (f"ff-{1:032x}-{2:016x}-01", None),
        (f"00-{0:032x}-{2:016x}-01", None),
        (f"00-{1:032x}-{0:016x}-01", None),
        (f"00-{1:032X}-{2:016x}-1", None),
        ("", None),
        (None, None),
    ],
)
def test_what_is_a_traceparent(text: str | None, ref: SpanRef | None) -> None:
    assert parse_traceparent(text) == ref


def test_no_span_is_current_here() -> None:
    assert current_traceparent() is None
