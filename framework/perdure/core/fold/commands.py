"""What a client's command does: start, cancel, signal, ask, pause, resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure.core import effects, routing
from perdure.core.facts import Fact
from perdure.core.fold import ending, runs, schedules, telling
from perdure.core.state import STILL, Item, PartitionState, Request, Run

Body = dict[str, Any]
RESUME = "perdure.ResumeAsk"
SIGNAL = "perdure.SignalSend"
FULL = "inbox full"
CROWDED = "too many requests wait for an answer"

_SCHEDULED = frozenset({schedules.PUT, "perdure.ScheduleAsk"})

STEERING_ROOM = 16
"""Places beyond the bound of an inbox for cancels and resumes: a run that is full of signals can still be steered."""


def take(state: PartitionState, fact: Fact) -> str | None:
    """Folds one command; the reason when it does not count. Who waits for an answer gets one either way."""
    command = fact.body
    name, body = command["body"]
    run = state.run(command["run"])
    if command["run"].startswith(routing.SCHEDULE):
        void = schedules.commanded(state, fact, name, body) if name in _SCHEDULED else "command to no run"
        _answer(state, command, refused=void)
        return void
    if name in _SCHEDULED:
        return "command to no schedule"
    if name == "perdure.StartRun":
        return _start(state, fact, run, body)
    if name == "perdure.Query":
        _query(state, command, run, wait=body["wait"], value=body["value"])
        return None
    void = _void(state, run, command)
    asked = None if run is None else run.requests.get(command["id"])
    if void is None and name == SIGNAL and body["request"] and command["client"] is not None:
        void = _request(state, run, command)
    elif asked is None or not asked.open:  # else whoever asked asks again, and is answered in time
        _answer(state, command, refused=FULL if void == FULL else None)
    if void is not None or run is None:
        return void
    run.commands[command["id"]] = None
    if len(run.commands) > state.limits.commands_max:
        del run.commands[next(iter(run.commands))]
    _COMMANDS[name](state, fact, run, body)
    return None


def _void(state: PartitionState, run: Run | None, command: Body) -> str | None:
    """Why a command to a run does not count."""
    if run is None or not run.live:
        return "command to no live run"
    if command["id"] in run.commands:
        return "command twice"
    room = state.limits.inbox_max + (0 if command["body"][0] == SIGNAL else STEERING_ROOM)
    return FULL if len(run.inbox) >= room else None


def _request(state: PartitionState, run: Run | None, command: Body) -> str | None:
    """Notes who waits for the answer to a signal; the reason when there is no room for one more."""
    assert run is not None
    if len(run.requests) >= state.limits.requests_max:
        answered = next((known for known, request in run.requests.items() if not request.open), None)
        if answered is None:
            _answer(state, command, refused=CROWDED)
            return CROWDED
        del run.requests[answered]
    run.requests[command["id"]] = Request(command["client"])
    return None


def _answer(
    state: PartitionState, command: Body, value: str | None = None, refused: str | None = None
) -> None:
    if command["client"] is not None:
        state.effects.append(effects.Answer(command["client"], command["id"], command["run"], value, refused))


def _query(
    state: PartitionState, command: Body, run: Run | None, *, wait: bool, value: str | None = None
) -> None:
    client = command["client"]
    if not wait or run is None or not run.live or client is None:
        _answer(state, command, value)
        return
    run.watchers.pop(client, None)  # it asks again: the newest come last
    run.watchers[client] = command["id"]
    if len(run.watchers) > state.limits.watchers_max:  # the oldest asks again
        del run.watchers[next(iter(run.watchers))]


def _start(state: PartitionState, fact: Fact, run: Run | None, body: Body) -> str | None:
    command = fact.body
    if run is None:
        run = runs.create(
            state, fact, command["run"], body["function"], body["event"], tags=dict(body["tags"])
        )
        void = None if run is not None else "run ended before"
        if run is not None and run.live and body["repeats"]:
            run.repeats = body["repeats"]
            run.reuse = {reused["key"]: reused["op"] for reused in body["reuse"]} or None
        if run is not None and state.heard:
            telling.started(state, run.id, run.function, run.event)
    else:
        void = "run exists"
    if command["client"] is not None:
        _query(state, command, run, wait=True)
    return void


def _to_inbox(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    run.inbox.append(Item(fact.offset, fact.body["body"][0], body, fact.body["id"]))
    state.effects.append(effects.Activate(run.id))


def _cancel(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    if not ending.is_stale(state, run, fact.body["id"]):
        _to_inbox(state, fact, run, body)


def _pause(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    run.inbox = [item for item in run.inbox if item.name != RESUME]  # what was asked for last is what holds
    if run.status != "parked":
        run.status, run.reason = "paused", body["reason"]
    state.effects.append(effects.Activate(run.id))


def _resume(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    if run.status not in STILL:
        return
    if run.started:
        if any(item.name == RESUME for item in run.inbox):
            state.effects.append(effects.Activate(run.id))
        else:
            _to_inbox(state, fact, run, body)
        return
    # No record has begun it: it goes back to where it was, and its body need not know.
    run.status, run.reason = ("scheduled" if run.not_before else "queued"), ""
    if run.not_before:
        state.effects.append(effects.Arm(run.id, "", run.not_before))
    state.effects.append(effects.Activate(run.id))


_COMMANDS: dict[str, Callable[[PartitionState, Fact, Run, Body], None]] = {
    "perdure.CancelAsk": _cancel,
    SIGNAL: _to_inbox,
    "perdure.PauseAsk": _pause,
    RESUME: _resume,
}

FOLDED_COMMANDS = frozenset(_COMMANDS) | _SCHEDULED | {"perdure.StartRun", "perdure.Query"}
