"""What a commit does to a run: one small function per op, in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from perdure.core import effects, ids, ops
from perdure.core.facts import Fact
from perdure.core.fold import aging, channels, telling
from perdure.core.ops import EventData, Failure, Op
from perdure.core.state import STILL, PartitionState, Pending, Run

Body = dict[str, Any]
EVENT_MATCHED = "perdure.EventMatched"


def create(
    state: PartitionState,
    fact: Fact,
    run_id: str,
    function: str,
    event: EventData,
    *,
    tags: dict[str, str] | None = None,
    parent: tuple[str, str] | None = None,
) -> Run | None:
    """Makes a run; None when one of that id exists, or has ended lately."""
    if run_id in state.runs or aging.has_ended(state, run_id):
        return None
    run = Run(run_id, function, event, fact.ts, fact.offset, time=max(fact.ts, event["ts"]), tags=tags or {})
    if parent:
        run.parent, run.parent_key = parent
    run.seen[event["id"]] = max(fact.ts, event["ts"])
    state.runs[run_id] = run
    if event["ts"] > fact.ts:
        run.status, run.not_before = "scheduled", event["ts"]
        state.effects.append(effects.Arm(run_id, "", event["ts"]))
        _may_rest(state, run)
    else:
        run.time = fact.ts
        state.effects.append(effects.Activate(run_id))
    return run


def change(state: PartitionState, fact: Fact, run: Run, changes: Iterable[Op], part: bytes) -> None:
    """Applies the ops of an accepted commit; `part` is what of its bytes is this run's."""
    run.prev = fact.offset
    run.history.append(part)
    run.size += len(part)
    if ids.BODY in run.pending:  # whatever is recorded now, the body was tried again
        del run.pending[ids.BODY]
    for name, body in changes:
        run.ops += 1
        time = body.get("time")
        if time is not None and time > run.time:
            run.time = time
        _OPS[name](state, fact, run, body)


def _may_rest(state: PartitionState, run: Run) -> None:
    """From now on the run may only wait."""
    if state.dormant is not None:
        state.dormant.run(run)


def settle(state: PartitionState, run: Run, key: str) -> Pending | None:
    """Takes a key off what the run waits for, with all that hangs on it."""
    pending = run.pending.pop(key, None)
    if pending is None:
        return None
    if run.inbox:
        _clear_inbox(state, run, key, None)
    if pending.kind == "wait":
        _unsubscribe(state, run, key, pending)
    return pending


def _unsubscribe(state: PartitionState, run: Run, key: str, pending: Pending) -> None:
    body: Body = {"name": pending.name, "path": pending.path, "value": pending.value}
    channels.to_cell_of(state, "perdure.Unsubscribe", body | {"run": run.id, "key": key})


def _clear_inbox(state: PartitionState, run: Run, key: str, given: str | None) -> None:
    """Drops what waited for a key. An event that was not given after all is offered to the run's other waits again:
    each had been told to go on waiting while it lay here."""
    dropped = [item for item in run.inbox if item.body.get("key") == key]
    run.inbox = [item for item in run.inbox if item.body.get("key") != key]
    events = [item.body["event"] for item in dropped if item.name == EVENT_MATCHED]
    names = {event["name"] for event in events if event["id"] != given}
    served = {item.body.get("key") for item in run.inbox}
    for other, pending in run.pending.items():
        if pending.kind == "wait" and pending.name in names and other not in served:
            pending.attempt += 1
            subscribe(state, run, other, scan=False)


def _started(_state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    run.started = body["time"]
    if run.status not in STILL:  # it may have been paused before its first commit
        run.status = "running"


def _settled(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    settle(state, run, body["key"])


def _event_given(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    event = body["event"]
    matched = (
        i.body["time"] for i in run.inbox if i.name == EVENT_MATCHED and i.body["event"]["id"] == event["id"]
    )
    run.seen[event["id"]] = max(matched, default=max(fact.ts, event["ts"]))
    key, pending = body["key"], run.pending.pop(body["key"], None)
    if pending is not None:
        _clear_inbox(state, run, key, body["event"]["id"])
        if pending.attempt:  # else the cell let go of it when it found the event
            _unsubscribe(state, run, key, pending)


def _signal_given(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    settle(state, run, body["key"])
    _take(run, body["command"])


def _take(run: Run, command: str) -> None:
    run.inbox = [item for item in run.inbox if item.command != command]


def _cancel_asked(_state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    _take(run, body["command"])
    run.cancels += 1


def _resumed(_state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    if any(
        item.command == body["command"] for item in run.inbox
    ):  # or a pause came after it and has undone it
        _take(run, body["command"])
        run.status, run.reason = "running", ""


def _asked(_state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    for key in body["keys"]:
        run.pending[key] = Pending("step")


def _timer_set(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    run.pending[body["key"]] = Pending("timer", body["due"])
    _may_rest(state, run)
    state.effects.append(effects.Arm(run.id, body["key"], body["due"]))


def _wait_opened(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    key, due = body["key"], body["due"]
    _may_rest(state, run)
    if due is not None:
        state.effects.append(effects.Arm(run.id, key, due))
    if body["signal"] is not None:
        run.pending[key] = Pending("signal", due, name=body["signal"])
        return
    name, path, value = body["event"], body["path"] or "", body["value"] or b""
    since = max(fact.ts - max(body["lookback"] or 0, 0), 0)
    run.pending[key] = Pending("wait", due, name=name, path=path, value=value, since=since)
    channels.announce(state, name, path, fact.ts)
    subscribe(state, run, key, scan=body["lookback"] is not None)


def subscribe(state: PartitionState, run: Run, key: str, *, scan: bool) -> None:
    """Tells the wait's cell what the run wants, and what it has had or will be given of that.

    Of what is older than the wait wants, the cell gives it nothing. An event of an id that the run knows can yet come,
    when it was sent twice: then the run does not take it, counts it by the later time, and tells the cell so.
    """
    pending = run.pending[key]
    body: Body = {
        "name": pending.name,
        "path": pending.path,
        "value": pending.value,
        "run": run.id,
        "key": key,
    }
    waiting = ((i.body["event"]["id"], i.body["time"]) for i in run.inbox if i.name == EVENT_MATCHED)
    seen = dict.fromkeys(i for i, time in (*run.seen.items(), *waiting) if time >= pending.since)
    body |= {"since": pending.since, "seen": list(seen), "scan": scan}
    channels.to_cell_of(state, "perdure.Subscribe", body)


def _child_issued(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    key, child = body["key"], body["run"]
    detached = body["detached"]
    if not detached:
        run.pending[key] = Pending("child", body["due"], name=child, close=body["parent_close"])
        _may_rest(state, run)
        if body["due"] is not None:
            state.effects.append(effects.Arm(run.id, key, body["due"]))
    start: Body = {"run": child, "function": body["function"], "event": body["event"]}
    start |= {"parent": None if detached else run.id, "parent_key": None if detached else key}
    channels.to_run(state, child, "perdure.StartChild", start)


def _child_dropped(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    pending = settle(state, run, body["key"])
    if pending is not None:
        _close_child(state, run, pending)


def _timer_fired(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    pending = settle(state, run, body["key"])
    if pending is not None and pending.kind == "child":
        _close_child(state, run, pending)


def _close_child(state: PartitionState, run: Run, pending: Pending) -> None:
    if pending.close != "cancel":
        return
    command = ids.digest("parent", run.id, pending.name)
    body: Body = {
        "run": pending.name,
        "command": command,
        "reason": "its parent no longer waits for it",
        "force": False,
    }
    channels.to_run(state, pending.name, "perdure.CancelRun", body)


def _events_sent(state: PartitionState, _fact: Fact, _run: Run, body: Body) -> None:
    for event in body["events"]:
        channels.to_events(state, event)


def _run_done(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    run.result = body["result"]
    _end(state, fact, run, "completed", (ops.CHILD_DONE, {"result": body["result"]}))


def _run_failed(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    error: Failure = body["error"]
    run.error = error
    _end(state, fact, run, "failed", (ops.CHILD_FAILED, {"error": error}))
    if body["handler"] is not None:
        handler = ids.placed_run(state.generation, state.number, "failure", run.id)
        create(state, fact, handler, body["handler"], telling.failure(run, error, fact.ts))


def _run_cancelled(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    run.reason = body["reason"]
    _end(state, fact, run, "cancelled", (ops.CHILD_CANCELLED, {"reason": body["reason"]}))


def _end(state: PartitionState, fact: Fact, run: Run, status: Any, outcome: Op) -> None:
    run.status = status
    run.ended = fact.ts
    run.held = None
    run.inbox.clear()
    for key in list(run.pending):
        pending = settle(state, run, key)
        if pending is not None and pending.kind == "child":
            _close_child(state, run, pending)
    run.history.clear()
    if run.parent is not None:
        body: Body = {"run": run.parent, "key": run.parent_key, "outcome": outcome}
        channels.to_run(state, run.parent, "perdure.ChildOutcome", body)
    state.ended.append((fact.ts, run.id))
    state.ended_bytes += aging.run_bytes(run)
    state.effects.append(effects.Ended(run.id))
    if state.heard:
        telling.ended(state, run, fact.ts)


def _attempt_failed(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    pending = run.pending.get(body["key"])
    if pending is None:  # the first attempts of a step that no commit has named yet
        pending = run.pending[body["key"]] = Pending("step")
    pending.attempt, pending.due = body["attempt"], body["retry_at"]
    if state.alone == ids.idempotency_key(run.id, body["key"]):
        state.alone = ""  # its worker has survived it
    state.effects.append(effects.Arm(run.id, body["key"], body["retry_at"]))


def _parked(_state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    run.status, run.reason = "parked", f"{body['reason']}: {body['detail']}"
    run.held = None


def _end_held(_state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    run.held = body["end"]


def _value_set(_state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    run.values[body["name"]] = body["value"]


def _nothing(_state: PartitionState, _fact: Fact, _run: Run, _body: Body) -> None:
    """Ops whose only meaning so far is in the run's history."""


_OPS: dict[str, Callable[[PartitionState, Fact, Run, Body], None]] = {
    ops.STARTED: _started,
    ops.STEP_DONE: _settled,
    ops.STEP_FAILED: _settled,
    ops.TIMER_FIRED: _timer_fired,
    ops.EVENT_GIVEN: _event_given,
    ops.SIGNAL_GIVEN: _signal_given,
    ops.CHILD_ENDED: _settled,
    ops.SLOT_GRANTED: _nothing,
    ops.CANCEL_ASKED: _cancel_asked,
    ops.RESUMED_BY_USER: _resumed,
    ops.FORKED_FROM: _nothing,
    ops.ASKED: _asked,
    ops.TIMER_SET: _timer_set,
    ops.TIMER_DROPPED: _settled,
    ops.WAIT_OPENED: _wait_opened,
    ops.WAIT_CLOSED: _settled,
    ops.STEP_ABANDONED: _settled,
    ops.CHILD_ISSUED: _child_issued,
    ops.CHILD_DROPPED: _child_dropped,
    ops.EVENTS_SENT: _events_sent,
    ops.SLOT_ASKED: _nothing,
    ops.SLOT_RELEASED: _nothing,
    ops.RUN_DONE: _run_done,
    ops.RUN_FAILED: _run_failed,
    ops.RUN_CANCELLED: _run_cancelled,
    ops.ATTEMPT_FAILED: _attempt_failed,
    ops.PARKED: _parked,
    ops.VALUE_SET: _value_set,
    ops.END_HELD: _end_held,
}

FOLDED_OPS = frozenset(_OPS)
