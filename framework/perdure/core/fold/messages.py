"""What a message from a partition does here: children, cells, cancels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from perdure.core import effects, routing
from perdure.core.facts import Fact
from perdure.core.fold import admission, aging, channels, ending, gates, runs, telling, waits
from perdure.core.state import Cell, Item, PartitionState, Pending, Run, Scan, Subscription

Body = dict[str, Any]


def take(state: PartitionState, fact: Fact, name: str, body: Body) -> None:
    """Folds one message, whether it came through the log or stayed in this partition."""
    _MESSAGES[name](state, fact, name, body)


def to_cell(state: PartitionState, correlate: Body) -> None:
    channels.to_cell_of(state, "perdure.Correlate", correlate)


def _start_child(state: PartitionState, fact: Fact, _name: str, body: Body) -> None:
    parent = (
        (body["parent"], body["parent_key"]) if None not in (body["parent"], body["parent_key"]) else None
    )
    if parent and body["function"] in state.config.get("paused", ()):
        reason = routing.paused_reason(state.config, body["function"])
        refused: Body = {
            "run": parent[0],
            "key": parent[1],
            "outcome": ("perdure.ChildRefused", {"reason": reason}),
        }
        channels.to_run(state, parent[0], "perdure.ChildOutcome", refused)
        return
    origin = (body["since"] or fact.ts, body["position"])
    made = runs.create(
        state,
        fact,
        body["run"],
        body["function"],
        body["event"],
        parent=parent,
        depth=body["depth"],
        origin=origin,
    )
    if made is None and parent:
        refused = {"reason": f"a run {body['run']} exists already"}
        outcome = {"run": parent[0], "key": parent[1], "outcome": ("perdure.ChildRefused", refused)}
        channels.to_run(state, parent[0], "perdure.ChildOutcome", outcome)
    elif made is not None and state.heard:
        telling.started(state, made.id, made.function, made.event)


def _to_inbox(state: PartitionState, run: Run, item: Item) -> None:
    run.inbox.append(item)
    state.effects.append(effects.Activate(run.id))


def _child_outcome(state: PartitionState, fact: Fact, name: str, body: Body) -> None:
    run = state.run(body["run"])
    if run is not None and body["key"] in run.pending:
        _to_inbox(state, run, Item(fact.offset, name, body))


def _cancel_run(state: PartitionState, fact: Fact, _name: str, body: Body) -> None:
    run = state.run(body["run"])
    # Nobody has asked for it by hand, so it is never a second one, which would cut the cleaning up short.
    if run is not None and run.live and (body["force"] or not ending.is_asked(run)):
        cancel = {"reason": body["reason"], "force": body["force"]}
        _to_inbox(state, run, Item(fact.offset, "perdure.CancelAsk", cancel, body["command"]))


def _signalled(state: PartitionState, fact: Fact, _name: str, body: Body) -> None:
    run = state.run(body["run"])
    if run is not None and run.live:
        signal = {"name": body["name"], "data": body["data"], "request": False}
        _to_inbox(state, run, Item(fact.offset, "perdure.SignalSend", signal, body["command"]))


def _event_matched(state: PartitionState, fact: Fact, name: str, body: Body) -> None:
    run = state.run(body["run"])
    pending = run.pending.get(body["key"]) if run is not None else None
    if run is None or pending is None:
        listener = (run.listeners or {}).get(body["key"]) if run is not None else None
        if run is not None and listener is not None:
            ending.matched(state, fact, run, listener, body)
        return
    event_id = body["event"]["id"]
    there = [i for i in run.inbox if i.name == name and i.body["event"]["id"] == event_id]
    if pending.condition is not None:
        _offered(state, run, pending, Item(fact.offset, name, body), there)
        return
    waiting = next((i for i in there if not _filtered(run, i.body["key"])), None)
    if event_id in run.seen or waiting is not None:
        # Two waits of one run met the same event, or one that was sent twice: this wait goes on, and tells its cell.
        if event_id in run.seen:
            run.seen[event_id] = max(run.seen[event_id], body["time"])
        if waiting is not None:
            waiting.body = waiting.body | {"time": max(waiting.body["time"], body["time"])}
        waits.subscribe(state, run, body["key"], scan=False)
        return
    _to_inbox(state, run, Item(fact.offset, name, body))


def _filtered(run: Run, key: str) -> bool:
    pending = run.pending.get(key)
    return pending is not None and pending.condition is not None


def _offered(state: PartitionState, run: Run, pending: Pending, item: Item, there: Sequence[Item]) -> None:
    """An event for a wait with a condition, which its cell goes on serving: the run's owner says whether it takes it.

    It may lie in the inbox for several waits; the first that takes it has it.
    """
    key, event_id, time = item.body["key"], item.body["event"]["id"], item.body["time"]
    if event_id in run.seen:
        run.seen[event_id] = max(run.seen[event_id], time)
    elif any(i.body["key"] == key for i in there) or event_id in pending.passed:
        return
    elif pending.behind or len(run.inbox) >= state.limits.inbox_max:
        pending.behind = True
    else:
        _to_inbox(state, run, item)


def _subscribe(state: PartitionState, _fact: Fact, _name: str, body: Body) -> None:
    where = (body["name"], body["path"], body["value"])
    cell = state.cell(where, make=True) or Cell()
    sub = Subscription(body["run"], body["key"], body["since"], dict.fromkeys(body["seen"]), body["stays"])
    for _, kept in cell.kept:
        if _fits(kept, sub):
            _deliver(state, kept, sub)
            if not sub.stays:
                return
    cell.subscriptions[sub.run, sub.key] = sub
    if state.dormant is not None and not cell.kept:
        state.dormant.cell(where)
    remembered = max(cell.forgotten, state.forgotten, state.time - state.limits.kept_event_time_max)
    if body["scan"] or sub.since < remembered:
        search = {"name": body["name"], "path": body["path"], "value": body["value"], "since": sub.since}
        for partition in range(state.partitions):
            channels.to_partition(state, partition, "perdure.Scan", search)


def _fits(correlate: Body, sub: Subscription) -> bool:
    return correlate["time"] >= sub.since and correlate["event"]["id"] not in sub.seen


def _deliver(state: PartitionState, correlate: Body, sub: Subscription) -> None:
    body: Body = {"run": sub.run, "key": sub.key, "position": correlate["position"]}
    body |= {"time": correlate["time"], "event": correlate["event"]}
    channels.to_run(state, sub.run, "perdure.EventMatched", body)


def _unsubscribe(state: PartitionState, _fact: Fact, _name: str, body: Body) -> None:
    where = (body["name"], body["path"], body["value"])
    cell = state.cell(where)
    if cell is not None:
        cell.subscriptions.pop((body["run"], body["key"]), None)
        if not cell.subscriptions and not cell.kept:
            del state.cells[where]


def _correlate(state: PartitionState, fact: Fact, _name: str, body: Body) -> None:
    where = (body["name"], body["path"], body["value"])
    cell = state.cell(where, make=True) or Cell()
    if any(kept["position"] == body["position"] for _, kept in cell.kept):
        return  # a search found what had come by itself
    now = max(fact.ts, state.time)  # never going back: the order of `state.kept` is that of its times
    cell.kept.append((now, body))
    state.kept.append((now, where))
    state.kept_bytes += aging.kept_bytes(body)
    if len(cell.kept) > state.limits.kept_events_max:
        gone = aging.drop_oldest(state, cell.kept)
        cell.forgotten = max(cell.forgotten, min(gone["time"] + 1, aging.TIME_MAX))
    for place in [place for place, sub in cell.subscriptions.items() if _fits(body, sub)]:
        sub = cell.subscriptions[place]
        if not sub.stays:
            del cell.subscriptions[place]
        _deliver(state, body, sub)


def _arm(state: PartitionState, _fact: Fact, _name: str, body: Body) -> None:
    where = (body["name"], body["path"])
    since = state.armed.get(where)
    if since is not None and since <= body["since"]:
        return
    state.armed[where] = body["since"]
    _search(state, body, None)


def _scan(state: PartitionState, fact: Fact, name: str, body: Body) -> None:
    if (body["name"], body["path"]) in state.armed:
        _search(state, body, body["value"])
    else:  # it overtook the `Arm`, and events may be routed before that comes
        _arm(state, fact, name, body)


def _search(state: PartitionState, body: Body, value: bytes | None) -> None:
    state.scan_next += 1
    state.scans[state.scan_next] = Scan(body["name"], body["path"], value, body["since"], -1, state.next)
    state.effects.append(effects.Search(state.scan_next))


def _gate_answer(state: PartitionState, fact: Fact, _name: str, body: Body) -> None:
    admission.answered(state, fact, body, runs.skip)


_MESSAGES: dict[str, Callable[[PartitionState, Fact, str, Body], None]] = {
    "perdure.StartChild": _start_child,
    "perdure.ChildOutcome": _child_outcome,
    "perdure.CancelRun": _cancel_run,
    "perdure.Signalled": _signalled,
    "perdure.EventMatched": _event_matched,
    "perdure.Subscribe": _subscribe,
    "perdure.Unsubscribe": _unsubscribe,
    "perdure.Correlate": _correlate,
    "perdure.Arm": _arm,
    "perdure.Scan": _scan,
    "perdure.GateAsk": gates.asked,
    "perdure.GateAnswer": _gate_answer,
    "perdure.GateLeft": gates.left,
}

FOLDED_MESSAGES = frozenset(_MESSAGES)
