"""Waits for events and signals, and how what comes is read: the same for `async def` and `def` bodies."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from perdure.authoring import cel
from perdure.authoring.events import Event, Received, event_name, path_fault
from perdure.authoring.functions import event_model
from perdure.authoring.names import RESERVED, event_name_fault, text_fault
from perdure.core import ops, payload
from perdure.core.conditions import Pair, WaitCondition, parse_wait, value_at
from perdure.core.durations import Duration, named_us
from perdure.core.ids import digest
from perdure.core.ops import EventData, Op
from perdure.core.paths import event_view, match_value
from perdure.errors import PayloadTooLarge, UsageError
from perdure.execution.asks import opened
from perdure.execution.desk import Desk
from perdure.execution.pending import Pending, PendingFilteredWait, PendingWait

__all__ = ["If", "Signal", "ask_event", "ask_signal", "read_event", "read_signal", "send_signal"]

If = str | Callable[[Received[Any]], object]
"""What a wait asks of an event: CEL over `async`, the event that comes, and `event`, the run's own; or a predicate in
Python, which is given the event that comes."""
_INDEXED: Final = ("text", "number", "bool", "null")


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal that was sent to this run.

    One that was sent by `run.request` is answered by `reply` or `refuse`, once; whoever sent it gets the answer when
    what this body did is recorded. For a plain signal both do nothing.
    """

    name: str
    data: Any
    id: str
    """The id of the command that brought it."""
    _desk: Desk = field(repr=False, compare=False)
    _key: str = field(repr=False, compare=False)

    def reply(self, value: Any = None) -> None:
        """Answers a request, with JSON. Raises EncodingError and PayloadTooLarge, UsageError when it is answered."""
        data = payload.dumps(value, what=f"the answer to the request {self.name!r}")
        _check_size(self._desk, data, f"the answer to the request {self.name!r}")
        self._answer(data, None)

    def refuse(self, why: str) -> None:
        """Refuses a request: `run.request` raises RequestRefused with this reason. Raises UsageError when it is
        answered."""
        if not isinstance(why, str) or not why:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"refuse takes the reason, as text, not {why!r:.80}")
        _check_size(self._desk, why.encode(errors="replace"), f"why the request {self.name!r} is refused")
        self._answer(None, why.encode(errors="replace").decode())

    def _answer(self, answer: bytes | None, refused: str | None) -> None:
        desk = self._desk
        desk.here()
        if self.id in desk.answered:
            raise UsageError(
                f"the request {self.name!r} ({self.id}) is answered already; a request has one answer"
            )
        desk.answered.add(self.id)
        body = {"key": self._key, "command": self.id, "answer": answer, "refused": refused}
        desk.send((ops.SIGNAL_ANSWERED, body))


# --- events -----------------------------------------------------------------------------------------------------------


def ask_event(
    desk: Desk,
    step_id: str,
    event: str | type[Event],
    match: str | None,
    if_: If | None,
    timeout: Duration | None,
    lookback: Duration | None,
) -> Pending:
    """A wait for an event."""
    what = f"wait_for_event {step_id!r}"
    key = desk.next_key(desk.here(), step_id)
    name = event if isinstance(event, str) else event_name(event)
    if fault := event_name_fault(name, sent=False) or _reserved_fault(name):
        raise UsageError(f"{what}: the event name {name!r:.80} {fault}")
    fields = _wait_fields(desk, what, timeout)
    fields |= {
        "event": name,
        "path": match,
        "lookback": None if lookback is None else named_us(f"{what}: lookback", lookback),
    }
    if match is not None:
        found, fields["value"] = match_value(event_view(desk.start.event), match)
        if not isinstance(event, str) and (fault := path_fault(event, match)):
            raise UsageError(f"wait_for_event {step_id!r}, match={match!r}: the awaited {fault}")
        if not found:
            _never(desk, f"wait_for_event {step_id!r}, match={match!r}", match, timeout)
            fields["lookback"] = None
    if if_ is None:
        return opened(desk, PendingWait(key, desk.future(), fields))
    return opened(desk, _filtered(desk, key, f"wait_for_event {step_id!r}", event, if_, fields))


def _reserved_fault(name: str) -> str | None:
    if not name.startswith(RESERVED):
        return None
    return (
        "is one of the engine's own, which are sent to functions that have them as triggers; to learn how a run ends, "
        "use ctx.step.invoke, or a function on such an event that sends one of yours"
    )


def _filtered(
    desk: Desk, key: str, what: str, event: str | type[Event], if_: If, fields: dict[str, Any]
) -> PendingWait:
    """A wait with a condition. One of its equalities becomes the value that its cell is found by, unless `match` says
    it; the rest is asked of each event that has that value."""
    if callable(if_):
        if inspect.iscoroutinefunction(if_):
            raise UsageError(
                f"{what}: a predicate is a plain def: it only looks at the event; ask outside systems in a step"
            )
        return PendingFilteredWait(key, desk.future(), fields, "", _predicate(if_, event))
    if not isinstance(if_, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"{what}: if_={if_!r:.80}; use CEL as text, or a function that is given the event and says True or False"
        )
    try:
        condition = cel.check_wait(if_)
    except UsageError as error:
        raise UsageError(f"{what}: if_={if_!r:.200}: {error}") from None
    own = event_view(desk.start.event)
    _check_paths(desk, what, event, condition)
    if fields["path"] is None:
        for number, pair in enumerate(condition.pairs):
            value = _value(own, pair)
            if value is None:
                continue
            fields["path"], fields["value"] = ".".join(pair.path), value
            condition = parse_wait(if_, skip=number)
            break
    never = [pair for pair in condition.pairs if pair.own is not None and value_at(own, pair.own) is None]
    if never:
        missing = ".".join(never[0].own or ())
        _never(desk, f"{what}, if_={if_!r:.200}", missing, fields["due"])
        fields |= {"path": fields["path"] or ".".join(never[0].path), "value": b"", "lookback": None}
    if not condition.text:
        return PendingWait(key, desk.future(), fields)
    return PendingFilteredWait(key, desk.future(), fields, condition.text, None)


def _value(own: Mapping[str, Any], pair: Pair) -> bytes | None:
    """What a pair asks for, as cells know it; None for what is not there."""
    if pair.own is not None:
        found, value = match_value(own, ".".join(pair.own))
        return value if found and value_at(own, pair.own) is not None else None
    return None if pair.value is None else payload.canonical(pair.value[1])


def _check_paths(desk: Desk, what: str, event: str | type[Event], condition: WaitCondition) -> None:
    """Raises UsageError for a field that a class does not have."""
    began = event_model(desk.function, desk.start.event["name"])
    sides = (
        (None if isinstance(event, str) else event, [*(p.path for p in condition.pairs), *condition.reads]),
        (began, [*(p.own for p in condition.pairs if p.own is not None), *condition.own_reads]),
    )
    for model, paths in sides:
        for path in paths:
            if model is not None and len(path) > 1 and (fault := path_fault(model, ".".join(path))):
                raise UsageError(f"{what}: if_={condition.text!r:.200}: {fault}")


def _predicate(
    if_: Callable[[Received[Any]], object], event: str | type[Event]
) -> Callable[[EventData], bool]:
    def holds(came: EventData) -> bool:
        return bool(if_(_received(came, event)))

    return holds


def _received(came: EventData, event: str | type[Event]) -> Received[Any]:
    return Received(came, None if isinstance(event, str) else event)


def _never(desk: Desk, what: str, path: str, timeout: object) -> None:
    """A path that is missing on one side matches nothing, so all that can happen is the timeout.

    Such a wait is recorded with an empty value, which no event has. Raises UsageError where it is a mistake for sure.
    """
    model = event_model(desk.function, desk.start.event["name"])
    if model is not None and (fault := path_fault(model, path)):
        raise UsageError(f"{what}: the event of this run is a {model.__name__}, and {fault}")
    if timeout is None:
        raise UsageError(
            f"{what}: the event of this run has no {path}, so no event can ever match it; wait with a timeout, "
            "or without match"
        )
    desk.say(
        "warning", f"{what}: the event of this run has no {path}, so the wait only ends at its timeout", {}
    )


def read_event(op: Op, event: str | type[Event]) -> Received[Any] | None:
    """The event that was given to a wait; None at its timeout."""
    return _received(op[1]["event"], event) if op[0] == ops.EVENT_GIVEN else None


# --- signals ----------------------------------------------------------------------------------------------------------


def ask_signal(desk: Desk, step_id: str, name: str, timeout: Duration | None) -> Pending:
    """A wait for a signal."""
    key = desk.next_key(desk.here(), step_id)
    if not name:
        raise UsageError(f"wait_for_signal {step_id!r}: a signal needs a name")
    fields = _wait_fields(desk, f"wait_for_signal {step_id!r}", timeout)
    fields["signal"] = name
    return opened(desk, PendingWait(key, desk.future(), fields))


def read_signal(desk: Desk, op: Op) -> Signal | None:
    """The signal that was given to a wait; None at its timeout."""
    name, fields = op
    if name != ops.SIGNAL_GIVEN:
        return None
    data = payload.loads(fields["data"], what="a signal's data")
    return Signal(fields["name"], data, fields["command"], desk, fields["key"])


def send_signal(desk: Desk, step_id: str, run_id: str, name: str, data: object) -> str:
    """A signal to another run, sent once however often this code is replayed: its id."""
    key = desk.next_key(desk.here(), step_id)
    what = f"signal {step_id!r}"
    for part, text in (("run id", run_id), ("name", name)):
        if fault := text_fault(text):
            raise UsageError(f"{what}: the {part} {text!r:.80} {fault}")
    encoded = payload.dumps(data, what=f"{what}: the data")
    _check_size(desk, encoded, f"{what}: the data")
    command = digest("signal", desk.start.seed, key)
    desk.send(
        (ops.SIGNAL_SENT, {"key": key, "run": run_id, "command": command, "name": name, "data": encoded})
    )
    return command


def _check_size(desk: Desk, data: bytes, what: str) -> None:
    if len(data) > desk.limits.payload_bytes_max:
        raise PayloadTooLarge(
            f"{what} has {len(data):,} bytes, more than Limits.payload_bytes_max = "
            f"{desk.limits.payload_bytes_max:,}; store it elsewhere, and "
            "send where it is"
        )


def _wait_fields(desk: Desk, what: str, timeout: Duration | None) -> dict[str, Any]:
    due = None if timeout is None else desk.now_us + named_us(f"{what}: timeout", timeout)
    return {"event": None, "signal": None, "path": None, "value": None, "due": due, "lookback": None}
