"""What the steps beside `run` ask for, and how their outcomes are read: the same for `async def` and `def` bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, cast

from perdure.authoring.events import Event
from perdure.authoring.functions import Function, event_model
from perdure.authoring.names import INVOKED
from perdure.authoring.payloads import codec_of
from perdure.authoring.sending import EventInput, to_event
from perdure.core import ops, payload
from perdure.core.durations import Duration, instant_us, named_us
from perdure.core.ids import digest
from perdure.core.ops import EventData, Op
from perdure.errors import EncodingError, RunCancelled, StepError, StepTimeout, UsageError
from perdure.execution.desk import Desk
from perdure.execution.failures import step_error, type_name
from perdure.execution.pending import Pending, PendingChild, PendingStep, PendingTimer

__all__ = [
    "ParentClose",
    "ask_child",
    "ask_sleep",
    "ask_sleep_until",
    "fresh_event",
    "opened",
    "read_child",
    "read_step",
    "send_events",
    "start_child",
]

ParentClose = Literal["cancel", "abandon"]


# --- steps ------------------------------------------------------------------------------------------------------------


def read_step(pending: PendingStep, op: Op) -> Any:
    """The result of a step, decoded from what is recorded; raises StepError when it is out of attempts."""
    name, fields = op
    if name == ops.STEP_DONE:
        return pending.ask.codec.decode(fields["result"])
    raise step_error(fields["error"], pending.ask.step_id, fields["attempt"])


# --- time -------------------------------------------------------------------------------------------------------------


def ask_sleep(desk: Desk, step_id: str, duration: Duration) -> Pending:
    """A timer that is due when `duration` has passed since this turn."""
    key = desk.next_key(desk.here(), step_id)
    due = desk.now_us + named_us(f"sleep {step_id!r}", duration)
    return opened(desk, PendingTimer(key, desk.future(), due))


def ask_sleep_until(desk: Desk, step_id: str, when: datetime) -> Pending:
    """A timer that is due at `when`; at once if that is past."""
    key = desk.next_key(desk.here(), step_id)
    due = instant_us(when, what=f"sleep_until {step_id!r}: the time")
    return opened(desk, PendingTimer(key, desk.future(), max(due, desk.now_us)))


# --- other functions --------------------------------------------------------------------------------------------------


def ask_child(
    desk: Desk,
    step_id: str,
    function: Function[Any, Any] | str,
    data: object,
    timeout: Duration | None,
    parent_close: ParentClose,
) -> PendingChild:
    """Another run, whose end is awaited."""
    if parent_close not in ("cancel", "abandon"):
        raise UsageError(f'invoke {step_id!r}: parent_close={parent_close!r}; use "cancel" or "abandon"')
    key = desk.next_key(desk.here(), step_id)
    if desk.start.depth >= desk.limits.invoke_depth_max:
        raise UsageError(
            f"invoke {step_id!r}: {desk.start.depth} runs wait for this one in a row, and invoke_depth_max is reached; "
            "a function that invokes itself needs an end, a long chain is made with ctx.step.start or restart_with"
        )
    fields = _child_fields(desk, key, f"invoke {step_id!r}", function, data)
    what = f"invoke {step_id!r}: timeout"
    fields["due"] = None if timeout is None else desk.now_us + named_us(what, timeout)
    fields["parent_close"] = parent_close
    pending = PendingChild(key, desk.future(), fields)
    desk.open(pending)
    return pending


def start_child(desk: Desk, step_id: str, function: Function[Any, Any] | str, data: object) -> str:
    """Another run, which goes its own way: its id."""
    key = desk.next_key(desk.here(), step_id)
    fields = _child_fields(desk, key, f"start {step_id!r}", function, data)
    desk.send((ops.CHILD_ISSUED, {"key": key, **fields, "detached": True, "parent_close": "abandon"}))
    return fields["run"]


def _child_fields(
    desk: Desk, key: str, what: str, function: Function[Any, Any] | str, data: object
) -> dict[str, Any]:
    target = _function(desk, function)
    event_id = digest("invoked", desk.start.seed, key)
    typed = isinstance(data, Event)
    event = to_event(
        data if typed else INVOKED,
        None if typed else data,
        id=event_id,
        now_us=desk.now_us,
        make_id=lambda: event_id,
        data_bytes_max=desk.limits.event_bytes_max,
        internal=True,
    )
    if data is not None:
        check_given(what, target, event, data)
    return {
        "run": desk.child_run_id(key),
        "function": target.id,
        "event": event,
        "due": None,
        "detached": False,
        "parent_close": "cancel",
    }


def fresh_event(desk: Desk, data: object) -> EventData:
    """The event with which a run begins anew. Raises UsageError for data that its body could not read."""
    function, began = desk.function, desk.start.event
    if function.kind == "failure":
        raise UsageError(f"restart_with in {function.id}: a failure handler runs once, and is not begun anew")
    event_id = digest("restarted", desk.start.seed)
    typed = isinstance(data, Event)
    event = to_event(
        data if typed else began["name"],
        None if typed else {} if data is None else data,
        id=event_id,
        key=began["key"],
        v=began["v"],
        now_us=desk.now_us,
        make_id=lambda: event_id,
        data_bytes_max=desk.limits.event_bytes_max,
        internal=True,
    )
    check_given("restart_with", function, event, data)
    return {**event, "trace": began["trace"]}


def check_given(what: str, target: Function[Any, Any], event: EventData, data: object) -> None:
    """Raises UsageError for data that the invoked body could not read: here it says where it was given."""
    model = event_model(target, event["name"])
    if model is None or isinstance(data, model):
        return
    try:
        misfit = f"does not fit {model.__name__}, which {target.id} takes"
        codec_of(model, "the data", misfit=misfit, by_alias=True).decode(event["data"])
    except EncodingError as error:
        raise UsageError(f"{what}: {error}") from error


def _function(desk: Desk, function: Function[Any, Any] | str) -> Function[Any, Any]:
    found = desk.functions.get(function if isinstance(function, str) else function.id)
    if found is None or (not isinstance(function, str) and found is not function):
        name = function if isinstance(function, str) else f"{function.id} (at {function.where})"
        raise UsageError(
            f"this app has no function {name!r}, so invoking it would wait for ever; define it with @app.function in "
            "a module that is imported before the worker starts"
        )
    return found


def read_child(desk: Desk, pending: PendingChild, op: Op) -> Any:
    """The result of a child run; raises StepError for each other way in which it can end."""
    name, fields = op
    step_id = pending.key[pending.key.index("/") + 1 :]
    run, function_id = pending.fields["run"], pending.fields["function"]
    if name == ops.TIMER_FIRED:
        cause: Exception = StepTimeout(f"run {run} of {function_id} did not end in time")
        raise _child_error(step_id, cause)
    outcome, body = fields["outcome"]
    if outcome == ops.CHILD_DONE:
        target = desk.functions.get(function_id)
        return payload.loads(body["result"]) if target is None else target.codec.decode(body["result"])
    if outcome == ops.CHILD_FAILED:
        raise step_error(body["error"], step_id, 1)
    if outcome == ops.CHILD_CANCELLED:
        raise _child_error(step_id, RunCancelled(run, body["reason"]))
    raise _child_error(step_id, UsageError(f"function {function_id} did not start: {body['reason']}"))


def _child_error(step_id: str, cause: Exception) -> StepError:
    error = StepError(
        str(cause), type_name=type_name(type(cause)), step_id=step_id, attempts=1, traceback="", cause=cause
    )
    error.__cause__ = cause
    return error


# --- events -----------------------------------------------------------------------------------------------------------


def send_events(desk: Desk, step_id: str, events: EventInput | Sequence[EventInput]) -> list[str]:
    """Events that are sent once, however often this code is replayed: their ids, in order."""
    key = desk.next_key(desk.here(), step_id)
    many = (
        list(events) if isinstance(events, Sequence) and not isinstance(events, str) else [cast(Any, events)]
    )
    made: list[EventData] = []
    for index, event in enumerate(many):
        event_id = digest("sent", desk.start.seed, key, index)
        data_bytes_max = desk.limits.event_bytes_max
        made.append(
            to_event(event, now_us=desk.now_us, make_id=lambda i=event_id: i, data_bytes_max=data_bytes_max)
        )
    if made:
        desk.send((ops.EVENTS_SENT, {"key": key, "events": made}))
    return [event["id"] for event in made]


def opened(desk: Desk, pending: Pending) -> Pending:
    desk.open(pending)
    return pending


def original_event(data: Mapping[str, Any]) -> EventData:
    """The event of the run whose failure is being handled, out of the event that says that it failed."""
    event = dict(data["event"])
    event["data"] = payload.dumps(event["data"])
    return cast(EventData, event)
