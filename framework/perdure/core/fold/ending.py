"""What ends a run from outside: events that cancel it, and the times by which it has to begin and to end.

A run listens from its creation on, at the same cells as waits. What it is not to hear is what came before the event
that began it: by its time, and within one partition of the events by its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perdure.core import effects, ids, paths
from perdure.core.facts import Fact
from perdure.core.fold import channels
from perdure.core.ops import EventData
from perdure.core.state import Item, Listener, PartitionState, Run
from perdure.errors import EncodingError, UsageError

Body = dict[str, Any]
CANCEL = "perdure.CancelAsk"

Origin = tuple[int, "Body | None"]
"""When the event that begins a run was appended (µs), and where."""


def begin(state: PartitionState, run: Run, terms: Mapping[str, Any], origin: Origin) -> None:
    """A run was made, of a function whose runs may be cancelled."""
    start = max(run.created, run.not_before)
    if terms["start_within"]:
        _set_until(state, run, start + terms["start_within"])
    _listen(state, run, _listeners(run, terms, start, origin))


def _listeners(run: Run, terms: Mapping[str, Any], start: int, origin: Origin) -> list[Listener]:
    since, position = origin
    found: list[Listener] = []
    for number, spec in enumerate(terms["cancels"]):
        known, value = _own(run.event, spec["own"]) if spec["path"] else (True, b"")
        if not known:
            continue  # no event can have what this one does not
        until = start + spec["timeout"] if spec["timeout"] else 0
        key = f"{ids.CANCEL_ON}:{number}"
        listener = Listener(key, spec["event"], spec["path"], value, since, until, position)
        listener.cel = spec["cel"]
        found.append(listener)
    return found


def _listen(state: PartitionState, run: Run, listeners: list[Listener]) -> None:
    run.listeners = {listener.key: listener for listener in listeners} or None
    for listener in listeners:
        channels.announce(state, listener.name, listener.path, listener.since)
        _subscribe(state, run, listener)


def restarted(state: PartitionState, fact: Fact, run: Run) -> None:
    """The run begins anew, perhaps with another event. What it hears of stays as it is when that is the same, so that
    nothing is missed that is on its way."""
    terms = state.ends.get(run.function)
    before = [(one.name, one.path, one.value) for one in (run.listeners or {}).values()]
    wanted = [] if terms is None else _listeners(run, terms, fact.ts, (fact.ts, None))
    if before != [(one.name, one.path, one.value) for one in wanted]:
        close(state, run)
        _listen(state, run, wanted)
    run.until = 0
    if terms is not None and terms["start_within"]:
        _set_until(state, run, fact.ts + terms["start_within"])


def configured(state: PartitionState, before: Mapping[str, Any]) -> None:
    """Another config is in force: the runs of functions that it is the first to name have been made without its terms.

    None of these has begun, so that none is packed: packing is no part of the state.
    """
    known = {function["id"] for function in before["functions"]}
    fresh = state.ends.keys() - known
    if not fresh:
        return
    waiting = [r for r in state.runs.plain.values() if r.function in fresh and r.live and not r.started]
    for found in waiting:
        run = state.run(found.id) if found.status != "scheduled" else None
        if run is not None and run.listeners is None and not run.until:
            begin(state, run, state.ends[run.function], (run.created, None))


def begun(state: PartitionState, fact: Fact, run: Run) -> None:
    """The body of a run has begun."""
    terms = state.ends.get(run.function)
    within = terms["finish_within"] if terms is not None else 0
    run.until = 0
    if within:
        _set_until(state, run, fact.ts + within)


def close(state: PartitionState, run: Run) -> None:
    """The run hears of no event any more, and has all the time that it wants."""
    run.until = 0
    if run.inbox and run.listeners:
        heard = run.listeners
        run.inbox = [item for item in run.inbox if item.body.get("key") not in heard]
    for listener in (run.listeners or {}).values():
        _unsubscribe(state, run, listener)
    run.listeners = None


def _unsubscribe(state: PartitionState, run: Run, listener: Listener) -> None:
    body: Body = {"name": listener.name, "path": listener.path, "value": listener.value}
    channels.to_cell_of(state, "perdure.Unsubscribe", body | {"run": run.id, "key": listener.key})


def matched(state: PartitionState, fact: Fact, run: Run, listener: Listener, body: Body) -> None:
    """A cell found an event for a listener, and has let go of that, unless there is a condition."""
    event: EventData = body["event"]
    if listener.cel:
        _offered(state, fact, run, listener, body)
        return
    if _is_earlier(listener, body) or event["id"] == run.event["id"]:
        listener.seen = [*listener.seen, event["id"]]
        _subscribe(state, run, listener)
        return
    listeners = run.listeners = {k: v for k, v in (run.listeners or {}).items() if k != listener.key}
    if listener.until and body["time"] > listener.until:
        run.listeners = listeners or None
        return
    until = run.until
    close(state, run)
    run.until = until  # it stays in force for a run that goes on all the same
    if not is_asked(run):
        cancel = {"reason": f"the event {event['name']} {event['id']} came", "force": False}
        command = ids.digest("cancel-on", run.id, event["id"])
        run.inbox.append(Item(fact.offset, CANCEL, cancel, command))
        state.effects.append(effects.Activate(run.id))


def _offered(state: PartitionState, fact: Fact, run: Run, listener: Listener, body: Body) -> None:
    """The run's owner says whether the event fulfils the condition."""
    event_id, time = body["event"]["id"], body["time"]
    if _is_earlier(listener, body) or event_id == run.event["id"] or listener.behind:
        return
    if listener.until and time > listener.until:
        run.listeners = {k: v for k, v in (run.listeners or {}).items() if k != listener.key} or None
        _unsubscribe(state, run, listener)
        return
    mine = [item for item in run.inbox if item.body.get("key") == listener.key]
    if any(item.body["event"]["id"] == event_id for item in mine):
        return
    if len(run.inbox) >= state.limits.inbox_max:
        if time > listener.since:
            listener.since, listener.seen = time, []
        listener.behind, listener.position = True, None
        _unsubscribe(state, run, listener)
        return
    run.inbox.append(Item(fact.offset, "perdure.EventMatched", body))
    state.effects.append(effects.Activate(run.id))


def passed(state: PartitionState, run: Run, key: str, event_id: str) -> None:
    """An event does not fulfil the condition. A listener that fell behind hears again of what it has missed, and not of
    what it has had."""
    listener = (run.listeners or {}).get(key)
    if listener is None or not listener.behind:
        return
    listener.seen.append(event_id)
    if not any(item.body.get("key") == key for item in run.inbox):
        listener.behind = False
        _subscribe(state, run, listener)


def command_for(event_id: str) -> str:
    """The id of the command by which an owner cancels a run for an event that fulfils the condition."""
    return f"{ids.CANCEL_ON}:{event_id}"


def command_of(until: int) -> str:
    """The id of the command by which an owner cancels a run whose time is up."""
    return f"{ids.UNTIL}:{until}"


def is_stale(state: PartitionState, run: Run, command: str) -> bool:
    """Whether a command came of a time that no longer holds: the run has begun in time, or is cancelled already. One
    that still holds has done its work with this."""
    if command.startswith(f"{ids.CANCEL_ON}:"):
        stale = run.listeners is None or is_asked(run)
        until = run.until
        close(state, run)
        run.until = until
        return stale
    if not command.startswith(f"{ids.UNTIL}:"):
        return False
    if command != command_of(run.until):
        return True
    run.until = 0
    return is_asked(run)


def is_asked(run: Run) -> bool:
    """Whether a run was asked to end. A second cancel would be one by force, and it is nobody's wish."""
    return bool(run.cancels) or any(item.name == CANCEL for item in run.inbox)


def _is_earlier(listener: Listener, body: Body) -> bool:
    time, at, begun = body["time"], body["position"], listener.position
    if begun is None or at["partition"] != begun["partition"] or time > listener.since:
        return time < listener.since
    return at["offset"] <= begun["offset"]


def _set_until(state: PartitionState, run: Run, until: int) -> None:
    run.until = until
    state.effects.append(effects.Arm(run.id, ids.UNTIL, until))


def _own(event: EventData, path: str) -> tuple[bool, bytes]:
    try:
        if paths.parse_path(path)[0] != "data":
            return paths.match_value(event, path)  # its data may be encrypted
        return paths.match_value(paths.event_view(event), path)
    except (EncodingError, UsageError):  # any client may append events
        return False, b""


def _subscribe(state: PartitionState, run: Run, listener: Listener) -> None:
    body: Body = {"name": listener.name, "path": listener.path, "value": listener.value, "run": run.id}
    body |= {"key": listener.key, "since": listener.since, "seen": [run.event["id"], *listener.seen]}
    channels.to_cell_of(state, "perdure.Subscribe", body | {"scan": False, "stays": bool(listener.cel)})
