"""Runs a body live with random inputs, records it, and runs it again from the record under another heap layout."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from perdure.authoring.functions import Function, make_function
from perdure.core import ops
from perdure.core.limits import Limits
from perdure.core.ops import EventData, Op
from perdure.errors import Stuck
from perdure.execution import Execution, RunStart, SyncExecution, Turn

T0 = 1_700_000_000_000_000
LIMITS = Limits()
Body = Callable[[Any], Any] | Function[Any, Any]


def work(name: str) -> str:
    """A step's function. The harness never calls it: it makes the results up."""
    return name


def event(
    name: str = "test/started", data: object = None, *, event_id: str = "e1", ts: int = T0
) -> EventData:
    return {
        "name": name,
        "id": event_id,
        "ts": ts,
        "key": event_id,
        "v": None,
        "trace": None,
        "data": json.dumps({"ref": 7} if data is None else data).encode(),
    }


def function(body: Body, **more: Any) -> Function[Any, Any]:
    return body if isinstance(body, Function) else make_function(body, id=more.pop("id", "program"), **more)


def execution(body: Body, run_id: str = "run-1", **more: Any) -> Any:
    """An execution that has not begun; of the kind that fits the body."""
    made = function(body)
    events = more.pop("events", (event(),))
    start = RunStart(run_id, made.id, tuple(events), T0)
    more.setdefault("code", made.code)
    more.setdefault("limits", LIMITS)
    return (Execution if made.is_async else SyncExecution)(made, start, **more)


# --- releases ---------------------------------------------------------------------------------------------------------


def step_done(key: str, result: object = "ok", *, time: int = T0, attempt: int = 1) -> Op:
    data = json.dumps(result).encode()
    return ops.STEP_DONE, {"key": key, "time": time, "attempt": attempt, "took": 1, "result": data}


def step_failed(key: str, *, kind: str = "ValueError", message: str = "no", time: int = T0) -> Op:
    failure = {"type": kind, "message": message, "traceback": "", "data": ""}
    return ops.STEP_FAILED, {"key": key, "time": time, "attempt": 5, "took": 1, "error": failure}


def timer_fired(key: str, *, time: int) -> Op:
    return ops.TIMER_FIRED, {"key": key, "time": time}


def event_given(key: str, given: EventData, *, time: int = T0) -> Op:
    return ops.EVENT_GIVEN, {"key": key, "time": time, "position": None, "event": given}


def signal_given(key: str, name: str, data: object = None, *, time: int = T0) -> Op:
    fields = {"key": key, "time": time, "command": "c1", "name": name, "data": json.dumps(data).encode()}
    return ops.SIGNAL_GIVEN, fields


def child_ended(key: str, outcome: Op, *, time: int = T0) -> Op:
    return ops.CHILD_ENDED, {"key": key, "time": time, "outcome": outcome}


def cancel_asked(*, time: int = T0, reason: str = "enough", force: bool = False) -> Op:
    return ops.CANCEL_ASKED, {"time": time, "command": "c2", "reason": reason, "force": force}


def resumed(code: str, *, time: int = T0) -> Op:
    return ops.RESUMED_BY_USER, {"time": time, "command": "c3", "code": code}


# --- what the record says ---------------------------------------------------------------------------------------------

_OPENS = {ops.TIMER_SET: "timer", ops.WAIT_OPENED: "wait", ops.CHILD_ISSUED: "child"}
_DROPS = (ops.TIMER_DROPPED, ops.WAIT_CLOSED, ops.CHILD_DROPPED, ops.STEP_ABANDONED)


@dataclass
class Record:
    """What an engine knows of a run: its commits, and what it waits for."""

    commits: list[list[Op]] = field(default_factory=list[list[Op]])
    turns: list[list[Op]] = field(default_factory=list[list[Op]])
    open: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict[str, tuple[str, dict[str, Any]]])
    ended: Op | None = None

    def add(self, release: Op | None, turn: Turn, *, fuse: bool = False) -> Turn:
        changes = list(turn.ops) if release is None else [release, *turn.ops]
        if fuse and self.commits:
            self.commits[-1] += changes
        else:
            self.commits.append(list(changes))
        self.turns.append(changes)
        if release is not None:
            self.open.pop(release[1].get("key", ""), None)
        for name, fields in turn.ops:
            if name == ops.ASKED:
                for key in fields["keys"]:
                    assert key not in self.open, key
                    self.open[key] = ("step", {})
            elif name in _OPENS and not fields.get("detached"):
                assert fields["key"] not in self.open
                self.open[fields["key"]] = (_OPENS[name], fields)
            elif name in _DROPS:
                del self.open[fields["key"]]
            elif name in ops.ENDS:
                self.ended = (name, fields)
        return turn


class Driver:
    """An execution and its record, for tests that say what happens next."""

    def __init__(self, body: Body, **more: Any) -> None:
        self.body = function(body)
        self.more = more
        self.execution = execution(self.body, **more)
        self.record = Record()
        self.last = self.record.add(None, self.execution.begin())

    def release(self, op: Op) -> Turn:
        self.last = self.record.add(op, self.execution.release(op))
        return self.last

    def done(self, key: str, result: object = "ok", **more: Any) -> Turn:
        return self.release(step_done(key, result, **more))

    @property
    def open(self) -> list[str]:
        return sorted(self.record.open)

    @property
    def result(self) -> Any:
        assert self.record.ended is not None, f"it has not ended; it waits for {self.open}"
        name, fields = self.record.ended
        if name == ops.RUN_DONE:
            return json.loads(fields["result"])
        return fields["error"]["type"] if name == ops.RUN_FAILED else "cancelled"

    @property
    def error(self) -> dict[str, str]:
        assert self.record.ended is not None
        return self.record.ended[1]["error"]

    def replayed(self, body: Body | None = None, **more: Any) -> Any:
        """Another execution, of this or another body, brought to where this one is."""
        again = execution(self.body if body is None else body, **{**self.more, **more})
        again.replay(self.record.commits)
        return again


# --- random runs ------------------------------------------------------------------------------------------------------


class Jitter:
    """Makes the heap another one each time, so that objects get other addresses, and sets of them another order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._held: list[Any] = []

    def __call__(self) -> None:
        held, rnd = self._held, self._random
        for _ in range(rnd.randrange(6)):
            kind = rnd.randrange(4)
            if kind == 0:
                unused = _nothing()
                unused.close()
                held.append(unused)
            elif kind == 1:
                held.append(bytearray(rnd.randrange(40, 400)))
            elif kind == 2:
                held.append([0] * rnd.randrange(3, 30))
            elif held:
                held.pop(rnd.randrange(len(held)))


async def _nothing() -> None: ...


@dataclass
class Ran:
    """How a random run went."""

    record: Record
    how: str


def run_live(body: Body, seed: int, *, turns_max: int = 60, cancels: bool = True) -> Ran:
    """A run with outcomes in random order, errors, timers, timeouts, cancels, and commits of random size."""
    rnd = random.Random(seed)
    jitter = Jitter(seed * 7 + 1)
    live = execution(jittered(body, jitter), f"run-{seed}", code="1")
    record = Record()
    time = T0
    try:
        record.add(None, live.begin())
        cancelled = 0
        while record.ended is None and len(record.turns) < turns_max:
            jitter()
            op = (
                _cancel(rnd, cancelled)
                if cancels and cancelled < 2 and rnd.random() < 0.06
                else _next(rnd, record)
            )
            cancelled += op[0] == ops.CANCEL_ASKED
            # Now and then two owners' clocks disagree, and time seems to stand still or go back.
            time = max(op[1]["time"], time + rnd.choice((0, -5, 1, 700, 300_000, 1_500_000)))
            op[1]["time"] = time
            record.add(op, live.release(op), fuse=rnd.random() < 0.4)
            assert set(record.open) == set(live.waiting_for()), "the record and the body disagree"
    except Stuck:
        return Ran(record, "stuck")
    finally:
        live.teardown()
    return Ran(record, "ended" if record.ended else "running")


def check_replay(body: Body, ran: Ran, seed: int, run_id: str) -> str | None:
    """What differs when the record is given to the same code again; None when nothing does."""
    jitter = Jitter(seed)
    shaken = jittered(body, jitter)
    again = execution(shaken, run_id, code="1")
    try:
        for number, changes in enumerate(ran.record.turns):
            jitter()
            turn = again.begin() if number == 0 else again.release(changes[0])
            expected = changes if number == 0 else changes[1:]
            if _canonical(turn.ops) != _canonical(expected):
                return f"turn {number}: live {expected}, replay {turn.ops}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        again.teardown()
    whole = execution(shaken, run_id, code="1")
    try:
        whole.replay(ran.record.commits)
        if set(whole.waiting_for()) != set(ran.record.open) and not whole.ended:
            return f"waits for {sorted(whole.waiting_for())}, the record for {sorted(ran.record.open)}"
    except Exception as error:
        return f"replay(): {type(error).__name__}: {error}"
    finally:
        whole.teardown()
    return None


def jittered(body: Any, jitter: Jitter) -> Body:
    """The body with the `ctx.jitter` that the programs call before each step."""

    async def run(ctx: Any) -> Any:
        ctx.jitter = jitter
        return await body(ctx)

    return run


def _canonical(changes: list[Op]) -> list[Any]:
    units: list[Any] = []
    for name, fields in changes:
        if name == ops.ASKED:
            units += [(name, key) for key in fields["keys"]]
        elif name == ops.RUN_FAILED:
            units.append((name, fields["error"]["type"], fields["error"]["message"], fields["time"]))
        else:
            units.append((name, repr(sorted(fields.items()))))
    return sorted(units)


def _cancel(rnd: random.Random, before: int) -> Op:
    return cancel_asked(time=T0, force=bool(before) or rnd.random() < 0.2)


def _next(rnd: random.Random, record: Record) -> Op:
    """One of the inputs that could come next."""
    choices: list[Op] = []
    due: list[tuple[int, str]] = []
    for key, (kind, fields) in record.open.items():
        if fields.get("due") is not None:
            due.append((fields["due"], key))
        if kind == "step":
            choices.append(step_done(key, key))
            if rnd.random() < 0.15:
                choices.append(step_failed(key, message=key))
        elif kind == "wait":
            if fields["signal"] is not None:
                choices.append(signal_given(key, fields["signal"], key))
            else:
                choices.append(event_given(key, event(fields["event"], {"from": key}, event_id=f"e-{key}")))
        elif kind == "child":
            choices.append(child_ended(key, _outcome(rnd, key)))
    if due:
        when, key = min(due)
        choices.append(timer_fired(key, time=when))
    return rnd.choice(choices)


def _outcome(rnd: random.Random, key: str) -> Op:
    failure = {"type": "KeyError", "message": key, "traceback": "", "data": ""}
    return rnd.choice(
        [
            (ops.CHILD_DONE, {"result": json.dumps(key).encode()}),
            (ops.CHILD_FAILED, {"error": failure}),
            (ops.CHILD_CANCELLED, {"reason": "no"}),
            (ops.CHILD_REFUSED, {"reason": "singleton"}),
        ]
    )


Program = Callable[[Any], Awaitable[Any]]
