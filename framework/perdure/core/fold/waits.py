"""What a commit does to the waits of a run, and to the signals that it is sent and sends."""

from __future__ import annotations

from itertools import islice
from typing import Any

from perdure.core import effects
from perdure.core.facts import Fact
from perdure.core.fold import admission, channels, ending
from perdure.core.state import PartitionState, Pending, Run

Body = dict[str, Any]
EVENT_MATCHED = "perdure.EventMatched"


def may_rest(state: PartitionState, run: Run) -> None:
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
        if pending.name:
            _unsubscribe(state, run, key, pending)
    elif pending.kind == "step" and run.admission is not None:
        admission.leave_step(state, run, key, pending)
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
        wanted = pending.kind == "wait" and pending.condition is None and pending.name in names
        if wanted and other not in served:
            pending.attempt += 1
            subscribe(state, run, other, scan=False)


def event_given(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    event = body["event"]
    matched = (
        i.body["time"] for i in run.inbox if i.name == EVENT_MATCHED and i.body["event"]["id"] == event["id"]
    )
    run.seen[event["id"]] = max(matched, default=max(fact.ts, event["ts"]))
    key, pending = body["key"], run.pending.pop(body["key"], None)
    if pending is not None:
        _clear_inbox(state, run, key, body["event"]["id"])
        if pending.name and (
            pending.attempt or pending.condition is not None
        ):  # else the cell let go of it when it found the event
            _unsubscribe(state, run, key, pending)
    if run.inbox:
        _taken_from_others(state, run, body["event"]["id"])


def _taken_from_others(state: PartitionState, run: Run, event_id: str) -> None:
    """Other waits of the run, to which an event lay in its inbox that this one was given, go on waiting."""
    others = [i for i in run.inbox if i.name == EVENT_MATCHED and i.body["event"]["id"] == event_id]
    run.inbox = [item for item in run.inbox if item not in others]
    for item in others:
        key = item.body["key"]
        pending = run.pending.get(key)
        if pending is not None and pending.condition is None:
            pending.attempt += 1
            subscribe(state, run, key, scan=False)


def event_passed(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    """The wait goes on. When it fell behind, it is offered again what its run had no room for."""
    key, event_id = body["key"], body["event"]
    mine = [i for i in run.inbox if i.name == EVENT_MATCHED and i.body["key"] == key]
    gone = [i for i in mine if i.body["event"]["id"] == event_id]
    if gone:
        run.inbox = [item for item in run.inbox if item not in gone]
    pending = run.pending.get(key)
    if pending is None:
        ending.passed(state, run, key, event_id)
        return
    if not (pending.behind or pending.passed):
        return
    pending.passed.update((event_id, item.body["time"]) for item in gone)
    if len(pending.passed) > state.limits.passed_events_max:
        oldest = list(islice(pending.passed.items(), len(pending.passed) // 2))
        for known, _ in oldest:
            del pending.passed[known]
        pending.since = max(pending.since, min(time for _, time in oldest))
    if pending.behind and len(mine) == len(gone):
        pending.behind = False
        subscribe(state, run, key, scan=False)


def signal_given(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    settle(state, run, body["key"])
    taken(run, body["command"])


def taken(run: Run, command: str) -> None:
    run.inbox = [item for item in run.inbox if item.command != command]


def wait_filtered(_state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    run.pending[body["key"]] = Pending("wait", condition=body["condition"])


def wait_opened(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    key, due = body["key"], body["due"]
    may_rest(state, run)
    if due is not None:
        state.effects.append(effects.Arm(run.id, key, due))
    if body["signal"] is not None:
        run.pending[key] = Pending("signal", due, name=body["signal"])
        return
    if run.reuse is not None and key in run.reuse:
        run.pending[key] = Pending("wait", due)  # what it is given is known
        return
    name, path, value = body["event"], body["path"] or "", body["value"] or b""
    since = max(fact.ts - max(body["lookback"] or 0, 0), 0)
    filtered = run.pending.get(key)
    run.pending[key] = Pending(
        "wait",
        due,
        name=name,
        path=path,
        value=value,
        since=since,
        condition=None if filtered is None else filtered.condition,
    )
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
    stays = pending.condition is not None
    seen.update(dict.fromkeys(pending.passed))
    body |= {"since": pending.since, "seen": list(seen), "scan": scan, "stays": stays}
    channels.to_cell_of(state, "perdure.Subscribe", body)


def signal_sent(state: PartitionState, _fact: Fact, _run: Run, body: Body) -> None:
    sent = {name: body[name] for name in ("run", "command", "name", "data")}
    channels.to_run(state, body["run"], "perdure.Signalled", sent)


def signal_answered(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    request = run.requests.get(body["command"])
    if request is not None and request.open:
        request.answer, request.refused = body["answer"], body["refused"]
        state.effects.append(effects.Answer(request.client, body["command"], run.id))


def refuse_requests(state: PartitionState, run: Run, why: str) -> None:
    """Nobody will answer what was asked of this life of a run, but for what still lies in its inbox."""
    waiting = {item.command for item in run.inbox}
    for command, request in run.requests.items():
        if request.open and command not in waiting:
            request.refused = why
            state.effects.append(effects.Answer(request.client, command, run.id))
