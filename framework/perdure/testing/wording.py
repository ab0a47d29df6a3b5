"""What a record says and how a run stands, in a line for whoever reads a failed test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perdure.core import codec, ops
from perdure.core.ids import shown_step
from perdure.core.ops import Op
from perdure.core.state import Pending, Run
from perdure.errors import EncodingError

SHOWN_MAX = 400
"""Characters of a result or an error."""
NAMES_MAX = 5


def record_line(value: bytes) -> str:
    """A record's kind, and what it is about: the run, its steps, the events."""
    try:
        kind, body = codec.decode(value)
    except EncodingError:
        return "a record of no known kind"
    said = _ABOUT.get(kind, _nothing)(body)
    return f"{kind}: {said}" if said else kind


def _nothing(_body: dict[str, Any]) -> str:
    return ""


def _commit(body: dict[str, Any]) -> str:
    return "; ".join(
        f"{_listed(list(_said(change['ops'])))} of run {change['entity']}" for change in body["changes"]
    )


def _said(changes: list[Op]) -> Iterator[str]:
    for name, body in changes:
        word = _WORDS.get(name, name.partition(".")[2])
        if "keys" in body:
            yield from (f"{word} {shown_step(key)!r}" for key in body["keys"])
        else:
            yield f"{word} {shown_step(body['key'])!r}" if "key" in body else word


_WORDS = {
    ops.STARTED: "start",
    ops.ASKED: "asked for step",
    ops.STEP_DONE: "completed step",
    ops.STEP_FAILED: "failed step",
    ops.ATTEMPT_FAILED: "failed attempt of step",
    ops.STEP_ABANDONED: "given up step",
    ops.TIMER_SET: "began sleep",
    ops.TIMER_FIRED: "time of",
    ops.WAIT_OPENED: "began wait",
    ops.WAIT_CLOSED: "end of wait",
    ops.EVENT_GIVEN: "event for wait",
    ops.SIGNAL_GIVEN: "signal for wait",
    ops.CHILD_ISSUED: "began child",
    ops.CHILD_ENDED: "end of child",
    ops.EVENTS_SENT: "events sent by",
    ops.CANCEL_ASKED: "cancel",
    ops.RUN_DONE: "completion",
    ops.RUN_FAILED: "failure",
    ops.RUN_CANCELLED: "cancellation",
    ops.RUN_RESTARTED: "restart",
    ops.SIGNAL_SENT: "signal sent by",
    ops.SIGNAL_ANSWERED: "answer to the signal of wait",
    ops.EVENT_PASSED: "event that is not for wait",
    ops.WAIT_FILTERED: "condition of wait",
    ops.PARKED: "parking",
}


def _ingest(body: dict[str, Any]) -> str:
    names = [f"event {item['event']['name']!r}" for item in body["events"]]
    started = [f"run {start['run']} of {start['function']}" for start in body["starts"]]
    return _listed(names) + (f" starts {_listed(started)}" if started else "")


def _message(body: dict[str, Any]) -> str:
    name, sent = body["body"]
    return name.partition(".")[2] + (f" for run {sent['run']}" if "run" in sent else "")


def _event(body: dict[str, Any]) -> str:
    return repr(body["name"])


_ABOUT = {"Commit": _commit, "Ingest": _ingest, "Message": _message, "Command": _message, "Event": _event}


def run_line(run: Run) -> str:
    """How a run ended, or why it has not."""
    if run.status == "completed":
        return f"completed with {_cut((run.result or b'').decode(errors='replace'))}"
    if run.error is not None:
        return f"{run.status}: {run.error['type']}: {_cut(run.error['message'])}"
    if run.reason:
        return f"{run.status}: {_cut(run.reason)}"
    return run.status


def still_line(run: Run) -> str:
    """Which run is live still, and what it waits for."""
    waits = _listed([_waits_for(key, pending) for key, pending in run.pending.items()])
    line = f"run {run.id} of {run.function} is still {run_line(run)}"
    return f"{line}: it waits for {waits}" if waits and run.status == "running" else line


def _waits_for(key: str, pending: Pending) -> str:
    what = "a time" if pending.kind == "timer" else "step" if pending.kind == "step" else ""
    if pending.kind in ("wait", "signal", "child"):
        what = f"{'event' if pending.kind == 'wait' else pending.kind} {pending.name!r} in"
    return f"{what or pending.kind} {shown_step(key)!r}"


def _listed(names: list[str]) -> str:
    more = len(names) - NAMES_MAX
    return ", ".join(names[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "…"
