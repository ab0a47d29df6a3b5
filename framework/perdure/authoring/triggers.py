"""Which events start a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from perdure.authoring import cel
from perdure.authoring.cron import Cron
from perdure.authoring.events import Event, Received, event_name, path_fault
from perdure.authoring.names import RESERVED, event_name_fault
from perdure.core import routing
from perdure.errors import UsageError

__all__ = ["If", "On", "Trigger", "TriggerInput", "crons_of", "event_types", "triggers_of"]

If = str | Callable[[Received[Any]], object]
"""A condition on an event: CEL over `event`, or a predicate in Python."""


@dataclass(frozen=True, slots=True, init=False)
class Trigger:
    """An event that starts a function: its name, a pattern such as `order/*`, or an `Event` class.

    A `*` stands at the end, after a `/` or `.`, for all that follows, further segments included.

    `if_` is what is asked of the event beside its name, as text in CEL: `event.data.amount > 100 && event.v == "2"`.
    `event` has `name`, `id`, `key`, `v`, `data` and `ts`, which is a timestamp. Equalities joined by `&&` are found in
    a table and cost nothing however many functions ask for them; an event without that field does not match. In
    anything else a field that is missing is an error, which skips the function for that event, and is recorded with
    its reason; `has(event.data.amount)` asks first. A predicate in Python is given the event as the function receives
    it; whichever worker has the event's partition calls it, so it must be quick, and say the same everywhere.

    Raises UsageError for a bad name, pattern or condition.
    """

    name: str
    model: type[Event] | None
    conditions: tuple[If, ...]
    """All of which must hold."""

    def __init__(self, name: str | type[Event], *, if_: If | None = None) -> None:
        model = name if isinstance(name, type) else None
        if isinstance(name, type):
            if not issubclass(name, Event):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError(
                    f"Trigger({name.__name__}): the class is no Event; write class {name.__name__}(Event, ...)"
                )
            name = event_name(name)
        if fault := _pattern_fault(name):
            raise UsageError(f"the trigger {name!r:.80} {fault}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "conditions", ())
        if if_ is not None:
            object.__setattr__(self, "conditions", self.asking(if_).conditions)

    def asking(self, if_: If) -> Trigger:
        """This trigger under one more condition. Raises UsageError for one that cannot be."""
        if fault := _condition_fault(if_, self.model):
            raise UsageError(f"the trigger {self.name!r}: if_={_shown_if(if_)}: {fault}")
        made = Trigger(self.model or self.name)
        object.__setattr__(made, "conditions", (*self.conditions, if_))
        return made


TriggerInput = str | type[Event] | Trigger
"""What stands for a trigger in `on=`."""
On = TriggerInput | Cron | Sequence[TriggerInput | Cron] | None
"""What `on=` takes."""


def crons_of(on: On, what: str) -> tuple[tuple[Cron, ...], tuple[object, ...]]:
    """The crons meant by `on=`, and the rest of it. Raises UsageError, naming `what`, for one named twice."""
    items = _items(on)
    crons = tuple(item for item in items if isinstance(item, Cron))
    for number, cron in enumerate(crons):
        if any((cron.expression, cron.tz) == (other.expression, other.tz) for other in crons[:number]):
            raise UsageError(
                f"{what}: on= has Cron({cron.expression!r}) twice; a tick starts a function once"
            )
    return crons, tuple(item for item in items if not isinstance(item, Cron))


def _items(on: object) -> tuple[Any, ...]:
    return () if on is None else tuple(cast("Sequence[Any]", on)) if isinstance(on, list | tuple) else (on,)


def triggers_of(on: object, what: str, *, if_: If | None = None) -> tuple[Trigger, ...]:
    """The triggers meant by `on=`, each under the condition `if_` too. Raises UsageError, naming `what`, for what is
    none, and for one named twice."""
    triggers = list[Trigger]()
    for item in _items(on):
        if not isinstance(item, str | type | Trigger):
            raise UsageError(
                f"{what}: on= has {_shown(item)}; use an event name, an Event class, a Trigger, a Cron, or a list of"
                " these"
            )
        try:
            trigger = item if isinstance(item, Trigger) else Trigger(item)
            trigger = trigger if if_ is None else trigger.asking(if_)
        except UsageError as error:
            raise UsageError(f"{what}: {error}") from None
        for other in triggers:
            if trigger.name == other.name:
                _check_twin(trigger, other, what)
        triggers.append(trigger)
    if if_ is not None and not triggers:
        raise UsageError(f"{what}: if_= is asked of the events that start it; name them with on=")
    return tuple(triggers)


def _check_twin(trigger: Trigger, other: Trigger, what: str) -> None:
    if trigger.conditions == other.conditions or not (trigger.conditions and other.conditions):
        raise UsageError(f"{what}: on= names {trigger.name!r} twice; an event starts a function once")
    if trigger.model is not other.model:
        raise UsageError(
            f"{what}: on= names {trigger.name!r} twice, once with its class and once without; give both the class"
        )


def event_types(triggers: tuple[Trigger, ...]) -> Mapping[str, type[Event] | None]:
    """The model of each event that a trigger names; a pattern has none."""
    return {trigger.name: trigger.model for trigger in triggers}


def _pattern_fault(pattern: object) -> str | None:
    if not isinstance(pattern, str) or "*" not in pattern:
        return event_name_fault(pattern, sent=False) or _own_fault(pattern)
    prefix = pattern[:-1]
    if "*" in prefix or not pattern.endswith("*"):
        return "has a * before its end; a wildcard stands at the end: 'order/*'"
    if prefix[-1:] not in ("/", ".") or not prefix.strip("/."):
        return "has a * that is not a segment of its own; write it like 'order/*' or 'order/item.*'"
    return event_name_fault(prefix, sent=False) or _own_fault(pattern)


def _own_fault(pattern: object) -> str | None:
    if not isinstance(pattern, str) or not pattern.startswith(RESERVED):
        return None
    if any(routing.matches(pattern, name) for name in routing.OWN_EVENTS):
        return None
    return f"is none that the engine sends; these are {', '.join(routing.OWN_EVENTS)}"


def _condition_fault(if_: object, model: type[Event] | None) -> str | None:
    if isinstance(if_, str):
        try:
            condition = cel.check(if_)
        except UsageError as error:
            return str(error)
        paths = [*(path for path, _ in condition.equals), *condition.reads]
        faults = (path_fault(model, ".".join(path)) for path in paths if model is not None and len(path) > 1)
        return next(filter(None, faults), None)
    if not callable(if_):
        return "use CEL as text, or a function that is given the event and says True or False"
    if inspect.iscoroutinefunction(if_):
        return "a predicate is a plain def: it only looks at the event; ask outside systems in a step"
    return None


def _shown_if(if_: object) -> str:
    return (
        repr(if_)[:200] if isinstance(if_, str) or not callable(if_) else getattr(if_, "__name__", repr(if_))
    )


def _shown(item: object) -> str:
    return repr(item) if isinstance(item, int | float | None) else f"a {type(item).__qualname__}"
