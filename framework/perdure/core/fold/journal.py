"""The records of the journal: their guards, and what each changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from perdure.core import bodies, codec, effects, ids
from perdure.core.facts import UNDECODABLE, Fact, message_fact
from perdure.core.fold import admission, aging, channels, commands, ending, gates, messages, runs, schedules
from perdure.core.ops import ENDS, Op
from perdure.core.state import PartitionState
from perdure.errors import LevelTooNew

LEVEL = 1
"""The newest set of record kinds and folds that this code knows."""

Body = dict[str, Any]


def fold(state: PartitionState, fact: Fact) -> str | None:
    """Folds one entry; returns why it is void, if it is.

    Raises LevelTooNew when the log asks for more than this code knows; the owner must stop then.
    """
    void = _RECORDS.get(fact.kind, _misplaced)(state, fact)
    if void:
        state.voids[void] = state.voids.get(void, 0) + 1
        return void
    if fact.ts > state.time:
        state.time = fact.ts
    while state.local:
        name, body = state.local.popleft()
        messages.take(state, fact, name, body)
    aging.forget(state)
    return None


def _owned(state: PartitionState, fact: Fact) -> bool:
    stamp = fact.stamp
    return stamp is not None and stamp.epoch == state.epoch and stamp.owner == state.owner


def _claim(state: PartitionState, fact: Fact) -> str | None:
    stamp = fact.stamp
    if stamp is None or fact.body["epoch"] != stamp.epoch:
        return "claim without a stamp"
    if stamp.epoch <= state.epoch:
        return "late claim"
    again = fact.body["worker"] == state.owner.hex() != ""  # the same process, after an append that failed
    if again:
        state.alone = ""
    state.unclean = state.epoch > 0 and not state.clean and not again
    if state.unclean:
        state.trials.died()
    state.trials.woken = ()
    state.epoch, state.owner, state.clean = stamp.epoch, stamp.owner, False
    state.effects.append(effects.Claimed(stamp.owner, stamp.epoch))
    return None


def _commit(state: PartitionState, fact: Fact) -> str | None:
    if not _owned(state, fact):
        return "commit of a former owner"
    changes = fact.body["changes"]
    touched = [state.run(change["entity"]) for change in changes]
    for run, change in zip(touched, changes, strict=True):
        if run is None or run.prev != change["prev"] or not run.live:
            return "commit on another state"
    if len({change["entity"] for change in changes}) < len(changes) or not all(map(_ends_last, changes)):
        return "commit that contradicts itself"
    parts = fact.parts if fact.parts is not None else codec.parts_of(fact.body)
    for run, change, part in zip(touched, changes, parts, strict=True):
        if run is not None:
            runs.change(state, fact, run, change["ops"], part)
    for ack in fact.body["acks"]:
        queue = state.outbox.get(ack["target"])
        while queue and queue[0][0] <= ack["seq"]:
            queue.popleft()
        if queue is not None and not queue:
            del state.outbox[ack["target"]]  # a snapshot holds no empty ones, and their order is state
    return None


def _ingest(state: PartitionState, fact: Fact) -> str | None:
    body = fact.body
    if not _owned(state, fact):
        return "ingest of a former owner"
    if body["partition"] != state.number or body["from"] != state.next:
        return "ingest from another position"
    if body["config"] != state.config["version"]:
        return "ingest under another config"
    if body["armed"] != len(state.armed):
        return "ingest under other match paths"
    events: list[Body] = body["events"]
    named = [*(start["event"] for start in body["starts"]), *body["delayed"]]
    digests: list[bytes] = body["digests"] or [b""] * len(events)
    if (
        len(digests) != len(events)
        or body["to"] <= body["from"]
        or not _all_known(named, body["correlates"], len(events))
    ):
        return "ingest that contradicts itself"
    state.next = body["to"]
    for origin in body["origins"]:
        state.origins[origin["origin"]] = origin["seq"]
    for entry, digest in zip(events, digests, strict=True):
        aging.remember(state, entry["event"]["id"], fact.ts, digest)
    home = f"{state.origin}-"
    for start in body["starts"]:
        started: Body = events[int(start["event"])]
        run_id: str = start["run"]
        if run_id.startswith(home) or not _elsewhere(state, run_id):
            origin = _origin(state, started) if start["function"] in state.ends else None
            runs.create(state, fact, run_id, start["function"], started["event"], origin=origin)
        else:  # in a partition of a later generation, which has no events of its own (A16)
            child: Body = {"run": run_id, "function": start["function"], "event": started["event"]}
            child |= {"parent": None, "parent_key": None, "depth": 0}
            since, position = _origin(state, started)
            child |= {"since": since, "position": position}
            channels.to_run(state, run_id, "perdure.StartChild", child)
    _correlate(state, events, body["correlates"])
    for index in body["delayed"]:
        later: Body = events[int(index)]
        state.delayed[later["offset"]] = later
        state.effects.append(effects.Delayed(later["event"]["ts"]))
    return None


def _origin(state: PartitionState, entry: Body) -> ending.Origin:
    return entry["time"], {"partition": state.number, "offset": entry["offset"]}


def _elsewhere(state: PartitionState, run_id: str) -> bool:
    placed = ids.placement(run_id)
    return placed is not None and placed[1] != state.number


def _ends_last(change: Body) -> bool:
    changes: list[Op] = change["ops"]
    for at in range(len(changes) - 1):  # noqa: SIM110 - a generator for two ops takes twice as long
        if changes[at][0] in ENDS:
            return False
    return True


def _all_known(indexes: Iterable[int], pairings: list[Body], count: int) -> bool:
    return all(0 <= index < count for index in (*indexes, *(pairing["event"] for pairing in pairings)))


def _correlate(state: PartitionState, events: list[Body], pairings: list[Body]) -> None:
    for pairing in pairings:
        paired: Body = events[int(pairing["event"])]
        messages.to_cell(state, correlation(state, paired, pairing["path"], pairing["value"]))


def correlation(state: PartitionState, entry: Body, path: str, value: bytes) -> Body:
    """The `Correlate` message of an ingested event."""
    event = entry["event"]
    position = {"partition": state.number, "offset": entry["offset"]}
    return {
        "name": event["name"],
        "path": path,
        "value": value,
        "time": max(entry["time"], event["ts"]),
        "position": position,
        "event": event,
    }


def _due(state: PartitionState, fact: Fact) -> str | None:
    if not _owned(state, fact):
        return "due of a former owner"
    body = fact.body
    offsets = dict.fromkeys(body["offsets"])
    if any(offset not in state.delayed for offset in offsets):
        return "due twice"
    if body["armed"] != len(state.armed):
        return "due under other match paths"
    if len(offsets) < len(body["offsets"]) or not _all_known((), body["correlates"], len(offsets)):
        return "due that contradicts itself"
    _correlate(state, [state.delayed.pop(offset) for offset in offsets], body["correlates"])
    return None


def _fired(state: PartitionState, fact: Fact) -> str | None:
    if not _owned(state, fact):
        return "timers of a former owner"
    for timer in fact.body["timers"]:
        run_id, key, due = timer["run"], timer["key"], timer["due"]
        # A snapshot being taken may have to save it as it was before.
        if state.cut is not None or not state.runs.fire(run_id, key, due):
            run = state.run(run_id)
            if run is None or not bodies.fire(run, key, due):
                continue
        state.effects.append(effects.TimerDue(run_id, key, due))
    return None


def _scanned(state: PartitionState, fact: Fact) -> str | None:
    if not _owned(state, fact):
        return "search of a former owner"
    body = fact.body
    scan = state.scans.get(body["scan"])
    if scan is None or scan.cursor != body["from"]:
        return "search from another position"
    if body["to"] <= body["from"] and not body["done"]:
        return "search that contradicts itself"
    scan.cursor = body["to"]
    if body["done"]:
        del state.scans[body["scan"]]
    else:
        state.effects.append(effects.Search(body["scan"]))
    for found in body["found"]:
        messages.to_cell(state, found)
    return None


def _config(state: PartitionState, fact: Fact) -> str | None:
    if not _owned(state, fact):
        return "config of a former owner"
    if fact.body["version"] <= state.config["version"]:
        return "older config"
    before, state.config = state.config, fact.body
    if not state.own_limits:
        state.limits = state.limits.folding(fact.body.get("limits", {}))
    schedules.configured(state, fact.body["functions"], fact.ts)
    ending.configured(state, before)
    gates.configured(state, max(state.time, fact.ts))
    state.effects.append(effects.Configured(fact.body["version"]))
    return None


def _ticked(state: PartitionState, fact: Fact) -> str | None:
    return schedules.ticked(state, fact) if _owned(state, fact) else "tick of a former owner"


def _admitted(state: PartitionState, fact: Fact) -> str | None:
    if not _owned(state, fact):
        return "admission of a former owner"
    return admission.admitted(state, fact, runs.refuse)


def _gates_due(state: PartitionState, fact: Fact) -> str | None:
    return gates.due(state, fact) if _owned(state, fact) else "limits of a former owner"


def _level(state: PartitionState, fact: Fact) -> str | None:
    if not _owned(state, fact):
        return "level of a former owner"
    if fact.body["level"] > LEVEL:
        raise too_new(
            state.number,
            fact.body["level"],
            fact.body.get("needs", (0, ""))[1],
            f"from offset {fact.offset} on",
        )
    state.level = max(state.level, fact.body["level"])
    return None


def _snapshotted(state: PartitionState, fact: Fact) -> str | None:
    if not _owned(state, fact):
        return "snapshot of a former owner"
    if state.sets and fact.body["covers"] <= state.sets[-1]["covers"]:
        return "older snapshot"
    state.sets = [*state.sets, fact.body][-state.limits.snapshot_sets_max :]
    return None


def _released(state: PartitionState, fact: Fact) -> str | None:
    if not _owned(state, fact):
        return "release of a former owner"
    state.clean = True
    state.alone = ""
    state.trials.woken = ()
    return None


def _resumed(state: PartitionState, fact: Fact) -> str | None:
    if not _owned(state, fact):
        return "note of a former owner"
    steps = fact.body["steps"]
    if not steps or steps[0]["key"] == ids.WAKING:
        state.trials.wake([suspect["run"] for suspect in steps])
        return None
    before, state.alone = state.alone, ""
    for suspect in steps:
        run = state.run(suspect["run"])
        pending = run.pending.get(suspect["key"]) if run else None
        if run is None or pending is None:
            continue
        step = ids.idempotency_key(run.id, suspect["key"])
        if suspect["alone"]:
            state.alone = step  # it is about to start; only the death of its worker counts against it
        else:
            pending.suspect += 1
            pending.alone += step == before
    state.unclean = False
    return None


def _message(state: PartitionState, fact: Fact) -> str | None:
    origin, seq = fact.body["origin"], fact.body["seq"]
    if seq != state.inbound.get(origin, 0) + 1:
        return "message out of its order"
    state.inbound[origin] = seq
    name, body = fact.body["body"]
    messages.take(state, fact, name, body)
    return None


def _messages(state: PartitionState, fact: Fact) -> str | None:
    """Each as if it stood alone: one that was sent before, in another company, is void, and those behind it count."""
    counted = False
    for at, value in enumerate(fact.body["messages"]):
        channel = None if fact.channel is None else (fact.channel[0], fact.channel[1] + at)
        alone = message_fact(fact, value, channel)
        void = _RECORDS[alone.kind](state, alone) if alone.kind in _ALONE else "misplaced"
        counted |= void is None
        if void:
            state.voids[void] = state.voids.get(void, 0) + 1
    return None if counted else "messages out of their order"


def _command(state: PartitionState, fact: Fact) -> str | None:
    return commands.take(state, fact)


def too_new(number: int, level: int, version: str, where: str) -> LevelTooNew:
    """What a reader says that a partition asks too much of."""
    wanted = f" to perdure {version} or newer" if version else ""
    return LevelTooNew(
        f"partition {number} uses record level {level} {where}, and this version of perdure knows {LEVEL}. Upgrade this"
        f" worker{wanted}; until then it leaves the partition alone"
    )


def _undecodable(state: PartitionState, fact: Fact) -> str | None:
    level, version = fact.body.get("needs", (0, ""))
    if level > LEVEL:  # whatever it is, a newer reader takes it
        raise too_new(state.number, level, version, f"at offset {fact.offset}")
    if _owned(state, fact):
        raise LevelTooNew(
            f"entry {fact.offset} of partition {state.number} was written by its owner and cannot be read here: "
            f"{fact.body['reason']}. It was written by another version of perdure, or is damaged; without it nothing"
            " that follows can be judged, so this worker leaves the partition alone"
        )
    if fact.channel is not None and fact.channel[1] == state.inbound.get(fact.channel[0], 0) + 1:
        # It may not hold up those behind it.
        state.inbound[fact.channel[0]] = fact.channel[1] + fact.messages - 1
    state.effects.append(effects.Bury(fact.offset, fact.body["reason"]))
    return UNDECODABLE


def _misplaced(state: PartitionState, fact: Fact) -> str | None:
    reason = f"a record of kind {fact.kind} has no place in a journal: look who may write to it"
    state.effects.append(effects.Bury(fact.offset, reason))
    return "misplaced"


_RECORDS: dict[str, Callable[[PartitionState, Fact], str | None]] = {
    "Claim": _claim,
    "Commit": _commit,
    "Ingest": _ingest,
    "Due": _due,
    "Fired": _fired,
    "Scanned": _scanned,
    "Config": _config,
    "Level": _level,
    "Ticked": _ticked,
    "Admitted": _admitted,
    "GatesDue": _gates_due,
    "Snapshotted": _snapshotted,
    "Released": _released,
    "Resumed": _resumed,
    "Message": _message,
    "Messages": _messages,
    "Command": _command,
    UNDECODABLE: _undecodable,
}

_ALONE = frozenset({"Message", UNDECODABLE})
"""What an entry of several messages may hold."""

FOLDED = frozenset(_RECORDS)
