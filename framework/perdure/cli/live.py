"""What happens to runs, as lines on a terminal while it happens: one line for each fact that counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from perdure.cli.printing import Printer
from perdure.cli.wording import (
    clock,
    counted,
    cut,
    cut_middle,
    duration,
    error_line,
    failing_line,
    moment,
    short_id,
    shortened,
)
from perdure.core import ops, payload
from perdure.core.ids import shown_step
from perdure.core.ops import ENDS, EventData, Failure, Op
from perdure.core.routing import FAILED, INVOKED
from perdure.core.state import Run
from perdure.index.opening import Reading
from perdure.observability.observer import Observer

VALUE_WIDTH = 60
NAME_WIDTH_MAX = 24
SLOW_US = 1_000_000
"""An attempt that runs for longer is mentioned while it runs."""
RUNNING_MAX = 10_000
NAMED_MAX = 3
ERROR_WIDTH = 240
DETAIL_WIDTH = 480
RUNS_MAX = 50_000
_LEVELS = {"warning": "yellow", "error": "red", "debug": "dim"}

Body = dict[str, Any]


class Running(NamedTuple):
    """An attempt of a step."""

    number: int
    began: int
    function: str


class LiveLog(Observer):
    """An observer that prints. `now` is the clock, in µs; `brief` leaves out what went well."""

    def __init__(
        self, printer: Printer, functions: Iterable[str], now: Callable[[], int], *, brief: bool = False
    ) -> None:
        self._printer = printer
        self._now = now
        self._brief = brief
        self.reading = Reading()
        """Opens what it prints."""
        self._width = min(max([len(name) for name in functions], default=8), NAME_WIDTH_MAX)
        self._running: dict[str, dict[str, Running]] = {}
        """Attempts, by run and key."""
        self._fresh: dict[tuple[str, str], Running] = {}
        """Those that were not mentioned yet."""
        self._known: dict[str, None] = {}

    # ------------------------------------------------------------------ what an observer is told

    def begun(self, run: Run) -> None:
        self._met(run)
        if not self._brief:
            self._line(run, self._now(), "started", "cyan", started_by(self.reading.run(run)))

    def woken(self, run: Run) -> None:
        # Only the first time here: between its turns a run that waits for long is let go and woken again.
        if run.history and not self._met(run) and not self._brief:
            self._line(run, self._now(), "goes on", "cyan", f"after {counted(run.ops, 'op')} in the log")

    def _met(self, run: Run) -> bool:
        """Whether this process has worked on the run before; from now on it has."""
        known = run.id in self._known
        self._known[run.id] = None
        if len(self._known) > RUNS_MAX:
            del self._known[next(iter(self._known))]
        return known

    def accepted(self, run: Run, ops: Sequence[Op], seen: int) -> None:
        for name, body in map(self.reading.op, ops):
            if name in ENDS:
                self._known.pop(run.id, None)
            if "key" in body:
                self._over(run.id, body["key"])
            handler = _OPS.get(name)
            if handler is None or (self._brief and name not in _IN_BRIEF):
                continue
            told = handler(run, body, seen)
            if told is not None:
                verb, style, rest = told
                step = shown_step(body["key"]) if "key" in body else ""
                self._line(run, seen, verb, style, rest, step)

    def never_began(self, run: Run) -> None:
        shown = self.reading.run(run)
        if shown.error is not None:
            said = cut_middle(shown.error["message"], DETAIL_WIDTH)
            self._line(run, self._now(), "failed", "red", f"before it began: {said} · {started_by(shown)}")
        elif not self._brief:
            self._line(run, self._now(), "skipped", "dim", f"{shown.reason} · {started_by(shown)}")

    def passed_over(self, event: str, function: str, reason: str) -> None:
        if not self._brief:
            self._write(self._now(), function or "-", event, "", "skipped", "dim", reason)

    def attempt(self, run: Run, key: str, number: int) -> None:
        if len(self._running) < RUNNING_MAX:
            began = Running(number, self._now(), run.function)
            self._running.setdefault(run.id, {})[key] = began
            if not self._brief:
                self._fresh[run.id, key] = began

    def left(self, run_id: str) -> None:
        for key in self._running.pop(run_id, ()):
            self._fresh.pop((run_id, key), None)

    def _over(self, run_id: str, key: str) -> None:
        attempts = self._running.get(run_id)
        if attempts is not None and attempts.pop(key, None) is not None:
            self._fresh.pop((run_id, key), None)
            if not attempts:
                del self._running[run_id]

    def running(self) -> str:
        """What runs now, in words; empty when nothing does."""
        names = [(key, run_id) for run_id, attempts in self._running.items() for key in attempts]
        shown = ", ".join(f"{shown_step(key)} of {short_id(run_id)}" for key, run_id in names[:NAMED_MAX])
        more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
        return f"{counted(len(names), 'running step')} ({shown}{more})" if names else ""

    def unfit(self, run: Run, reason: str) -> None:
        self._line(
            run, self._now(), "still does not fit", "yellow", f"the code that is deployed now: {reason}"
        )

    def lines(self, run: Run, lines: Sequence[Any]) -> None:
        seen = self._now()
        for line in lines:
            fields: Mapping[str, Any] = line.fields
            shown = " ".join(f"{name}={shortened(value, VALUE_WIDTH)}" for name, value in fields.items())
            text = f"{line.message}  {self._printer.style(shown, 'dim')}" if shown else str(line.message)
            style = _LEVELS.get(line.level, "")
            self._line(run, seen, "│" if style in ("", "dim") else f"│ {line.level}:", style or "blue", text)

    # ------------------------------------------------------------------ time

    def tick(self) -> None:
        """To be called now and then: mentions attempts that take long."""
        now = self._now()
        slow = [(place, known) for place, known in self._fresh.items() if now - known.began >= SLOW_US]
        for (run_id, key), (number, began, function) in slow:
            del self._fresh[run_id, key]
            again = f", attempt {number}" if number > 1 else ""
            rest = f"for {duration(now - began)}{again}"
            self._write(now, function, run_id, shown_step(key), "running", "blue", rest)

    # ------------------------------------------------------------------ lines

    def _line(self, run: Run, seen: int, verb: str, style: str, rest: str, step: str = "") -> None:
        self._write(seen, run.function, run.id, step, verb, style, rest)

    def _write(
        self, seen: int, function: str, run_id: str, step: str, verb: str, style: str, rest: str
    ) -> None:
        styled = self._printer.style
        parts = [
            styled(clock(seen, parts=True), "dim"),
            f"{cut(function, NAME_WIDTH_MAX):<{self._width}}",
            styled(short_id(run_id), "dim"),
        ]
        if step:
            parts.append(styled(step, "bold"))
        parts.append(styled(verb, style) + (f" {rest}" if rest else ""))
        self._printer.say("  ".join(parts))


def started_by(run: Run) -> str:
    """What a run began with, in words."""
    event = run.event
    data = _data(event)
    if run.parent is not None:
        return f"by run {short_id(run.parent)} {data}".rstrip()
    if event["name"] == INVOKED:
        return f"by a call {data}".rstrip()
    if event["name"] == FAILED:
        failed = payload.loads(event["data"]).get("run_id", "")
        return f"since run {short_id(str(failed))} failed"
    return f"by {event['name']} {data}".rstrip()


def _data(event: EventData) -> str:
    text = event["data"].decode(errors="replace")
    return "" if text == "{}" else cut(text, VALUE_WIDTH)


# --- the words for each op: verb, style, the rest of the line; None for what needs no line ----------------------------

Told = tuple[str, str, str] | None


def _output(data: bytes) -> str:
    return "" if data == b"null" else f"→ {cut(data.decode(errors='replace'), VALUE_WIDTH)}"


def _error(error: Failure) -> str:
    """An error with what it says to do, and the line of the user's that it left."""
    shown = error_line(error["type"], error["message"], ERROR_WIDTH)
    where = failing_line(error["traceback"])
    return f"{shown} · {where}" if where else shown


def _until(run: Run, due: int | None, seen: int) -> str:
    return "" if due is None else f"until {moment(due, seen)} ({duration(due - run.time)})"


def _step_done(_run: Run, body: Body, _seen: int) -> Told:
    again = f", attempt {body['attempt']}" if body["attempt"] > 1 else ""
    return "done", "green", f"in {duration(body['took'])}{again} {_output(body['result'])}".rstrip()


def _attempt_failed(_run: Run, body: Body, seen: int) -> Told:
    error = _error(body["error"])
    again = f"again at {moment(body['retry_at'], seen)} (in {duration(body['retry_at'] - body['time'])})"
    return (
        "retrying",
        "yellow",
        f"after attempt {body['attempt']} ({duration(body['took'])}): {error} · {again}",
    )


def _step_failed(_run: Run, body: Body, _seen: int) -> Told:
    tries = f"after {body['attempt']} attempts" if body["attempt"] > 1 else f"in {duration(body['took'])}"
    return "failed", "red", f"{tries}: {_error(body['error'])}"


def _timer_set(run: Run, body: Body, seen: int) -> Told:
    return None if _own(body) else ("sleeping", "blue", _until(run, body["due"], seen))


def _timer_fired(_run: Run, body: Body, _seen: int) -> Told:
    return None if _own(body) else ("time is up", "blue", "")


def _wait_opened(run: Run, body: Body, seen: int) -> Told:
    if body["signal"] is not None:
        return "waiting", "blue", f"for signal {body['signal']} {_until(run, body['due'], seen)}".rstrip()
    value: bytes = body["value"] or b""
    condition = f" with {body['path']} = {value.decode(errors='replace')}" if body["path"] else ""
    return "waiting", "blue", f"for {body['event']}{condition} {_until(run, body['due'], seen)}".rstrip()


def _event_given(_run: Run, body: Body, _seen: int) -> Told:
    return "received", "green", f"{body['event']['name']} {_data(body['event'])}".rstrip()


def _signal_given(_run: Run, body: Body, _seen: int) -> Told:
    return (
        "received",
        "green",
        f"signal {body['name']} {cut(body['data'].decode(errors='replace'), VALUE_WIDTH)}",
    )


def _child_issued(_run: Run, body: Body, _seen: int) -> Told:
    verb = "starts" if body["detached"] else "invokes"
    return verb, "cyan", f"{body['function']} as run {short_id(body['run'])}"


def _child_ended(_run: Run, body: Body, _seen: int) -> Told:
    name, outcome = body["outcome"]
    if name == ops.CHILD_DONE:
        return "done", "green", _output(outcome["result"])
    if name == ops.CHILD_FAILED:
        return "failed", "red", _error(outcome["error"])
    return "refused" if name == ops.CHILD_REFUSED else "cancelled", "red", outcome.get("reason", "")


def _events_sent(_run: Run, body: Body, _seen: int) -> Told:
    return "sent", "cyan", ", ".join(event["name"] for event in body["events"])


def _dropped(_run: Run, body: Body, _seen: int) -> Told:
    return None if _own(body) else ("given up", "dim", "")


def _cancel_asked(_run: Run, body: Body, _seen: int) -> Told:
    return "cancelling", "yellow", f"as asked{_because(body['reason'])}"


def _resumed(_run: Run, _body: Body, _seen: int) -> Told:
    return "resumed", "cyan", ""


def _parked(run: Run, body: Body, _seen: int) -> Told:
    hint = f"mend it, then: perdure runs resume {short_id(run.id)}"
    return "parked", "yellow", f"{body['reason']}: {cut_middle(body['detail'], DETAIL_WIDTH)} · {hint}"


def _value_set(_run: Run, body: Body, _seen: int) -> Told:
    return "│", "dim", f"{body['name']} = {cut(body['value'].decode(errors='replace'), VALUE_WIDTH)}"


def _run_done(run: Run, body: Body, _seen: int) -> Told:
    return "completed", "green", f"in {_age(run)} {_output(body['result'])}".rstrip()


def _run_failed(run: Run, body: Body, _seen: int) -> Told:
    error = _error(body["error"])
    return "failed", "red", f"after {_age(run)}: {error} · perdure runs show {short_id(run.id)}"


def _run_cancelled(run: Run, body: Body, _seen: int) -> Told:
    return "cancelled", "yellow", f"after {_age(run)}{_because(body['reason'])}"


def _age(run: Run) -> str:
    return duration(max(run.ended - (run.started or run.created), 0))


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _own(body: Body) -> bool:
    """Timers of the event loop: asyncio.sleep and the like."""
    return shown_step(body["key"]).startswith("~")


_OPS: dict[str, Callable[[Run, Body, int], Told]] = {
    ops.STEP_DONE: _step_done,
    ops.ATTEMPT_FAILED: _attempt_failed,
    ops.STEP_FAILED: _step_failed,
    ops.TIMER_SET: _timer_set,
    ops.TIMER_FIRED: _timer_fired,
    ops.WAIT_OPENED: _wait_opened,
    ops.EVENT_GIVEN: _event_given,
    ops.SIGNAL_GIVEN: _signal_given,
    ops.CHILD_ISSUED: _child_issued,
    ops.CHILD_ENDED: _child_ended,
    ops.EVENTS_SENT: _events_sent,
    ops.STEP_ABANDONED: _dropped,
    ops.TIMER_DROPPED: _dropped,
    ops.WAIT_CLOSED: _dropped,
    ops.CHILD_DROPPED: _dropped,
    ops.CANCEL_ASKED: _cancel_asked,
    ops.RESUMED_BY_USER: _resumed,
    ops.PARKED: _parked,
    ops.VALUE_SET: _value_set,
    ops.RUN_DONE: _run_done,
    ops.RUN_FAILED: _run_failed,
    ops.RUN_CANCELLED: _run_cancelled,
}
_IN_BRIEF = frozenset({ops.ATTEMPT_FAILED, ops.STEP_FAILED, ops.PARKED, ops.RUN_FAILED, ops.RUN_CANCELLED})
