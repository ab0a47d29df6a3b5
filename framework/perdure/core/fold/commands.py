"""What a client's command does: start, cancel, signal, ask, pause, resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure.core import effects
from perdure.core.facts import Fact
from perdure.core.fold import runs
from perdure.core.state import Item, PartitionState, Run

Body = dict[str, Any]

STEERING_ROOM = 16
"""Places beyond the bound of an inbox for cancels and resumes: a run that is full of signals can still be steered."""


def take(state: PartitionState, fact: Fact) -> str | None:
    """Folds one command; the reason when it does not count. Who waits for an answer gets one either way."""
    command = fact.body
    name, body = command["body"]
    run = state.run(command["run"])
    if name == "perdure.StartRun":
        return _start(state, fact, run, body)
    if name == "perdure.Query":
        _query(state, command, run, wait=body["wait"])
        return None
    _answer(state, command)
    if run is None or not run.live:
        return "command to no live run"
    if command["id"] in run.commands:
        return "command twice"
    room = state.limits.inbox_max + (0 if name == "perdure.SignalSend" else STEERING_ROOM)
    if len(run.inbox) >= room:
        return "inbox full"
    run.commands[command["id"]] = None
    if len(run.commands) > state.limits.commands_max:
        del run.commands[next(iter(run.commands))]
    _COMMANDS[name](state, fact, run, body)
    return None


def _answer(state: PartitionState, command: Body) -> None:
    if command["client"] is not None:
        state.effects.append(effects.Answer(command["client"], command["id"], command["run"]))


def _query(state: PartitionState, command: Body, run: Run | None, *, wait: bool) -> None:
    client = command["client"]
    if not wait or run is None or not run.live or client is None:
        _answer(state, command)
        return
    run.watchers[command["id"]] = client
    if len(run.watchers) > state.limits.watchers_max:  # the oldest asks again
        del run.watchers[next(iter(run.watchers))]


def _start(state: PartitionState, fact: Fact, run: Run | None, body: Body) -> str | None:
    command = fact.body
    if run is None:
        run = runs.create(
            state, fact, command["run"], body["function"], body["event"], tags=dict(body["tags"])
        )
        void = None
    else:
        void = "run exists"
    if run is not None and command["client"] is not None:
        _query(state, command, run, wait=True)
    return void


def _to_inbox(state: PartitionState, fact: Fact, run: Run, body: Body) -> None:
    run.inbox.append(Item(fact.offset, fact.body["body"][0], body, fact.body["id"]))
    state.effects.append(effects.Activate(run.id))


def _pause(state: PartitionState, _fact: Fact, run: Run, body: Body) -> None:
    if run.status != "parked":
        run.status, run.reason = "paused", body["reason"]
    state.effects.append(effects.Activate(run.id))


_COMMANDS: dict[str, Callable[[PartitionState, Fact, Run, Body], None]] = {
    "perdure.CancelAsk": _to_inbox,
    "perdure.SignalSend": _to_inbox,
    "perdure.PauseAsk": _pause,
    "perdure.ResumeAsk": _to_inbox,
}

FOLDED_COMMANDS = frozenset(_COMMANDS) | {"perdure.StartRun", "perdure.Query"}
