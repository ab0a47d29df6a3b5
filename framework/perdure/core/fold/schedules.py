"""What the clock starts: schedules come and go with the config, and their ticks are decided on once each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from perdure.core import effects, routing
from perdure.core.facts import Fact
from perdure.core.fold import channels, runs, telling
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
    for gone in [known for known in state.schedules if known not in wanted]:
        del state.schedules[gone]
    for known in wanted:
        if known not in state.schedules:
            state.schedules[known] = Schedule(now)


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
        cancel = {"run": body["cancel"], "command": "", "reason": REPLACED, "force": False}
        channels.to_run(state, body["cancel"], "perdure.CancelRun", cancel)
    state.effects.append(effects.Ticked(body["schedule"]))
    return None
