"""What ends a run from outside: `cancel_on` and `timeouts`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from perdure.authoring import cel
from perdure.authoring.events import Event, event_name, path_fault
from perdure.authoring.names import RESERVED, event_name_fault
from perdure.core.conditions import WaitCondition
from perdure.core.durations import Duration, named_us, to_us
from perdure.core.paths import parse_path
from perdure.errors import UsageError

__all__ = ["NO_TIMEOUTS", "CancelOn", "CancelOns", "Timeouts", "cancels_of", "timeouts_of"]

START_US_MIN: Final = 1_000_000
CANCEL_ON_MAX: Final = 16
"""How many events may cancel the runs of one function: each run subscribes to all of them."""


@dataclass(frozen=True, slots=True, init=False)
class CancelOn:
    """An event that cancels the runs of a function: its name, or an `Event` class.

    `match` is a path, such as "data.order_id", at which that event and the one that began the run must be equal;
    without it every event of that name cancels every run. The event that began the run cancels nothing, nor do those
    that were appended before it. `timeout` ("1h", seconds, a timedelta) is for how long after its start a run is
    cancelled by it; without it, as long as the run lives.

    `if_` says more, as CEL over `event`, which began the run, and `async`, which may cancel it:
    `async.data.order == event.data.order && async.data.cents > 100`. One equality of the two is found in a table, the
    rest is asked of each event that has it. One for which it cannot be told cancels nothing, and is noted.

    Raises UsageError for a bad name, path or duration.
    """

    event: str
    path: str
    own: str
    timeout_us: int
    cel: str
    model: type[Event] | None

    def __init__(
        self,
        event: str | type[Event],
        *,
        match: str | None = None,
        if_: str | None = None,
        timeout: Duration | None = None,
    ) -> None:
        model = event if isinstance(event, type) else None
        name = event_name(event) if isinstance(event, type) else event
        what = f"CancelOn({name!r:.80})"
        if fault := event_name_fault(name, sent=False):
            raise UsageError(f"{what}: the event's name {fault}")
        if name.startswith(RESERVED):
            raise UsageError(
                f"{what}: the engine's own events ({RESERVED}…) start functions, and cancel none; have a function that"
                " they start send an event of yours"
            )
        if match is not None and (fault := _path_fault(model, match)):
            raise UsageError(f"{what}: match={match!r:.80}: {fault}")
        timeout_us = 0 if timeout is None else named_us(f"{what}: timeout", timeout)
        if timeout is not None and not timeout_us:
            raise UsageError(
                f"{what}: timeout={timeout!r} is no time at all; leave it out for the run's whole life"
            )
        path = own = "" if match is None else match.removeprefix("event.")
        cel_ = ""
        if if_ is not None:
            condition = _condition(if_, model, what)
            pairs = condition.pairs
            chosen = next((pair for pair in pairs if pair.own is not None), None) if match is None else None
            if chosen is not None and chosen.own is not None:
                path, own = ".".join(chosen.path), ".".join(chosen.own)
            whole = chosen is not None and len(pairs) == 1 and not condition.rest
            cel_ = "" if whole else if_
        made = {"event": name, "path": path, "own": own, "timeout_us": timeout_us, "cel": cel_}
        for field, value in made.items():
            object.__setattr__(self, field, value)
        object.__setattr__(self, "model", model)


CancelOns = CancelOn | Sequence[CancelOn] | None
"""What `cancel_on=` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Within which times the runs of a function have to begin and to end; one that does not is cancelled.

    `start` counts from the run's creation (or from the time that its event has, when that lies in the future) until its
    body begins, and is at least a second; `finish` from there to the run's end, pauses included. Raises UsageError for
    what is no duration.
    """

    start: Duration | None = None
    finish: Duration | None = None

    def __post_init__(self) -> None:
        for name in ("start", "finish"):
            value = getattr(self, name)
            if value is None:
                continue
            us = named_us(f"Timeouts({name}={value!r})", value)
            if us < (START_US_MIN if name == "start" else 1):
                least = "at least 1s" if name == "start" else "more than nothing"
                raise UsageError(f"Timeouts({name}={value!r}): use {least}, or leave it out")

    @property
    def start_us(self) -> int:
        return 0 if self.start is None else to_us(self.start)

    @property
    def finish_us(self) -> int:
        return 0 if self.finish is None else to_us(self.finish)


NO_TIMEOUTS: Final = Timeouts()


def _condition(if_: object, model: type[Event] | None, what: str) -> WaitCondition:
    if not isinstance(if_, str):
        raise UsageError(
            f"{what}: if_={if_!r:.80}; use CEL as text over event, which began the run, and async, which cancels it:"
            ' "async.data.id == event.data.id"'
        )
    try:
        condition = cel.check_wait(if_)
    except UsageError as error:
        raise UsageError(f"{what}: if_={if_!r:.200}: {error}") from None
    paths = [*(pair.path for pair in condition.pairs), *condition.reads]
    for path in paths:
        fault = _path_fault(model, ".".join(path)) if model is not None and len(path) > 1 else None
        if fault:
            raise UsageError(f"{what}: if_={if_!r:.200}: {fault}")
    return condition


def _path_fault(model: type[Event] | None, path: str) -> str | None:
    try:
        parse_path(path)
        return None if model is None else path_fault(model, path)
    except UsageError as error:
        return str(error)


def cancels_of(cancel_on: object, models: Collection[type[Event] | None], what: str) -> tuple[CancelOn, ...]:
    """What `cancel_on=` means for a function whose runs begin with these events. Raises UsageError, naming `what`."""
    given = (
        ()
        if cancel_on is None
        else tuple(cast("Sequence[Any]", cancel_on))
        if isinstance(cancel_on, list | tuple)
        else (cancel_on,)
    )
    for item in given:
        if not isinstance(item, CancelOn):
            shown = f"{item!r:.80}" if isinstance(item, str) else f"a {type(item).__qualname__}"
            raise UsageError(
                f'{what}: cancel_on= has {shown}; write cancel_on=CancelOn("order/cancelled", match="data.id"), or a'
                " list of these"
            )
    if len(given) > CANCEL_ON_MAX:
        raise UsageError(f"{what}: cancel_on= has {len(given)} events, {CANCEL_ON_MAX} at most may be")
    cancels = cast("tuple[CancelOn, ...]", given)
    for cancel in cancels:
        faults = [_path_fault(model, cancel.own) for model in models] if cancel.own else []
        if faults and all(faults):
            raise UsageError(
                f"{what}: CancelOn({cancel.event!r}, match={cancel.path!r}) would cancel nothing: {faults[0]}"
            )
    return cancels


def timeouts_of(timeouts: object, what: str) -> Timeouts:
    """What `timeouts=` means. Raises UsageError, naming `what`."""
    if timeouts is None:
        return NO_TIMEOUTS
    if not isinstance(timeouts, Timeouts):
        raise UsageError(
            f'{what}: timeouts={timeouts!r:.80}; write timeouts=Timeouts(start="1h", finish="1d")'
        )
    return timeouts
