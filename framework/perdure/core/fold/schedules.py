"""What the clock starts: schedules come and go with the config, and their ticks are decided on once each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from perdure.core import effects, ids, payload, routing
from perdure.core.durations import from_us
from perdure.core.facts import Fact
from perdure.core.fold import channels, runs, telling
from perdure.core.ops import EventData
from perdure.core.state import PartitionState, Schedule

Body = dict[str, Any]
REPLACED = "its next tick came"


def configured(state: PartitionState, functions: Iterable[Mapping[str, Any]], now: int) -> None:
    """The schedules of a config that live here. One that is new begins now: what lies before was nobody's."""
    wanted = {
        schedule["id"]: None
        for function in functions
        for schedule in function.get("schedules", ())
        if routing.schedule_partition(schedule["id"], state.partitions) == state.number
    }
    for gone in [known for known, s in state.schedules.items() if known not in wanted and s.put is None]:
        del state.schedules[gone]
    for known in wanted:
        found = state.schedules.setdefault(known, Schedule(now))
        found.put = None  # what code declares counts


def commanded(state: PartitionState, fact: Fact, name: str, body: Body) -> str | None:
    """Folds a client's command to a schedule; the reason when it does not count."""
    known = fact.body["run"].removeprefix(routing.SCHEDULE)
    if routing.schedule_partition(known, state.partitions) != state.number:
        return "command to a schedule of another partition"
    found = state.schedules.get(known)
    if name == PUT:
        void = _put(state, fact, known, found, body)
    elif found is None:
        void = None if body["wish"] == "delete" else NONE
    elif body["wish"] in _WISHES:
        void = _WISHES[body["wish"]](state, fact, known, found)
    else:
        void = "unknown wish"
    if void is None:
        state.effects.append(effects.Rescheduled(known))
    return void


PUT = "perdure.SchedulePut"
NONE = "there is no schedule of that id"
DECLARED = "code declares the schedule of that id"


def _put(state: PartitionState, fact: Fact, known: str, found: Schedule | None, body: Body) -> str | None:
    if body["schedule"]["id"] != known:
        return "command that contradicts itself"
    if found is None:
        made = sum(schedule.put is not None for schedule in state.schedules.values())
        if made >= state.limits.schedules_max:
            return f"a partition keeps {made} schedules, and schedules_max is reached"
        state.schedules[known] = Schedule(fact.ts, put=body)
        return None
    if found.put is None:
        return DECLARED
    if found.put != body:
        found.put, found.last = body, max(found.last, fact.ts)
        found.waiting = []
    return None


def _pause(_state: PartitionState, fact: Fact, _known: str, found: Schedule) -> str | None:
    found.paused, found.reason = True, fact.body["body"][1]["reason"]
    return None


def _resume(_state: PartitionState, fact: Fact, _known: str, found: Schedule) -> str | None:
    if found.paused:
        found.paused, found.reason, found.last = False, "", max(found.last, fact.ts)
    return None


def _delete(state: PartitionState, _fact: Fact, known: str, found: Schedule) -> str | None:
    if found.put is None:
        return DECLARED
    del state.schedules[known]
    return None


def _trigger(state: PartitionState, fact: Fact, known: str, found: Schedule) -> str | None:
    named = routing.scheduled(state.config, known)
    function = found.put["function"] if found.put is not None else named[0] if named is not None else ""
    command = fact.body["id"]
    run = ids.placed_run(state.generation, state.number, "trigger", command)
    event = tick_event(known, fact.ts, f"{known}@{command}", fact.ts)
    if runs.create(state, fact, run, function, event) is not None and state.heard:
        telling.started(state, run, function, event)
    return None


_WISHES: dict[str, Callable[[PartitionState, Fact, str, Schedule], str | None]] = {
    "pause": _pause,
    "resume": _resume,
    "delete": _delete,
    "trigger": _trigger,
}


def tick_event(schedule: str, at: int, event_id: str, ts: int) -> EventData:
    """The event of a tick."""
    data = payload.dumps({"schedule": schedule, "at": written(at)})
    return EventData(name=routing.TICK, id=event_id, ts=ts, key=schedule, v=None, data=data, trace=None)


def written(at: int) -> str:
    """A time as ticks have it."""
    return from_us(at).isoformat().replace("+00:00", "Z")


def ticked(state: PartitionState, fact: Fact) -> str | None:
    """Folds a `Ticked` record of the partition's owner; the reason when it does not count."""
    body = fact.body
    schedule = state.schedules.get(body["schedule"])
    if body["config"] != state.config["version"]:
        return "tick under another config"
    if schedule is None or schedule.last != body["from"]:
        return "tick of another moment"
    if body["to"] < body["from"]:
        return "tick that contradicts itself"
    schedule.last = body["to"]
    schedule.waiting = list(body["waiting"])
    for tick in body["runs"]:
        if runs.create(state, fact, tick["run"], body["function"], tick["event"]) is not None:
            schedule.run = tick["run"]
            if state.heard:
                telling.started(state, tick["run"], body["function"], tick["event"])
    if body["cancel"] is not None:
        command = ids.digest("tick", body["schedule"], body["cancel"])
        cancel = {"run": body["cancel"], "command": command, "reason": REPLACED, "force": False}
        channels.to_run(state, body["cancel"], "perdure.CancelRun", cancel)
    state.effects.append(effects.Ticked(body["schedule"]))
    return None
