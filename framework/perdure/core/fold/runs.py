"""What a commit does to a run: one small function per op, in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from perdure.core import effects, ids, ops, routing
from perdure.core.facts import Fact
from perdure.core.fold import admission, aging, channels, ending, telling, waits
from perdure.core.ops import EventData, Failure, Op
from perdure.core.state import STILL, PartitionState, Pending, Run

Body = dict[str, Any]
_OF_WAITS = frozenset({waits.EVENT_MATCHED, "perdure.ChildOutcome"})


def create(
    state: PartitionState,
    fact: Fact,
    run_id: str,
    function: str,
    event: EventData,
    *,
    tags: dict[str, str] | None = None,
    parent: tuple[str, str] | None = None,
    depth: int = 0,
    origin: ending.Origin | None = None,
) -> Run | None:
    """Makes a run; None when one of that id exists, or has ended lately. `origin` is where its event lies, if that
    starts it."""
    if run_id in state.runs or aging.has_ended(state, run_id):
        return None
    run = Run(run_id, function, event, fact.ts, fact.offset, time=max(fact.ts, event["ts"]), tags=tags or {})
    if parent:
        run.parent, run.parent_key = parent
        run.depth = depth
    run.seen[event["id"]] = max(fact.ts, event["ts"])
    state.runs[run_id] = run
    if function in state.limited:
        admission.begin(run)
    if event["ts"] > fact.ts:
        run.status, run.not_before = "scheduled", event["ts"]
        state.effects.append(effects.Arm(run_id, "", event["ts"]))
        waits.may_rest(state, run)
    else:
        run.time = fact.ts
        state.effects.append(effects.Activate(run_id))
    if function in state.config.get("paused", ()):
        run.reason = routing.paused_reason(state.config, function)
        _end(state, fact, run, "cancelled", (ops.CHILD_CANCELLED, {"reason": run.reason}))
        return run
    if function in state.ends:
        ending.begin(state, run, state.ends[function], origin or (fact.ts, None))
    return run


def change(state: PartitionState, fact: Fact, run: Run, changes: Sequence[Op], part: bytes) -> None:
    """Applies the ops of an accepted commit; `part` is what of its bytes is this run's."""
    run.prev = fact.offset
    if changes and changes[0][0] == ops.EVENT_PASSED and all(name == ops.EVENT_PASSED for name, _ in changes):
        for _, body in changes:  # nothing that the body has to do with: its history is no longer by that
            waits.event_passed(state, fact, run, body)
        return
    run.history.append(part)
    run.size += len(part)
    if ids.BODY in run.pending:  # whatever is recorded now, the body was tried again
        del run.pending[ids.BODY]
    reuse = run.reuse
    for name, body in changes:
        run.ops += 1
        time = body.get("time")
        if time is not None and time > run.time:
            run.time = time
        _OPS[name](state, fact, run, body)
    if reuse is not None:
        _come_to(run, changes)


def _come_to(run: Run, changes: Sequence[Op]) -> None:
    """What the run has had of the one that it repeats is its own now."""
    reuse = run.reuse or {}
    for name, body in changes:
        key = body.get("key")
        if key in reuse and (name in ops.RELEASES or reuse[key] is None):
            del reuse[key]
    run.reuse = reuse or None


def _started(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    run.started = body["time"]
    if run.until or state.ends:
        ending.begun(state, fact, run)
    if run.status not in STILL:  # it may have been paused before its first commit
        run.status = "running"


def _settled(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    waits.settle(state, run, body["key"])


def _cancel_asked(_state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    waits.taken(run, body["command"])
    run.cancels += 1


def _resumed(_state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    if any(
        item.command == body["command"] for item in run.inbox
    ):  # or a pause came after it and has undone it
        waits.taken(run, body["command"])
        run.status, run.reason = "running", ""


def _asked(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    for key in body["keys"]:
        pending = run.pending[key] = Pending("step")
        if run.admission is not None:
            admission.ask_step(state, run, key, pending)


def _slot_asked(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    pending = run.pending.get(body["key"])
    if pending is not None and pending.kind == "step" and pending.slots < 0:
        admission.ask_step(state, run, body["key"], pending)


def _timer_set(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    run.pending[body["key"]] = Pending("timer", body["due"])
    waits.may_rest(state, run)
    state.effects.append(effects.Arm(run.id, body["key"], body["due"]))


def _child_issued(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    key, child = body["key"], body["run"]
    detached = body["detached"]
    repeated = run.reuse is not None and key in run.reuse
    if repeated and not detached:
        run.pending[key] = Pending("child", body["due"], close="abandon")
    elif not detached:
        run.pending[key] = Pending("child", body["due"], name=child, close=body["parent_close"])
        waits.may_rest(state, run)
        if body["due"] is not None:
            state.effects.append(effects.Arm(run.id, key, body["due"]))
    if repeated:
        return  # it was started by the run before
    start: Body = {"run": child, "function": body["function"], "event": body["event"]}
    start |= {"parent": None if detached else run.id, "parent_key": None if detached else key}
    start |= {"depth": 0 if detached else run.depth + 1}
    start |= {"since": 0, "position": None}
    channels.to_run(state, child, "perdure.StartChild", start)


def _child_dropped(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    pending = waits.settle(state, run, body["key"])
    if pending is not None:
        _close_child(state, run, pending)


def _timer_fired(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    pending = waits.settle(state, run, body["key"])
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


def _events_sent(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    if run.reuse is not None and body["key"] in run.reuse:
        return  # the run before has sent them
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


def skip(state: PartitionState, fact: Fact, run: Run, reason: str) -> None:
    """There will be no run: flow control has dropped its start."""
    run.reason = reason
    _end(state, fact, run, "skipped", (ops.CHILD_REFUSED, {"reason": f"skipped: {reason}"}))


def refuse(state: PartitionState, fact: Fact, run: Run, error: Failure) -> None:
    """The run fails before it begins: its event is not what the function's flow control asks for."""
    handler = next((f["handler"] for f in state.config["functions"] if f["id"] == run.function), None)
    _run_failed(state, fact, run, {"error": error, "handler": handler})


def _run_cancelled(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    run.reason = body["reason"]
    _end(state, fact, run, "cancelled", (ops.CHILD_CANCELLED, {"reason": body["reason"]}))


def _end(state: PartitionState, fact: Fact, run: Run, status: Any, outcome: Op) -> None:
    run.status = status
    run.ended = fact.ts
    run.held = run.reuse = None
    run.inbox.clear()
    if run.until or run.listeners:
        ending.close(state, run)
    for key in list(run.pending):
        pending = waits.settle(state, run, key)
        if pending is not None and pending.kind == "child":
            _close_child(state, run, pending)
    if run.admission is not None:
        admission.leave(state, run)
    run.history.clear()
    if run.requests:
        waits.refuse_requests(state, run, f"the run is {status}")
    if run.parent is not None:
        body: Body = {"run": run.parent, "key": run.parent_key, "outcome": outcome}
        channels.to_run(state, run.parent, "perdure.ChildOutcome", body)
    size = aging.run_bytes(run)
    state.ended.append((fact.ts, run.id, size))
    state.ended_bytes += size
    state.effects.append(effects.Ended(run.id))
    if state.heard:
        telling.ended(state, run, fact.ts)


def _run_restarted(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    """The run begins anew under its id. It keeps what others know it by, and the commands that nobody took yet.

    Of the events that it has had it keeps the latest: so many that a wait of its next life, which looks back, is given
    none of them again.
    """
    listeners = run.listeners or {}
    run.inbox = [
        item
        for item in run.inbox
        if item.command or item.name not in _OF_WAITS or item.body["key"] in listeners
    ]
    for key in list(run.pending):
        pending = waits.settle(state, run, key)
        if pending is not None and pending.kind == "child":
            _close_child(state, run, pending)
    latest = sorted(run.seen.items(), key=lambda seen: seen[1])[-state.limits.seen_events_max :]
    run.seen = dict(latest)
    run.history.clear()
    if run.requests:
        waits.refuse_requests(state, run, "the run has begun anew, and had not answered")
    run.ops = run.size = run.started = run.cancels = run.not_before = 0
    run.held = run.reuse = None
    if run.status not in STILL:
        run.status, run.reason = "queued", ""
    run.event = body["event"]
    if run.admission is not None:
        run.admission.events = []  # it keeps its place: it is the same run
    run.restarts += 1
    run.begun = run.time = max(fact.ts, run.time)
    if run.until or run.listeners or state.ends:
        ending.restarted(state, fact, run)
    state.effects.append(effects.Restarted(run.id))


def _attempt_failed(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    pending = run.pending.get(body["key"])
    if pending is None:  # the first attempts of a step that no commit has named yet
        pending = run.pending[body["key"]] = Pending("step")
    if run.admission is not None:
        admission.leave_step(state, run, body["key"], pending)
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
    ops.EVENT_GIVEN: waits.event_given,
    ops.SIGNAL_GIVEN: waits.signal_given,
    ops.CHILD_ENDED: _settled,
    ops.SLOT_GRANTED: _nothing,
    ops.CANCEL_ASKED: _cancel_asked,
    ops.RESUMED_BY_USER: _resumed,
    ops.FORKED_FROM: _nothing,
    ops.ASKED: _asked,
    ops.TIMER_SET: _timer_set,
    ops.TIMER_DROPPED: _settled,
    ops.WAIT_FILTERED: waits.wait_filtered,
    ops.WAIT_OPENED: waits.wait_opened,
    ops.WAIT_CLOSED: _settled,
    ops.STEP_ABANDONED: _settled,
    ops.CHILD_ISSUED: _child_issued,
    ops.CHILD_DROPPED: _child_dropped,
    ops.EVENTS_SENT: _events_sent,
    ops.SLOT_ASKED: _slot_asked,
    ops.SLOT_RELEASED: _nothing,
    ops.RUN_DONE: _run_done,
    ops.RUN_FAILED: _run_failed,
    ops.RUN_CANCELLED: _run_cancelled,
    ops.RUN_RESTARTED: _run_restarted,
    ops.ATTEMPT_FAILED: _attempt_failed,
    ops.PARKED: _parked,
    ops.VALUE_SET: _value_set,
    ops.END_HELD: _end_held,
    ops.EVENT_PASSED: waits.event_passed,
    ops.SIGNAL_SENT: waits.signal_sent,
    ops.SIGNAL_ANSWERED: waits.signal_answered,
}

FOLDED_OPS = frozenset(_OPS)
