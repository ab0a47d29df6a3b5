"""What `--json` prints. Fields are only ever added; times are UTC in ISO 8601, durations seconds, null is unknown."""

from __future__ import annotations

import json
from typing import Any

from perdure.cli.wording import iso
from perdure.core import failures, payload
from perdure.core.ops import EventData, Op
from perdure.core.state import Run
from perdure.errors import EncodingError
from perdure.index.views import RunView, StepView, held_end

Json = dict[str, Any]


def dumped(value: object) -> str:
    """JSON for a terminal and for programs."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def event_json(event: EventData) -> Json:
    return {
        "name": event["name"],
        "id": event["id"],
        "key": event["key"],
        "ts": iso(event["ts"]),
        "v": event["v"],
        "data": decoded(event["data"]),
    }


def run_json(run: Run) -> Json:
    """A run as lists have it."""
    return {
        "id": run.id,
        "function": run.function,
        "status": run.status,
        "event": run.event["name"],
        "created": iso(run.created),
        "scheduled": iso(run.not_before),
        "started": iso(run.started),
        "ended": iso(run.ended),
        "duration_s": seconds(run.ended - run.started) if run.ended and run.started else None,
        "parent": run.parent,
        "tags": dict(run.tags),
        "held": held_end(run) or None,
        "reason": run.reason or None,
        "error": None if run.error is None else {"type": run.error["type"], "message": run.error["message"]},
    }


def view_json(view: RunView, ops_total: int) -> Json:
    """A run with all that is known of it, after the first `ops` of its ops."""
    return {
        "id": view.id,
        "function": view.function,
        "status": view.status,
        "event": event_json(view.event),
        "created": iso(view.created),
        "started": iso(view.started),
        "ended": iso(view.ended),
        "duration_s": seconds(view.ended - view.started) if view.ended and view.started else None,
        "restarts": view.restarts,
        "parent": view.parent,
        "tags": view.tags,
        "values": view.values,
        "held": view.held or None,
        "reason": view.reason or None,
        "result": view.result,
        "error": None if view.error is None else failures.told(view.error),
        "steps": [step_json(step) for step in view.steps],
        "ops": len(view.ops),
        "ops_total": ops_total,
    }


def step_json(step: StepView) -> Json:
    return {
        "id": step.id,
        "key": step.key,
        "kind": step.kind,
        "status": step.status,
        "attempts": step.attempts,
        "began": iso(step.began),
        "ended": iso(step.ended),
        "took_s": seconds(step.took) if step.took else None,
        "due": iso(step.due or 0),
        "output": step.output,
        "error": None if step.error is None else failures.told(step.error),
    }


def op_json(number: int, op: Op) -> Json:
    name, body = op
    return {
        "op": number,
        "name": name.partition(".")[2],
        "time": iso(body.get("time", 0)),
        "key": body.get("key"),
    }


def seconds(us: int) -> float:
    return max(us, 0) / 1_000_000


def decoded(data: bytes) -> Any:
    """JSON from the log; text, when other writers left something else there."""
    try:
        return payload.loads(data)
    except EncodingError:
        return data.decode(errors="replace")
