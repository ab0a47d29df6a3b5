"""What people see of a run: its steps, waits and timers, from its accepted ops. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from perdure.core import failures, ops, payload
from perdure.core.ids import shown_step
from perdure.core.ops import EventData, Failure, Op
from perdure.core.state import Run

Kind = Literal["step", "sleep", "wait", "signal", "invoke", "start", "send"]
StepStatus = Literal["running", "retrying", "completed", "failed", "timed out", "abandoned"]


@dataclass(slots=True)
class StepView:
    """One step, sleep, wait or child of a run."""

    key: str
    kind: Kind
    status: StepStatus = "running"
    attempts: int = 0
    began: int = 0
    """When the body asked for it (µs)."""
    ended: int = 0
    took: int = 0
    """Duration of the last attempt (µs)."""
    due: int | None = None
    output: Any = None
    error: Failure | None = None

    @property
    def id(self) -> str:
        """The step's id, with its index when it was used before."""
        return shown_step(self.key)


@dataclass(slots=True)
class RunView:
    """A run with all that its log says."""

    id: str
    function: str
    status: str
    event: EventData
    created: int
    started: int = 0
    ended: int = 0
    result: Any = None
    error: Failure | None = None
    reason: str = ""
    tags: dict[str, str] = field(default_factory=dict[str, str])
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    parent: str | None = None
    restarts: int = 0
    """How often it has begun anew; its steps are those of its last life."""
    begun: int = 0
    """When it began anew last (µs); 0 when it has not."""
    seed: str = ""
    held: str = ""
    """How it will end, when its body is over and an attempt of a step is not: see `held_end`."""
    steps: list[StepView] = field(default_factory=list[StepView])
    ops: Sequence[Op] = ()


def run_view(run: Run, accepted: Sequence[Op]) -> RunView:
    """A run as people see it; `accepted` are the ops of all its accepted commits, in order."""
    return RunView(
        id=run.id,
        function=run.function,
        status=run.status,
        event=run.event,
        created=run.created,
        started=run.started,
        ended=run.ended,
        result=None if run.result is None else payload.loads(run.result),
        error=run.error,
        reason=run.reason,
        tags=dict(run.tags),
        values={name: payload.loads(value) for name, value in run.values.items()},
        parent=run.parent,
        restarts=run.restarts,
        begun=run.begun,
        seed=run.seed,
        held=held_end(run),
        steps=step_views(accepted),
        ops=accepted,
    )


def held_end(run: Run) -> str:
    """The status that a run will have once its last attempt is over; "" while its body is not over, and at its end."""
    if run.held is None or not run.live:
        return ""
    return _HELD.get(run.held[0], "parked")


def step_views(accepted: Iterable[Op]) -> list[StepView]:
    """The steps of a run, in the order in which the body asked for them."""
    steps: dict[str, StepView] = {}
    time = 0
    for name, body in _as_written(accepted):
        time = body.get("time", time)
        handler = _OPS.get(name)
        if handler is not None:
            handler(steps, body, time)
    return [step for step in steps.values() if not step.id.startswith("~")]


def _as_written(accepted: Iterable[Op]) -> Iterator[Op]:
    """The ops with the sends of each turn first: a body sends and goes on, and waits for what it asks for after."""
    waiting: list[Op] = []
    for op in accepted:
        if op[0] in (ops.EVENTS_SENT, ops.SIGNAL_SENT) or (op[0] == ops.CHILD_ISSUED and op[1]["detached"]):
            yield op
        elif op[0] in ops.CONSEQUENCES:
            waiting.append(op)
        else:
            yield from waiting
            waiting = []
            yield op
    yield from waiting


Body = dict[str, Any]
Steps = dict[str, StepView]


def _opened(kind: Kind) -> Callable[[Steps, Body, int], None]:
    def apply(steps: Steps, body: Body, time: int) -> None:
        due = body.get("due")
        steps[body["key"]] = StepView(body["key"], kind, began=time, due=due)

    return apply


def _asked(steps: Steps, body: Body, time: int) -> None:
    for key in body["keys"]:
        steps.setdefault(key, StepView(key, "step", began=time))


def _wait_opened(steps: Steps, body: Body, time: int) -> None:
    kind: Kind = "signal" if body["signal"] is not None else "wait"
    steps[body["key"]] = StepView(body["key"], kind, began=time, due=body["due"])


def _child_issued(steps: Steps, body: Body, time: int) -> None:
    step = steps[body["key"]] = StepView(body["key"], "invoke", began=time, due=body["due"])
    if body["detached"]:
        step.kind, step.status, step.output, step.ended = "start", "completed", body["run"], time


def _sent(steps: Steps, body: Body, time: int) -> None:
    output = [event["id"] for event in body["events"]]
    steps[body["key"]] = StepView(body["key"], "send", "completed", began=time, ended=time, output=output)


def _signalled(steps: Steps, body: Body, time: int) -> None:
    steps[body["key"]] = StepView(
        body["key"], "send", "completed", began=time, ended=time, output=body["command"]
    )


def _close(steps: Steps, body: Body, time: int, status: StepStatus) -> StepView | None:
    step = steps.get(body["key"])
    if step is not None:
        step.status, step.ended = status, time
        step.attempts = body.get("attempt", step.attempts)
        step.took = body.get("took", step.took)
    return step


def _step_done(steps: Steps, body: Body, time: int) -> None:
    step = _close(steps, body, time, "completed")
    if step is not None:
        step.output, step.error = payload.loads(body["result"]), None


def _step_failed(steps: Steps, body: Body, time: int) -> None:
    step = _close(steps, body, time, "failed")
    if step is not None:
        step.error = body["error"]


def _attempt_failed(steps: Steps, body: Body, time: int) -> None:
    step = _close(steps, body, time, "retrying")
    if step is not None:
        step.ended, step.error, step.due = 0, body["error"], body["retry_at"]


def _timer_fired(steps: Steps, body: Body, time: int) -> None:
    step = steps.get(body["key"])
    if step is not None:
        _close(steps, body, time, "completed" if step.kind == "sleep" else "timed out")


def _event_given(steps: Steps, body: Body, time: int) -> None:
    step = _close(steps, body, time, "completed")
    if step is not None:
        step.output = payload.loads(body["event"]["data"])


def _signal_given(steps: Steps, body: Body, time: int) -> None:
    step = _close(steps, body, time, "completed")
    if step is not None:
        step.output = payload.loads(body["data"])


def _child_ended(steps: Steps, body: Body, time: int) -> None:
    name, outcome = body["outcome"]
    step = _close(steps, body, time, "completed" if name == ops.CHILD_DONE else "failed")
    if step is None:
        return
    if name == ops.CHILD_DONE:
        step.output = payload.loads(outcome["result"])
    else:
        reason = outcome.get("reason", "")
        step.error = outcome.get("error") or failures.of_parts(name.partition(".")[2], reason)


def _abandoned(steps: Steps, body: Body, time: int) -> None:
    _close(steps, body, time, "abandoned")


_HELD = {
    ops.RUN_DONE: "completed",
    ops.RUN_FAILED: "failed",
    ops.RUN_CANCELLED: "cancelled",
    ops.RUN_RESTARTED: "queued",
}
_OPS: dict[str, Callable[[Steps, Body, int], None]] = {
    ops.ASKED: _asked,
    ops.TIMER_SET: _opened("sleep"),
    ops.WAIT_OPENED: _wait_opened,
    ops.CHILD_ISSUED: _child_issued,
    ops.EVENTS_SENT: _sent,
    ops.SIGNAL_SENT: _signalled,
    ops.STEP_DONE: _step_done,
    ops.STEP_FAILED: _step_failed,
    ops.ATTEMPT_FAILED: _attempt_failed,
    ops.TIMER_FIRED: _timer_fired,
    ops.EVENT_GIVEN: _event_given,
    ops.SIGNAL_GIVEN: _signal_given,
    ops.CHILD_ENDED: _child_ended,
    ops.STEP_ABANDONED: _abandoned,
    ops.TIMER_DROPPED: _abandoned,
    ops.WAIT_CLOSED: _abandoned,
    ops.CHILD_DROPPED: _abandoned,
}
