"""From the ops of a run to stretches of time: when each attempt and step began, and how it ended. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from perdure.core import failures, ops
from perdure.core.ids import BODY, shown_step
from perdure.core.ops import Failure, Op
from perdure.observability import names

NOTES_MAX: Final = 100
Kind = Literal["run", "attempt", "step", "sleep", "wait", "signal", "invoke", "start", "send"]
Body = dict[str, Any]


class Mark(NamedTuple):
    """Something that is over. Times are microseconds since the epoch."""

    kind: Kind
    key: str
    """The step's key; empty for the run itself."""
    start: int
    end: int
    status: str
    number: int = 0
    """Of an attempt: which. Of a step: how many it took."""
    error: Failure | None = None


class Note(NamedTuple):
    """Something that happened to the run at one moment (µs)."""

    name: str
    time: int
    detail: str


@dataclass(slots=True)
class Open:
    """A step that has not ended."""

    kind: Kind
    began: int
    attempts: int = 0


@dataclass(slots=True)
class Timeline:
    """What is under way in one run. Takes the run's accepted ops, in order."""

    began: int
    """The time of the first turn (µs)."""
    time: int = 0
    open: dict[str, Open] = field(default_factory=dict[str, Open])
    notes: list[Note] = field(default_factory=list[Note])
    reason: str = ""

    def take(self, op: Op) -> Sequence[Mark]:
        """Takes one op; what ended with it, the innermost first."""
        name, body = op
        self.time = body.get("time") or self.time or self.began
        handler = _OPS.get(name)
        return () if handler is None else handler(self, body)

    def end(self, key: str, status: str, *, error: Failure | None = None) -> Sequence[Mark]:
        """A step is over now."""
        step = self.open.pop(key, None)
        if step is None:
            return ()
        return (Mark(step.kind, key, step.began, self.time, status, step.attempts, error),)

    def end_run(self, status: str, error: Failure | None = None) -> Sequence[Mark]:
        """The run is over now, and with it what it still waited for."""
        left = [mark for key in list(self.open) for mark in self.end(key, "abandoned")]
        return [*left, Mark("run", "", self.began, self.time, status, error=error)]

    def note(self, name: str, detail: str) -> Sequence[Mark]:
        """Keeps what happened for the run's own span; a run that is parked again and again fills no memory."""
        if len(self.notes) < NOTES_MAX:
            self.notes.append(Note(name, self.time, detail))
        return ()


def _started(line: Timeline, body: Body) -> Sequence[Mark]:
    line.began = body["time"]
    return ()


def _asked(line: Timeline, body: Body) -> Sequence[Mark]:
    for key in body["keys"]:
        if key not in line.open:
            line.open[key] = Open("step", line.time)
    return ()


def _timer_set(line: Timeline, body: Body) -> Sequence[Mark]:
    if not shown_step(body["key"]).startswith("~"):  # asyncio's own, such as those of its timeouts
        line.open[body["key"]] = Open("sleep", line.time)
    return ()


def _wait_opened(line: Timeline, body: Body) -> Sequence[Mark]:
    line.open[body["key"]] = Open("wait" if body["signal"] is None else "signal", line.time)
    return ()


def _child_issued(line: Timeline, body: Body) -> Sequence[Mark]:
    key = body["key"]
    if body["detached"]:
        return (Mark("start", key, line.time, line.time, "completed"),)
    line.open[key] = Open("invoke", line.time)
    return ()


def _events_sent(line: Timeline, body: Body) -> Sequence[Mark]:
    return (Mark("send", body["key"], line.time, line.time, "completed"),)


def _attempt(line: Timeline, body: Body, status: str) -> Mark:
    """The attempt that is over now, by how long it took: it began when a slot was free, not when it was asked for."""
    key, number = body["key"], body["attempt"]
    step = line.open.get(key)
    if step is not None:
        step.attempts = number
    return Mark("attempt", key, line.time - body["took"], line.time, status, number, body.get("error"))


def _attempt_failed(line: Timeline, body: Body) -> Sequence[Mark]:
    if body["key"] == BODY:  # not a step: a `def` body that will run again from the top
        return line.note(names.BODY_FAILED, f"{body['error']['type']}: {body['error']['message']}")
    return (_attempt(line, body, "failed"),)


def _step_done(line: Timeline, body: Body) -> Sequence[Mark]:
    return (_attempt(line, body, "completed"), *line.end(body["key"], "completed"))


def _step_failed(line: Timeline, body: Body) -> Sequence[Mark]:
    return (_attempt(line, body, "failed"), *line.end(body["key"], "failed", error=body["error"]))


def _timer_fired(line: Timeline, body: Body) -> Sequence[Mark]:
    step = line.open.get(body["key"])
    return line.end(body["key"], "completed" if step is not None and step.kind == "sleep" else "timed out")


def _completed(line: Timeline, body: Body) -> Sequence[Mark]:
    return line.end(body["key"], "completed")


def _child_ended(line: Timeline, body: Body) -> Sequence[Mark]:
    name, outcome = body["outcome"]
    if name == ops.CHILD_DONE:
        return line.end(body["key"], "completed")
    error = outcome.get("error")
    if error is None:
        kind = "cancelled" if name == ops.CHILD_CANCELLED else "refused"
        error = failures.of_parts(kind, outcome["reason"])
    return line.end(body["key"], "failed", error=error)


def _abandoned(line: Timeline, body: Body) -> Sequence[Mark]:
    return line.end(body["key"], "abandoned")


def _parked(line: Timeline, body: Body) -> Sequence[Mark]:
    return line.note(names.PARKED, f"{body['reason']}: {body['detail']}")


def _resumed(line: Timeline, body: Body) -> Sequence[Mark]:
    return line.note(names.RESUMED, body["code"])


def _run_done(line: Timeline, _body: Body) -> Sequence[Mark]:
    return line.end_run("completed")


def _run_failed(line: Timeline, body: Body) -> Sequence[Mark]:
    return line.end_run("failed", body["error"])


def _run_restarted(line: Timeline, _body: Body) -> Sequence[Mark]:
    return line.end_run("restarted")


def _run_cancelled(line: Timeline, body: Body) -> Sequence[Mark]:
    line.reason = body["reason"]
    return line.end_run("cancelled")


_OPS: dict[str, Callable[[Timeline, Body], Sequence[Mark]]] = {
    ops.STARTED: _started,
    ops.ASKED: _asked,
    ops.TIMER_SET: _timer_set,
    ops.WAIT_OPENED: _wait_opened,
    ops.CHILD_ISSUED: _child_issued,
    ops.EVENTS_SENT: _events_sent,
    ops.SIGNAL_SENT: _events_sent,
    ops.ATTEMPT_FAILED: _attempt_failed,
    ops.STEP_DONE: _step_done,
    ops.STEP_FAILED: _step_failed,
    ops.TIMER_FIRED: _timer_fired,
    ops.EVENT_GIVEN: _completed,
    ops.SIGNAL_GIVEN: _completed,
    ops.CHILD_ENDED: _child_ended,
    ops.STEP_ABANDONED: _abandoned,
    ops.TIMER_DROPPED: _abandoned,
    ops.WAIT_CLOSED: _abandoned,
    ops.CHILD_DROPPED: _abandoned,
    ops.PARKED: _parked,
    ops.RESUMED_BY_USER: _resumed,
    ops.RUN_DONE: _run_done,
    ops.RUN_FAILED: _run_failed,
    ops.RUN_CANCELLED: _run_cancelled,
    ops.RUN_RESTARTED: _run_restarted,
}
