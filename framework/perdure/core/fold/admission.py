"""How a run under flow control comes to its start, and a step of it to its attempt: from limit to limit, by message.

The run is made at once and waits, so that it can be seen and cancelled. Its owner reads the keys that its event has,
once, in an `Admitted` record; then it asks one limit after the other. What it holds is given back by the fold of its
own end alone, so that a crash loses no place (B7).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure.core import effects
from perdure.core.entities import Admission, Pending, Run, Stage
from perdure.core.facts import Fact
from perdure.core.fold import channels
from perdure.core.fold.gates import JOINING, TIME_MAX
from perdure.core.gates import HOLDING
from perdure.core.ops import Failure
from perdure.core.state import PartitionState

Body = dict[str, Any]
ATTEMPTS = 4_096
WAITED_AT = HOLDING | JOINING | {"throttle"}
Skip = Callable[[PartitionState, Fact, Run, str], None]
Fail = Callable[[PartitionState, Fact, Run, Failure], None]


def begin(run: Run) -> None:
    """The run is under flow control."""
    run.admission = Admission()


def admitted(state: PartitionState, fact: Fact, fail: Fail) -> str | None:
    """Folds an `Admitted` record of the partition's owner; why it does not count."""
    if fact.body["config"] != state.config["version"]:
        return "admission under another config"
    for ask in fact.body["asks"]:
        run = state.run(ask["run"])
        if run is None or not run.live or run.admission is None or run.admission.at >= 0:
            continue
        limits = state.limited.get(run.function, ())
        if ask["fault"] is not None:
            fail(state, fact, run, ask["fault"])
        elif len(ask["values"]) == len(limits):
            _read(state, fact, run, run.admission, ask, limits)
    return None


def _read(state: PartitionState, fact: Fact, run: Run, admission: Admission, ask: Body, limits: Any) -> None:
    for limit, value in zip(limits, ask["values"], strict=True):
        if value is None or limit["kind"] == "priority":
            continue
        of_steps = limit["kind"] == "concurrency" and limit["mode"] == "step"
        (admission.steps if of_steps else admission.stages).append(Stage(limit, value))
    admission.config = fact.body["config"]
    admission.rank = max(min(max(run.created, run.not_before) - ask["priority"], TIME_MAX), -TIME_MAX)
    admission.at = 0
    _ask(state, fact, run, admission)


def _ask(state: PartitionState, fact: Fact, run: Run, admission: Admission) -> None:
    """Asks the next limit; through all of them, the run may start, and its clock begins now (A9)."""
    if admission.at < len(admission.stages):
        _send_ask(state, run, admission, admission.stages[admission.at], "", 0)
        return
    run.not_before = max(run.not_before, fact.ts)
    run.time = max(run.time, fact.ts)
    if run.status == "scheduled":
        run.status = "queued"
    state.effects.append(effects.Activate(run.id))


def _send_ask(
    state: PartitionState, run: Run, admission: Admission, stage: Stage, key: str, number: int
) -> None:
    joins = stage.limit["kind"] in JOINING
    body: Body = {
        "run": run.id,
        "key": key,
        "number": number,
        "limit": stage.limit,
        "value": stage.value,
        "config": admission.config,
        "rank": admission.rank,
        "time": run.event["ts"],
        "awaited": run.parent is not None,
        "event": run.event
        if joins and (stage.limit["kind"] == "batch" or stage.limit["mode"] == "all")
        else None,
    }
    channels.to_gate(state, "perdure.GateAsk", stage.limit["id"], stage.value, body)


def answered(state: PartitionState, fact: Fact, body: Body, skip: Skip) -> None:
    """A limit has answered."""
    run = state.run(body["run"])
    admission = run.admission if run is not None else None
    if run is None or admission is None or not run.live:
        return  # it has ended, and told the limit so
    if body["key"]:
        _step_answered(state, run, admission, body)
        return
    waits = 0 <= admission.at < len(admission.stages)
    if not waits or admission.stages[admission.at].limit["id"] != body["limit"]:
        return
    if body["reason"] is not None:
        skip(state, fact, run, body["reason"])
        return
    if body["events"]:
        admission.events = body["events"]
        run.seen |= {event["id"]: max(fact.ts, event["ts"]) for event in body["events"]}
    admission.at += 1
    _ask(state, fact, run, admission)


# --- steps ------------------------------------------------------------------------------------------------------------


def ask_step(state: PartitionState, run: Run, key: str, pending: Pending) -> None:
    """An attempt of a step is wanted."""
    admission = run.admission
    if admission is not None and admission.steps:
        pending.slots = 0
        _send_ask(state, run, admission, admission.steps[0], key, _number(run, pending))


def _number(run: Run, pending: Pending) -> int:
    """What tells an ask of a step from its later ones; a run that began anew has steps of the same keys."""
    return (run.restarts * ATTEMPTS + pending.attempt) & 0x7FFF_FFFF


def _step_answered(state: PartitionState, run: Run, admission: Admission, body: Body) -> None:
    key = body["key"]
    pending = run.pending.get(key)
    if pending is None or pending.kind != "step" or _number(run, pending) != body["number"]:
        return
    if not 0 <= pending.slots < len(admission.steps):
        return
    pending.slots += 1
    if pending.slots < len(admission.steps):
        _send_ask(state, run, admission, admission.steps[pending.slots], key, _number(run, pending))
    else:
        state.effects.append(effects.Granted(run.id, key))


def leave_step(state: PartitionState, run: Run, key: str, pending: Pending) -> None:
    """An attempt is over, or nobody wants it any more."""
    admission = run.admission
    if admission is None or pending.slots < 0:
        return
    for stage in admission.steps[: pending.slots + 1]:
        _leave(state, run, key, stage)
    pending.slots = -1


# --- the end ----------------------------------------------------------------------------------------------------------


def leave(state: PartitionState, run: Run) -> None:
    """The run has ended: gives back what it holds, and takes back what it asked for."""
    admission = run.admission
    if admission is None:
        return
    for number, stage in enumerate(admission.stages[: admission.at + 1]):
        asking = number == admission.at
        if stage.limit["kind"] in (WAITED_AT if asking else HOLDING) and not (
            asking and run.status == "skipped"
        ):
            _leave(state, run, "", stage)


def _leave(state: PartitionState, run: Run, key: str, stage: Stage) -> None:
    body: Body = {"run": run.id, "key": key, "limit": stage.limit["id"], "value": stage.value}
    channels.to_gate(state, "perdure.GateLeft", stage.limit["id"], stage.value, body)
